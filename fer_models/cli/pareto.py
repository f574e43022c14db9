"""`fer-models pareto`: shows which models are on the Pareto front of accuracy and cost."""

from __future__ import annotations

import argparse
from pathlib import Path

from fer_models.cli.common import Commands, add_command, format_option
from fer_models.errors import UsageError

_REPORT = Path("reports/evals.json")
_AXES = ("seconds", "relative", "macs", "parameters", "memory")
_EXAMPLES = (
    "fer-models pareto                    # the last run, seconds per face",
    "fer-models pareto --cost macs",
    "fer-models pareto reports/evals.json --format markdown",
)


def add(commands: Commands) -> None:
    """Add the parser of `pareto`."""
    text = "show accuracy against cost, and which models another one dominates"
    parser = add_command(commands, "pareto", text, _EXAMPLES)
    parser.add_argument(
        "report", metavar="FILE", nargs="?", type=Path, help=f"the evals.json of the run (default {_REPORT})"
    )
    cost_help = (
        "seconds (default), relative: multiples of the reference workload, macs, parameters, "
        "or memory: the peak"
    )
    parser.add_argument("--cost", choices=_AXES, metavar="COST", default="seconds", help=cost_help)
    format_option(parser, "markdown")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print the table.

    Raises:
        UsageError: the report has no model with this cost.
    """
    import json

    from fer_models.report import pareto
    from fer_models.report.cost_points import cost_points
    from fer_models.report.report_file import read_report

    path = args.report or _REPORT
    points = cost_points(read_report(path), args.cost)
    if not points:
        raise UsageError(
            f"{path} has no model with an accuracy and a cost in {args.cost}. "
            'Measure both: pytest evals -k "accuracy or cost"'
        )
    if args.format == "json":
        print(json.dumps(pareto.to_json(points, args.cost), indent=1))
    elif args.format == "markdown":
        print(pareto.to_markdown(points, args.cost))
    else:
        from rich.console import Console

        console = Console()
        for line in pareto.to_text(points, args.cost).lines():
            console.print(line, no_wrap=True, overflow="ignore", crop=False)
    return 0
