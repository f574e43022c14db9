"""`fer-models study protocols`: effect of the evaluation protocol on a network's accuracy."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from fer_models.cli.common import (
    Commands,
    add_command,
    console,
    data_options,
    load_faces,
    make_output_folder,
    training_progress,
    writable,
)
from fer_models.errors import UsageError

if TYPE_CHECKING:
    from rich.console import Console

    from fer_models.datasets.base import FaceSet
    from fer_models.studies.protocol_splits import Protocol
    from fer_models.training.recipes import Recipe

_EXAMPLES = (
    "fer-models study protocols --dataset fer2013 --data-root FOLDER --seeds 3",
    "fer-models study protocols --data-root FOLDER --protocol copies",
    "fer-models study protocols --dataset synthetic --limit 350 --epochs 2",
)
#: The networks that are trained where no `--training` is given.
_TRAININGS = ("plain", "augmented")


def add(commands: Commands) -> None:
    """Add the parser of the command."""
    parser = add_command(commands, "study", "experiments that explain published numbers", _EXAMPLES)
    studies = parser.add_subparsers(dest="study", required=True, metavar="STUDY")
    protocols = add_command(
        studies,
        "protocols",
        "train a network by several protocols (official splits, a random split, augmented copies made "
        "before the split, labels of FER+), and score each with the epoch chosen on validation or test faces",
        _EXAMPLES,
    )
    data_options(protocols, default="fer2013")
    protocols.add_argument(
        "--protocol",
        action="append",
        metavar="NAME",
        help="official, random, grouped, grouped-copies, copies, restored-copies, official-ferplus or "
        "copies-ferplus; may be repeated (default: all; those with FER+ only if the dataset has its votes)",
    )
    protocols.add_argument(
        "--training",
        action="append",
        metavar="NAME",
        help="plain (a small network that memorizes its faces), augmented (the same with augmentation), "
        "or a recipe of `fer-models train`, which is used without its teacher; NAME+memorize trains the "
        "weights of NAME for 3 more epochs without augmentation, so that they memorize their faces; may be "
        "repeated (default: plain and augmented)",
    )
    protocols.add_argument("--seeds", type=int, default=1, metavar="N", help="number of seeds (default: 1)")
    protocols.add_argument(
        "--epochs",
        type=int,
        metavar="N",
        help="number of epochs of each training (default: that of its recipe; +memorize always has 3)",
    )
    protocols.add_argument("--limit", type=int, metavar="N", help="N faces of each split only, stratified")
    protocols.add_argument(
        "--device",
        default="auto",
        choices=("auto", "cpu"),
        help="auto (default) uses every accelerator that accelerate finds",
    )
    protocols.add_argument(
        "--output",
        type=Path,
        default=Path(".evals/protocols"),
        metavar="FOLDER",
        help="folder for results and checkpoints (default: .evals/protocols)",
    )
    protocols.add_argument(
        "--no-resume",
        action="store_true",
        help="start unfinished trainings again, and replace results of other options in FOLDER",
    )
    protocols.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Train by each protocol, with a progress bar, and print a table."""
    import json

    from fer_models import datasets
    from fer_models.errors import UnknownNameError
    from fer_models.studies.protocol_runs import MEMORIZE
    from fer_models.training.recipes import RECIPES, adapt

    if args.seeds < 1:
        raise UsageError(f"--seeds must be at least 1, got {args.seeds}.")
    for name in args.training or ():
        if name.removesuffix(MEMORIZE) not in (*_TRAININGS, *RECIPES):
            raise UnknownNameError("training", name, (*_TRAININGS, *RECIPES))
    train, validation = datasets.training_splits(args.dataset, args.data_root)
    names = (train, validation, datasets.evaluation_split(args.dataset, args.data_root))
    sets = [load_faces(args, name) for name in names]
    if args.limit is not None:
        sets = [faces.subsample(args.limit) for faces in sets]
    # Imported only after the arguments are checked: torch and timm take seconds.
    from fer_models.report import protocol_study
    from fer_models.studies import protocols
    from fer_models.training.session import RunOptions

    screen = console()
    chosen = _choose_protocols(args.protocol, sets, screen)
    make_output_folder(args.output)
    recipes: dict[str, Recipe] = {}
    for training in args.training or _TRAININGS:
        name = training.removesuffix(MEMORIZE)
        recipe = adapt({**RECIPES, **protocols.RECIPES}[name], epochs=args.epochs)
        recipes[name] = protocols.for_study(recipe)
        if training != name:
            recipes[training] = protocols.unregularized(recipes[name])
    plan = protocols.Plan(chosen, recipes, range(args.seeds))
    with training_progress("protocols", screen) as report:
        options = RunOptions(device=args.device, resume=not args.no_resume, report=report)
        runs = protocols.run_study((sets[0], sets[1], sets[2]), args.output, plan, options)
    descriptions = "\n".join(f"- `{protocol.name}`: {protocol.description}" for protocol in plan.protocols)
    tables = f"{descriptions}\n\n{protocol_study.markdown(runs)}"
    files = {
        "protocols.json": json.dumps(protocol_study.as_json(runs, recipes), indent=1, allow_nan=False),
        "protocols.md": tables,
        "steps.svg": protocol_study.to_svg(protocol_study.steps_figure(runs)),
        "curves.svg": protocol_study.to_svg(protocol_study.curves_figure(runs)),
    }
    with writable(args.output, "FOLDER"):
        for name, content in files.items():
            (args.output / name).write_text(content.rstrip() + "\n", encoding="utf-8")
    print(tables)
    screen.print(f"written to {args.output}: {', '.join(files)}")
    return 0


def _choose_protocols(
    names: Sequence[str] | None, sets: Sequence[FaceSet], screen: Console
) -> list[Protocol]:
    """The protocols of these names; by default all for which the faces have labels, and a line on the others.

    Raises:
        UnknownNameError: there is no protocol of a name.
        UsageError: one needs votes that the faces do not have.
    """
    from fer_models.errors import UnknownNameError
    from fer_models.studies.protocol_splits import PROTOCOLS, with_majority_labels

    if names is None:
        if all(faces.votes is not None for faces in sets):
            return list(PROTOCOLS.values())
        left_out = ", ".join(name for name, protocol in PROTOCOLS.items() if protocol.needs_votes)
        screen.print(f"left out: {left_out} (the dataset has no votes of FER+, fer2013new.csv)")
        return [protocol for protocol in PROTOCOLS.values() if not protocol.needs_votes]
    for name in names:
        if name not in PROTOCOLS:
            raise UnknownNameError("protocol", name, PROTOCOLS)
        if PROTOCOLS[name].needs_votes:  # refused now, and not after hours
            for faces in sets:
                with_majority_labels(faces)
    return [PROTOCOLS[name] for name in dict.fromkeys(names)]
