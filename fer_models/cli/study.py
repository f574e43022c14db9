"""`fer-models study protocols`: effect of the evaluation protocol on a network's accuracy."""

from __future__ import annotations

import argparse
from pathlib import Path

from fer_models.cli.common import Commands, add_command, console, data_options, load_faces

_EXAMPLES = (
    "fer-models study protocols --dataset fer2013 --data-root FOLDER",
    "fer-models study protocols --dataset synthetic --limit 350 --epochs 2",
)


def add(commands: Commands) -> None:
    """Add the parser of the command."""
    parser = add_command(commands, "study", "experiments that explain published numbers", _EXAMPLES)
    studies = parser.add_subparsers(dest="study", required=True, metavar="STUDY")
    protocols = add_command(
        studies,
        "protocols",
        "train one network by several protocols: official splits, a random split, augmented copies "
        "before the split; and choose the epoch on the validation or the test faces",
        _EXAMPLES,
    )
    data_options(protocols, default="fer2013")
    protocols.add_argument(
        "--model", help="a recipe of `fer-models train` (default: a ResNet-18, fast enough without a GPU)"
    )
    protocols.add_argument(
        "--epochs",
        type=int,
        metavar="N",
        help="number of epochs over the official train split; the other protocols make as many updates",
    )
    protocols.add_argument("--limit", type=int, metavar="N", help="N faces of each split only, stratified")
    protocols.add_argument("--seed", type=int, default=0)
    protocols.add_argument("--device", default="auto", choices=("auto", "cpu"))
    protocols.add_argument(
        "--output",
        type=Path,
        default=Path(".evals/protocols"),
        metavar="FOLDER",
        help="folder for results and checkpoints (default: .evals/protocols)",
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
    # Imported only after the arguments are checked: torch and timm take seconds.
    from fer_models.studies import protocols
    from fer_models.training.session import RunOptions

    recipe = adapt(RECIPES[args.model] if args.model else protocols.RECIPE, epochs=args.epochs)
    screen = console()
    with progress("protocols", screen) as report:
        options = RunOptions(args.seed, args.device, report=report)
        results = protocols.run_study((sets[0], sets[1], sets[2]), args.output, recipe, options)
    json_file, table_file = args.output / "protocols.json", args.output / "protocols.md"
    content = json.dumps(protocols.as_json(results, recipe, args.seed), indent=1)
    json_file.write_text(content + "\n")
    table = protocols.markdown_table(results)
    table_file.write_text(table + "\n")
    print(table)
    screen.print(f"written to {json_file} and {table_file}", highlight=False)
    return 0
