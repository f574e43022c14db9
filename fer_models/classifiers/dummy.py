"""Dummy classifiers with known scores, as controls for the measurement."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from fer_models.classifiers.base import Predictions
from fer_models.emotions import EMOTIONS, Emotion
from fer_models.images import Face, face_hash


class Constant:
    """Predicts one emotion for every face: its accuracy is that emotion's share of the faces."""

    def __init__(self, emotion: Emotion, certainty: float = 1.0) -> None:
        self.row = np.full(len(EMOTIONS), (1.0 - certainty) / (len(EMOTIONS) - 1))
        self.row[emotion] = certainty

    def predict(self, faces: Sequence[Face]) -> Predictions:
        """The same row for each face."""
        return Predictions.from_probabilities(np.tile(self.row, (len(faces), 1)))


class Oracle:
    """Predicts the label of each face: its accuracy is 1, less for conflicting labels of identical faces.

    Args:
        labels: face hash -> emotion.
        certainty: the probability of the predicted emotion.
    """

    def __init__(self, labels: Mapping[str, Emotion], certainty: float = 0.9) -> None:
        self.labels, self.certainty = dict(labels), certainty

    def predict(self, faces: Sequence[Face]) -> Predictions:
        """The label of each face."""
        rows = np.full((len(faces), len(EMOTIONS)), (1.0 - self.certainty) / (len(EMOTIONS) - 1))
        for row, face in zip(rows, faces, strict=True):
            row[self.labels[face_hash(face)]] = self.certainty
        return Predictions.from_probabilities(rows)


class Abstainer:
    """Predicts nothing: its coverage is 0, and every face counts as wrong."""

    def predict(self, faces: Sequence[Face]) -> Predictions:
        """No prediction for any face."""
        rows = np.zeros((len(faces), len(EMOTIONS)))
        return Predictions.from_probabilities(
            rows, unanswered=dict.fromkeys(range(len(faces)), "the model never predicts")
        )
