"""Thresholds of confidence that keep the error rate at or below a target, with a guarantee.

The threshold is chosen on one half of the faces, the calibration half, and checked on the other half. It is
the smallest one whose upper bound of the error rate is at most the target, but thresholds are tested from
high to low, and the walk stops at the first that fails (fixed-sequence testing in Learn then Test,
Angelopoulos et al., arXiv:2110.01052). So in at most 5 % of such choices, the error rate on faces from the
same source, among predictions of at least this confidence, exceeds the target.

The sequence must not depend on the calibration half. A walk from the highest threshold of the grid would
fail at once where a model is never that confident. So it starts at the first threshold that accepts
`_START_ERRORS` / target faces of the other half: of so many, one may be wrong. The labels of the other half
are not used.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from statsmodels.stats.proportion import proportion_confint

from fer_models.scoring.intervals import CONFIDENCE, FloatArray, IntArray, Measurement, wilson_interval
from fer_models.store.predictions import PredictionTable

#: The error rates that a threshold is searched for.
TARGETS = (0.05, 0.1, 0.2)

#: The grid, from high to low: 0.99999 … 0.99991, 0.9999 … 0.9991, 0.999 … 0.991, 0.99, 0.98 … 0.15. Seven
#: emotions have a confidence of at least 1/7.
THRESHOLDS: FloatArray = np.array(
    [
        *(round(1 - i * step, 5) for step in (1e-5, 1e-4, 1e-3) for i in range(1, 10)),
        *(i / 100 for i in range(99, 14, -1)),
    ]
)

#: Errors expected, at the target, among the faces that the first tested threshold accepts.
_START_ERRORS = 5


@dataclass(frozen=True)
class CheckedThreshold:
    """A threshold of confidence, and what it does on the other half of the faces.

    Attributes:
        value: predictions of at least this confidence are accepted, 0..1.
        coverage: share of the faces that are accepted (Wilson interval).
        error: error rate among the accepted faces (Wilson interval).
    """

    value: float
    coverage: Measurement
    error: Measurement

    def as_json(self) -> dict[str, Any]:
        """Return plain values; `error` has its number of faces."""
        error = {**self.error.as_json(), "n": self.error.n}
        coverage = {**self.coverage.as_json(), "n": self.coverage.n}
        return {"value": self.value, "coverage": coverage, "error": error}


@dataclass(frozen=True)
class ErrorTarget:
    """A target error rate, and the threshold that keeps it; None where the faces establish none."""

    target: float
    threshold: CheckedThreshold | None

    def as_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {"target": self.target, "threshold": self.threshold and self.threshold.as_json()}


def calibration_half(predictions: PredictionTable) -> NDArray[np.bool_]:
    """Choose the calibration half of the faces, bool (n,), stratified by label.

    The pixel hashes of each label are sorted and numbered, and the even ones are chosen. So the choice
    depends on faces and labels alone: not on the model, nor on the order of the rows. Copies of a face with
    the same label are in the same half.
    """
    n, truth = len(predictions), predictions.truth
    # Different pairs of label and face have different codes, in this order.
    distinct, positions = np.unique(truth * n + predictions.faces.ranks(), return_inverse=True)
    return np.asarray((positions - np.searchsorted(distinct, truth * n)) % 2 == 0)


def choose_thresholds(
    confidence: FloatArray, errors: NDArray[np.bool_], is_calibration: NDArray[np.bool_]
) -> tuple[ErrorTarget, ...]:
    """Choose the threshold of each of `TARGETS` on the calibration half, and check it on the other half.

    Args:
        confidence: (n,), -inf for no prediction.
        errors: (n,), which predictions are wrong or missing.
        is_calibration: (n,), the calibration half.
    """
    bounds = _upper_bounds(*_accepted(confidence[is_calibration], errors[is_calibration]))
    confidence, errors = confidence[~is_calibration], errors[~is_calibration]
    accepted, wrong = _accepted(confidence, errors)
    chosen = []
    for target in TARGETS:
        place = _walk(bounds <= target, int(np.searchsorted(accepted, math.ceil(_START_ERRORS / target))))
        checked = None
        if place is not None:
            n, hits = int(accepted[place]), int(wrong[place])
            coverage, error = wilson_interval(n, len(errors)), wilson_interval(hits, n)
            checked = CheckedThreshold(float(THRESHOLDS[place]), coverage, error)
        chosen.append(ErrorTarget(target, checked))
    return tuple(chosen)


def _accepted(confidence: FloatArray, errors: NDArray[np.bool_]) -> tuple[IntArray, IntArray]:
    """Faces accepted at each threshold, and errors among them, each int64 (thresholds,), ascending."""
    ascending = np.sort(confidence), np.sort(confidence[errors])
    faces, wrong = (len(column) - np.searchsorted(column, THRESHOLDS) for column in ascending)
    return faces, wrong


def _upper_bounds(accepted: IntArray, wrong: IntArray) -> FloatArray:
    """One-sided 95 % upper bound (Clopper & Pearson, 1934) of each error rate; 1 without accepted faces."""
    bounds = np.ones(len(accepted))
    some = accepted > 0
    # A two-sided interval at twice the level has the one-sided bound as its upper end.
    bounds[some] = proportion_confint(wrong[some], accepted[some], alpha=2 * (1 - CONFIDENCE), method="beta")[
        1
    ]
    return bounds


def _walk(passes: NDArray[np.bool_], start: int) -> int | None:
    """The last threshold that passes, from `start` to the first that fails; None if the first one fails."""
    failures = np.flatnonzero(~passes[start:])
    end = start + int(failures[0]) if failures.size else len(passes)
    return end - 1 if end > start else None
