"""`fer-models compare`: two runs, face by face."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from fer_models.cli.common import VERDICT_CODE, Commands, load_faces, scheme_option
from fer_models.errors import UsageError

if TYPE_CHECKING:
    from fer_models.gate.compare import MatchedRuns
    from fer_models.images import Face
    from fer_models.report.comparison import ComparedModel, RunComparison

_STORE = Path(".evals/store")


def add(commands: Commands) -> None:
    """Its parser."""
    parser = commands.add_parser(
        "compare", help="two runs, face by face: exit code 1 when the second is worse"
    )
    parser.add_argument(
        "before",
        metavar="BEFORE",
        help="a store, one subject's folder in it, a baselines.json, or a git revision that holds one (main, HEAD~1, REV:path/to/baselines.json)",
    )
    parser.add_argument(
        "after",
        metavar="AFTER",
        nargs="?",
        type=Path,
        default=_STORE,
        help=f"a store, or one subject's folder in it ({_STORE})",
    )
    parser.add_argument(
        "--format",
        choices=("text", "markdown", "json", "html"),
        default="text",
        help="text (default), markdown for a pull request, …",
    )
    parser.add_argument(
        "--output", type=Path, metavar="FILE", help="where it goes (default: standard output)"
    )
    parser.add_argument(
        "--flips",
        type=int,
        default=20,
        metavar="N",
        help="list at most N faces per subject and direction (default 20, 0 for none)",
    )
    parser.add_argument("--all", action="store_true", help="list the subjects that only one side holds")
    parser.add_argument(
        "--strict-gate", action="store_true", help="the verdicts INCONCLUSIVE, NEW and DEGRADED fail too"
    )
    parser.add_argument(
        "--dataset",
        metavar="NAME",
        help="with --format html: show the listed faces, found in this dataset by their pixels",
    )
    parser.add_argument("--data-root", type=Path, metavar="FOLDER", help="where that dataset lies")
    scheme_option(parser)
    parser.add_argument(
        "--download", action="store_true", help="allow that dataset to be fetched from the network"
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print or write the comparison; 1 if a verdict fails, else 0."""
    if args.flips < 0:
        raise UsageError(f"--flips must be at least 0, got {args.flips}.")
    if args.dataset is None and (args.data_root or args.download or args.label_scheme):
        raise UsageError(
            "--data-root, --label-scheme and --download tell how a dataset is read, but not which it is. "
            "Add --dataset NAME."
        )
    if args.dataset is not None and args.format != "html":
        raise UsageError(
            f"--dataset shows pictures, which --format {args.format} cannot hold. Add --format html, or leave --dataset out."
        )
    from fer_models.gate import compare, run_sources
    from fer_models.report import comparison as report

    earlier, later = run_sources.load_baseline(args.before), run_sources.load_candidate(args.after)
    paired = compare.match_subjects(earlier, later)
    found = report.RunComparison(
        earlier.name,
        later.name,
        _judged(paired),
        paired.only_before,
        paired.only_after,
        paired.incomparable,
        (*earlier.notes, *later.notes),
        args.flips,
        args.strict_gate,
        args.all,
    )
    if args.format == "html":
        said = report.html(found, None if args.dataset is None else _pictures(args, found))
    else:
        said = {"text": report.text, "markdown": report.markdown, "json": report.as_json}[args.format](found)
    _write(said, args.output)
    return VERDICT_CODE if found.failed else 0


def _judged(paired: MatchedRuns) -> list[ComparedModel]:
    from fer_models.gate import compare, gate
    from fer_models.report.comparison import ComparedModel
    from fer_models.scoring import metrics

    # Holm's first step multiplies by the number of comparisons: the bootstrap must be able to show a p that
    # small.
    resamples = max(9999, 400 * len(paired.pairs))
    comparisons = []
    for pair in paired.pairs:
        a = pair.predictions
        measured = metrics.measure_predictions(a)
        comparisons.append(
            gate.compare(
                pair.subject,
                a,
                measured,
                pair.record,
                fingerprint=a.fingerprint,
                labels=a.truth,
                resamples=resamples,
            )
        )
    judged = zip(paired.pairs, gate.judge(comparisons), strict=True)
    return [ComparedModel(pair.baseline, verdict, *compare.flips(pair)) for pair, verdict in judged]


def _pictures(args: argparse.Namespace, found: RunComparison) -> dict[str, Face]:
    """The listed faces by pixel hash: the same pixels are the same face, whatever its dataset is called."""
    from fer_models import datasets

    wanted = {flip.face for flip in found.flips()}
    splits = {
        result.verdict.comparison.subject.split
        for result in found.results
        if result.negative_flips or result.positive_flips
    }
    pictures: dict[str, Face] = {}
    for split in sorted(splits & set(datasets.splits(args.dataset, args.data_root))):
        faces = load_faces(args, split)
        pictures |= {face: faces.face(row) for row, face in enumerate(faces.hashes) if face in wanted}
    return pictures


def _write(text: str, path: Path | None) -> None:
    if path is None:
        sys.stdout.write(text)
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8", newline="\n")
    except OSError as error:
        raise UsageError(
            f"{path} cannot be written ({error.strerror}). Choose another: --output FILE"
        ) from error
