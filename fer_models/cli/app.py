"""Entry point of `fer-models`: parses the command line and runs one command."""

from __future__ import annotations

import argparse
import io
import os
import sys
from collections.abc import Sequence
from typing import Any

from fer_models import __version__
from fer_models.cli import (
    calibrate,
    card,
    compare,
    completion,
    data,
    doctor,
    export,
    fuse,
    gate,
    history,
    pareto,
    predict,
    probe,
    report,
    restore,
    study,
    train,
    weights,
)
from fer_models.cli import eval as evaluation
from fer_models.cli import init as initialisation
from fer_models.cli import list as listing
from fer_models.cli.common import USAGE_CODE, VERDICT_CODE, HelpFormatter, epilog
from fer_models.errors import FerModelsError, UsageError
from fer_models.report.formatting import clean

_EXAMPLES = (
    "fer-models doctor                          # can this machine run the evals?",
    "fer-models eval --depth quick              # evaluate the fastest models",
    "fer-models predict vgg19 face.jpg",
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code: 0, 1 for a verdict, 4 for a usage error."""
    if isinstance(sys.stdout, io.TextIOWrapper) and not sys.stdout.isatty():
        # What goes to a file is the same in every locale.
        sys.stdout.reconfigure(encoding="utf-8", errors=sys.stdout.errors)
    arguments = list(sys.argv[1:] if argv is None else argv)
    if arguments[:1] == ["eval"]:
        return evaluation.run(arguments[1:])  # every option is pytest's or the plugin's
    args = build_parser().parse_args(arguments)
    try:
        return int(args.run(args))
    except BrokenPipeError:  # the reader, such as `head`, closed the pipe
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141  # as a shell reports a broken pipe
    except (FerModelsError, OSError, KeyboardInterrupt) as error:
        code, text = _describe(error)
        print(f"fer-models: {clean(text)}", file=sys.stderr)
        return code


def _describe(error: FerModelsError | OSError | KeyboardInterrupt) -> tuple[int, str]:
    """The exit code and the message of an error."""
    if isinstance(error, KeyboardInterrupt):
        return 130, "interrupted. Complete files are kept: the same command resumes from them."
    if isinstance(error, OSError):  # a name that is too long, a folder that may not be read
        check = f": '{error.filename}'. Check the name and its permissions." if error.filename else "."
        return USAGE_CODE, f"{error.strerror or error}{check}"
    return USAGE_CODE if isinstance(error, UsageError) else VERDICT_CODE, str(error)


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> Any:
        self.print_usage(sys.stderr)
        self.exit(USAGE_CODE, f"{self.prog}: {message}\n")


def build_parser(*, with_eval_options: bool = False) -> argparse.ArgumentParser:
    """Build the parser of the command line.

    Args:
        with_eval_options: `eval` has its options too, which is slow: pytest parses those of a run.
    """
    description = "Evaluate facial emotion recognition models, and fail when one got worse."
    parser = _Parser(
        prog="fer-models", description=description, epilog=epilog(_EXAMPLES), formatter_class=HelpFormatter
    )
    parser.add_argument("--version", action="version", version=f"fer-models {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND", parser_class=_Parser)
    first = (evaluation, initialisation, doctor, listing)
    for command in (
        *first,
        data,
        weights,
        train,
        fuse,
        calibrate,
        probe,
        export,
        study,
        predict,
        restore,
        compare,
        report,
        card,
        history,
        pareto,
        gate,
        completion,
    ):
        command.add(commands)
    if with_eval_options:
        evaluation.add_options(commands.choices["eval"])
    return parser
