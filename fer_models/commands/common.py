"""What several commands share: exit codes, options, the console."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any, TypeAlias

USAGE_CODE = 4  # as pytest's
VERDICT_CODE = 1

#: Where commands add their parsers.
Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"


def data_options(parser: argparse.ArgumentParser, default: str = "synthetic") -> None:
    """Which faces, as `pytest evals` spells it."""
    others = "fer2013" if default == "synthetic" else "synthetic"
    parser.add_argument("--dataset", default=default, metavar="NAME", help=f"{default} (default), {others}, or a class-folder dataset")
    parser.add_argument("--data-root", type=Path, metavar="FOLDER", help="where the dataset lies")
    schemes = "affectnet, ck+, fer2013, ferplus, raf-db"
    parser.add_argument("--label-scheme", metavar="NAME", help=f"what numbered class folders mean: {schemes}, or a JSON file")
    parser.add_argument("--download", action="store_true", help="allow the data to be fetched from the network")


def models_from_option(parser: argparse.ArgumentParser) -> None:
    """Models of the user's own."""
    parser.add_argument("--models-from", action="append", default=[], type=Path, metavar="FILE.py", help="also those of a Python file (repeatable)")


def console() -> Any:
    """A rich console that does not break lines where nobody watches."""
    from rich.console import Console

    return Console(width=None if sys.stdout.isatty() else 160)
