"""`fer-models predict`: ask a model about pictures."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from fer_models.cli.common import Commands, model_file_option

if TYPE_CHECKING:
    from fer_models.zoo.spec import ModelSpec


def add(commands: Commands) -> None:
    """Its parser."""
    parser = commands.add_parser("predict", help="ask a model about pictures")
    parser.add_argument("model", help="a name from `fer-models list`, NAME@FILE or timm:NETWORK@FILE")
    parser.add_argument("pictures", nargs="+", type=Path)
    model_file_option(parser)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--json", action="store_true", help="as JSON, with all seven probabilities")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print an answer per picture."""
    import json

    from fer_models import images
    from fer_models.classifiers.base import ANSWERED
    from fer_models.emotions import EMOTIONS, LABELS
    from fer_models.errors import PredictionError, printable
    from fer_models.inference.pipeline import predict_validated
    from fer_models.third_party_code import contained
    from fer_models.zoo import resolve
    from fer_models.zoo.spec import Runtime

    spec: ModelSpec = resolve.resolve_model(args.model, resolve.available_models(args.model_file)[0])
    faces = [images.read(path) for path in args.pictures]
    spec.weights_path()
    with contained(PredictionError, f"The model {spec.name!r} cannot be loaded"):
        classifier = spec.load(spec.resolve(Runtime(device=args.device)))
    said = predict_validated(classifier, spec.name, spec.labels, faces)
    pictures = map(printable, args.pictures)
    for picture, answer, row, status in zip(
        pictures, said.answer.tolist(), said.probabilities.tolist(), said.status, strict=True
    ):
        if args.json:
            known = dict(zip(LABELS, row, strict=True)) if status == ANSWERED else None
            print(
                json.dumps(
                    {
                        "picture": picture,
                        "answer": EMOTIONS[answer].label if answer >= 0 else None,
                        "probabilities": known,
                        "status": status,
                    }
                )
            )
        else:
            print(
                f"{picture}: {EMOTIONS[answer].label} ({row[answer]:.0%})"
                if answer >= 0
                else f"{picture}: no answer ({status})"
            )
    return 0
