"""`fer-models eval`: runs pytest on the packaged evals, from any folder."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fer_models.artifacts import resources
from fer_models.cli.common import Commands, HelpFormatter, epilog

_EXAMPLES = (
    "fer-models eval -k vgg19",
    "fer-models eval --depth quick --dataset CLASS_FOLDERS",
    "fer-models eval --model my_models.py --update-baselines",
)


def add(commands: Commands) -> None:
    """Add the line in `fer-models --help`: all arguments of this command go to `run`."""
    commands.add_parser("eval", help="evaluate models: run pytest on the packaged evals")


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of an evaluation to a parser that shows or completes them."""
    from fer_models.plugin import options

    options.add(_ArgparseGroups(parser))  # type: ignore[arg-type]


class _ArgparseGroups:
    """Adapter of an argparse parser to the two methods of a pytest parser that define options."""

    def __init__(self, parser: argparse.ArgumentParser) -> None:
        self.parser = parser

    def getgroup(self, name: str, description: str) -> _ArgparseGroups:
        """Return this adapter: options are added to the parser itself."""
        return self

    def addoption(self, *names: str, **settings: Any) -> None:
        """Add an option."""
        self.parser.add_argument(*names, **settings)


def pytest_arguments(arguments: Sequence[str], folder: Path) -> list[str]:
    """Build the command line of pytest; it reads no configuration or conftest.py of the user."""
    evals = resources.evals_dir()
    return [
        *("-p", "fer_models.plugin"),
        *("-c", str(resources.EVALS_INI)),
        f"--rootdir={evals.parent}",
        f"--confcutdir={evals}",
        *("-o", f"cache_dir={folder / '.evals' / 'pytest_cache'}"),
        f"--work-dir={folder}",
        str(evals),
        *arguments,
    ]


def _help() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "fer-models eval",
        usage="fer-models eval [OPTION ...]",
        description="Evaluate models with the packaged evals. Write reports and .evals here. "
        "Read baselines.json of the current folder, or the packaged baselines where there is no such file. "
        "Every option of pytest works (`pytest --help`), such as -k NAME, -n 2, -x, -q.",
        epilog=epilog(_EXAMPLES),
        formatter_class=HelpFormatter,
    )
    add_options(parser)
    return parser


def run(arguments: Sequence[str]) -> int:
    """Run pytest, or print the help; returns the exit code."""
    if {"-h", "--help"} & set(arguments):
        _help().print_help()
        return 0
    import pytest

    return int(pytest.main(pytest_arguments(arguments, Path.cwd())))
