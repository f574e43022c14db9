"""Reliability diagram: accuracy against confidence, in the bins of the expected calibration error."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from fer_models.scoring.intervals import Measurement, wilson_interval
from fer_models.scoring.metrics import CALIBRATION_BINS, calibration_bins

if TYPE_CHECKING:
    from fer_models.store.predictions import PredictionTable


@dataclass(frozen=True)
class ReliabilityBin:
    """The faces whose confidence is in (lower, upper]; the first bin has 0 too.

    Attributes:
        lower, upper: bounds of the confidence, 0..1.
        n: number of faces, at least 1.
        confidence: mean probability of the predicted emotion, 0..1.
        accuracy: share of these faces that are predicted correctly (Wilson interval).
    """

    lower: float
    upper: float
    n: int
    confidence: float
    accuracy: Measurement

    def as_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "lower": self.lower,
            "upper": self.upper,
            "n": self.n,
            "confidence": self.confidence,
            "accuracy": self.accuracy.as_json(),
        }


def reliability_bins(predictions: PredictionTable) -> tuple[ReliabilityBin, ...]:
    """Compute the occupied bins of the reliability diagram, from low to high confidence.

    Bins are those of `ece` (Guo et al., On Calibration of Modern Neural Networks, ICML 2017): the mean of
    |accuracy - confidence|, weighted by `n`, is the expected calibration error. Faces without a prediction
    are left out. Empty for a model without probabilities.
    """
    rows = np.flatnonzero(predictions.answer >= 0)
    if not predictions.has_probabilities or not rows.size:
        return ()
    confidence, correct = (
        predictions.probabilities[rows, predictions.answer[rows]],
        predictions.correct[rows],
    )
    edges = np.linspace(0, 1, CALIBRATION_BINS + 1)
    places = calibration_bins(confidence)
    bins = []
    for place in np.unique(places).tolist():
        members = places == place
        n, hits = int(members.sum()), int(correct[members].sum())
        mean = float(np.sort(confidence[members]).mean())  # sorted: the order of the faces changes no bit
        bounds = float(edges[place]), float(edges[place + 1])
        bins.append(ReliabilityBin(*bounds, n, mean, wilson_interval(hits, n)))
    return tuple(bins)
