"""Accuracy against speed: the timed models of a report, and which of them another one dominates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fer_models.report.eval_report import EvalReport
from fer_models.report.measured_value import MeasuredValue
from fer_models.report.report_entries import Result


@dataclass(frozen=True)
class CostPoint:
    """One model with its accuracy and its speed.

    Attributes:
        result: its result.
        accuracy: of `result`, with its interval.
        images_per_second: of inference, with the fastest batch size.
        dominated_by: the name of the most accurate model that is at least as accurate and as fast, and better
            in one of both; None if there is none.
    """

    result: Result
    accuracy: MeasuredValue
    images_per_second: float
    dominated_by: str | None = None


def cost_points(report: EvalReport) -> list[CostPoint]:
    """List the timed models on the first uncorrupted faces, the most accurate first.

    A cost belongs to a model and a restoration: the prompt of a model does not change its speed.
    """
    speeds: dict[tuple[str | None, str | None], float] = {}
    for timed in report.costs:
        if timed.phase == "inference" and timed.images_per_second:
            key = (timed.model, timed.restoration)
            speeds[key] = max(timed.images_per_second, speeds.get(key, 0.0))
    groups = [results for results in report.ranked.values() if results[0].subject.corruption is None]
    points = []
    for result in groups[0] if groups else []:
        speed = speeds.get((result.subject.model, result.subject.restoration))
        if speed is not None and "accuracy" in result.metrics:
            points.append(CostPoint(result, result.metrics["accuracy"], speed))
    return _with_dominance(points)


def _with_dominance(points: Sequence[CostPoint]) -> list[CostPoint]:
    """Name for each point the first that dominates it: points are sorted by accuracy."""

    def dominates(one: CostPoint, other: CostPoint) -> bool:
        here = (one.accuracy.value, one.images_per_second)
        there = (other.accuracy.value, other.images_per_second)
        return here != there and here[0] >= there[0] and here[1] >= there[1]

    return [
        CostPoint(
            point.result,
            point.accuracy,
            point.images_per_second,
            next((other.result.name for other in points if dominates(other, point)), None),
        )
        for point in points
    ]
