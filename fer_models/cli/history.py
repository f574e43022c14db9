"""`fer-models history`: shows the accuracy of models over runs."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from fer_models.artifacts.object_storage import store_path
from fer_models.cli.common import Commands, add_command, format_option
from fer_models.errors import UnknownNameError, UsageError

if TYPE_CHECKING:
    from rich.text import Text

    from fer_models.history.records import Entry
    from fer_models.report.trend_entries import Trend

_STORE = Path(".evals/store")
#: Runs of each subject that are shown by default, where a model is named.
_LAST = 20
_EXAMPLES = (
    "fer-models history                              # all subjects, one line each",
    "fer-models history vgg19 --restoration raw      # the runs of one model",
    "fer-models history --history FILE --format json",
)


def add(commands: Commands) -> None:
    """Add the parser of `history`."""
    text = "show the accuracy of models over runs, and what changed between the runs"
    parser = add_command(commands, "history", text, _EXAMPLES)
    parser.add_argument(
        "model", nargs="?", metavar="MODEL", help="show each run of this model (default: an overview)"
    )
    parser.add_argument("--dataset", metavar="NAME", help="only runs on this dataset")
    parser.add_argument("--split", metavar="NAME", help="only runs on this split")
    parser.add_argument("--restoration", metavar="NAME", help="only runs with this restoration")
    last_help = (
        f"show the last N runs of each subject (default: {_LAST} with MODEL, else all, as with --format json)"
    )
    parser.add_argument("--last", type=int, metavar="N", help=last_help)
    place = parser.add_mutually_exclusive_group()
    store_help = f"the store of the runs; the history is next to it (default: {_STORE})"
    place.add_argument("--store", type=store_path, default=_STORE, metavar="FOLDER", help=store_help)
    place.add_argument("--history", type=Path, metavar="FILE", help="the file of the history")
    format_option(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print the history; 0, also if a run in it failed."""
    if args.last is not None and args.last < 1:
        raise UsageError(f"--last must be at least 1, got {args.last}.")
    from fer_models.history.database import History, history_path
    from fer_models.report import trend_entries

    history = History(args.history or history_path(args.store))
    filters = {name: getattr(args, name) for name in ("model", "dataset", "split", "restoration")}
    entries = _matching(history.entries(), filters)
    if not entries:
        raise UsageError(f"The history {history.path} has no run yet. `pytest evals` appends one.")
    trends = trend_entries.trends(entries, longest=len(entries))
    if args.format == "json":
        _print_json(trends, args.last)
    else:
        _print_text(trends, args)
    return 0


def _matching(entries: list[Entry], filters: dict[str, str | None]) -> list[Entry]:
    """The entries whose subjects have these names. Raises UnknownNameError where no subject has one."""
    for kind, name in filters.items():
        if name is None or not entries:
            continue
        names = {getattr(entry.scores.subject, kind) for entry in entries}
        if name not in names:
            raise UnknownNameError(f"{kind} in this history", name, names)
        entries = [entry for entry in entries if getattr(entry.scores.subject, kind) == name]
    return entries


def _print_json(trends: Sequence[Trend], limit: int | None) -> None:
    import json
    from dataclasses import replace

    from fer_models.report import json_fields

    cut = [replace(trend, runs=trend.runs[-(limit or 0) :]) for trend in trends]
    print(json.dumps({"trends": json_fields.encode(cut, "trends")}, indent=1))


def _print_text(trends: Sequence[Trend], args: argparse.Namespace) -> None:
    from dataclasses import replace

    from fer_models.report import history_tables

    if args.model is None:
        cut = [replace(trend, runs=trend.runs[-(args.last or 0) :]) for trend in trends]
        _print_lines(history_tables.overview(cut))
        return
    for number, trend in enumerate(trends):
        if number:
            print()
        _print_lines(history_tables.runs(trend, args.last or _LAST))


def _print_lines(lines: Iterable[Text]) -> None:
    from rich.console import Console

    console = Console(file=sys.stdout)
    for line in lines:
        console.print(line, no_wrap=True, overflow="ignore", crop=False)
