"""What a classifier is: faces in, seven probabilities (or no answer, with a reason) out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fer_models.classifiers.prompts import PromptSet
from fer_models.classifiers.questions import Question
from fer_models.emotions import EMOTIONS, LABELS, LabelSpace
from fer_models.errors import PredictionError
from fer_models.images import Face

#: The status of a face that was answered; anything else is the reason why it was not.
ANSWERED = "ok"
#: How far a row of probabilities may sum from 1: half precision over seven classes stays well within.
SUM_TOLERANCE = 1e-2


@dataclass(frozen=True)
class Predictions:
    """What a classifier says of a batch of faces.

    Attributes:
        probabilities: float64 (n, 7) in `Emotion` order, each row summing to 1; NaN rows where there is no answer.
        status: per face `ok`, or why there is no answer.
        text: per face what a language model wrote; empty otherwise.
        labels: the order in which the model itself declared its classes.
        has_probabilities: the model gave the probabilities. False for written answers: a row is 1 for the emotion that was named and 0 elsewhere,
            which says nothing about how likely the model finds it, so no logarithmic loss and no calibration can be computed from it.
    """

    probabilities: NDArray[np.float64]
    status: tuple[str, ...]
    text: tuple[str, ...]
    labels: tuple[str, ...]
    has_probabilities: bool = True

    def __len__(self) -> int:
        return len(self.status)

    @property
    def answer(self) -> NDArray[np.int64]:
        """The most probable emotion per face (the first of equals), -1 where there is no answer."""
        answered = np.array([s == ANSWERED for s in self.status], dtype=bool)
        return np.where(answered, np.argmax(np.nan_to_num(self.probabilities, nan=-1.0), axis=1), -1) if len(self) else np.zeros(0, dtype=np.int64)

    @classmethod
    def joined(cls, parts: Sequence[Predictions]) -> Predictions:
        """Predictions of one model about several batches, as one; at least one of them."""
        rows = np.concatenate([part.probabilities for part in parts])
        status, text = tuple(s for part in parts for s in part.status), tuple(t for part in parts for t in part.text)
        return cls(rows, status, text, parts[0].labels, all(part.has_probabilities for part in parts))

    @classmethod
    def from_probabilities(
        cls,
        rows: ArrayLike,
        labels: Sequence[str] = LABELS,
        *,
        unanswered: dict[int, str] | None = None,
        text: Sequence[str] = (),
        has_probabilities: bool = True,
    ) -> Predictions:
        """Predictions from the model's own columns, mapped to the seven emotions by name.

        Classes outside the seven (contempt, …) are dropped and the rest rescaled to sum to 1; emotions that the model does not
        know get probability 0.

        Args:
            rows: (n, k) probabilities, k = len(labels).
            labels: the name of each column, in the model's own order.
            unanswered: row -> reason, for faces without an answer; their probabilities are ignored.
            text: what the model wrote, per face.
            has_probabilities: see `Predictions`; False where the rows only code which emotion the model named.

        Raises:
            PredictionError: wrong shape, NaN, negative, or rows that do not sum to 1.
        """
        given = np.asarray(rows, dtype=np.float64)
        if given.ndim != 2 or given.shape[1] != len(labels):
            raise PredictionError(f"Probabilities must have shape (faces, {len(labels)}) for the classes {', '.join(labels)}; got {given.shape}.")
        reasons = unanswered or {}
        answered = np.array([i not in reasons for i in range(len(given))], dtype=bool)
        _check(given, answered)
        space = LabelSpace.from_names("the model's labels", labels)
        seven: NDArray[np.float64] = np.full((len(given), len(EMOTIONS)), 0.0)
        for emotion in EMOTIONS:
            if emotion in space.order:
                seven[:, emotion] = given[:, space.index(emotion)]
        total = seven.sum(axis=1, keepdims=True)
        if (answered & (total[:, 0] <= 0)).any():
            raise PredictionError(
                f"Face {int(np.argmax(answered & (total[:, 0] <= 0)))} of the batch has no probability on any of the seven emotions."
            )
        seven = np.where(answered[:, None], seven / np.where(total > 0, total, 1.0), np.nan)
        status = tuple(reasons.get(i, ANSWERED) for i in range(len(given)))
        return cls(seven, status, tuple(text) or ("",) * len(given), tuple(labels), has_probabilities)


def _check(rows: NDArray[np.float64], answered: NDArray[np.bool_]) -> None:
    checked = rows[answered]
    for bad, what in (
        (~np.isfinite(checked).all(axis=1), "is not a number"),
        ((checked < 0).any(axis=1), "is negative"),
        (np.abs(checked.sum(axis=1) - 1.0) > SUM_TOLERANCE, "sums away from 1 (are these logits? apply a softmax)"),
    ):
        if bad.any():
            row = int(np.flatnonzero(answered)[np.argmax(bad)])
            values = ", ".join(f"{v:.4g}" for v in rows[row])
            raise PredictionError(
                f"The probabilities of face {row} of the batch are wrong: one {what} [{values}]; {int(bad.sum())} of {len(checked)} such."
            )


class Classifier(Protocol):
    """Anything with a `predict`: faces as uint8 RGB (H, W, 3) arrays, of any sizes, in; `Predictions` of the same length out."""

    def predict(self, faces: Sequence[Face], /) -> Predictions:
        """The seven probabilities of each face, or no answer with a reason; it may not change the faces."""
        ...


@runtime_checkable
class Staged(Protocol):
    """A classifier whose preparation of faces can be timed apart from its network."""

    def preprocess(self, faces: Sequence[Face], /) -> Any:
        """The batch as the network wants it."""
        ...

    def infer(self, batch: Any, /) -> Predictions:
        """What the network says of a prepared batch."""
        ...


@runtime_checkable
class Countable(Protocol):
    """A classifier that knows its size."""

    @property
    def parameters(self) -> int:
        """Number of parameters."""
        ...

    @property
    def macs(self) -> int:
        """Multiply-accumulate operations for one face."""
        ...


@runtime_checkable
class Embedding(Protocol):
    """A classifier that gives a face a direction first, and an answer from that alone: another prompt needs no look at the face."""

    def embed(self, faces: Sequence[Face], /) -> NDArray[np.float32]:
        """The direction of each face, float32 (n, d)."""
        ...

    def classify(self, features: NDArray[np.float32], /) -> Predictions:
        """The answers to faces given by their directions."""
        ...


class Promptable(Protocol):
    """An `Embedding` that classifies by any prompt set."""

    def classify(self, features: NDArray[np.float32], prompts: PromptSet | None = None, /) -> Predictions:
        """See `clip.Clip.classify`."""
        ...


@runtime_checkable
class Questioned(Protocol):
    """A classifier that is asked a question, and can be asked another one without being loaded again."""

    def asked(self, question: Question, /) -> Classifier:
        """The same model with another question."""
        ...
