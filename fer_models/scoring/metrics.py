"""Classification metrics with intervals: accuracy, precision, recall, F1 and calibration.

A face without a prediction is wrong, never dropped. Averages over emotions are over those that occur among
the true ones: CK+48 has no neutral face, for example, and a class without faces has no recall. Values are
scikit-learn's, with `zero_division=0` inside averages; the functions of confusions below compute the same
numbers for thousands of bootstrap resamples at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from sklearn.metrics import precision_recall_fscore_support

from fer_models.emotions import EMOTIONS
from fer_models.errors import PredictionError
from fer_models.scoring.intervals import (
    N_ANSWERS,
    NO_ANSWER,
    FloatArray,
    IntArray,
    Measurement,
    bootstrap_confusions,
    bootstrap_means,
    emotion_codes,
    percentile_interval,
    require_same_length,
    wilson_interval,
)
from fer_models.scoring.paired_tests import Score

if TYPE_CHECKING:
    from fer_models.store.predictions import PredictionTable

#: Equal-width bins of confidence in the expected calibration error, as in Guo et al. 2017.
CALIBRATION_BINS = 15

#: The smallest probability in the logarithmic loss, so that one certain mistake does not make it infinite.
LOG_EPS = 1e-12

#: How far the sum of a row of probabilities may be from 1: half precision and rounded storage are well
#: inside.
SUM_TOLERANCE = 1e-3

_CLASSES = len(EMOTIONS)


@dataclass(frozen=True)
class ClassMetrics:
    """Metrics of one emotion.

    Attributes:
        precision: share of its predictions that are correct (Wilson interval); None if it is never predicted.
        recall: share of its faces that are recognized (Wilson interval); None if it has no face.
        f1: their harmonic mean, 2 * true positives / (faces + predictions) (bootstrap interval); None if it
            has neither face nor prediction.
        support: number of its faces.
    """

    precision: Measurement | None
    recall: Measurement | None
    f1: Measurement | None
    support: int

    def as_json(self) -> dict[str, Any]:
        """Return plain values, null where undefined, with their intervals."""
        measured = {"precision": self.precision, "recall": self.recall, "f1": self.f1}
        values = {name: None if m is None else float(m.value) for name, m in measured.items()}
        intervals = {
            name: None if m is None else [float(m.low), float(m.high)] for name, m in measured.items()
        }
        return {**values, "support": self.support, "intervals": intervals}


@dataclass(frozen=True, eq=False)  # an array has no single truth value to compare by; compare `as_json()`
class Metrics:
    """Metrics of one subject.

    Attributes:
        n: faces, with or without a prediction, at least 1.
        unanswered: faces without a prediction, 0..n.
        overall: accuracy (Wilson interval); macro_ and weighted_ precision, recall and f1 (bootstrap
            intervals), all in [0, 1]; and, if the model gives probabilities, ece in [0, 1], nll in nats and
            brier in [0, 2] over the predicted faces (bootstrap intervals).
        per_class: one entry per emotion, by label, in `Emotion` order.
        confusion: (7, 8) counts, read-only: true emotion by predicted one, the last column for no prediction.
    """

    n: int
    unanswered: int
    overall: dict[str, Measurement]
    per_class: dict[str, ClassMetrics]
    confusion: IntArray

    def as_json(self) -> dict[str, Any]:
        """Return the metrics of a result in evals.json."""
        return {
            "n": self.n,
            "unanswered": self.unanswered,
            "metrics": {name: measurement.as_json() for name, measurement in self.overall.items()},
            "per_class": {label: metrics.as_json() for label, metrics in self.per_class.items()},
            "confusion": self.confusion[:, :_CLASSES].tolist(),
            "no_answer": self.confusion[:, _CLASSES].tolist(),
        }


def measure(
    truth: npt.ArrayLike,
    answer: npt.ArrayLike,
    probabilities: npt.ArrayLike | None,
    *,
    resamples: int = 2000,
    seed: int = 0,
) -> Metrics:
    """Compute all metrics of predictions for `n` faces. The order of the faces changes nothing.

    Args:
        truth: (n,) emotions, 0..6.
        answer: (n,) predictions, -1 (none, counted as wrong)..6.
        probabilities: (n, 7) in `Emotion` order, in [0, 1], each row summing to 1 within 0.001; rows of faces
            without a prediction are ignored and may be NaN. None if the model gives none.
        resamples: bootstrap resamples of an interval.
        seed: the same seed gives the same intervals.

    Raises:
        PredictionError: no faces, lengths that differ, a value out of range, or invalid probabilities.
    """
    true, predicted = emotion_codes("truth", truth), emotion_codes("answer", answer, lowest=NO_ANSWER)
    require_same_length(truth=true, answer=predicted)
    is_predicted = predicted != NO_ANSWER
    counts = confusion(true, predicted)
    draws = bootstrap_confusions(counts, resamples, seed)

    overall = {"accuracy": wilson_interval(int(np.trace(counts)), len(true))}
    overall |= _averages(true, predicted, draws)
    if probabilities is not None:
        rows = _checked_probabilities(probabilities, is_predicted)
        if is_predicted.any():
            overall |= _calibration(true[is_predicted], predicted[is_predicted], rows, resamples, seed)
    per_class = _per_class(true, predicted, counts, draws)
    return Metrics(len(true), int((~is_predicted).sum()), overall, per_class, counts)


def measure_predictions(predictions: PredictionTable, *, resamples: int = 2000, seed: int = 0) -> Metrics:
    """Compute all metrics of a table; no ece, nll and brier without probabilities. Raises as `measure`."""
    probabilities = predictions.probabilities if predictions.has_probabilities else None
    return measure(predictions.truth, predictions.answer, probabilities, resamples=resamples, seed=seed)


def confusion(truth: IntArray, answer: IntArray) -> IntArray:
    """Confusion matrix, (7, 8) counts, read-only: true emotion by predicted one (-1, none, is last)."""
    # -1 modulo 8 is 7. scikit-learn's confusion_matrix takes a hundred times as long, and slices need many.
    cells = np.bincount(truth * N_ANSWERS + answer % N_ANSWERS, minlength=_CLASSES * N_ANSWERS)
    counts: IntArray = cells.reshape(_CLASSES, N_ANSWERS).astype(np.int64)
    counts.flags.writeable = False
    return counts


# Scores of confusions: (..., 7, 8) counts -> (...) values in [0, 1]. In an average, 0 / 0 counts as 0.


def accuracy(confusions: IntArray) -> FloatArray:
    """Share of faces predicted correctly."""
    return _share(_true_positives(confusions).sum(axis=-1), confusions.sum(axis=(-2, -1)))


def macro_precision(confusions: IntArray) -> FloatArray:
    """Mean precision of the emotions that occur."""
    return _macro(_precision, confusions)


def macro_recall(confusions: IntArray) -> FloatArray:
    """Mean recall of the emotions that occur, also called balanced accuracy."""
    return _macro(_recall, confusions)


def macro_f1(confusions: IntArray) -> FloatArray:
    """Mean F1 of the emotions that occur (averaged F1 of Opitz & Burst, arXiv:1911.03347)."""
    return _macro(_f1, confusions)


def weighted_precision(confusions: IntArray) -> FloatArray:
    """Mean precision, each emotion weighted by its faces."""
    return _weighted(_precision, confusions)


def weighted_recall(confusions: IntArray) -> FloatArray:
    """Mean recall, each emotion weighted by its faces; this is the accuracy."""
    return _weighted(_recall, confusions)


def weighted_f1(confusions: IntArray) -> FloatArray:
    """Mean F1, each emotion weighted by its faces."""
    return _weighted(_f1, confusions)


#: The averages over emotions, by their names in reports.
AVERAGES: dict[str, Score] = {
    score.__name__: score
    for score in (macro_precision, macro_recall, macro_f1, weighted_precision, weighted_recall, weighted_f1)
}


def _share(part: npt.NDArray[Any], total: npt.NDArray[Any]) -> FloatArray:
    """Divide part by total; 0 where the total is 0."""
    return np.asarray(np.divide(part, np.maximum(total, 1)), dtype=np.float64)


def _true_positives(confusions: IntArray) -> IntArray:
    return np.diagonal(confusions, axis1=-2, axis2=-1)


def _faces(confusions: IntArray) -> IntArray:
    return np.asarray(confusions.sum(axis=-1))


def _predictions(confusions: IntArray) -> IntArray:
    return np.asarray(confusions[..., :_CLASSES].sum(axis=-2))


def _precision(confusions: IntArray) -> FloatArray:
    return _share(_true_positives(confusions), _predictions(confusions))


def _recall(confusions: IntArray) -> FloatArray:
    return _share(_true_positives(confusions), _faces(confusions))


def _f1(confusions: IntArray) -> FloatArray:
    return _share(2 * _true_positives(confusions), _faces(confusions) + _predictions(confusions))


def _macro(of_each: Score, confusions: IntArray) -> FloatArray:
    # An emotion without faces has no true positives: it adds 0 to the sum, and is left out of the count.
    return _share(of_each(confusions).sum(axis=-1), (_faces(confusions) > 0).sum(axis=-1))


def _weighted(of_each: Score, confusions: IntArray) -> FloatArray:
    faces = _faces(confusions)
    return _share((of_each(confusions) * faces).sum(axis=-1), faces.sum(axis=-1))


def _averages(truth: IntArray, answer: IntArray, draws: IntArray) -> dict[str, Measurement]:
    """Averages over emotions: values by scikit-learn, intervals by the resampled confusions."""
    present = np.unique(truth)
    values: dict[str, float] = {}
    for average in ("macro", "weighted"):
        scores = precision_recall_fscore_support(
            truth, answer, labels=present, average=average, zero_division=0
        )
        for name, score in zip(("precision", "recall", "f1"), scores[:3], strict=True):
            values[f"{average}_{name}"] = float(score)
    n = len(truth)
    return {name: percentile_interval(values[name], score(draws), n) for name, score in AVERAGES.items()}


def _per_class(
    truth: IntArray, answer: IntArray, confusion: IntArray, draws: IntArray
) -> dict[str, ClassMetrics]:
    f1 = precision_recall_fscore_support(truth, answer, labels=list(EMOTIONS), zero_division=0)[2]
    f1_draws = _f1(draws)
    result = {}
    for emotion in EMOTIONS:
        counts = (_true_positives, _faces, _predictions)
        hits, faces, predictions = (int(count(confusion)[emotion]) for count in counts)
        n = faces + predictions - hits
        result[emotion.label] = ClassMetrics(
            precision=wilson_interval(hits, predictions) if predictions else None,
            recall=wilson_interval(hits, faces) if faces else None,
            f1=percentile_interval(f1[emotion], f1_draws[:, emotion], n) if n else None,
            support=faces,
        )
    return result


def _calibration(
    truth: IntArray, answer: IntArray, probabilities: FloatArray, resamples: int, seed: int
) -> dict[str, Measurement]:
    """Calibration metrics over the predicted faces; intervals by bootstrap over these faces.

    ece: mean distance between confidence and accuracy over bins of confidence (Guo et al., On Calibration of
    Modern Neural Networks, ICML 2017, eq. 5). Confidence is the probability of the predicted emotion, which
    is the greatest one wherever the most probable emotion is predicted. A resample is a little less
    calibrated than the faces it is drawn from, so the interval is biased upwards. nll: mean negative
    log-probability of the true emotion. brier: mean squared distance between the probabilities and the truth,
    summed over the emotions (Brier, Monthly Weather Review 78, 1950).
    """
    n, faces = len(truth), np.arange(len(truth))
    confidence = probabilities[faces, answer]
    gaps = calibration_gaps(confidence, answer == truth)
    nll = -np.log(np.clip(probabilities[faces, truth], LOG_EPS, 1))
    brier = ((probabilities - np.eye(_CLASSES)[truth]) ** 2).sum(axis=1)
    terms = np.column_stack([gaps, nll, brier])

    means = np.sort(terms, axis=0).mean(axis=0)  # sorted: the order of the faces changes no bit
    draws = bootstrap_means(terms, resamples, seed)
    return {
        "ece": percentile_interval(
            float(expected_calibration_error(means)), expected_calibration_error(draws), n
        ),
        "nll": percentile_interval(float(means[-2]), draws[:, -2], n),
        "brier": percentile_interval(float(means[-1]), draws[:, -1], n),
    }


def calibration_gaps(confidence: FloatArray, correct: npt.NDArray[np.bool_]) -> FloatArray:
    """Correctness minus confidence (n,) in the bin of the confidence, and 0 in the others: (n, bins).

    Bins are open below and closed above, as in Guo et al.
    """
    gaps = np.zeros((len(confidence), CALIBRATION_BINS))
    gaps[np.arange(len(gaps)), calibration_bins(confidence)] = correct - confidence
    return gaps


def calibration_bins(confidence: FloatArray) -> IntArray:
    """The bin of each confidence (n,), 0 to `CALIBRATION_BINS` - 1; edges are equally spaced from 0 to 1."""
    edges = np.linspace(0, 1, CALIBRATION_BINS + 1)
    return np.digitize(confidence, edges[1:-1], right=True)


def expected_calibration_error(means: FloatArray) -> FloatArray:
    """Expected calibration error of mean `calibration_gaps` (..., bins).

    |B| / n * |accuracy - confidence| of a bin B is its absolute mean gap.
    """
    return np.asarray(np.abs(means[..., :CALIBRATION_BINS]).sum(axis=-1))


def _checked_probabilities(probabilities: npt.ArrayLike, is_predicted: npt.NDArray[np.bool_]) -> FloatArray:
    """Rows of `probabilities` (n, 7) of the predicted faces. Raises unless each is a distribution."""
    try:
        table = np.asarray(probabilities, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise PredictionError(f"probabilities must be a table of numbers: {error}.") from error
    if table.shape != (len(is_predicted), _CLASSES):
        raise PredictionError(
            f"probabilities must have shape ({len(is_predicted)}, {_CLASSES}), one row per face, "
            f"got {table.shape}."
        )
    rows, faces = table[is_predicted], np.flatnonzero(is_predicted)
    outside = np.flatnonzero(~((rows >= 0) & (rows <= 1)).all(axis=1))  # NaN is neither
    if outside.size:
        first = outside[0]
        raise PredictionError(
            f"The probabilities of face {faces[first]}, which has a prediction, must be in [0, 1], "
            f"got {rows[first].tolist()}."
        )
    off = np.flatnonzero(np.abs(rows.sum(axis=1) - 1) > SUM_TOLERANCE)
    if off.size:
        first = off[0]
        raise PredictionError(
            f"The probabilities of face {faces[first]} must sum to 1, got {rows[first].tolist()} "
            f"(sum {rows[first].sum():.6g})."
        )
    return rows
