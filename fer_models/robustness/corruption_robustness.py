"""Corruption robustness: predictions on every corruption at every severity, on some of the faces."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fer_models import corruptions
from fer_models.classifiers.base import Predictions
from fer_models.corruptions import SEVERITIES, Corruption
from fer_models.images import Face
from fer_models.scoring.face_counts import FaceCounts

Predict = Callable[[Sequence[Face]], Predictions]
#: Prefix of the figures in the `metrics` of a record.
PREFIX = "corruptions: "


def copies(severities: Sequence[int]) -> int:
    """Number of images per face: the face itself, and its corrupted copies."""
    return 1 + len(severities) * len(corruptions.names())


@dataclass(frozen=True)
class CorruptionRobustness:
    """Corruption robustness of one model after one restoration.

    Attributes:
        n: the number of faces.
        clean: accuracy on these faces without corruption, 0..1.
        accuracy: for each corruption its accuracy at each of `severities`.
        wrong: how many corrupted images of each face are predicted wrong, over all corruptions and
            severities.
        severities: 1 to 5, or some of them.
        suffix: of the recorded figure's name, for these sizes (`Depth.size_suffix`).
    """

    n: int
    clean: float
    accuracy: dict[str, tuple[float, ...]]
    wrong: FaceCounts = field(compare=False)
    severities: tuple[int, ...] = SEVERITIES
    suffix: str = ""

    @property
    def mean_error(self) -> float:
        """Mean corruption error: the share of wrong predictions over all corruptions and severities.

        Hendrycks & Dietterich 2019 (arXiv:1903.12261) divide the error of each corruption by AlexNet's; there
        is no such reference for faces, so it is not divided here.
        """
        return self.wrong.value

    def figures(self) -> dict[str, FaceCounts]:
        """The recorded figure, which must not rise."""
        return {f"{PREFIX}mean error{self.suffix}": self.wrong}

    def as_json(self) -> dict[str, Any]:
        """For evals.json."""
        fields = {name: value for name, value in asdict(self).items() if name not in ("suffix", "wrong")}
        return {**fields, "mean_error": self.mean_error}


def measure(
    predict: Predict,
    faces: Sequence[Face],
    truth: NDArray[np.int64],
    severities: tuple[int, ...] = SEVERITIES,
    suffix: str = "",
) -> CorruptionRobustness:
    """Accuracy on every corruption of all faces.

    Args:
        predict: the model, after its restoration.
        faces: without corruption.
        truth: (n,) emotions.
        severities: of 1 to 5, those to corrupt with.
        suffix: as in `CorruptionRobustness`.
    """
    clean = float((predict(faces).answer == truth).mean())
    each, wrong = {}, np.zeros(len(faces), dtype=np.int64)
    for name in corruptions.names():  # one at a time: all at once would not fit into memory for many faces
        images = [Corruption(name, severity).apply(face) for severity in severities for face in faces]
        correct = predict(images).answer.reshape(len(severities), len(faces)) == truth
        each[name] = tuple(float(row.mean()) for row in correct)
        wrong += (~correct).sum(axis=0)
    return CorruptionRobustness(
        len(faces), clean, each, FaceCounts(wrong, len(each) * len(severities)), severities, suffix
    )
