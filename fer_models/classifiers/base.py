"""What a classifier is: faces in, seven probabilities (or no answer, with a reason) out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fer_models.classifiers.prompts import PromptSet
from fer_models.classifiers.vlm.questions import Question
from fer_models.emotions import EMOTIONS, LABELS, LabelSpace
from fer_models.errors import PredictionError, encodable, one_line
from fer_models.images import Face

#: The status of a face that was answered; anything else is the reason why it was not.
ANSWERED = "ok"
#: How far a row of probabilities may sum from 1: half precision over seven classes stays well within.
SUM_TOLERANCE = 1e-2


@dataclass(frozen=True)
class Predictions:
    """What a classifier says of a batch of faces.

    Attributes:
        probabilities: float64 (n, 7) in `Emotion` order, each row summing to 1; NaN rows where there is no
            answer.
        status: per face `ok`, or why there is no answer.
        text: per face what a language model wrote; empty otherwise. Lone surrogates, which no file can hold,
            become U+FFFD.
        labels: the order in which the model itself declared its classes.
        has_probabilities: the model gave the probabilities. False for written answers: a row is 1 for the
            emotion that was named and 0 elsewhere, which says nothing about how likely the model finds it, so
            no logarithmic loss and no calibration can be computed from it.

    Raises:
        PredictionError: an array or tuple of another shape, length or type, or an answered row that is no
            distribution.
    """

    probabilities: NDArray[np.float64]
    status: tuple[str, ...]
    text: tuple[str, ...]
    labels: tuple[str, ...]
    has_probabilities: bool = True

    def __post_init__(self) -> None:
        n = len(_texts("status", self.status, None))
        rows = _numbers(self.probabilities)
        if rows.shape != (n, len(EMOTIONS)):
            raise PredictionError(
                f"Probabilities of {n} faces have shape ({n}, {len(EMOTIONS)}); got {rows.shape}."
            )
        if "" in self.status:
            raise PredictionError(
                f"The status of a face is {ANSWERED!r}, or the reason why there is no answer; got an empty text."
            )
        answered = np.array([s == ANSWERED for s in self.status], dtype=bool)
        _check(rows, answered)
        object.__setattr__(self, "probabilities", np.where(answered[:, None], rows, np.nan))
        object.__setattr__(self, "status", _texts("status", self.status, n))
        object.__setattr__(self, "text", _texts("text", self.text, n))
        object.__setattr__(self, "labels", _texts("labels", self.labels, None))

    def __len__(self) -> int:
        return len(self.status)

    @property
    def answer(self) -> NDArray[np.int64]:
        """The most probable emotion per face (the first of equals), -1 where there is no answer."""
        answered = np.array([s == ANSWERED for s in self.status], dtype=bool)
        return (
            np.where(answered, np.argmax(np.nan_to_num(self.probabilities, nan=-1.0), axis=1), -1)
            if len(self)
            else np.zeros(0, dtype=np.int64)
        )

    @classmethod
    def joined(cls, parts: Sequence[Predictions]) -> Predictions:
        """Predictions of one model about several batches, as one; at least one of them."""
        rows = np.concatenate([part.probabilities for part in parts])
        status, text = (
            tuple(s for part in parts for s in part.status),
            tuple(t for part in parts for t in part.text),
        )
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

        Classes outside the seven (contempt, …) are dropped and the rest rescaled to sum to 1; emotions that
        the model does not know get probability 0.

        Args:
            rows: (n, k) probabilities, k = len(labels).
            labels: the name of each column, in the model's own order.
            unanswered: row -> reason, for faces without an answer; their probabilities are ignored.
            text: what the model wrote, per face.
            has_probabilities: see `Predictions`; False where the rows only code which emotion the model
                named.

        Raises:
            PredictionError: wrong shape or type, NaN, negative, or rows that do not sum to 1.
        """
        given, labels = _numbers(rows), _texts("labels", labels, None)
        if given.ndim != 2 or given.shape[1] != len(labels):
            raise PredictionError(
                f"Probabilities must have shape (faces, {len(labels)}) for the classes {', '.join(labels)}; got {given.shape}."
            )
        reasons = unanswered or {}
        if foreign := [i for i in reasons if i not in range(len(given))] or [
            i for i, reason in reasons.items() if reason == ANSWERED
        ]:
            raise PredictionError(
                f"`unanswered` maps the row of a face, 0..{len(given) - 1}, to a reason; got {one_line(repr(foreign[0]))}."
            )
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
        return cls(seven, status, _texts("text", text, None) or ("",) * len(given), labels, has_probabilities)


def _numbers(rows: ArrayLike) -> NDArray[np.float64]:
    """`rows` as a float64 array of its own: a model may use its buffer again for the next batch."""
    try:
        given = np.asarray(rows)
    except ValueError as error:
        raise PredictionError(
            f"Probabilities must be an array of numbers, as many in each row; {one_line(str(error))}."
        ) from error
    if given.dtype.kind not in "fiub":
        raise PredictionError(f"Probabilities must be real numbers; got an array of {given.dtype}.")
    return given.astype(np.float64)


def _texts(what: str, given: Sequence[str], n: int | None) -> tuple[str, ...]:
    """`given` as a tuple of `n` texts (of any number where that is None)."""
    if (
        isinstance(given, str | bytes)
        or not isinstance(given, Sequence | np.ndarray)
        or not all(isinstance(one, str) for one in given)
    ):
        raise PredictionError(
            f"`{what}` must be a sequence of texts; got {type(given).__name__}{_first_of_another_type(given)}."
        )
    if n is not None and len(given) != n:
        raise PredictionError(f"`{what}` must hold one text per face: {n}; got {len(given)}.")
    return tuple(encodable(str(one)) for one in given)


def _first_of_another_type(given: Any) -> str:
    other = (
        [type(one).__name__ for one in given if not isinstance(one, str)]
        if isinstance(given, list | tuple)
        else []
    )
    return f" with {other[0]} in it" if other else ""


def _check(rows: NDArray[np.float64], answered: NDArray[np.bool_]) -> None:
    checked = rows[answered]
    with np.errstate(over="ignore"):  # infinite is as far from 1 as too much
        total = checked.sum(axis=1)
    for bad, what in (
        (~np.isfinite(checked).all(axis=1), "is not a number"),
        ((checked < 0).any(axis=1), "is negative"),
        (np.abs(total - 1.0) > SUM_TOLERANCE, "sums away from 1 (are these logits? apply a softmax)"),
    ):
        if bad.any():
            row = int(np.flatnonzero(answered)[np.argmax(bad)])
            values = ", ".join(f"{v:.4g}" for v in rows[row])
            raise PredictionError(
                f"The probabilities of face {row} of the batch are wrong: one {what} [{values}]; {int(bad.sum())} of {len(checked)} such."
            )


class Classifier(Protocol):
    """Anything with a `predict`: faces as uint8 RGB (H, W, 3) arrays, of any sizes, in; `Predictions` of the
    same length out.
    """

    def predict(self, faces: Sequence[Face], /) -> Predictions:
        """The seven probabilities of each face, or no answer with a reason; it may not change the faces."""
        ...


@runtime_checkable
class Preprocessable(Protocol):
    """A classifier whose preparation of faces can be timed apart from its network."""

    def preprocess(self, faces: Sequence[Face], /) -> Any:
        """The batch as the network wants it."""
        ...

    def infer(self, batch: Any, /) -> Predictions:
        """What the network says of a prepared batch."""
        ...


@runtime_checkable
class Profiled(Protocol):
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
    """A classifier that gives a face a direction first, and an answer from that alone: another prompt needs
    no look at the face.
    """

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
class QuestionAnswering(Protocol):
    """A classifier that is asked a question, and can be asked another one without being loaded again."""

    def with_question(self, question: Question, /) -> Classifier:
        """The same model with another question."""
        ...
