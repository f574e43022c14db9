"""Selective prediction: how much better a model is on the faces on which it is most confident."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from fer_models.errors import PredictionError
from fer_models.scoring.confidence_thresholds import ErrorTarget, calibration_half, choose_thresholds
from fer_models.scoring.intervals import FloatArray, Measurement, percentile_interval, wilson_interval
from fer_models.scoring.risk_coverage import Ranking, aurc, best_risk, bootstrap_aurc, curve_ranks
from fer_models.store.predictions import PredictionTable

#: The shares of faces at which accuracy is given.
COVERAGES = (0.8, 0.9)
#: The most points of the risk-coverage curve.
CURVE_POINTS = 50


@dataclass(frozen=True)
class CurvePoint:
    """Error rates among the most confident faces.

    Attributes:
        coverage: the share of all faces that these are, 0..1.
        by_probability: error rate where the confidence is the probability of the predicted emotion.
        by_margin: error rate where it is this probability minus that of the next emotion.
        best: error rate if all errors were the least confident faces.
    """

    coverage: float
    by_probability: float
    by_margin: float
    best: float

    def as_json(self) -> dict[str, float]:
        """Return plain values, rounded: they are drawn."""
        return {name: round(value, 5) for name, value in vars(self).items()}


@dataclass(frozen=True)
class Areas:
    """`risk_coverage.aurc` and its excess over the best order, with bootstrap intervals."""

    aurc: Measurement
    excess_aurc: Measurement

    def as_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {"aurc": self.aurc.as_json(), "excess_aurc": self.excess_aurc.as_json()}


@dataclass(frozen=True)
class CoveredAccuracy:
    """Accuracy on the share `coverage` of the faces, the most confident ones (Wilson interval)."""

    coverage: float
    accuracy: Measurement

    def as_json(self) -> dict[str, Any]:
        """Return plain values, with the number of faces."""
        accuracy = {**self.accuracy.as_json(), "n": self.accuracy.n}
        return {"coverage": self.coverage, "accuracy": accuracy}


@dataclass(frozen=True)
class SelectivePrediction:
    """Selective prediction of one subject.

    Attributes:
        by_probability, by_margin: areas with each confidence of `CurvePoint`.
        accuracy_at: for each of `COVERAGES`, by probability.
        targets: thresholds of probability; see `confidence_thresholds`.
        curve: at most `CURVE_POINTS`, by coverage.
    """

    by_probability: Areas
    by_margin: Areas
    accuracy_at: tuple[CoveredAccuracy, ...]
    targets: tuple[ErrorTarget, ...]
    curve: tuple[CurvePoint, ...]

    def as_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "by_probability": self.by_probability.as_json(),
            "by_margin": self.by_margin.as_json(),
            "accuracy_at": [one.as_json() for one in self.accuracy_at],
            "targets": [one.as_json() for one in self.targets],
            "curve": [point.as_json() for point in self.curve],
        }


def selective_prediction(
    predictions: PredictionTable, *, resamples: int = 500, seed: int = 0
) -> SelectivePrediction | None:
    """Score the most confident predictions. The order of the faces changes nothing.

    A face without a prediction is wrong, and less confident than any other. Faces with equal confidence count
    as in `risk_coverage`; a threshold accepts them together.

    Args:
        predictions: of one subject.
        resamples: bootstrap resamples of an interval.
        seed: the same seed gives the same intervals.

    Returns:
        None for a model without probabilities, and for one without any prediction.

    Raises:
        PredictionError: a face has a prediction without probabilities.
    """
    if not predictions.has_probabilities or not (predictions.answer >= 0).any():
        return None
    errors = ~predictions.correct
    probability, margin = _confidences(predictions)
    rankings = [Ranking.from_confidence(confidence, errors) for confidence in (probability, margin)]
    draws = bootstrap_aurc(rankings, resamples, seed)
    by_probability, by_margin = (_areas(*pair) for pair in zip(rankings, draws, strict=True))
    return SelectivePrediction(
        by_probability,
        by_margin,
        tuple(_accuracy_at(coverage, rankings[0]) for coverage in COVERAGES),
        choose_thresholds(probability, errors, calibration_half(predictions)),
        _curve(*rankings),
    )


def _confidences(predictions: PredictionTable) -> tuple[FloatArray, FloatArray]:
    """Probability of the predicted emotion, and its margin over the next one; -inf without a prediction."""
    rows = np.flatnonzero(predictions.answer >= 0)
    columns = np.arange(len(rows)), predictions.answer[rows]
    others = predictions.probabilities[rows]
    top = others[columns]
    others[columns] = -np.inf
    probability, margin = np.full((2, len(predictions)), -np.inf)
    probability[rows], margin[rows] = top, top - others.max(axis=1)
    if np.isnan(margin).any():
        face = int(np.flatnonzero(np.isnan(margin))[0])
        raise PredictionError(f"Face {face} has a prediction, but its probabilities are not numbers.")
    return probability, margin


def _areas(ranking: Ranking, draws: FloatArray) -> Areas:
    pairs = zip(aurc(ranking), draws, strict=True)
    return Areas(*(percentile_interval(value, drawn, len(ranking)) for value, drawn in pairs))


def _accuracy_at(coverage: float, ranking: Ranking) -> CoveredAccuracy:
    n = math.ceil(round(coverage * len(ranking), 6))  # 0.9 * 10 faces are 9, whatever rounding adds
    correct = n - float(ranking.cumulative_errors[n - 1])
    return CoveredAccuracy(coverage, wilson_interval(correct, n))


def _curve(by_probability: Ranking, by_margin: Ranking) -> tuple[CurvePoint, ...]:
    n = len(by_probability)
    ranks = curve_ranks(n, CURVE_POINTS)
    risks = [ranking.cumulative_errors[ranks - 1] / ranks for ranking in (by_probability, by_margin)]
    best = best_risk(n, int(by_probability.errors.sum()), ranks)
    columns = (column.tolist() for column in (ranks / n, *risks, best))
    return tuple(CurvePoint(*row) for row in zip(*columns, strict=True))
