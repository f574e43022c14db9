"""Entries of evals.json about one subject: its scores from its predictions, and its verdict.

They need predictions and no model or faces, so a run and a store of earlier predictions give the same ones.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fer_models.classifiers.vlm.questions import Question
from fer_models.gate.baselines import BaselineRecord
from fer_models.gate.gate import Verdict
from fer_models.scoring import annotators, leakage
from fer_models.scoring.metrics import Metrics
from fer_models.scoring.reliability import reliability_bins
from fer_models.scoring.responses import response_summary
from fer_models.scoring.selective import selective_prediction
from fer_models.scoring.slices import score_slices
from fer_models.slices.columns import SliceColumns
from fer_models.store.predictions import PredictionTable
from fer_models.store.subject import Subject


@dataclass(frozen=True, eq=False)
class FaceFacts:
    """What is known of the predicted faces besides their labels.

    Attributes:
        train_hashes: pixel hashes of the faces in `train`; None where they are not known.
        votes: (n, 10), of annotators; None where there are none.
        slices: of the faces.
    """

    train_hashes: Collection[str] | None = None
    votes: NDArray[np.int64] | None = None
    slices: SliceColumns = field(default_factory=SliceColumns)


def scores_json(
    subject: Subject,
    predictions: PredictionTable,
    measured: Metrics,
    *,
    of: int,
    question: Question | None = None,
    faces: FaceFacts | None = None,
) -> dict[str, Any]:
    """Describe the scores of a subject, without a verdict.

    Args:
        subject: what was predicted.
        predictions: in canonical order.
        measured: their metrics.
        of: the number of faces in the full split.
        question: the question of a generative model, which defines what letters in replies mean.
        faces: what is known of them; None where only the predictions are.
    """
    selective = selective_prediction(predictions)
    described, faces = measured.as_json(), faces or FaceFacts()
    leaked = None if faces.train_hashes is None else leakage.score(predictions, faces.train_hashes)
    if leaked is not None and leaked.without_leaked is not None:
        accuracy = {**leaked.without_leaked.as_json(), "n": leaked.without_leaked.n}
        described["metrics"]["accuracy_without_leaks"] = accuracy
    return {
        "subject": subject.as_json(),
        "id": subject.id,
        **described,
        "of": of,
        "leakage": leaked.as_json() if leaked else None,
        "responses": response_summary(predictions, question),
        "votes": None if faces.votes is None else annotators.score(predictions, faces.votes).as_json(),
        "slices": [one.as_json() for one in score_slices(predictions, faces.slices)],
        "reliability": [one.as_json() for one in reliability_bins(predictions)],
        "selective": None if selective is None else selective.as_json(),
    }


def verdict_json(
    outcome: Verdict | Exception | None, record: BaselineRecord | None, message: str, strict: bool
) -> dict[str, Any]:
    """Describe the verdict on a subject.

    Args:
        outcome: the verdict, or the error that prevented it; None for a subject that is not judged.
        record: the baseline of the subject, or None.
        message: describes the outcome; by default the error.
        strict: INCONCLUSIVE, NEW and DEGRADED fail too.
    """
    verdict = outcome if isinstance(outcome, Verdict) else None
    error = outcome if isinstance(outcome, Exception) else None
    degradation = verdict.comparison.degradation if verdict else None
    return {
        "verdict": verdict.status if verdict else "ERROR" if error else None,
        "fails": verdict.fails(strict) if verdict else error is not None,
        "message": message or (str(error) or type(error).__name__ if error else ""),
        "baseline": record and {"metrics": dict(record.metrics), "recorded": dict(record.recorded)},
        "changes": verdict.changes_json() if verdict else None,
        "log_loss": degradation.as_json() if degradation else None,
    }
