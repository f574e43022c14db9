"""`fer-models probe`: fit a linear probe to the face embeddings of a CLIP model."""

from __future__ import annotations

import argparse

from fer_models.cli.common import Commands, add_command, console, fitting_options, fitting_runner, writable
from fer_models.cli.fuse import command_of, require_new


def add(commands: Commands) -> None:
    """Add its parser."""
    help_text = "fit a linear probe to the face embeddings of a CLIP model; the probe is a model NAME-probe"
    example = "fer-models probe clip-vit-b-32 --dataset fer2013 --data-root FOLDER"
    parser = add_command(commands, "probe", help_text, (example,))
    parser.add_argument("model", help="a CLIP model from `fer-models list`")
    fitting_options(parser, "probe", store="embeddings are stored next to it")
    limit_help = "use N faces of each split only, stratified by emotion"
    parser.add_argument("--limit", type=int, metavar="N", help=limit_help)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Fit on the train split, and choose the penalty on the validation split."""
    from fer_models import datasets
    from fer_models.artifacts import weights
    from fer_models.classifiers import probe
    from fer_models.errors import UsageError
    from fer_models.inference.runner import Combination
    from fer_models.zoo import resolve
    from fer_models.zoo.derived_models import component_hash, require_name

    model = resolve.resolve_model(args.model, resolve.available_models(args.model_file)[0])
    if not model.has_embeddings or model.components:
        raise UsageError(f"{model.name} has no face embeddings to probe. Take a CLIP model: clip-nano")
    require_name(f"{model.name}-probe")
    require_new(f"{model.name}-probe.safetensors", args.output)
    base, screen, fitted = component_hash(model), console(), []
    for split in datasets.training_splits(args.dataset, args.data_root):
        runner = fitting_runner(args, split, [model], args.limit)
        faces = runner.data.faces
        message = f"{model.name} embeds {faces.name}: {len(faces)} faces; stored embeddings are used"
        screen.print(message)
        fitted.append((faces, runner.embeddings(Combination(model.name, "raw"))))
    (train, train_embeddings), (validation, validation_embeddings) = fitted
    result = probe.fit(train_embeddings, train.labels, validation_embeddings, validation.labels, base=base)
    sets = {
        kind: {"name": faces.name, "n": len(faces), "fingerprint": faces.fingerprint}
        for kind, faces in (("fitted_to", train), ("chosen_on", validation))
    }
    path = (args.output or weights.user_weights_dir()) / f"{model.name}-probe.safetensors"
    with writable(path, "FOLDER"):
        probe.Probe(result.weights, result.bias, result.base, {**result.record, **sets}).write(path)
    for strength, accuracy in result.record["validation_accuracy"].items():
        screen.print(f"  penalty 1/{strength}: {validation.name} {accuracy:.4f}")
    screen.print(f"chosen: penalty 1/{result.record['strength']}: {path}")
    screen.print(f"Evaluate it: {command_of(args, f'{model.name}-probe', path)}")
    return 0
