"""Flips: the faces that were predicted correctly before and wrongly now, or the other way."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from fer_models.emotions import LABELS
from fer_models.gate.compare import MatchedSubject
from fer_models.store.predictions import PredictionTable

#: Faces in the report for each subject: a face with its picture is about 3 kB.
NEGATIVE_EXAMPLES, POSITIVE_EXAMPLES = 12, 6


@dataclass(frozen=True)
class PredictionFlip:
    """A face whose prediction changed between correct and wrong.

    Attributes:
        row: its row in the table of predictions.
        index: its row in its dataset.
        face: the sha256 of its pixels.
        truth: its label.
        before: the emotion predicted by the first side, None for no prediction.
        now: the emotion predicted by the second side, None for no prediction.
        p_before: the probability of its label in the first side, 0..1; None where they have no probabilities.
        p_now: the same in the second side.
    """

    row: int
    index: int
    face: str
    truth: str
    before: str | None
    now: str | None
    p_before: float | None
    p_now: float | None

    def as_json(self) -> dict[str, Any]:
        """Return the fields, with the first twelve characters of the hash."""
        return {
            "index": self.index,
            "face": self.face[:12],
            "truth": self.truth,
            "before": self.before,
            "now": self.now,
            "p_true": {"before": _rounded(self.p_before), "now": _rounded(self.p_now)},
        }


def _rounded(p: float | None) -> float | None:
    return None if p is None else round(p, 4)


#: Negative flips, then positive ones; each starts with the greatest change of the label's probability.
Flips: TypeAlias = "tuple[tuple[PredictionFlip, ...], tuple[PredictionFlip, ...]]"


def list_flips(
    predictions: PredictionTable, before: NDArray[np.int64], p_before: NDArray[np.float64] | None
) -> Flips:
    """List the negative flips (correct before, wrong now) of predictions, then the positive ones.

    Args:
        predictions: those of now; `before` has the same faces in the same order.
        before: (n,) the emotions predicted before, -1 for no prediction.
        p_before: (n,) the probabilities of the labels before, 0..1; None without probabilities.
    """
    was_correct, p_now = before == predictions.truth, predictions.p_true
    has_both = p_before is not None and predictions.has_probabilities
    p_old = p_now if p_before is None else p_before

    def flip(row: int) -> PredictionFlip:
        emotions = (predictions.truth[row], before[row], predictions.answer[row])
        truth, old, new = (LABELS[emotion] if emotion >= 0 else None for emotion in emotions)
        face, index = predictions.faces[row], int(predictions.index[row])
        p = (float(p_old[row]), float(p_now[row])) if has_both else (None, None)
        return PredictionFlip(row, index, face, str(truth), old, new, *p)

    def ordered(rows: NDArray[np.bool_], change: NDArray[np.float64]) -> tuple[PredictionFlip, ...]:
        indices = np.flatnonzero(rows).tolist()
        return tuple(flip(i) for i in sorted(indices, key=lambda i: (change[i], predictions.faces[i])))

    negative = ordered(was_correct & ~predictions.correct, p_now - p_old)
    return negative, ordered(~was_correct & predictions.correct, p_old - p_now)


def largest_flips(
    predictions: PredictionTable, before: NDArray[np.int64], p_before: NDArray[np.float64] | None
) -> list[PredictionFlip]:
    """List the flips that evals.json has, negative ones first. Arguments as `list_flips`."""
    negative, positive = list_flips(predictions, before, p_before)
    return [*negative[:NEGATIVE_EXAMPLES], *positive[:POSITIVE_EXAMPLES]]


def flip_json(
    flip: PredictionFlip, predictions: PredictionTable, picture: str | None = None
) -> dict[str, Any]:
    """Describe a flip for evals.json, with the probabilities of now and a picture, if there is one."""
    probabilities = None
    if predictions.has_probabilities and flip.now is not None:
        values = predictions.probabilities[flip.row].tolist()
        probabilities = {label: round(p, 4) for label, p in zip(LABELS, values, strict=True)}
    return {**flip.as_json(), "probabilities": probabilities, "picture": picture}


def flips_of_match(match: MatchedSubject) -> Flips:
    """List the flips between the two sides of a comparison."""
    return list_flips(match.predictions, match.record.decode_predictions(), match.p_baseline)
