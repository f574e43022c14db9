"""Typed entries of evals.json on selective prediction.

The attributes are the JSON keys, in the order of the file; see `scoring.selective` and
`scoring.confidence_thresholds`. Coverages, error rates and confidences are 0..1.
"""

from __future__ import annotations

from dataclasses import dataclass

from fer_models.report.measured_value import MeasuredValue


@dataclass(frozen=True)
class Areas:
    """Area under the risk-coverage curve, and its excess over that of the best possible order."""

    aurc: MeasuredValue
    excess_aurc: MeasuredValue


@dataclass(frozen=True)
class CoveredAccuracy:
    """Accuracy on the share `coverage` of the faces, the most confident ones."""

    coverage: float
    accuracy: MeasuredValue


@dataclass(frozen=True)
class CheckedThreshold:
    """A threshold of confidence, with the share of faces and the error rate on the other half."""

    value: float
    coverage: MeasuredValue
    error: MeasuredValue


@dataclass(frozen=True)
class ErrorTarget:
    """A target error rate, and its threshold; None where the faces establish none."""

    target: float
    threshold: CheckedThreshold | None


@dataclass(frozen=True)
class CurvePoint:
    """Error rates among the most confident faces, which are the share `coverage` of all."""

    coverage: float
    by_probability: float
    by_margin: float
    best: float


@dataclass(frozen=True)
class SelectivePrediction:
    """How much better a model is on the faces on which it is most confident."""

    by_probability: Areas
    by_margin: Areas
    accuracy_at: tuple[CoveredAccuracy, ...]
    targets: tuple[ErrorTarget, ...]
    curve: tuple[CurvePoint, ...]
