"""How much worse answers become on bad pictures: every corruption at every severity, on some of the faces,
with and without restoration.
"""

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

Ask = Callable[[Sequence[Face]], Predictions]
#: What the figures of a record are called in its `metrics`.
PREFIX = "corruptions: "


def copies(severities: Sequence[int]) -> int:
    """How many images there are of each face: as it is, and corrupted."""
    return 1 + len(severities) * len(corruptions.names())


@dataclass(frozen=True)
class CorruptionRobustness:
    """What corruptions do to one model's answers, after one restoration.

    Attributes:
        n: faces asked.
        clean: accuracy on these faces as they are, 0..1.
        accuracy: for each corruption its accuracy at each of `severities`.
        wrong: how many corrupted images of each face are predicted wrong, over all corruptions and
            severities.
        severities: 1 to 5, or some of them.
        suffix: what the recorded figure's name says of these sizes (`Depth.size_suffix`).
    """

    n: int
    clean: float
    accuracy: dict[str, tuple[float, ...]]
    wrong: FaceCounts = field(compare=False)
    severities: tuple[int, ...] = SEVERITIES
    suffix: str = ""

    @property
    def mean_error(self) -> float:
        """The mean corruption error: the share of wrong answers, over all corruptions and severities alike.
        (Hendrycks & Dietterich 2019, arXiv:1903.12261, divide each corruption's by AlexNet's; no such common
        measure is known for faces, so ours are as they are.)
        """
        return self.wrong.value

    def figures(self) -> dict[str, FaceCounts]:
        """What is recorded, and must not rise."""
        return {f"{PREFIX}mean error{self.suffix}": self.wrong}

    def as_json(self) -> dict[str, Any]:
        """For evals.json."""
        fields = {name: value for name, value in asdict(self).items() if name not in ("suffix", "wrong")}
        return {**fields, "mean_error": self.mean_error}


def measure(
    ask: Ask,
    faces: Sequence[Face],
    truth: NDArray[np.int64],
    severities: tuple[int, ...] = SEVERITIES,
    suffix: str = "",
) -> CorruptionRobustness:
    """Accuracy on every corruption of all faces.

    Args:
        ask: the model, behind its restoration.
        faces: as they are.
        truth: (n,) emotions.
        severities: of 1 to 5, those to corrupt with.
        suffix: as in `Robustness`.
    """
    clean = float((ask(faces).answer == truth).mean())
    each, wrong = {}, np.zeros(len(faces), dtype=np.int64)
    for name in corruptions.names():  # one at a time: all at once would not fit into memory for many faces
        images = [Corruption(name, severity).apply(face) for severity in severities for face in faces]
        correct = ask(images).answer.reshape(len(severities), len(faces)) == truth
        each[name] = tuple(float(row.mean()) for row in correct)
        wrong += (~correct).sum(axis=0)
    return CorruptionRobustness(
        len(faces), clean, each, FaceCounts(wrong, len(each) * len(severities)), severities, suffix
    )
