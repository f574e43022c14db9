"""Predictions of one subject as a table with one row per face."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from fer_models.classifiers.base import Predictions
from fer_models.datasets.base import compute_fingerprint
from fer_models.emotions import LABELS
from fer_models.text_column import TextColumn


@dataclass(frozen=True)
class PredictionTable:
    """Predictions of one subject, faces in canonical order.

    Attributes:
        faces: the sha256 of each face's pixels before restoration.
        index: int64 (n,), the row of each face in the full split of its dataset.
        truth: int64 (n,), the labels.
        answer: int64 (n,), the predicted emotions, -1 for no prediction.
        probabilities: float64 (n, 7), NaN rows for no prediction; each value is a float32.
        status: `ok`, or the reason why there is no prediction; each text is stored once.
        text: the reply of a generative model.
        has_probabilities: as in `Predictions`: False where `probabilities` only code the emotions named in
            the replies.
    """

    faces: TextColumn
    index: NDArray[np.int64]
    truth: NDArray[np.int64]
    answer: NDArray[np.int64]
    probabilities: NDArray[np.float64]
    status: TextColumn
    text: TextColumn
    has_probabilities: bool = True

    def __post_init__(self) -> None:
        for name in ("faces", "status", "text"):  # any sequence of texts is accepted
            column = TextColumn.of(getattr(self, name), repeated=name == "status")
            object.__setattr__(self, name, column)

    def __len__(self) -> int:
        return len(self.faces)

    @property
    def correct(self) -> NDArray[np.bool_]:
        """Which faces are predicted as labelled."""
        return np.equal(self.truth, self.answer)

    @property
    def p_true(self) -> NDArray[np.float64]:
        """Probability of the labelled emotion, 0 where there is no prediction; float64 (n,)."""
        p: NDArray[np.float64] = np.nan_to_num(self.probabilities[np.arange(len(self)), self.truth], nan=0.0)
        return p

    @cached_property
    def fingerprint(self) -> str:
        """Fingerprint of these faces and labels; of a full split it is `FaceSet.fingerprint`."""
        return compute_fingerprint(self.faces, self.truth)

    def select(self, rows: NDArray[np.int64]) -> PredictionTable:
        """Select rows, in the order given."""
        faces, status, text = (column[rows] for column in (self.faces, self.status, self.text))
        columns = (self.index[rows], self.truth[rows], self.answer[rows], self.probabilities[rows])
        return PredictionTable(faces, *columns, status, text, self.has_probabilities)

    @classmethod
    def concatenate(cls, parts: list[PredictionTable]) -> PredictionTable:
        """Concatenate several tables."""
        return cls(
            TextColumn.concatenate([p.faces for p in parts]),
            np.concatenate([p.index for p in parts]),
            np.concatenate([p.truth for p in parts]),
            np.concatenate([p.answer for p in parts]),
            np.concatenate([p.probabilities for p in parts]),
            TextColumn.concatenate([p.status for p in parts]),
            TextColumn.concatenate([p.text for p in parts]),
            all(p.has_probabilities for p in parts),
        )

    def to_predictions(self, rows: slice = slice(None)) -> Predictions:
        """Convert some rows to the predictions that a classifier returned."""
        status, text = tuple(self.status[rows]), tuple(self.text[rows])
        return Predictions(self.probabilities[rows], status, text, LABELS, self.has_probabilities)


def canonical_order(hashes: Sequence[str], labels: NDArray[np.int64]) -> NDArray[np.int64]:
    """Rows of a face set in canonical order: by pixel hash, then label, then row; int64 (n,)."""
    order: NDArray[np.int64] = np.lexsort((labels, TextColumn.of(hashes).ranks())).astype(np.int64)
    return order
