"""Test-time augmentation, as a model of its own: it is declared in the subject's name, never silent."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from fer_models.classifiers.base import ANSWERED, Classifier, Predictions, Profiled
from fer_models.images import Face


class FlipTTA:
    """A classifier asked twice, about each face and its mirror image: the mean of the two answers'
    probabilities.

    A face to which either question gets no answer has none, with that question's reason.
    """

    def __init__(self, classifier: Classifier) -> None:
        self.classifier = classifier

    def predict(self, faces: Sequence[Face], /) -> Predictions:
        """See `Classifier.predict`."""
        seen = self.classifier.predict(faces)
        mirrored = self.classifier.predict([np.ascontiguousarray(face[:, ::-1]) for face in faces])
        status = tuple(b if a == ANSWERED else a for a, b in zip(seen.status, mirrored.status, strict=True))
        both = seen.has_probabilities and mirrored.has_probabilities
        return Predictions(
            (seen.probabilities + mirrored.probabilities) / 2, status, seen.text, seen.labels, both
        )


class _ProfiledFlipTTA(FlipTTA):
    """The same around a classifier that knows its size."""

    def __init__(self, classifier: Classifier, parameters: int, macs: int) -> None:
        super().__init__(classifier)
        self.parameters, self.macs = parameters, macs


def flip_tta(classifier: Classifier) -> FlipTTA:
    """`classifier` with its mirror question; countable if it is, with the operations of both questions."""
    if isinstance(classifier, Profiled):
        return _ProfiledFlipTTA(classifier, classifier.parameters, 2 * classifier.macs)
    return FlipTTA(classifier)
