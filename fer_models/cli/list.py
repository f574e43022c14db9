"""`fer-models list`: lists models and restorations."""

from __future__ import annotations

import argparse

from fer_models.cli.common import Commands, add_command, console, model_file_option

_EXAMPLES = ("fer-models list", "fer-models list --model-file my_models.py")


def add(commands: Commands) -> None:
    """Add the parser of `list`."""
    parser = add_command(
        commands, "list", "list models and restorations, and whether weights are here", _EXAMPLES
    )
    model_file_option(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print the zoo."""
    from rich.table import Table

    from fer_models.errors import WeightsMissingError
    from fer_models.zoo import resolve

    models, restorers, notes = resolve.available_models(args.model_file)
    commands: dict[str, str] = {}
    width = max(len(spec.name) for specs in (models, restorers) for spec in specs)
    for heading, specs in (("model", models), ("restoration", restorers)):
        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
        table.add_column(heading, no_wrap=True, min_width=width)
        table.add_column("weights", no_wrap=True, min_width=len("needs none"))
        table.add_column("description", overflow="fold")
        for spec in specs:
            try:
                state = "here" if spec.weights_path() else "needs none"
            except WeightsMissingError:
                state = "missing"
                if spec.weights is not None:
                    commands.setdefault(spec.weights.install_hint, spec.name)
            table.add_row(spec.name, state, spec.description)
        console().print(table)
        print()
    if commands:
        print("Commands for the missing weights:")
    for command, name in commands.items():
        print(f"  {command}" if name in command else f"  {command}  # {name}")
    for note in notes:
        print(note)
    return 0
