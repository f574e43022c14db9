"""`fer-models completion`: prints a script that completes commands and options in a shell."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

from fer_models.cli.common import Commands, add_command

_SHELLS = ("bash", "zsh", "fish")
_EXAMPLES = (
    'eval "$(fer-models completion bash)"                  # for this shell',
    "fer-models completion zsh > ~/.zfunc/_fer-models      # a folder of your fpath",
    "fer-models completion fish > ~/.config/fish/completions/fer-models.fish",
)


def add(commands: Commands) -> None:
    """Add the parser of `completion`."""
    text = "print a script that completes commands, options and names of models with TAB"
    parser = add_command(commands, "completion", text, _EXAMPLES)
    parser.add_argument("shell", choices=_SHELLS, help="the shell that runs the script")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print the script. It is static: no Python runs when TAB is pressed."""
    import shtab

    from fer_models.cli.app import build_parser

    parser = build_parser(with_eval_options=True)
    for action in _actions(parser):
        _complete(action)
    print(shtab.complete(parser, shell=args.shell))
    return 0


def _actions(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    """All options and arguments of a parser and of its commands."""
    for action in parser._actions:  # argparse has no public way to list them
        if isinstance(action, argparse._SubParsersAction):
            for command in action.choices.values():
                yield from _actions(command)
        else:
            yield action


def _complete(action: argparse.Action) -> None:
    """Complete paths by files or folders, and models by their names; this parser parses nothing."""
    import shtab

    from fer_models.zoo.models import MODELS

    if action.type is Path:
        action.complete = shtab.DIRECTORY if action.metavar == "FOLDER" else shtab.FILE  # type: ignore[attr-defined]
    elif action.dest in ("model", "models") and action.choices is None:
        action.choices = [spec.name for spec in MODELS]
