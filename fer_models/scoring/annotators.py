"""Scores against people: FER+ asked ten raters about each face of FER-2013 (Barsoum et al. 2016,
arXiv:1608.01041).

The label of FER-2013 is one opinion of what a search engine's word meant, and raters often hold another.
Three scores say what that does: agreement with the raters' majority, the expected agreement with one rater
drawn at random, and accuracy (against the FER-2013 label) by how much the raters agree. The raters' own
majority, scored against the labels like a model, is the reference beside them.

Faces whose votes tie, and those of which most raters saw contempt, an
unknown emotion or no face, have no majority among the seven emotions: they are counted, and left out of that
score alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fer_models.datasets.ferplus import COLUMNS, TIE, majority
from fer_models.emotions import EMOTIONS
from fer_models.scoring.intervals import Measurement, bootstrap_means, percentile_interval, wilson_interval
from fer_models.store.predictions import PredictionTable

#: What the reference row is called.
MAJORITY = "majority of ten raters"
#: How many of ten raters gave the most frequent vote: nearly all, most, or no clear majority. (from, to)
#: inclusive.
STRATA: dict[str, tuple[int, int]] = {"9-10": (9, 10), "6-8": (6, 8), "0-5": (0, 5)}


@dataclass(frozen=True)
class AnnotatorScores:
    """One subject beside the raters.

    Attributes:
        majority: accuracy against the raters' majority, on the faces that have one; None if none has.
        one_rater: expected agreement with one rater of each face, drawn at random, on all faces with a vote;
            None if none has.
        strata: accuracy against the label by how many raters gave the most frequent vote (`STRATA`); None
            where there is no such face.
    """

    majority: Measurement | None
    one_annotator: Measurement | None
    strata: dict[str, Measurement | None]

    def as_json(self) -> dict[str, Any]:
        """The part `votes` of a result in evals.json."""
        return {
            "majority": _json(self.majority),
            "one_annotator": _json(self.one_annotator),
            "strata": {k: _json(m) for k, m in self.strata.items()},
        }


def score(
    predictions: PredictionTable, votes: NDArray[np.int64], *, resamples: int = 2000, seed: int = 0
) -> AnnotatorScores:
    """Set `answers` beside the votes (n, 10) on the same faces, in the same order."""
    said, chosen = predictions.answer, majority(votes)
    decided = (chosen != TIE) & (chosen < len(EMOTIONS))
    cast = votes.sum(axis=1)
    agreeing = np.where(said >= 0, votes[np.arange(len(votes)), np.maximum(said, 0)], 0)
    voted = cast > 0
    shares = agreeing[voted] / cast[voted]
    top = votes.max(axis=1)
    strata = {}
    for name, (low, high) in STRATA.items():
        rows = (low <= top) & (top <= high)
        strata[name] = (
            wilson_interval(int(predictions.correct[rows].sum()), int(rows.sum())) if rows.any() else None
        )
    return AnnotatorScores(
        wilson_interval(int((said == chosen)[decided].sum()), int(decided.sum())) if decided.any() else None,
        percentile_interval(
            float(shares.mean()), bootstrap_means(shares[:, None], resamples, seed)[:, 0], len(shares)
        )
        if voted.any()
        else None,
        strata,
    )


def majority_vote_row(truth: NDArray[np.int64], votes: NDArray[np.int64]) -> dict[str, Any]:
    """The raters as a row beside the models: how often the most frequent vote names the label.

    A row must answer every face, so where votes tie, the tied emotion that comes first in FER-2013's own
    order is taken; what a tie broken at random would score stands beside it.

    Args:
        truth: (n,) labels.
        votes: (n, 10).

    Returns:
        plain values: name, n, accuracy with its interval, `ties_at_random`, and the faces without a majority
            among the emotions, by reason.
    """
    top = votes == votes.max(axis=1)[:, None]
    first, faces = votes.argmax(axis=1), np.arange(len(truth))
    chosen = majority(votes)
    none = {"tied": int((chosen == TIE).sum())} | {
        COLUMNS[c]: int((chosen == c).sum()) for c in range(len(EMOTIONS), len(COLUMNS))
    }
    return {
        "name": MAJORITY,
        "n": len(truth),
        "accuracy": wilson_interval(int((first == truth).sum()), len(truth)).as_json(),
        "ties_at_random": float((top[faces, truth] / top.sum(axis=1)).mean()),
        "no_majority": none,
    }


def _json(measured: Measurement | None) -> dict[str, Any] | None:
    return None if measured is None else {**measured.as_json(), "n": measured.n}
