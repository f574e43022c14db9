"""`fer-models data audit`: finds duplicates, contradicting labels and broken images."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from fer_models.cli.common import Commands, add_command, format_option, load_faces, scheme_option


def add(commands: Commands) -> None:
    """Add the parser of `audit`, below `data`."""
    # `data` has some of these options too. Without a default they do not overwrite values that were given
    # before the word `audit`.
    parser = add_command(
        commands,
        "audit",
        "find exact and near duplicates within and across splits, contradicting labels, broken images",
        (
            "fer-models data audit --dataset fer2013 --data-root FOLDER",
            "fer-models data audit --dataset CLASS_FOLDERS --split train --split test",
        ),
        argument_default=argparse.SUPPRESS,
    )
    dataset_help = "synthetic (default), fer2013, or a class-folder dataset"
    parser.add_argument("--dataset", metavar="NAME", help=dataset_help)
    parser.add_argument("--data-root", type=Path, metavar="FOLDER", help="the folder of the dataset")
    scheme_option(parser)
    parser.add_argument("--download", action="store_true", help="allow downloading the dataset")
    parser.add_argument(
        "--split",
        action="append",
        dest="splits",
        default=[],
        metavar="NAME",
        help="one split (repeatable; default: all)",
    )
    parser.add_argument("--no-near", action="store_true", default=False, help="find exact duplicates only")
    format_option(parser, default=argparse.SUPPRESS, note="; json has no pictures")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print the audit, with a progress bar on a terminal."""
    import json

    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    from fer_models.datasets import audit, audit_text
    from fer_models.errors import UsageError

    if args.sheet is not None:
        raise UsageError(
            f"--sheet {args.sheet} belongs to `fer-models data`, not to its audit. "
            "Run the two one after the other."
        )
    names = _splits(args)
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn())
    is_terminal, screen = sys.stderr.isatty(), Console(stderr=True)
    with Progress(*columns, console=screen, transient=True, disable=not is_terminal) as bar:
        task = bar.add_task("loading", total=None)

        def show(stage: str, done: int, total: int) -> None:
            bar.update(task, description=stage, completed=done, total=total)

        splits = []
        for i, name in enumerate(names):
            show(f"loading {name}", i, len(names))
            splits.append(load_faces(args, name))
        result = audit.audit(splits, near=not args.no_near, progress=show)
    print(
        json.dumps(result.as_json(pictures=False), indent=1)
        if args.format == "json"
        else audit_text.format_audit(result)
    )
    return 0


def _splits(args: argparse.Namespace) -> list[str]:
    """List the given splits, each once; by default all.

    `fer2013/test` is no default: its faces are those of two other splits.
    """
    from fer_models import datasets
    from fer_models.errors import UsageError

    names: list[str] = args.splits or ([args.split] if args.split else [])
    is_fer2013 = args.dataset == "fer2013"
    if not names:
        every = datasets.splits(args.dataset, args.data_root)
        return [name for name in every if not (is_fer2013 and name == "test")]
    if is_fer2013 and "test" in names and {"public_test", "private_test"} & {*names}:
        raise UsageError(
            f"--split {' --split '.join(names)}: fer2013/test is public_test and private_test together. "
            "Give test, or these two."
        )
    return list(dict.fromkeys(names))
