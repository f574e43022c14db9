"""`fer-models predict`: predicts the emotions of faces in image files."""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from fer_models.cli.common import (
    VERDICT_CODE,
    Commands,
    add_command,
    console,
    device_option,
    format_option,
    model_file_option,
    writable,
)

if TYPE_CHECKING:
    from fer_models.classifiers.base import Predictions
    from fer_models.images import Face

_EXAMPLES = (
    "fer-models predict vgg19 face.jpg",
    "fer-models predict vgg19 --output predicted *.jpg",
    "fer-models predict efficientnet_b0 face.jpg --format json",
)
#: Columns of a bar, and the longest part of a file name in the name of a picture.
_BAR, _LONGEST_STEM = 40, 60


def add(commands: Commands) -> None:
    """Add the parser of `predict`."""
    text = "predict the emotions of faces in image files"
    parser = add_command(commands, "predict", text, _EXAMPLES)
    parser.add_argument(
        "model", metavar="MODEL", help="a name from `fer-models list`, NAME@FILE or timm:NETWORK@FILE"
    )
    parser.add_argument("pictures", nargs="+", type=Path, metavar="PICTURE", help="an image file of one face")
    model_file_option(parser)
    device_option(parser)
    output_help = "also write a picture of each face with its probabilities into this folder"
    parser.add_argument("--output", type=Path, metavar="FOLDER", help=output_help)
    format_option(parser, note="; json has one line per picture")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print one prediction per picture; a picture that cannot be read does not stop the others."""
    from fer_models.artifacts.device import default_batch_size
    from fer_models.errors import PredictionError, printable
    from fer_models.inference.pipeline import predict_validated
    from fer_models.third_party_code import wrap_errors
    from fer_models.zoo import resolve
    from fer_models.zoo.spec import Runtime

    spec = resolve.resolve_model(args.model, resolve.available_models(args.model_file)[0])
    size, errors, classifier, n_written = default_batch_size(args.device), [], None, 0
    outputs = _outputs(args.pictures, args.output)
    for start in range(0, len(args.pictures), size):
        faces, unreadable = _read(args.pictures[start : start + size], start)
        errors += unreadable
        if not faces:
            continue
        if classifier is None:
            spec.weights_path()
            with wrap_errors(PredictionError, f"The model {spec.name!r} cannot be loaded"):
                classifier = spec.load(spec.resolve(Runtime(device=args.device)))
        predictions = predict_validated(classifier, spec.name, spec.labels, [face for _, _, face in faces])
        for i, (_, path, _) in enumerate(faces):
            if args.format == "json":
                print(_json(printable(path), predictions, i))
            else:
                _print(printable(path), predictions, i)
        if args.output is not None:
            _write_pictures([(outputs[row], face) for row, _, face in faces], predictions)
            n_written += len(faces)
    if n_written:
        print(f"{n_written} picture{'s' * (n_written > 1)} in {args.output}", file=sys.stderr)
    for error in errors:
        print(f"fer-models: {error}", file=sys.stderr)
    return VERDICT_CODE if errors else 0


def _read(paths: list[Path], start: int) -> tuple[list[tuple[int, Path, Face]], list[str]]:
    """The faces that can be read, with their rows (from `start`) and paths, and the errors of the others."""
    from fer_models import images
    from fer_models.errors import ImageError

    faces, errors = [], []
    for row, path in enumerate(paths, start):
        try:
            faces.append((row, path, images.read(path)))
        except ImageError as error:
            errors.append(str(error))
    return faces, errors


def _json(picture: str, predictions: Predictions, i: int) -> str:
    import json

    from fer_models.emotions import EMOTIONS, LABELS

    emotion, row = int(predictions.answer[i]), _probabilities(predictions, i)
    return json.dumps(
        {
            "picture": picture,
            "answer": EMOTIONS[emotion].label if emotion >= 0 else None,
            "probabilities": None if row is None else dict(zip(LABELS, row, strict=True)),
            "status": predictions.status[i],
        }
    )


def _print(picture: str, predictions: Predictions, i: int) -> None:
    """Print the emotion, and a bar per emotion."""
    from rich.progress_bar import ProgressBar
    from rich.table import Table

    from fer_models.emotions import LABELS

    print(f"{picture}: {_headline(predictions, i)}")
    probabilities = _probabilities(predictions, i)
    if probabilities is None:
        return
    table = Table.grid(padding=(0, 2))
    for label, p in zip(LABELS, probabilities, strict=True):
        table.add_row(f"  {label}", f"{p:.2f}", ProgressBar(total=1, completed=p, width=_BAR))
    console().print(table)


def _headline(predictions: Predictions, i: int) -> str:
    from fer_models.emotions import EMOTIONS
    from fer_models.errors import one_line

    emotion = int(predictions.answer[i])
    if emotion < 0:
        return f"no prediction ({one_line(predictions.status[i])})"
    if not predictions.has_probabilities:
        return f"{EMOTIONS[emotion].label} (this model gives no probabilities)"
    return f"{EMOTIONS[emotion].label} ({predictions.probabilities[i, emotion]:.0%})"


def _probabilities(predictions: Predictions, i: int) -> list[float] | None:
    """The seven probabilities of a face; None where the model gave none."""
    if int(predictions.answer[i]) < 0 or not predictions.has_probabilities:
        return None
    row: list[float] = predictions.probabilities[i].tolist()
    return row


def _outputs(pictures: list[Path], folder: Path | None) -> list[Path]:
    """The file of each picture that is written; none without a folder.

    Raises:
        UsageError: one would overwrite an input.
    """
    from fer_models.errors import UsageError

    if folder is None:
        return []
    outputs = [folder / picture_name(number, path) for number, path in enumerate(pictures, 1)]
    for output in outputs:
        if output.exists() and any(path.exists() and output.samefile(path) for path in pictures):
            raise UsageError(
                f"{output} is an input, and would be overwritten. Choose another: --output FOLDER"
            )
    return outputs


def _write_pictures(faces: list[tuple[Path, Face]], predictions: Predictions) -> None:
    """Write a picture of each face to its file.

    Raises:
        UsageError: the folder cannot be written.
    """
    from fer_models.artifacts.atomic_write import atomic_write
    from fer_models.report.prediction_picture import draw

    folder = faces[0][0].parent
    with writable(folder, "FOLDER"):
        folder.mkdir(parents=True, exist_ok=True)
        for i, (output, face) in enumerate(faces):
            picture = draw(face, _headline(predictions, i), _probabilities(predictions, i))
            with atomic_write(output) as part:
                part.write_bytes(picture)


def picture_name(number: int, path: Path) -> str:
    """The name of a face's picture: a number, which makes it unique, and the safe part of a file's name."""
    stem = re.sub(r"[^A-Za-z0-9_-]+", "_", path.stem)[:_LONGEST_STEM]
    return f"{number:03d}-{stem}.png"
