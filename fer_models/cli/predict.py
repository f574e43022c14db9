"""`fer-models predict`: predicts the emotions of faces in image files."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from fer_models.cli.common import Commands, add_command, model_file_option

if TYPE_CHECKING:
    from fer_models.classifiers.base import Predictions
    from fer_models.zoo.spec import ModelSpec


def add(commands: Commands) -> None:
    """Add the parser of `predict`."""
    parser = add_command(commands, "predict", "predict the emotions of faces in image files")
    parser.add_argument(
        "model", metavar="MODEL", help="a name from `fer-models list`, NAME@FILE or timm:NETWORK@FILE"
    )
    parser.add_argument("pictures", nargs="+", type=Path, metavar="PICTURE", help="an image file of one face")
    model_file_option(parser)
    parser.add_argument("--device", default="auto", help="auto (default), cpu, cuda or mps")
    parser.add_argument("--json", action="store_true", help="print JSON, with all seven probabilities")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print one prediction per picture."""
    from fer_models import images
    from fer_models.errors import PredictionError, printable
    from fer_models.inference.pipeline import predict_validated
    from fer_models.third_party_code import wrap_errors
    from fer_models.zoo import resolve
    from fer_models.zoo.spec import Runtime

    spec: ModelSpec = resolve.resolve_model(args.model, resolve.available_models(args.model_file)[0])
    faces = [images.read(path) for path in args.pictures]
    spec.weights_path()
    with wrap_errors(PredictionError, f"The model {spec.name!r} cannot be loaded"):
        classifier = spec.load(spec.resolve(Runtime(device=args.device)))
    predictions = predict_validated(classifier, spec.name, spec.labels, faces)
    for i, picture in enumerate(map(printable, args.pictures)):
        print(_json(picture, predictions, i) if args.json else _text(picture, predictions, i))
    return 0


def _json(picture: str, predictions: Predictions, i: int) -> str:
    import json

    from fer_models.classifiers.base import ANSWERED
    from fer_models.emotions import EMOTIONS, LABELS

    emotion, status = int(predictions.answer[i]), predictions.status[i]
    probabilities = dict(zip(LABELS, predictions.probabilities[i].tolist(), strict=True))
    return json.dumps(
        {
            "picture": picture,
            "answer": EMOTIONS[emotion].label if emotion >= 0 else None,
            "probabilities": probabilities if status == ANSWERED else None,
            "status": status,
        }
    )


def _text(picture: str, predictions: Predictions, i: int) -> str:
    from fer_models.emotions import EMOTIONS

    emotion = int(predictions.answer[i])
    if emotion < 0:
        return f"{picture}: no prediction ({predictions.status[i]})"
    return f"{picture}: {EMOTIONS[emotion].label} ({predictions.probabilities[i, emotion]:.0%})"
