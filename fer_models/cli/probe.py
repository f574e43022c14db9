"""`fer-models probe`: fit a linear probe to the kept directions of faces."""

from __future__ import annotations

import argparse
from pathlib import Path

from fer_models.cli.common import Commands, console, data_options, model_file_option


def add(commands: Commands) -> None:
    """Its parser."""
    parser = commands.add_parser(
        "probe", help="fit a linear probe on what a CLIP model sees; then ask it as NAME-probe"
    )
    parser.add_argument("model", help="a CLIP model from `fer-models list`")
    data_options(parser, default="fer2013")
    model_file_option(parser)
    parser.add_argument("--limit", type=int, metavar="N", help="N faces of each split only, stratified")
    parser.add_argument(
        "--store",
        type=Path,
        default=Path(".evals/store"),
        metavar="FOLDER",
        help="directions are kept beside it (.evals/store)",
    )
    parser.add_argument(
        "--output",
        type=Path,
        metavar="FOLDER",
        help="where the probe goes (default: the user's weights folder)",
    )
    parser.add_argument("--device", default="auto")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Fit on the train split, choose the penalty on the validation split."""
    from fer_models import datasets
    from fer_models.artifacts import weights
    from fer_models.artifacts.hashing import sha256_of
    from fer_models.classifiers import probe
    from fer_models.config import EvalConfig
    from fer_models.errors import UsageError
    from fer_models.evaluation import Suite
    from fer_models.zoo import resolve, restorers
    from fer_models.zoo.registry import Registry
    from fer_models.zoo.spec import Runtime

    spec = resolve.resolve_model(args.model, resolve.available_models(args.model_file)[0])
    if not spec.has_embeddings or spec.components:
        raise UsageError(f"{spec.name} has no directions of faces to probe. Take a CLIP model: clip-nano")
    file, screen, known = spec.weights_path(), console(), []
    for split in datasets.training_splits(args.dataset, args.data_root):
        options = EvalConfig(
            args.dataset,
            args.data_root,
            split,
            args.limit,
            Runtime(args.device, download=args.download),
            store=args.store,
            label_scheme=args.label_scheme,
        )
        suite = Suite(options, Registry("model", spec), restorers.RESTORERS)
        screen.print(
            f"{spec.name} looks at {suite.data.faces.name}: {len(suite.data.faces)} faces, unless that is kept",
            highlight=False,
        )
        known.append(
            (
                suite.data.faces,
                suite.embeddings((spec.name, "raw")),
                suite.data.faces.labels[suite.data.order],
            )
        )
    (trained, features, labels), (held_out, chosen, chosen_labels) = known
    found = probe.fit(features, labels, chosen, chosen_labels, base=None if file is None else sha256_of(file))
    used = (("fitted_to", trained), ("chosen_on", held_out))
    sets = {
        kind: {"name": faces.name, "n": len(faces), "fingerprint": faces.fingerprint} for kind, faces in used
    }
    path = (args.output or weights.user_weights_dir()) / f"{spec.name}-probe.safetensors"
    probe.Probe(found.weights, found.bias, found.base, {**found.record, **sets}).write(path)
    for strength, accuracy in found.record["validation_accuracy"].items():
        screen.print(f"  penalty 1/{strength}: {held_out.name} {accuracy:.4f}", highlight=False)
    screen.print(f"kept 1/{found.record['strength']}: {path}", highlight=False)
    screen.print(
        f"Ask it: pytest evals --model {spec.name}-probe --dataset {args.dataset} …", highlight=False
    )
    return 0
