"""Typed entry of evals.json on one metric."""

from __future__ import annotations

from dataclasses import dataclass

from fer_models.report.json_fields import optional


@dataclass(frozen=True)
class MeasuredValue:
    """A metric with its 95 % interval; `n` faces where they are not those of the result."""

    value: float
    low: float
    high: float
    n: int | None = optional()
