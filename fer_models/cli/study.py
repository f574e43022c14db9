"""`fer-models study protocols`: what a way of splitting and choosing does to a score."""

from __future__ import annotations

import argparse
from pathlib import Path

from fer_models.cli.common import Commands, console, data_options, load_faces


def add(commands: Commands) -> None:
    """Its parser."""
    parser = commands.add_parser("study", help="experiments that explain published numbers")
    studies = parser.add_subparsers(dest="study", required=True, metavar="STUDY")
    protocols = studies.add_parser(
        "protocols",
        help="one network and recipe under official splits, a random split, copies made before the split, and a self-serving choice",
    )
    data_options(protocols, default="fer2013")
    protocols.add_argument(
        "--model",
        help="a recipe of `fer-models train` (default: a ResNet-18, small enough for a machine without accelerator)",
    )
    protocols.add_argument(
        "--epochs",
        type=int,
        metavar="N",
        help="epochs over the official train split; the others make as many updates",
    )
    protocols.add_argument("--limit", type=int, metavar="N", help="N faces of each split only, stratified")
    protocols.add_argument("--seed", type=int, default=0)
    protocols.add_argument("--device", default="auto", choices=("auto", "cpu"))
    protocols.add_argument(
        "--output",
        type=Path,
        default=Path(".evals/protocols"),
        metavar="FOLDER",
        help="findings and checkpoints (default: .evals/protocols)",
    )
    protocols.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Train by each protocol, with a progress bar, and print a table."""
    import json

    from fer_models import datasets
    from fer_models.cli.train import progress
    from fer_models.errors import UnknownNameError
    from fer_models.training.recipes import RECIPES, adapt

    if args.model is not None and args.model not in RECIPES:
        raise UnknownNameError("training recipe", args.model, RECIPES)
    train, validation = datasets.training_splits(args.dataset, args.data_root)
    names = (train, validation, datasets.evaluation_split(args.dataset, args.data_root))
    sets = [load_faces(args, name) for name in names]
    if args.limit is not None:
        sets = [faces.subsample(args.limit) for faces in sets]
    from fer_models.studies import protocols  # torch and timm: only now that the arguments are sound

    recipe = adapt(RECIPES[args.model] if args.model else protocols.RECIPE, epochs=args.epochs)
    screen = console()
    with progress("protocols", screen) as report:
        findings = protocols.study(
            (sets[0], sets[1], sets[2]),
            args.output,
            recipe,
            seed=args.seed,
            device=args.device,
            report=report,
        )
    (args.output / "protocols.json").write_text(
        json.dumps(protocols.as_json(findings, recipe, args.seed), indent=1) + "\n"
    )
    table = protocols.markdown(findings)
    (args.output / "protocols.md").write_text(table + "\n")
    print(table)
    screen.print(
        f"written to {args.output / 'protocols.json'} and {args.output / 'protocols.md'}", highlight=False
    )
    return 0
