"""`fer-models probe`: fit a linear probe to the face embeddings of a CLIP model."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from fer_models.cli.common import Commands, add_command, console, data_options, model_file_option

if TYPE_CHECKING:
    from fer_models.inference.runner import Runner
    from fer_models.zoo.spec import ModelSpec


def add(commands: Commands) -> None:
    """Add its parser."""
    help_text = "fit a linear probe to the face embeddings of a CLIP model; the probe is a model NAME-probe"
    example = "fer-models probe clip-vit-b-32 --dataset fer2013 --data-root FOLDER"
    parser = add_command(commands, "probe", help_text, (example,))
    parser.add_argument("model", help="a CLIP model from `fer-models list`")
    data_options(parser, default="fer2013")
    model_file_option(parser)
    limit_help = "use N faces of each split only, stratified by emotion"
    parser.add_argument("--limit", type=int, metavar="N", help=limit_help)
    store, store_help = Path(".evals/store"), "embeddings are stored next to it (default: .evals/store)"
    parser.add_argument("--store", type=Path, default=store, metavar="FOLDER", help=store_help)
    output_help = "folder of the fitted probe (default: the user's weights folder)"
    parser.add_argument("--output", type=Path, metavar="FOLDER", help=output_help)
    parser.add_argument("--device", default="auto", help="device that models run on (default: auto)")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Fit on the train split, and choose the penalty on the validation split."""
    from fer_models import datasets
    from fer_models.artifacts import weights
    from fer_models.artifacts.hashing import sha256_of
    from fer_models.classifiers import probe
    from fer_models.errors import UsageError
    from fer_models.inference.runner import Combination
    from fer_models.zoo import resolve

    model = resolve.resolve_model(args.model, resolve.available_models(args.model_file)[0])
    if not model.has_embeddings or model.components:
        raise UsageError(f"{model.name} has no face embeddings to probe. Take a CLIP model: clip-nano")
    file, screen, fitted = model.weights_path(), console(), []
    for split in datasets.training_splits(args.dataset, args.data_root):
        runner = _runner(args, model, split)
        faces = runner.data.faces
        message = f"{model.name} embeds {faces.name}: {len(faces)} faces; stored embeddings are used"
        screen.print(message, highlight=False)
        fitted.append((faces, runner.embeddings(Combination(model.name, "raw"))))
    (train, train_embeddings), (validation, validation_embeddings) = fitted
    base = None if file is None else sha256_of(file)
    result = probe.fit(train_embeddings, train.labels, validation_embeddings, validation.labels, base=base)
    sets = {
        kind: {"name": faces.name, "n": len(faces), "fingerprint": faces.fingerprint}
        for kind, faces in (("fitted_to", train), ("chosen_on", validation))
    }
    path = (args.output or weights.user_weights_dir()) / f"{model.name}-probe.safetensors"
    probe.Probe(result.weights, result.bias, result.base, {**result.record, **sets}).write(path)
    for strength, accuracy in result.record["validation_accuracy"].items():
        screen.print(f"  penalty 1/{strength}: {validation.name} {accuracy:.4f}", highlight=False)
    screen.print(f"chosen: penalty 1/{result.record['strength']}: {path}", highlight=False)
    command = f"pytest evals --model {model.name}-probe --dataset {args.dataset} …"
    screen.print(f"Evaluate it: {command}", highlight=False)
    return 0


def _runner(args: argparse.Namespace, model: ModelSpec, split: str) -> Runner:
    """A runner over one split."""
    from fer_models.config import EvalConfig
    from fer_models.inference.runner import Runner
    from fer_models.zoo import restorers
    from fer_models.zoo.registry import Registry
    from fer_models.zoo.spec import Runtime

    options = EvalConfig(
        args.dataset,
        args.data_root,
        split,
        args.limit,
        Runtime(args.device, download=args.download),
        store=args.store,
        label_scheme=args.label_scheme,
    )
    return Runner(options, Registry("model", model), restorers.RESTORERS)
