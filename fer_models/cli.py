"""The command line: `fer-models list | data | weights | train | predict | compare`.

Each command imports what it needs when it runs, so that `fer-models list` answers at once.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fer_models.errors import FerModelsError, UsageError

if TYPE_CHECKING:
    from fer_models.evaluation.store import Answers
    from fer_models.registry import ModelSpec

USAGE_CODE = 4  # as pytest's
VERDICT_CODE = 1


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code: 0, 1 for a verdict, 4 for a usage error."""
    args = _parser().parse_args(argv)
    try:
        return int(args.run(args))
    except UsageError as error:
        print(f"fer-models: {error}", file=sys.stderr)
        return USAGE_CODE
    except FerModelsError as error:
        print(f"fer-models: {error}", file=sys.stderr)
        return VERDICT_CODE
    except KeyboardInterrupt:
        print("fer-models: interrupted; what was written is whole, the same command goes on from there", file=sys.stderr)
        return 130


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> Any:
        self.print_usage(sys.stderr)
        self.exit(USAGE_CODE, f"{self.prog}: {message}\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="fer-models", description="Facial emotion models put to the question. The questions themselves: pytest evals")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND", parser_class=_Parser)

    listing = commands.add_parser("list", help="the models and restorations that can be asked, and whether their weights are here")
    listing.add_argument("--models-from", action="append", default=[], type=Path, metavar="FILE.py", help="also those of a Python file (repeatable)")
    listing.set_defaults(run=_list)

    data = commands.add_parser("data", help="what a dataset holds: counts, fingerprint, deviations, a sheet of faces")
    _data_options(data)
    data.add_argument("--sheet", type=Path, metavar="FILE.png", help="write a sheet of faces, one row per emotion")
    data.add_argument("--json", action="store_true", help="as JSON")
    data.set_defaults(run=_data)

    weights = commands.add_parser("weights", help="where each model's weights lie, and their sha256; pack trained weights for shipping")
    weights.add_argument("--provenance", metavar="NAME", help="how a model's weights were trained: data, recipe, versions, curve (JSON)")
    weights.add_argument("--pack", type=Path, metavar="FILE", help="a safetensors file that `fer-models train` wrote")
    weights.add_argument(
        "--bits", type=int, choices=(8, 16), default=16, help="16: half precision; 8: integers with a scale per channel (default 16)"
    )
    weights.add_argument("--output", type=Path, metavar="FILE", help="where the packed file goes")
    weights.set_defaults(run=_weights)

    train = commands.add_parser("train", help="train a network by its recipe; a killed run goes on when started again")
    train.add_argument("model", help="vgg19, resnet50 or efficientnet_b0")
    train.add_argument("--dataset", default="fer2013", metavar="NAME", help="fer2013 (default), synthetic, or a class-folder dataset")
    train.add_argument("--data-root", type=Path, metavar="FOLDER")
    train.add_argument("--download", action="store_true", help="allow the data to be fetched from the network")
    train.add_argument("--no-drawn", action="store_true", help="leave the drawn faces out (by default they are added to another dataset)")
    train.add_argument(
        "--output", type=Path, metavar="FOLDER", help="where the weights go (default: the user's weights folder, where `pytest evals` finds them)"
    )
    train.add_argument("--limit", type=int, metavar="N", help="train on N faces only, stratified")
    train.add_argument("--epochs", type=int, metavar="N")
    train.add_argument("--batch-size", type=int, metavar="N")
    train.add_argument("--lr", type=float, metavar="RATE")
    train.add_argument("--precision", choices=("float32", "bf16"))
    train.add_argument("--device", default="auto", choices=("auto", "cpu"), help="auto uses every accelerator that accelerate finds")
    train.add_argument("--seed", type=int, default=0)
    train.add_argument("--start-from", type=Path, metavar="FILE", help="go on from trained weights: no small faces, half the peak rate")
    train.add_argument("--fresh", action="store_true", help="ignore a checkpoint of an earlier run")
    train.set_defaults(run=_train)

    predict = commands.add_parser("predict", help="ask a model about pictures")
    predict.add_argument("model", help="a name from `fer-models list`, NAME@FILE or timm:NETWORK@FILE")
    predict.add_argument("pictures", nargs="+", type=Path)
    predict.add_argument("--models-from", action="append", default=[], type=Path, metavar="FILE.py")
    predict.add_argument("--device", default="auto")
    predict.add_argument("--json", action="store_true", help="as JSON, with all seven probabilities")
    predict.set_defaults(run=_predict)

    compare = commands.add_parser("compare", help="two runs, face by face: exit code 1 when the second fell")
    compare.add_argument("before", type=Path, help="a folder of stored answers (under .evals/store), or a baselines.json")
    compare.add_argument("after", type=Path, help="a folder of stored answers")
    compare.add_argument("--json", action="store_true")
    compare.set_defaults(run=_compare)
    return parser


def _data_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--dataset", default="synthetic", metavar="NAME", help="synthetic (default), fer2013, or a class-folder dataset")
    parser.add_argument("--data-root", type=Path, metavar="FOLDER")
    parser.add_argument("--split", metavar="NAME", help="one split (default: all)")
    parser.add_argument("--download", action="store_true", help="allow the data to be fetched from the network")


def _list(args: argparse.Namespace) -> int:
    from rich.table import Table

    from fer_models import zoo
    from fer_models.errors import WeightsMissingError

    models, restorers, notes = zoo.known(args.models_from)
    table, commands = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0)), []
    for heading in ("name", "kind", "weights"):
        table.add_column(heading, no_wrap=True)
    table.add_column("what it is", overflow="fold")
    for kind, specs in (("model", models), ("restoration", restorers)):
        for spec in specs:
            try:
                state = "here" if spec.weights_path() else "needs none"
            except WeightsMissingError as missing:
                state = "missing"
                commands.append(str(missing))
            table.add_row(spec.name, kind, state, spec.description)
    _console().print(table)
    for line in (*commands, *notes):
        print(line)
    return 0


def _data(args: argparse.Namespace) -> int:
    import json

    from fer_models import datasets

    names = [args.split] if args.split else datasets.splits(args.dataset, args.data_root)
    report: dict[str, dict[str, Any]] = {}
    for name in names:
        faces = datasets.load(args.dataset, name, args.data_root, download=args.download)
        report[faces.name] = {"n": len(faces), "fingerprint": faces.fingerprint, "counts": faces.counts, "notes": list(faces.notes)}
        if args.sheet is not None:
            _sheet(faces, args.sheet if len(names) == 1 else args.sheet.with_stem(f"{args.sheet.stem}-{name}"))
    if args.json:
        print(json.dumps(report, indent=1))
        return 0
    for name, found in report.items():
        print(f"{name}: {found['n']} faces, fingerprint {found['fingerprint'][:16]}…")
        print("  " + "  ".join(f"{label} {count}" for label, count in found["counts"].items()))
        for note in found["notes"]:
            print(f"  note: {note}")
    return 0


def _sheet(faces: Any, path: Path, columns: int = 14, side: int = 96) -> None:
    import numpy as np
    from PIL import Image

    from fer_models.emotions import EMOTIONS
    from fer_models.images import resize

    rows = []
    for emotion in EMOTIONS:
        chosen = np.flatnonzero(faces.labels == emotion)[:columns]
        row = [resize(faces.face(int(i)), side) for i in chosen]
        rows.append(np.concatenate(row + [np.full((side, side, 3), 255, dtype=np.uint8)] * (columns - len(row)), axis=1))
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.concatenate(rows, axis=0)).save(path)
    print(f"{faces.name}: a sheet of faces is in {path}")


def _weights(args: argparse.Namespace) -> int:
    import json

    from fer_models import weights, zoo
    from fer_models.errors import WeightsMissingError
    from fer_models.registry import sha256_of

    if args.pack is not None:
        from fer_models.classifiers import tensors

        state, metadata = tensors.read(args.pack)
        output = args.output or args.pack.with_name(f"{args.pack.stem}-{args.bits}bit.safetensors")
        tensors.write(tensors.pack(state, args.bits), output, metadata)
        print(f"{output}: {output.stat().st_size / 2**20:.1f} MB, sha256 {sha256_of(output)}")
        return 0
    if args.provenance is not None:
        path = zoo.select(args.provenance, zoo.MODELS).weights_path()
        said = weights.metadata(path).get("provenance") if path else None
        print(json.dumps(json.loads(said), indent=1) if said else f"The weights of {args.provenance} do not say how they were trained.")
        return 0
    for spec in zoo.MODELS:
        try:
            path = spec.weights_path()
            print(f"{spec.name}: {path or 'needs none'}" + (f"  sha256 {sha256_of(path)}" if path else ""))
        except WeightsMissingError as missing:
            print(str(missing))
    print(f"your own weights folder: {weights.user_folder()}")
    return 0


def _train(args: argparse.Namespace) -> int:
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from fer_models import datasets, weights
    from fer_models.errors import UnknownNameError
    from fer_models.training.recipes import RECIPES, adapt

    if args.model not in RECIPES:
        raise UnknownNameError("training recipe", args.model, RECIPES)
    base = RECIPES[args.model] if args.start_from is None else RECIPES[args.model].continued()
    recipe = adapt(base, epochs=args.epochs, batch_size=args.batch_size, lr=args.lr, precision=args.precision)
    train, validation = datasets.training_splits(args.dataset, args.data_root)
    faces = [datasets.load(args.dataset, train, args.data_root, download=args.download)]
    held_out = datasets.load(args.dataset, validation, args.data_root, download=args.download)
    if args.dataset != "synthetic" and not args.no_drawn:
        faces.append(datasets.load("synthetic", "train"))
    if args.limit is not None:
        faces = [f.limit(max(1, args.limit * len(f) // sum(map(len, faces)))) for f in faces]
        held_out = held_out.limit(args.limit)
    from fer_models.training.loop import train as run  # torch, timm and accelerate: only now that the arguments are sound

    console = _console()
    console.quiet = os.environ.get("RANK", "0") != "0"  # of several processes, one speaks
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("loss {task.fields[loss]:.3f}"), TimeRemainingColumn())
    with Progress(*columns, console=console) as bar:
        task = bar.add_task(args.model, total=1, loss=float("nan"))

        def show(title: str, step: int, steps: int, figures: dict[str, float]) -> None:
            bar.update(task, description=title, completed=step, total=steps, loss=figures["loss"])
            if step == steps and not console.is_terminal:
                console.print(f"{title}: loss {figures['loss']:.3f}")

        outcome = run(
            args.model,
            recipe,
            faces,
            held_out,
            args.output or weights.user_folder(),
            seed=args.seed,
            device=args.device,
            resume=not args.fresh,
            start=args.start_from,
            report=show,
        )
    for record in outcome.history:
        scored = f", {held_out.name} {record['validation_accuracy']:.4f}" if "validation_accuracy" in record else ""
        console.print(
            f"epoch {record['epoch']:.0f}: loss {record['loss']:.4f}, {record['seconds']:.0f} s, {record['images_per_second']:.0f} faces/s{scored}"
        )
    console.print(f"kept epoch {outcome.best_epoch} ({outcome.best_accuracy:.4f} on {held_out.name}): {outcome.weights}")
    return 0


def _predict(args: argparse.Namespace) -> int:
    import json

    from fer_models import images, zoo
    from fer_models.classifiers.base import ANSWERED
    from fer_models.emotions import EMOTIONS, LABELS
    from fer_models.evaluation.run import predict_checked
    from fer_models.registry import Runtime

    spec: ModelSpec = zoo.select(args.model, zoo.known(args.models_from)[0])
    faces = [images.read(path) for path in args.pictures]
    spec.weights_path()
    classifier = spec.load(spec.resolve(Runtime(device=args.device)))
    said = predict_checked(classifier, spec.name, spec.labels, faces)
    for path, answer, row, status in zip(args.pictures, said.answer.tolist(), said.probabilities.tolist(), said.status, strict=True):
        if args.json:
            known = dict(zip(LABELS, row, strict=True)) if status == ANSWERED else None
            print(
                json.dumps(
                    {"picture": str(path), "answer": EMOTIONS[answer].label if answer >= 0 else None, "probabilities": known, "status": status}
                )
            )
        else:
            print(f"{path}: {EMOTIONS[answer].label} ({row[answer]:.0%})" if answer >= 0 else f"{path}: no answer ({status})")
    return 0


def _compare(args: argparse.Namespace) -> int:
    import json

    from fer_models.evaluation import gate
    from fer_models.report import verdicts

    comparison = _comparison(args.before, args.after)
    verdict = gate.judge([comparison])[0]
    if args.json:
        print(json.dumps({"subject": comparison.subject.as_json(), "verdict": verdict.status, "changes": verdict.changes_json()}, indent=1))
    else:
        print(f"{verdict.status}  {comparison.subject.id}")
        print(verdicts.table(verdict))
    return VERDICT_CODE if verdict.status == gate.FAIL else 0


def _comparison(before: Path, after: Path) -> Any:
    from fer_models.errors import FacesDifferError
    from fer_models.evaluation import baselines, gate, metrics
    from fer_models.evaluation.store import stored

    answers, subject = stored(after)
    measured = metrics.measure(answers.truth, answers.answer, answers.probabilities)
    if before.suffix == ".json":
        record = baselines.read(before).find(subject)
        if record is None:
            raise UsageError(f"{before} holds no record of {subject.id}.")
    else:
        earlier, _ = stored(before)
        if earlier.faces != answers.faces or earlier.truth.tolist() != answers.truth.tolist():
            raise FacesDifferError(
                f"{before} and {after} hold answers to different faces ({len(earlier)} and {len(answers)}): they cannot be compared."
            )
        record = baselines.make(subject, _fingerprint(earlier), earlier, metrics.measure(earlier.truth, earlier.answer, earlier.probabilities), {})
    return gate.compare(subject, answers, measured, record, fingerprint=_fingerprint(answers), total=len(answers))


def _fingerprint(answers: Answers) -> str:
    from fer_models.datasets.base import fingerprint

    return fingerprint(answers.faces, answers.truth)


def _console() -> Any:
    from rich.console import Console

    return Console(width=None if sys.stdout.isatty() else 140)


if __name__ == "__main__":
    sys.exit(main())
