"""`fer-models data audit`: what is wrong with a dataset."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from fer_models.cli.common import Commands, load_faces, scheme_option


def add(commands: Commands) -> None:
    """Its parser, below `data`."""
    # `data` has some of these options too. Unset, they are not to overwrite what was given before the word
    # `audit`.
    parser = commands.add_parser(
        "audit",
        help="copies and near copies within and across splits, contradicting labels, broken images",
        argument_default=argparse.SUPPRESS,
    )
    parser.add_argument(
        "--dataset", metavar="NAME", help="synthetic (default), fer2013, or a class-folder dataset"
    )
    parser.add_argument("--data-root", type=Path, metavar="FOLDER", help="where the dataset lies")
    scheme_option(parser)
    parser.add_argument(
        "--download", action="store_true", help="allow the data to be fetched from the network"
    )
    parser.add_argument(
        "--split",
        action="append",
        dest="splits",
        default=[],
        metavar="NAME",
        help="one split (repeatable; default: all)",
    )
    parser.add_argument("--no-near", action="store_true", default=False, help="look for exact copies only")
    parser.add_argument("--json", action="store_true", help="as JSON, without the pictures")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print the audit, with a progress bar on stderr where somebody watches."""
    import json

    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    from fer_models.datasets import audit, audit_text
    from fer_models.errors import UsageError

    if args.sheet is not None:
        raise UsageError(
            f"--sheet {args.sheet} belongs to `fer-models data`, not to its audit. Run the two one after the other."
        )
    names = _splits(args)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(
        *columns, console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()
    ) as bar:
        task = bar.add_task("loading", total=None)

        def show(stage: str, done: int, total: int) -> None:
            bar.update(task, description=stage, completed=done, total=total)

        sets = []
        for i, name in enumerate(names):
            show(f"loading {name}", i, len(names))
            sets.append(load_faces(args, name))
        found = audit.audit(sets, near=not args.no_near, progress=show)
    print(
        json.dumps(found.as_json(pictures=False), indent=1) if args.json else audit_text.format_audit(found)
    )
    return 0


def _splits(args: argparse.Namespace) -> list[str]:
    """The splits asked for, each once; all by default, but not `fer2013/test`, whose faces are those of two
    others.
    """
    from fer_models import datasets
    from fer_models.errors import UsageError

    asked: list[str] = args.splits or ([args.split] if args.split else [])
    union = args.dataset == "fer2013"
    if not asked:
        return [
            name for name in datasets.splits(args.dataset, args.data_root) if not (union and name == "test")
        ]
    if union and "test" in asked and {"public_test", "private_test"} & {*asked}:
        raise UsageError(
            f"--split {' --split '.join(asked)}: fer2013/test is public_test and private_test together. Give test, or these two."
        )
    return list(dict.fromkeys(asked))
