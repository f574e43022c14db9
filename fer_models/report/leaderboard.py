"""The table at the end of a run, for the terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich.text import Text

from fer_models.report.eval_report import EvalReport
from fer_models.report.formatting import NOTHING, count, number, one_line, seconds, signed
from fer_models.report.measured_value import MeasuredValue
from fer_models.report.report_entries import Reference, Result
from fer_models.report.terminal_table import MIN_WIDTH, Row, TerminalTable

#: The style of each verdict in a terminal.
VERDICT_STYLES = {
    "PASS": "green",
    "FAIL": "bold red",
    "ERROR": "bold red",
    "INCONCLUSIVE": "yellow",
    "NEW": "cyan",
}
_HEADINGS = ("accuracy", "macro F1", " change", "verdict", " time")


def leaderboard(report: EvalReport, width: int = MIN_WIDTH) -> Sequence[Text]:
    """Build the lines of the table, best accuracy first, of at most max(`width`, `MIN_WIDTH`) columns.

    The interval of macro F1, and then the time, are left out where they do not fit next to the names.
    """
    for with_interval, with_time in ((True, True), (False, True), (False, False)):
        headings = _HEADINGS if with_time else _HEADINGS[:-1]
        sections = _sections(report, with_interval, len(headings))
        table = TerminalTable("model", headings, sections, max(width, MIN_WIDTH))
        if table.fits:
            break
    return list(table.lines())


def _sections(report: EvalReport, with_interval: bool, columns: int) -> dict[str, list[Row]]:
    """The rows by the title of their faces."""
    sections = {}
    for face_set, results in report.ranked.items():
        n = results[0].n
        title = one_line(face_set) + ("" if results[0].is_part else f", {count(n, 'face')}")
        references = [_reference(each, n, columns) for each in report.references(results)]
        sections[title] = [*(_row(result, with_interval, columns) for result in results), *references]
    return sections


def _row(result: Result, with_interval: bool, columns: int) -> Row:
    metrics, f1 = result.metrics, result.metrics.get("macro_f1")
    style = VERDICT_STYLES.get("INCONCLUSIVE" if result.is_degraded else result.verdict or "", "dim")
    cells = (
        Text(compact(metrics.get("accuracy"))),
        Text(compact(f1) if with_interval else number(None if f1 is None else f1.value)),
        Text(signed(result.change())),
        Text(result.label, style),
        Text("stored" if result.from_store else seconds(result.inference_seconds), "dim"),
    )
    # Text and not str: a name with brackets in it is a name, not rich's markup.
    return Row(Text(one_line(result.name)), cells[:columns])


def _reference(reference: Reference, n: int, columns: int) -> Row:
    """The row of a reference score, with its number of faces where this is not that of the section."""
    name = one_line(reference.name) + ("" if reference.n == n else f" (n = {reference.n:,})")
    return Row(Text(name, "dim"), (Text(compact(reference.accuracy), "dim"), *([Text()] * (columns - 1))))


def compact(value: MeasuredValue | None) -> str:
    """`0.668 [.652, .683]`: bounds without the leading zero, so that the table is narrow."""
    if value is None:
        return NOTHING
    low, high = (number(bound).removeprefix("0") for bound in (value.low, value.high))
    return f"{number(value.value)} [{low}, {high}]"
