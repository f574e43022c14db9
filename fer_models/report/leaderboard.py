"""The table at the end of a run, laid out for the width of the terminal.

A name is never broken: one that does not fit beside its scores has a line of its own. Only a name that is
longer than a line is shortened, with an ellipsis in its middle. evals.json has the full name.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from rich.cells import cell_len
from rich.text import Text

from fer_models.report.eval_report import EvalReport
from fer_models.report.formatting import NOTHING, count, number, one_line, seconds, shorten, signed
from fer_models.report.report_entries import MeasuredValue, Reference, Result

#: The narrowest table, in columns: that of a standard terminal. A narrower terminal wraps its lines.
MIN_WIDTH = 80
_VERDICT_STYLES = {
    "PASS": "green",
    "FAIL": "bold red",
    "ERROR": "bold red",
    "INCONCLUSIVE": "yellow",
    "NEW": "cyan",
}
_HEADINGS = ("accuracy", "macro F1", "change", "verdict", "time")
_RIGHT = (False, False, True, False, True)
_GAP = "  "


@dataclass(frozen=True)
class _Row:
    """A name with its scores, one cell for each of `_HEADINGS`."""

    name: Text
    cells: tuple[Text, ...]


@dataclass(frozen=True)
class _Layout:
    """The columns of a table: their numbers in `_HEADINGS`, their widths, and the width of the names."""

    columns: tuple[int, ...]
    widths: tuple[int, ...]
    name_width: int


def leaderboard(report: EvalReport, width: int = MIN_WIDTH) -> list[Text]:
    """Build the lines of the table, best accuracy first, of at most max(`width`, `MIN_WIDTH`) columns.

    The interval of macro F1, and then the time, are left out where they do not fit beside the names.
    """
    width = max(width, MIN_WIDTH)
    for with_interval, with_time in ((True, True), (False, True), (False, False)):
        groups = _groups(report, with_interval)
        layout = _layout([row for rows in groups.values() for row in rows], width, with_time)
        names = [cell_len(row.name.plain) for rows in groups.values() for row in rows]
        if max(names, default=0) <= layout.name_width:
            break
    headings = _Row(Text("model"), tuple(map(Text, _HEADINGS)))
    lines = [*_lines(headings, layout, width, "bold"), Text("─" * width, "dim")]
    for title, rows in groups.items():
        lines.append(Text(shorten(title, width), "bold"))
        lines += [line for row in rows for line in _lines(row, layout, width)]
    return lines


def _groups(report: EvalReport, with_interval: bool) -> dict[str, list[_Row]]:
    """The rows by the title of their faces."""
    groups = {}
    for face_set, results in report.ranked.items():
        n = results[0].n
        title = one_line(face_set) + ("" if results[0].is_part else f", {count(n, 'face')}")
        references = [_reference(each, n) for each in report.references(face_set)]
        groups[title] = [*(_row(result, with_interval) for result in results), *references]
    return groups


def _row(result: Result, with_interval: bool) -> _Row:
    metrics = result.metrics
    f1 = metrics.get("macro_f1")
    verdict = result.verdict or NOTHING
    style = _VERDICT_STYLES["INCONCLUSIVE"] if result.is_degraded else _VERDICT_STYLES.get(verdict, "dim")
    cells = (
        Text(_compact(metrics.get("accuracy"))),
        Text(_compact(f1) if with_interval else number(None if f1 is None else f1.value)),
        Text(signed(result.change())),
        Text(f"{verdict}, DEGRADED" if result.is_degraded else verdict, style),
        Text("stored" if result.from_store else seconds(result.inference_seconds), "dim"),
    )
    return _Row(Text(one_line(result.name)), cells)


def _reference(reference: Reference, n: int) -> _Row:
    """The row of a reference score, with its number of faces where this is not that of the group."""
    name = one_line(reference.name) + ("" if reference.n == n else f" (n = {reference.n:,})")
    accuracy = Text(_compact(reference.accuracy), "dim")
    return _Row(Text(name, "dim"), (accuracy, *map(Text, ("",) * (len(_HEADINGS) - 1))))


def _layout(rows: Sequence[_Row], width: int, with_time: bool) -> _Layout:
    columns = tuple(i for i, heading in enumerate(_HEADINGS) if with_time or heading != "time")
    widths = tuple(max(len(_HEADINGS[i]), *(len(row.cells[i].plain) for row in rows)) for i in columns)
    room = width - sum(widths) - len(_GAP) * len(columns)
    fitting = [n for row in rows if (n := cell_len(row.name.plain)) <= room]
    return _Layout(columns, widths, max([len("model"), *fitting]))


def _lines(row: _Row, layout: _Layout, width: int, style: str = "") -> Iterable[Text]:
    """The line of a row, or two where the name does not fit beside the scores."""
    name = row.name
    if cell_len(name.plain) > layout.name_width:
        yield Text(shorten(name.plain, width), name.style)
        name = Text()
    line = Text(style=style)
    line.append_text(name).append(" " * (layout.name_width - cell_len(name.plain)))
    for i, cell_width in zip(layout.columns, layout.widths, strict=True):
        cell = row.cells[i]
        padding = " " * (cell_width - len(cell.plain))
        line.append(_GAP + (padding if _RIGHT[i] else "")).append_text(cell)
        line.append("" if _RIGHT[i] else padding)
    line.rstrip()
    yield line


def _compact(value: MeasuredValue | None) -> str:
    """`0.668 [.652, .683]`: bounds without the leading zero, so that the table is narrow."""
    if value is None:
        return NOTHING
    low, high = (number(bound).removeprefix("0") for bound in (value.low, value.high))
    return f"{number(value.value)} [{low}, {high}]"
