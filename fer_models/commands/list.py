"""`fer-models list`: what can be asked."""

from __future__ import annotations

import argparse

from fer_models.commands.common import Commands, console, models_from_option


def add(commands: Commands) -> None:
    """Its parser."""
    parser = commands.add_parser("list", help="the models and restorations that can be asked, and whether their weights are here")
    models_from_option(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print the zoo."""
    from rich.table import Table

    from fer_models import names
    from fer_models.errors import WeightsMissingError

    models, restorers, notes = names.known(args.models_from)
    table, commands = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0)), []
    for heading in ("name", "kind", "weights"):
        table.add_column(heading, no_wrap=True)
    table.add_column("what it is", overflow="fold")
    for kind, specs in (("model", models), ("restoration", restorers)):
        for spec in specs:
            try:
                state = "here" if spec.weights_path() else "needs none"
            except WeightsMissingError as missing:
                state = "missing"
                commands.append(str(missing))
            table.add_row(spec.name, kind, state, spec.description)
    console().print(table)
    for line in (*commands, *notes):
        print(line)
    return 0
