"""`fer-models fuse`: weigh several models' stored answers for a late fusion."""

from __future__ import annotations

import argparse
from pathlib import Path

from fer_models.cli.common import Commands, console, data_options, model_file_option


def add(commands: Commands) -> None:
    """Its parser."""
    parser = commands.add_parser(
        "fuse",
        help="weigh several models for their late fusion, from stored answers; then ask it as NAME+NAME",
    )
    parser.add_argument(
        "models",
        nargs="+",
        metavar="MODEL",
        help="two or more names from `fer-models list`, with +tta if wanted",
    )
    data_options(parser, default="fer2013")
    model_file_option(parser)
    parser.add_argument(
        "--store",
        type=Path,
        default=Path(".evals/store"),
        metavar="FOLDER",
        help="where answers are kept (default: .evals/store)",
    )
    parser.add_argument(
        "--output",
        type=Path,
        metavar="FOLDER",
        help="where the weighing goes (default: the user's weights folder)",
    )
    parser.add_argument("--device", default="auto")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Fit on the validation split, where epochs are chosen too, and say what it brings there."""
    from fer_models import datasets
    from fer_models.artifacts import weights
    from fer_models.artifacts.hashing import sha256_of
    from fer_models.classifiers import fusion
    from fer_models.config import EvalConfig
    from fer_models.errors import UsageError
    from fer_models.evaluation import Suite
    from fer_models.scoring.intervals import wilson_interval
    from fer_models.zoo import resolve, restorers
    from fer_models.zoo.registry import Registry
    from fer_models.zoo.spec import Runtime

    if len(set(args.models)) < 2:
        raise UsageError("A fusion needs two different models at least: fer-models fuse MODEL MODEL")
    known = resolve.available_models(args.model_file)[0]
    parts = [resolve.resolve_model(name, known) for name in args.models]
    name = "+".join(part.name for part in parts)
    if "@" in name:
        raise UsageError(
            f"{name}: give models by name. A model of one's own gets one in a file: --model-file FILE.py"
        )
    files = [part.weights_path() for part in parts]
    split = datasets.training_splits(args.dataset, args.data_root)[1]
    options = EvalConfig(
        args.dataset,
        args.data_root,
        split,
        runtime=Runtime(args.device, download=args.download),
        store=args.store,
        label_scheme=args.label_scheme,
    )
    suite, screen = Suite(options, Registry("model", *parts), restorers.RESTORERS), console()
    said = []
    for part in parts:
        screen.print(
            f"{part.name} on {suite.data.faces.name}: {len(suite.data.faces)} faces, from the store where they are there",
            highlight=False,
        )
        answers = suite.predict((part.name, "raw")).predictions
        said.append(answers.to_predictions())
    exponents = fusion.fit(said, answers.truth)
    rows = {part.name: one for part, one in zip(parts, said, strict=True)} | {
        name: fusion.pool(said, exponents)
    }
    loss = {row: round(fusion.negative_log_likelihood(one, answers.truth), 4) for row, one in rows.items()}
    faces = suite.data.faces
    fitted_on = {
        "name": faces.name,
        "n": len(faces),
        "fingerprint": faces.fingerprint,
        "negative_log_likelihood": loss,
    }
    weighed = fusion.FusionWeights(
        tuple(p.name for p in parts),
        exponents,
        tuple(None if f is None else sha256_of(f) for f in files),
        fitted_on,
    )
    path = (args.output or weights.user_weights_dir()) / f"{name}.json"
    weighed.write(path)
    for row, one in rows.items():
        right = int((one.answer == answers.truth).sum())
        scored = wilson_interval(right, len(answers))
        screen.print(
            f"  {row}: accuracy {scored.value:.4f} [{scored.low:.4f}, {scored.high:.4f}], {loss[row]:.4f} nats",
            highlight=False,
        )
    screen.print(
        f"exponents {', '.join(f'{p.name} {e:.3f}' for p, e in zip(parts, exponents, strict=True))}: {path}",
        highlight=False,
    )
    screen.print(
        f"The weighing was chosen on these faces; ask on others: pytest evals --model {name} --dataset {args.dataset} …",
        highlight=False,
    )
    return 0
