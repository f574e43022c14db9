"""Tables of accuracy against cost: which models are on the Pareto front."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.text import Text

from fer_models.report import markdown_text
from fer_models.report.cost_points import CostAxis, CostPoint
from fer_models.report.formatting import NOTHING, amount, one_line
from fer_models.report.terminal_table import MIN_WIDTH, Row, TerminalTable

#: Headings of the costs.
_COSTS: dict[CostAxis, str] = {
    "seconds": "ms per face",
    "relative": "reference times",
    "macs": "MACs",
    "parameters": "parameters",
    "memory": "peak MiB",
}


def to_json(points: Sequence[CostPoint], axis: CostAxis) -> dict[str, Any]:
    """Encode the points; `seconds`, `relative` and `macs` are per face, and `memory` is in MiB."""
    rows = [
        {
            "name": point.result.name,
            "accuracy": {
                "value": point.accuracy.value,
                "low": point.accuracy.low,
                "high": point.accuracy.high,
            },
            "cost": {"value": point.cost.value, "low": point.cost.low, "high": point.cost.high},
            "dominated_by": point.dominated_by,
            "is_certain": point.is_certain if point.dominated_by else None,
        }
        for point in points
    ]
    return {"cost": axis, "models": rows}


def to_markdown(points: Sequence[CostPoint], axis: CostAxis) -> str:
    """Format the points as a table."""
    code = markdown_text.code
    rows = [
        [
            code(point.result.name),
            *_numbers(point, axis),
            code(point.dominated_by) if point.dominated_by else NOTHING,
            _intervals(point),
        ]
        for point in points
    ]
    return markdown_text.table(["model", *_headings(axis)], rows, numbers=(1, 2))


def to_text(points: Sequence[CostPoint], axis: CostAxis) -> TerminalTable:
    """Lay out the points: the Pareto front first, then the dominated models."""
    sections: dict[str, list[Row]] = {"Pareto front": [], "Dominated": []}
    for point in points:
        cells = (*_numbers(point, axis), one_line(point.dominated_by or NOTHING), _intervals(point))
        row = Row(Text(one_line(point.result.name)), tuple(map(Text, cells)))
        sections["Dominated" if point.dominated_by else "Pareto front"].append(row)
    shown = {title: rows for title, rows in sections.items() if rows}
    accuracy, cost, *texts = _headings(axis)
    return TerminalTable("model", (f" {accuracy}", f" {cost}", *texts), shown, MIN_WIDTH)


def _headings(axis: CostAxis) -> list[str]:
    return ["accuracy", _COSTS[axis], "dominated by", "intervals"]


def _numbers(point: CostPoint, axis: CostAxis) -> tuple[str, str]:
    accuracy, cost, factor = point.accuracy, point.cost, 1000 if axis == "seconds" else 1
    text = amount(cost.value * factor)
    if cost.low is not None and cost.high is not None and cost.low < cost.high:
        text += f" [{amount(cost.low * factor)}, {amount(cost.high * factor)}]"
    return f"{accuracy.value:.1%} [{accuracy.low:.1%}, {accuracy.high:.1%}]", text


def _intervals(point: CostPoint) -> str:
    """Whether the intervals of a dominated model and of the dominating one separate."""
    if point.dominated_by is None:
        return NOTHING
    return "separate" if point.is_certain else "overlap or unknown"
