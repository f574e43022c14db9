"""Accuracy against cost: the timed models of a report, the Pareto front, and which model dominates which."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from fer_models.report.eval_report import EvalReport
from fer_models.report.measured_value import MeasuredValue
from fer_models.report.report_entries import Cost, Result

#: What a cost can be: seconds per face, multiples of the reference workload per face, MACs per face,
#: parameters, or peak memory in MiB.
CostAxis = Literal["seconds", "relative", "macs", "parameters", "memory"]


@dataclass(frozen=True)
class CostValue:
    """A cost; less is better. `low` and `high` are a 95 % interval, None where none was measured."""

    value: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class CostPoint:
    """One model with its accuracy and its cost.

    Attributes:
        result: its result.
        accuracy: of `result`, with its interval.
        cost: of inference, with the cheapest batch size.
        dominated_by: the name of a model that is at least as accurate and as cheap, and better in one of
            both: one with separate intervals if there is one, then the most accurate. None on the Pareto
            front.
        is_certain: the intervals of both separate. Otherwise `dominated_by` is about the point values only.
    """

    result: Result
    accuracy: MeasuredValue
    cost: CostValue
    dominated_by: str | None = None
    is_certain: bool = False

    @property
    def images_per_second(self) -> float:
        """The speed, where the cost is in seconds."""
        return 1 / self.cost.value

    @property
    def speed_interval(self) -> tuple[float, float] | None:
        """The interval of `images_per_second`; None where the time has none."""
        if not self.cost.low or not self.cost.high:
            return None
        return 1 / self.cost.high, 1 / self.cost.low


def cost_points(report: EvalReport, axis: CostAxis = "seconds") -> list[CostPoint]:
    """List the models with this cost among the main results, the most accurate first.

    A cost belongs to a model and a restoration: the prompt of a model does not change its speed.
    """
    costs: dict[tuple[str | None, str | None], CostValue] = {}
    for timed in report.costs:
        cost = _cost(timed, axis) if timed.phase == "inference" else None
        if cost is not None:
            key = (timed.model, timed.restoration)
            costs[key] = min(cost, costs.get(key, cost), key=lambda one: one.value)
    points = []
    for result in report.main_results:
        cost = costs.get((result.subject.model, result.subject.restoration))
        if cost is not None and "accuracy" in result.metrics:
            points.append(CostPoint(result, result.metrics["accuracy"], cost))
    return _with_dominance(points)


def _cost(timed: Cost, axis: CostAxis) -> CostValue | None:
    """The cost per face of an entry, or None if it does not have it."""
    if axis in ("macs", "parameters"):  # they are exact
        exact = timed.macs if axis == "macs" else timed.parameters
        return None if exact is None else CostValue(exact, exact, exact)
    if axis == "memory":
        return None if timed.peak_memory_mb is None else CostValue(timed.peak_memory_mb)
    if not timed.images_per_second:
        return None
    if axis == "seconds" and not timed.seconds:
        return CostValue(1 / timed.images_per_second)
    faces = timed.images_per_second * (timed.seconds or 0)
    value, low, high = (
        (timed.seconds, timed.seconds_low, timed.seconds_high)
        if axis == "seconds"
        else (timed.relative, timed.relative_low, timed.relative_high)
    )
    if not value or not faces:
        return None
    return CostValue(
        value / faces, None if low is None else low / faces, None if high is None else high / faces
    )


def _with_dominance(points: Sequence[CostPoint]) -> list[CostPoint]:
    """Name for each point another one that dominates it."""
    judged = []
    for point in points:
        dominators = [(_separates(other, point), other) for other in points if _dominates(other, point)]
        if dominators:
            is_certain, best = min(dominators, key=_preference)
            point = replace(point, dominated_by=best.result.name, is_certain=is_certain)
        judged.append(point)
    return judged


def _preference(dominator: tuple[bool, CostPoint]) -> tuple[bool, float, float, str]:
    is_certain, point = dominator
    return not is_certain, -point.accuracy.value, point.cost.value, point.result.name


def _dominates(one: CostPoint, other: CostPoint) -> bool:
    here, there = (one.accuracy.value, -one.cost.value), (other.accuracy.value, -other.cost.value)
    return here != there and here[0] >= there[0] and here[1] >= there[1]


def _separates(one: CostPoint, other: CostPoint) -> bool:
    """Whether the intervals say too that one is more accurate, and not more expensive."""
    if one.cost.high is None or other.cost.low is None:
        return False
    return one.accuracy.low > other.accuracy.high and one.cost.high <= other.cost.low
