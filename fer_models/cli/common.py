"""What several commands share: exit codes, options, the console."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from fer_models.datasets.base import FaceSet

USAGE_CODE = 4  # as pytest's
VERDICT_CODE = 1

#: Where commands add their parsers.
Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"


def data_options(parser: argparse.ArgumentParser, default: str = "synthetic") -> None:
    """Which faces, as `pytest evals` spells it."""
    others = "fer2013" if default == "synthetic" else "synthetic"
    parser.add_argument(
        "--dataset",
        default=default,
        metavar="NAME",
        help=f"{default} (default), {others}, or a class-folder dataset",
    )
    parser.add_argument("--data-root", type=Path, metavar="FOLDER", help="where the dataset lies")
    scheme_option(parser)
    parser.add_argument(
        "--download", action="store_true", help="allow the data to be fetched from the network"
    )


def scheme_option(parser: argparse.ArgumentParser) -> None:
    """What numbered class folders mean. The names are those of `datasets.schemes`, which is not imported for
    a help text.
    """
    names = "affectnet, ck+, fer2013, ferplus, raf-db"
    parser.add_argument(
        "--label-scheme", metavar="NAME", help=f"what numbered class folders mean: {names}, or a JSON file"
    )


def load_faces(args: argparse.Namespace, split: str) -> FaceSet:
    """The faces of one split of the dataset that the options name. Raises as `datasets.load`."""
    from fer_models import datasets

    return datasets.load(
        args.dataset, split, args.data_root, download=args.download, label_scheme=args.label_scheme
    )


def model_file_option(parser: argparse.ArgumentParser) -> None:
    """Models of the user's own."""
    parser.add_argument(
        "--model-file",
        action="append",
        default=[],
        type=Path,
        metavar="FILE.py",
        help="also those of a Python file (repeatable)",
    )


def console() -> Any:
    """A rich console that does not break lines where nobody watches."""
    from rich.console import Console

    return Console(width=None if sys.stdout.isatty() else 160)
