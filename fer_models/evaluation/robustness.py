"""How much worse answers become on bad pictures: every corruption at every severity, on some of the faces, with and without restoration."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fer_models import corruptions
from fer_models.classifiers.base import Predictions
from fer_models.corruptions import SEVERITIES, Corruption
from fer_models.images import Face

Ask = Callable[[Sequence[Face]], Predictions]
#: What the figures of a record are called in its `metrics`.
PREFIX = "corruptions: "
#: How often a face is asked: as it is, and spoilt.
COPIES = 1 + len(SEVERITIES) * len(corruptions.names())


@dataclass(frozen=True)
class Robustness:
    """What corruptions do to one model's answers, after one restoration.

    Attributes:
        n: faces asked.
        clean: accuracy on these faces as they are, 0..1.
        accuracy: for each corruption its accuracy at severity 1 to 5.
    """

    n: int
    clean: float
    accuracy: dict[str, tuple[float, ...]]

    @property
    def mean_error(self) -> float:
        """The mean corruption error: the share of wrong answers, over all corruptions and severities alike. (Hendrycks & Dietterich 2019,
        arXiv:1903.12261, divide each corruption's by AlexNet's; no such common measure is known for faces, so ours are as they are.)"""
        return 1 - float(np.mean(list(self.accuracy.values())))

    def figures(self) -> dict[str, float]:
        """What is recorded, and must not rise."""
        return {f"{PREFIX}mean error": round(self.mean_error, 6)}

    def as_json(self) -> dict[str, Any]:
        """For evals.json."""
        return {**asdict(self), "mean_error": self.mean_error}


def measure(ask: Ask, faces: Sequence[Face], truth: NDArray[np.int64]) -> Robustness:
    """Spoil all faces in every way.

    Args:
        ask: the model, behind its restoration.
        faces: as they are.
        truth: (n,) emotions.
    """

    def accuracy(pictures: Sequence[Face]) -> float:
        return float((ask(pictures).answer == truth).mean())

    found = {
        name: tuple(accuracy([Corruption(name, severity).apply(face) for face in faces]) for severity in SEVERITIES) for name in corruptions.names()
    }
    return Robustness(len(faces), accuracy(faces), found)
