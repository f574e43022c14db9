"""Typed entries of evals.json on slices of the faces.

The attributes are the JSON keys, in the order of the file; see `scoring.slices`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fer_models.errors import UsageError, one_line
from fer_models.report.measured_value import MeasuredValue

#: The start of the name of a slice's check among the changes of a result.
SLICE_PREFIX = "slice:"


@dataclass(frozen=True)
class SliceScores:
    """Scores in one slice."""

    name: str
    range: str
    n: int
    is_judged: bool
    accuracy: MeasuredValue
    macro_f1: MeasuredValue
    recalls: Mapping[str, MeasuredValue]
    ece: MeasuredValue | None

    @property
    def title(self) -> str:
        """The name, with the values: `lowest quarter (below 87.3)`."""
        return f"{self.name} ({self.range})" if self.range else self.name


@dataclass(frozen=True)
class SliceGap:
    """The gap of accuracy between the best and the worst judged slice; `p` is adjusted over the columns."""

    best: str
    worst: str
    difference: MeasuredValue
    ratio: float
    p: float


@dataclass(frozen=True)
class ColumnScores:
    """Scores in the slices of one column."""

    column: str
    source: str
    without_value: int
    slices: tuple[SliceScores, ...]
    gap: SliceGap | None

    def __post_init__(self) -> None:
        names = {one.name for one in self.slices}
        if self.gap is not None and not {self.gap.best, self.gap.worst} <= names:
            raise UsageError(f"The gap of {one_line(self.column, 60)} names a slice that is not there.")

    def slice(self, name: str) -> SliceScores:
        """The slice of a name."""
        return next(one for one in self.slices if one.name == name)

    def metric(self, one: SliceScores) -> str:
        """The name of a slice's check among the changes of the result."""
        return f"{SLICE_PREFIX}{self.column}={one.name}"


def slice_accuracy(columns: Sequence[ColumnScores], metric: str) -> float | None:
    """The accuracy that a check of a slice is about; None where there is no such slice."""
    values = (
        one.accuracy.value for column in columns for one in column.slices if column.metric(one) == metric
    )
    return next(values, None)
