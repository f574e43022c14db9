"""Agreement with human annotators: the ten FER+ votes on each face of FER-2013.

The votes are those of Barsoum et al. 2016 (arXiv:1608.01041). The label of FER-2013 is one opinion on the
meaning of a search term, and annotators often disagree with it. Three scores show this: agreement with the
majority vote, the expected agreement with one annotator drawn at random, and accuracy (against the FER-2013
label) by how much the annotators agree. The majority vote, scored against the labels like a model, is the
reference row.

Faces whose votes tie, and those where most annotators voted for contempt, an unknown emotion or no face, have
no majority among the seven emotions: they are counted, and left out of that score alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fer_models.datasets.ferplus import AGREEMENT, COLUMNS, TIE, majority
from fer_models.emotions import EMOTIONS
from fer_models.scoring.intervals import Measurement, bootstrap_means, percentile_interval, wilson_interval
from fer_models.store.predictions import PredictionTable

#: The name of the reference row.
MAJORITY = "majority of ten raters"


@dataclass(frozen=True)
class AnnotatorScores:
    """Scores of one subject against the votes.

    Attributes:
        majority: accuracy against the majority vote, on the faces that have one; None if none has.
        one_annotator: expected agreement with one annotator of each face, drawn at random, on all faces with
            a vote; None if none has.
        strata: accuracy against the label by how many annotators gave the most frequent vote
            (`ferplus.AGREEMENT`); None where there is no such face.
    """

    majority: Measurement | None
    one_annotator: Measurement | None
    strata: dict[str, Measurement | None]

    def as_json(self) -> dict[str, Any]:
        """Return the part `votes` of a result in evals.json."""
        return {
            "majority": _json(self.majority),
            "one_annotator": _json(self.one_annotator),
            "strata": {k: _json(m) for k, m in self.strata.items()},
        }


def score(
    predictions: PredictionTable, votes: NDArray[np.int64], *, resamples: int = 2000, seed: int = 0
) -> AnnotatorScores:
    """Score predictions against the votes (n, 10) on the same faces, in the same order."""
    emotions, chosen = predictions.answer, majority(votes)
    decided = (chosen != TIE) & (chosen < len(EMOTIONS))
    n_votes = votes.sum(axis=1)
    agreeing = np.where(emotions >= 0, votes[np.arange(len(votes)), np.maximum(emotions, 0)], 0)
    shares = agreeing[n_votes > 0] / n_votes[n_votes > 0]
    one_annotator = None
    if len(shares):
        draws = bootstrap_means(shares[:, None], resamples, seed)[:, 0]
        one_annotator = percentile_interval(float(shares.mean()), draws, len(shares))
    most = votes.max(axis=1)
    strata = {
        name: _share(predictions.correct[(low <= most) & (most <= high)])
        for name, (low, high) in AGREEMENT.items()
    }
    return AnnotatorScores(_share((emotions == chosen)[decided]), one_annotator, strata)


def _share(hits: NDArray[np.bool_]) -> Measurement | None:
    return wilson_interval(int(hits.sum()), len(hits)) if len(hits) else None


def majority_vote_row(truth: NDArray[np.int64], votes: NDArray[np.int64]) -> dict[str, Any]:
    """Score the majority vote against the labels, as a row of the leaderboard.

    A row needs a prediction for every face: where votes tie, the first tied emotion in FER-2013's order is
    taken. The expected score of a tie broken at random is `ties_at_random`.

    Args:
        truth: (n,) labels.
        votes: (n, 10).

    Returns:
        plain values: name, n, accuracy with its interval, `ties_at_random`, and the faces without a majority
            among the emotions, by reason.
    """
    is_most = votes == votes.max(axis=1)[:, None]
    first, faces = votes.argmax(axis=1), np.arange(len(truth))
    chosen = majority(votes)
    others = {COLUMNS[c]: int((chosen == c).sum()) for c in range(len(EMOTIONS), len(COLUMNS))}
    return {
        "name": MAJORITY,
        "n": len(truth),
        "accuracy": wilson_interval(int((first == truth).sum()), len(truth)).as_json(),
        "ties_at_random": float((is_most[faces, truth] / is_most.sum(axis=1)).mean()),
        "no_majority": {"tied": int((chosen == TIE).sum()), **others},
    }


def _json(measured: Measurement | None) -> dict[str, Any] | None:
    return None if measured is None else {**measured.as_json(), "n": measured.n}
