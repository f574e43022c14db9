"""Tables of the history for the terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.console import Console
from rich.text import Text

from fer_models.report.formatting import NOTHING, count, one_line, shorten, signed
from fer_models.report.leaderboard import VERDICT_STYLES, compact
from fer_models.report.terminal_table import MIN_WIDTH, Row, TerminalTable
from fer_models.report.trend_entries import Trend, TrendRun

#: One character per accuracy, from low to high.
_LEVELS = "▁▂▃▄▅▆▇█"
#: The most runs that a sparkline shows.
_SPARKS = 10


def runs(trend: Trend, last: int, width: int = MIN_WIDTH) -> Iterator[Text]:
    """Build the lines of the last runs of a subject, the newest last.

    Args:
        trend: all runs of the subject.
        last: the most runs that are shown.
        width: in columns, at least `MIN_WIDTH`.
    """
    width = max(width, MIN_WIDTH)
    shown = list(zip(trend.runs, trend.steps, strict=True))[-last:]
    table = TerminalTable(
        "date (UTC)",
        ("accuracy", " vs last run", "verdict", "predictions"),
        {"": [_row(run, step) for run, step in shown]},
        width,
    )
    yield Text(shorten(one_line(f"{trend.name} on {trend.face_set}"), width), "bold")
    heading, rule, *rows = table.lines()  # a date is short: each run has one line
    yield from (heading, rule)
    for (run, _), row in zip(shown, rows, strict=True):
        yield row
        if run.changed:
            changed = Text(f"changed: {one_line(', '.join(run.changed))}", "yellow")
            for number, line in enumerate(changed.wrap(Console(), width - 4)):  # wide characters count twice
                yield Text.assemble("    " if number else "  ", line)
    if hidden := len(trend.runs) - len(shown):
        yield Text(f"{count(hidden, 'earlier run')}: --last {len(trend.runs)}", "dim")


def _row(run: TrendRun, step: float | None) -> Row:
    verdict = run.verdict or NOTHING
    cells = (
        Text(compact(run.accuracy)),
        Text(signed(step)),
        Text(verdict, VERDICT_STYLES.get(verdict, "dim")),
        Text(run.predictions, "dim"),
    )
    return Row(Text(run.minute), cells)


def overview(trends: Sequence[Trend], width: int = MIN_WIDTH) -> Iterator[Text]:
    """Build the lines of a table with one row per subject.

    Args:
        trends: all runs of each subject.
        width: in columns, at least `MIN_WIDTH`.
    """
    sections: dict[str, list[Row]] = {}
    for trend in trends:
        sections.setdefault(one_line(trend.face_set), []).append(_summary(trend))
    headings = (" runs", "first", "last", "accuracy", "trend")
    yield from TerminalTable("model", headings, sections, max(width, MIN_WIDTH)).lines()


def _summary(trend: Trend) -> Row:
    first, last = trend.runs[0], trend.runs[-1]
    cells = (
        Text(f"{len(trend.runs)}"),
        Text(first.minute[:10]),
        Text(last.minute[:10]),
        Text(compact(last.accuracy)),
        Text(sparkline(trend)),
    )
    return Row(Text(one_line(trend.name)), cells)


def sparkline(trend: Trend) -> str:
    """The last accuracies as one character each.

    The scale is at least as wide as the widest interval among them: what may be chance looks flat.
    """
    accuracies = trend.accuracies[-_SPARKS:]
    if not accuracies:
        return NOTHING
    values = [accuracy.value for accuracy in accuracies]
    span = max(max(values) - min(values), *(accuracy.high - accuracy.low for accuracy in accuracies))
    low = (max(values) + min(values) - span) / 2
    top = len(_LEVELS) - 1
    return "".join(_LEVELS[round((value - low) / span * top) if span else top // 2] for value in values)
