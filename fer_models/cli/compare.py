"""`fer-models compare`: compares two runs, face by face."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from fer_models.artifacts.object_storage import store_path
from fer_models.cli.common import (
    VERDICT_CODE,
    Commands,
    add_command,
    load_faces,
    output_option,
    scheme_option,
    write_output,
)
from fer_models.errors import UsageError

if TYPE_CHECKING:
    from fer_models.gate.compare import MatchedRuns
    from fer_models.images import Face
    from fer_models.report.comparison import ComparedModel, RunComparison

_STORE = Path(".evals/store")

_EXAMPLES = (
    "fer-models compare main                  # baselines.json of a git revision",
    "fer-models compare OTHER/.evals/store --format markdown",
    "fer-models compare main --format html --output flips.html",
)


def add(commands: Commands) -> None:
    """Add the parser of `compare`."""
    text = "compare two runs, face by face; exit code 1 when the second is worse"
    parser = add_command(commands, "compare", text, _EXAMPLES)
    parser.add_argument(
        "before",
        metavar="BEFORE",
        help="a store, a folder in a store, a baselines.json, or a git revision that has one "
        "(main, HEAD~1, REV:path/to/baselines.json)",
    )
    parser.add_argument(
        "after",
        metavar="AFTER",
        nargs="?",
        type=store_path,
        default=_STORE,
        help=f"a store, or a folder in a store (default {_STORE})",
    )
    _output_options(parser)
    parser.add_argument("--strict-gate", action="store_true", help="INCONCLUSIVE, NEW and DEGRADED also fail")
    parser.add_argument(
        "--dataset", metavar="NAME", help="with --format html: show the listed faces of this dataset"
    )
    parser.add_argument("--data-root", type=Path, metavar="FOLDER", help="the folder of that dataset")
    scheme_option(parser)
    parser.add_argument("--download", action="store_true", help="allow downloading that dataset")
    parser.set_defaults(run=run)


def _output_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--format",
        choices=("text", "markdown", "json", "html"),
        default="text",
        help="text (default), markdown for a pull request, json or html",
    )
    output_option(parser)
    parser.add_argument(
        "--flips",
        type=int,
        default=20,
        metavar="N",
        help="list at most N changed faces per subject and direction (default 20, 0 for none)",
    )
    parser.add_argument(
        "--all", action="store_true", help="name the subjects that only one run has, not just their number"
    )


def run(args: argparse.Namespace) -> int:
    """Print or write the comparison; 1 if a verdict fails, else 0."""
    _check(args)
    from fer_models.gate import compare, run_sources
    from fer_models.report import comparison as report

    before, after = run_sources.load_baseline(args.before), run_sources.load_candidate(args.after)
    matched = compare.match_subjects(before, after)
    result = report.RunComparison(
        before.name,
        after.name,
        _judge(matched),
        matched.only_before,
        matched.only_after,
        tuple(matched.incomparable.values()),
        (*before.notes, *after.notes),
        args.flips,
        args.strict_gate,
        args.all,
    )
    if args.format == "html":
        text = report.html(result, None if args.dataset is None else _pictures(args, result))
    else:
        formats = {"text": report.text, "markdown": report.markdown, "json": report.as_json}
        text = formats[args.format](result)
    write_output(text, args.output)
    return VERDICT_CODE if result.failed else 0


def _check(args: argparse.Namespace) -> None:
    """Raise UsageError where options contradict each other."""
    if args.flips < 0:
        raise UsageError(f"--flips must be at least 0, got {args.flips}.")
    if args.dataset is None and (args.data_root or args.download or args.label_scheme):
        raise UsageError("--data-root, --label-scheme and --download need a dataset. Add --dataset NAME.")
    if args.dataset is not None and args.format != "html":
        raise UsageError(
            f"--dataset shows pictures, and --format {args.format} has none. "
            "Add --format html, or leave --dataset out."
        )


def _judge(matched: MatchedRuns) -> list[ComparedModel]:
    from fer_models.gate import compare, flips, gate
    from fer_models.report.comparison import ComparedModel

    comparisons = [compare.compare_match(pair, len(matched.pairs)) for pair in matched.pairs]
    verdicts = zip(matched.pairs, gate.judge(comparisons), strict=True)
    return [ComparedModel(pair.baseline, verdict, *flips.flips_of_match(pair)) for pair, verdict in verdicts]


def _pictures(args: argparse.Namespace, result: RunComparison) -> dict[str, Face]:
    """Load the listed faces by pixel hash: the same pixels are the same face in any dataset."""
    from fer_models import datasets

    hashes = {flip.face for flip in result.flips()}
    flipped = [model for model in result.results if model.negative_flips or model.positive_flips]
    splits = {model.verdict.comparison.subject.split for model in flipped}
    pictures: dict[str, Face] = {}
    for split in sorted(splits & set(datasets.splits(args.dataset, args.data_root))):
        faces = load_faces(args, split)
        pictures |= {face: faces.face(row) for row, face in enumerate(faces.hashes) if face in hashes}
    return pictures
