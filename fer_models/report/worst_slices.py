"""The worst slice of each property, for the page, the terminal and Markdown."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from fer_models.report.eval_report import EvalReport
from fer_models.report.formatting import clean, number, p_value
from fer_models.report.report_entries import Result
from fer_models.report.slice_entries import ColumnScores, SliceGap, SliceScores

#: A gap is shown if its p-value, adjusted over the columns of its subject, is under this.
SHOWN_P = 0.05


@dataclass(frozen=True)
class WorstSlice:
    """The gap of one column of one result, and its two slices."""

    result: Result
    column: ColumnScores
    gap: SliceGap
    worst: SliceScores
    best: SliceScores

    @property
    def is_shown(self) -> bool:
        """Whether chance does not explain the gap."""
        return self.gap.p < SHOWN_P


def worst_slices(report: EvalReport) -> list[WorstSlice]:
    """The gaps of each result, in the order of the ranking; the greatest gap of a result first."""
    return [row for result in report.ranked_results for row in _of_result(result)]


def _of_result(result: Result) -> list[WorstSlice]:
    rows = [
        WorstSlice(result, column, gap, column.slice(gap.worst), column.slice(gap.best))
        for column in result.slices
        if (gap := column.gap) is not None
    ]
    return sorted(rows, key=lambda row: -row.gap.difference.value)


def slice_lines(report: EvalReport) -> list[str]:
    """One line for each result on unrestored faces: the greatest gap that chance does not explain."""
    return [clean(line) for result in report.ranked_results for line in _line(result)]


def _line(result: Result) -> Iterator[str]:
    shown = [row for row in _of_result(result) if row.is_shown]
    if result.subject.restoration != "raw" or not shown:
        return
    row, difference = shown[0], shown[0].gap.difference
    yield (
        f"{result.name}: worst slice is {row.column.column} = {row.worst.name}, "
        f"{number(row.worst.accuracy.value)} against {number(row.best.accuracy.value)} in {row.best.name} "
        f"(gap [{number(difference.low)}, {number(difference.high)}], p {p_value(row.gap.p)})"
    )
