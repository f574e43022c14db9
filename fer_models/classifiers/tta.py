"""Test-time augmentation as a model: it is declared in the model's name (`+tta`), never silent."""

from __future__ import annotations

from collections.abc import Sequence
from inspect import getattr_static

import numpy as np

from fer_models.classifiers.base import ANSWERED, Classifier, Predictions, Profiled, device_of
from fer_models.images import Face

#: The reason why a face has no prediction.
_DIFFERENT = "different responses for the face and its mirror image"


class FlipTTA:
    """Mean of a classifier's probabilities for each face and its mirror image.

    A face where either has no prediction has none, with the reason of that one. Nor has one whose two
    responses name different emotions, where the model gives no probabilities.
    """

    def __init__(self, classifier: Classifier) -> None:
        self.classifier, self.device = classifier, device_of(classifier)

    def predict(self, faces: Sequence[Face], /) -> Predictions:
        """See `Classifier.predict`."""
        plain = self.classifier.predict(faces)
        mirrored = self.classifier.predict([np.ascontiguousarray(face[:, ::-1]) for face in faces])
        status = tuple(b if a == ANSWERED else a for a, b in zip(plain.status, mirrored.status, strict=True))
        has_both = plain.has_probabilities and mirrored.has_probabilities
        if not has_both:
            differs = plain.answer != mirrored.answer
            status = tuple(
                _DIFFERENT if s == ANSWERED and d else s for s, d in zip(status, differs, strict=True)
            )
        return Predictions(
            (plain.probabilities + mirrored.probabilities) / 2, status, plain.text, plain.labels, has_both
        )


class _ProfiledFlipTTA(FlipTTA):
    """`FlipTTA` around a `Profiled` classifier."""

    classifier: Profiled  # type: ignore[assignment]

    @property
    def parameters(self) -> int:
        """Number of parameters."""
        return self.classifier.parameters

    @property
    def macs(self) -> int:
        """Operations of both predictions of a face."""
        return 2 * self.classifier.macs


def flip_tta(classifier: Classifier) -> FlipTTA:
    """Wrap a classifier in `FlipTTA`; `Profiled` if it is."""
    # Not by `isinstance`, which up to Python 3.11 computes the properties: `macs` runs the network.
    has_both = all(getattr_static(classifier, name, None) is not None for name in ("parameters", "macs"))
    return (_ProfiledFlipTTA if has_both else FlipTTA)(classifier)
