"""Scores in slices of the faces, and the gap between the best and the worst slice of a column.

The terms are fairlearn's (`MetricFrame`): the scores by group, and their difference and ratio between groups.
A slice under the minimum of faces is scored, and takes no part in a gap.

The p-value of a gap is by permutation: if a column had nothing to do with correctness, the correct
predictions would be spread over its slices at random, which is a draw from the multivariate hypergeometric
distribution (Good, Permutation, Parametric and Bootstrap Tests of Hypotheses, 2005). Of several columns the
p-values are adjusted together (Holm). The gap is the greatest of many differences, and so larger than the
true one on average. Its interval is therefore simultaneous: by the bootstrap distribution of the greatest
studentized deviation of any difference, all true differences are in their intervals in 95 % of cases, and
with them the greatest (Westfall & Young, Resampling-Based Multiple Testing, 1993).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fer_models.emotions import EMOTIONS
from fer_models.scoring import metrics
from fer_models.scoring.intervals import (
    CONFIDENCE,
    LARGEST_BOOTSTRAP,
    FloatArray,
    IntArray,
    Measurement,
    bootstrap_confusions,
    bootstrap_means,
    percentile_interval,
    times_drawn,
    wilson_intervals,
)
from fer_models.scoring.paired_tests import ROUNDING, holm
from fer_models.slices.columns import SliceColumn, SliceColumns
from fer_models.store.predictions import PredictionTable

#: Resamples of the intervals in a slice, of a gap's interval, and of its p-value.
_RESAMPLES, _INTERVAL_RESAMPLES, _PERMUTATIONS = 200, 2000, 9999


@dataclass(frozen=True)
class SliceScores:
    """Scores in one slice.

    Attributes:
        name: of the slice.
        range: its values in words; empty where the name says it.
        n: number of its faces, at least 1.
        is_judged: it has enough faces for a gap and for the gate.
        accuracy: (Wilson interval).
        macro_f1: mean F1 of the emotions that occur in the slice (bootstrap interval).
        recalls: by emotion, of those that occur in the slice (Wilson intervals).
        ece: expected calibration error (bootstrap interval); None without probabilities.
    """

    name: str
    range: str
    n: int
    is_judged: bool
    accuracy: Measurement
    macro_f1: Measurement
    recalls: Mapping[str, Measurement]
    ece: Measurement | None

    def as_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "name": self.name,
            "range": self.range,
            "n": self.n,
            "is_judged": self.is_judged,
            "accuracy": self.accuracy.as_json(),
            "macro_f1": self.macro_f1.as_json(),
            "recalls": {label: {**m.as_json(), "n": m.n} for label, m in self.recalls.items()},
            "ece": None if self.ece is None else self.ece.as_json(),
        }


@dataclass(frozen=True)
class SliceGap:
    """The gap of accuracy between the best and the worst judged slice of a column.

    Attributes:
        best: name of the slice with the highest accuracy.
        worst: name of the slice with the lowest accuracy.
        difference: accuracy of the best minus that of the worst, 0..1 (bootstrap interval).
        ratio: accuracy of the worst divided by that of the best, 0..1; 1 where both are 0.
        p: that slices which mean nothing have as large a difference. After `score_slices`: Holm's.
    """

    best: str
    worst: str
    difference: Measurement
    ratio: float
    p: float

    def as_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "best": self.best,
            "worst": self.worst,
            "difference": self.difference.as_json(),
            "ratio": self.ratio,
            "p": self.p,
        }


@dataclass(frozen=True)
class ColumnScores:
    """Scores in the slices of one column.

    Attributes:
        column: name of the column.
        source: where its values come from.
        without_value: number of faces that are in no slice.
        slices: those with a face, in the order of the column.
        gap: None where fewer than two slices are judged.
    """

    column: str
    source: str
    without_value: int
    slices: tuple[SliceScores, ...]
    gap: SliceGap | None

    def as_json(self) -> dict[str, Any]:
        """Return the scores of one column in evals.json."""
        return {
            "column": self.column,
            "source": self.source,
            "without_value": self.without_value,
            "slices": [one.as_json() for one in self.slices],
            "gap": None if self.gap is None else self.gap.as_json(),
        }


def score_slices(predictions: PredictionTable, slices: SliceColumns) -> tuple[ColumnScores, ...]:
    """Score predictions in the slices of each column that has at least two slices with a face.

    Args:
        predictions: (n,).
        slices: of the same faces, in the same order.
    """
    calibration = _Calibration.of(predictions) if slices.columns else None
    scored = [_score_column(column, predictions, calibration, slices.minimum) for column in slices.columns]
    scored = [column for column in scored if len(column.slices) > 1]
    adjusted = iter(holm([column.gap.p for column in scored if column.gap is not None]))
    return tuple(
        column if column.gap is None else replace(column, gap=replace(column.gap, p=next(adjusted)))
        for column in scored
    )


def _score_column(
    column: SliceColumn, predictions: PredictionTable, calibration: _Calibration | None, minimum: int
) -> ColumnScores:
    slices = []
    for level, name in enumerate(column.levels):
        rows = np.flatnonzero(column.members(level))
        if not rows.size:
            continue
        detail = column.ranges[level] if column.ranges else ""
        ece = None if calibration is None else calibration.error(rows)
        confusion = metrics.confusion(predictions.truth[rows], predictions.answer[rows])
        slices.append(_score_slice(name, detail, confusion, ece, minimum))
    gap = _gap([one for one in slices if one.is_judged])
    return ColumnScores(column.name, column.source, column.n_without_value, tuple(slices), gap)


def _score_slice(
    name: str, detail: str, confusion: IntArray, ece: Measurement | None, minimum: int
) -> SliceScores:
    n = int(confusion.sum())
    hits, faces = np.diagonal(confusion).tolist(), confusion.sum(axis=1).tolist()
    present = [emotion for emotion in EMOTIONS if faces[emotion]]
    accuracy, *recalls = wilson_intervals(
        [sum(hits), *(hits[e] for e in present)], [n, *(faces[e] for e in present)]
    )
    draws = metrics.macro_f1(bootstrap_confusions(confusion, _RESAMPLES, seed=0))
    return SliceScores(
        name,
        detail,
        n,
        n >= minimum,
        accuracy,
        percentile_interval(float(metrics.macro_f1(confusion)), draws, n),
        {emotion.label: recall for emotion, recall in zip(present, recalls, strict=True)},
        ece,
    )


@dataclass(frozen=True, eq=False)
class _Calibration:
    """What the calibration error of any slice is computed from.

    Attributes:
        gaps: `metrics.calibration_gaps` of the predicted faces, (k, bins).
        rows: the place of each face among the predicted ones, (n,); -1 without a prediction.
        times_drawn: how often a resample has each predicted face, (k, resamples). One set for all slices:
            drawing takes longest. None for more than `LARGEST_BOOTSTRAP` faces.
    """

    gaps: FloatArray
    rows: IntArray
    times_drawn: FloatArray | None

    @classmethod
    def of(cls, predictions: PredictionTable) -> _Calibration | None:
        predicted = np.flatnonzero(predictions.answer >= 0)
        if not predictions.has_probabilities or not predicted.size:
            return None
        confidence = predictions.probabilities[predicted, predictions.answer[predicted]].astype(np.float64)
        rows = np.full(len(predictions), -1, dtype=np.int64)
        rows[predicted] = np.arange(len(predicted))
        gaps = metrics.calibration_gaps(confidence, predictions.correct[predicted])
        if len(predicted) > LARGEST_BOOTSTRAP:
            return cls(gaps, rows, None)
        drawn = np.concatenate([block for _, block in times_drawn(len(predicted), _RESAMPLES, seed=0)])
        return cls(gaps, rows, drawn.T.astype(np.float64, order="C"))

    def error(self, faces: IntArray) -> Measurement | None:
        """Expected calibration error over the predicted faces of a slice; None where there is none."""
        rows = self.rows[faces]
        rows = rows[rows >= 0]
        if not rows.size:
            return None
        gaps, means = self.gaps[rows], self._bootstrap_means(rows)
        value = float(metrics.expected_calibration_error(np.sort(gaps, axis=0).mean(axis=0)))
        draws = metrics.expected_calibration_error(means) if len(means) else np.array([value])
        return percentile_interval(value, draws, len(rows))

    def _bootstrap_means(self, rows: IntArray) -> FloatArray:
        """Mean gaps of the resamples that have any of the rows, (resamples, bins)."""
        if self.times_drawn is None:
            return bootstrap_means(self.gaps[rows], _RESAMPLES, seed=0)
        weights = self.times_drawn[rows]
        sizes = weights.sum(axis=0)[:, None]
        means: FloatArray = (weights.T @ self.gaps[rows] / np.maximum(sizes, 1))[sizes[:, 0] > 0]
        return means


def _gap(slices: Sequence[SliceScores]) -> SliceGap | None:
    if len(slices) < 2:
        return None
    n = np.array([one.n for one in slices])
    accuracies = np.array([one.accuracy.value for one in slices])
    hits = np.rint(accuracies * n).astype(np.int64)
    best, worst = int(accuracies.argmax()), int(accuracies.argmin())
    difference = float(accuracies[best] - accuracies[worst])
    rng = np.random.default_rng(0)
    interval = _gap_interval(hits, n, rng)
    by_chance = _spread(rng.multivariate_hypergeometric(n, int(hits.sum()), _PERMUTATIONS) / n)
    # The observed spread counts as one of the permutations, so that p is never 0 (Phipson & Smyth 2010).
    p = (1 + int((by_chance >= difference - ROUNDING).sum())) / (_PERMUTATIONS + 1)
    ratio = float(accuracies[worst] / accuracies[best]) if accuracies[best] > 0 else 1.0
    measured = Measurement(difference, *interval, int(n.sum()))
    return SliceGap(slices[best].name, slices[worst].name, measured, ratio, p)


def _spread(accuracies: NDArray[np.float64]) -> FloatArray:
    return np.asarray(accuracies.max(axis=-1) - accuracies.min(axis=-1))


def _gap_interval(hits: IntArray, n: IntArray, rng: np.random.Generator) -> tuple[float, float]:
    """Simultaneous bootstrap interval (95 %) of the greatest difference of accuracy between slices.

    Args:
        hits: correct predictions in each slice.
        n: faces in each slice.
        rng: draws the resamples.
    """
    # As if each slice had two more faces of either kind, so that one without a mistake has a spread too
    # (Agresti & Caffo, The American Statistician 54, 2000).
    smooth = (hits + 2) / (n + 4)
    variance = smooth * (1 - smooth) / n
    deviations = rng.binomial(n, smooth, (_INTERVAL_RESAMPLES, len(n))) / n - smooth
    # One slice with all later ones at a time: the number of all pairs is the square of that of the slices.
    slices = range(len(n) - 1)
    greatest = np.zeros(_INTERVAL_RESAMPLES)
    for one in slices:
        spread = np.sqrt(variance[one] + variance[one + 1 :])
        ratios = np.abs(deviations[:, one, None] - deviations[:, one + 1 :]) / spread
        np.maximum(greatest, ratios.max(axis=1), out=greatest)
    quantile, accuracies = np.quantile(greatest, CONFIDENCE), hits / n
    low, high = 0.0, 0.0
    for one in slices:
        reach = quantile * np.sqrt(variance[one] + variance[one + 1 :])
        differences = np.abs(accuracies[one] - accuracies[one + 1 :])
        low = max(low, float((differences - reach).max()))
        high = max(high, float((differences + reach).max()))
    return low, min(1.0, high)
