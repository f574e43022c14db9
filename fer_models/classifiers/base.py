"""Classifier interface: faces in, seven probabilities (or no prediction, with a reason) out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fer_models.classifiers.network_format import NetworkFormat
from fer_models.classifiers.prompts import PromptSet
from fer_models.classifiers.vlm.questions import Question
from fer_models.emotions import EMOTIONS, LABELS, LabelSpace
from fer_models.errors import PredictionError, encodable, one_line
from fer_models.images import Face

#: The status of a face with a prediction; any other text is the reason why there is none.
ANSWERED = "ok"
#: Why a face has no prediction whose whole probability is on classes outside the seven emotions.
_OUTSIDE = "a class outside the seven emotions"
#: How far a row of probabilities may sum from 1: half precision over seven classes stays well within.
SUM_TOLERANCE = 1e-2


@dataclass(frozen=True)
class Predictions:
    """Predictions for a batch of faces.

    Attributes:
        probabilities: float64 (n, 7) in `Emotion` order, each row summing to 1; NaN rows where there is no
            prediction.
        status: per face `ok`, or the reason why there is no prediction.
        text: per face the response of a generative model; empty otherwise. Lone surrogates, which no file can
            hold, become U+FFFD.
        labels: the order in which the model declares its classes.
        has_probabilities: the model gave the probabilities. False for generated text: a row is 1 for the
            named emotion and 0 elsewhere, which is no estimate of a probability, so no logarithmic loss and
            no calibration can be computed from it.

    Raises:
        PredictionError: an array or tuple of another shape, length or type, or a row with a prediction that
            is no distribution.
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
                f"The status of a face is {ANSWERED!r}, or the reason why there is no prediction; "
                "got an empty text."
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
        """The most probable emotion per face (the first of equals), -1 where there is no prediction."""
        answered = np.array([s == ANSWERED for s in self.status], dtype=bool)
        if not len(self):
            return np.zeros(0, dtype=np.int64)
        return np.where(answered, np.argmax(np.nan_to_num(self.probabilities, nan=-1.0), axis=1), -1)

    @classmethod
    def joined(cls, parts: Sequence[Predictions]) -> Predictions:
        """Concatenate the predictions of one model for one or more batches."""
        rows = np.concatenate([part.probabilities for part in parts])
        status = tuple(s for part in parts for s in part.status)
        text = tuple(t for part in parts for t in part.text)
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
        """Predictions from a model's columns, mapped to the seven emotions by name.

        Classes outside the seven (contempt, …) are dropped and the rest rescaled to sum to 1; a face for
        which nothing is left has no prediction. Emotions that the model lacks get probability 0.

        Args:
            rows: (n, k) probabilities, k = len(labels).
            labels: the name of each column, in the model's order.
            unanswered: row -> reason, for faces without a prediction; their probabilities are ignored.
            text: the response of a generative model, per face.
            has_probabilities: see `Predictions`; False where the rows only encode the emotion that was named.

        Raises:
            PredictionError: wrong shape or type, NaN, negative, or rows that do not sum to 1.
        """
        columns, labels = _numbers(rows), _texts("labels", labels, None)
        n = len(columns) if columns.ndim else 0
        if columns.ndim != 2 or columns.shape[1] != len(labels):
            raise PredictionError(
                f"Probabilities must have shape (faces, {len(labels)}) for the classes {', '.join(labels)}; "
                f"got {columns.shape}."
            )
        reasons = unanswered or {}
        _check_reasons(reasons, n)
        answered = np.array([i not in reasons for i in range(n)], dtype=bool)
        _check(columns, answered)
        space = LabelSpace.from_names("the model's labels", labels)
        seven: NDArray[np.float64] = np.full((n, len(EMOTIONS)), 0.0)
        for emotion in EMOTIONS:
            if emotion in space.order:
                seven[:, emotion] = columns[:, space.index(emotion)]
        total = seven.sum(axis=1, keepdims=True)
        empty = answered & (total[:, 0] <= 0)
        seven = np.where(answered[:, None], seven / np.where(total > 0, total, 1.0), np.nan)
        status = tuple(reasons.get(i, _OUTSIDE if empty[i] else ANSWERED) for i in range(n))
        return cls(seven, status, _texts("text", text, None) or ("",) * n, labels, has_probabilities)


def _check_reasons(reasons: dict[int, str], n: int) -> None:
    invalid = [i for i in reasons if i not in range(n)]
    invalid += [i for i, reason in reasons.items() if reason == ANSWERED]
    if invalid:
        raise PredictionError(
            f"`unanswered` maps the row of a face, 0..{n - 1}, to a reason; got {one_line(repr(invalid[0]))}."
        )


def _numbers(rows: ArrayLike) -> NDArray[np.float64]:
    """A float64 copy of `rows`: a model may use its buffer again for the next batch."""
    try:
        numbers = np.asarray(rows)
    except ValueError as error:
        raise PredictionError(
            f"Probabilities must be an array of numbers, as many in each row; {one_line(str(error))}."
        ) from error
    if numbers.dtype.kind not in "fiub":
        raise PredictionError(f"Probabilities must be real numbers; got an array of {numbers.dtype}.")
    return numbers.astype(np.float64)


def _texts(name: str, values: Sequence[str], n: int | None) -> tuple[str, ...]:
    """`values` as a tuple of `n` texts (of any number where that is None)."""
    is_sequence = isinstance(values, Sequence | np.ndarray) and not isinstance(values, str | bytes)
    if not is_sequence or not all(isinstance(value, str) for value in values):
        raise PredictionError(
            f"`{name}` must be a sequence of texts; got {type(values).__name__}{_other_type(values)}."
        )
    if n is not None and len(values) != n:
        raise PredictionError(f"`{name}` must hold one text per face: {n}; got {len(values)}.")
    return tuple(encodable(str(value)) for value in values)


def _other_type(values: Any) -> str:
    is_list = isinstance(values, list | tuple)
    others = [type(value).__name__ for value in values if not isinstance(value, str)] if is_list else []
    return f" with {others[0]} in it" if others else ""


def _check(rows: NDArray[np.float64], answered: NDArray[np.bool_]) -> None:
    checked = rows[answered]
    with np.errstate(over="ignore"):  # an infinite sum is refused below
        total = checked.sum(axis=1)
    for bad, problem in (
        (~np.isfinite(checked).all(axis=1), "is not a number"),
        ((checked < 0).any(axis=1), "is negative"),
        (np.abs(total - 1.0) > SUM_TOLERANCE, "sums away from 1 (are these logits? apply a softmax)"),
    ):
        if bad.any():
            row = int(np.flatnonzero(answered)[np.argmax(bad)])
            values = ", ".join(f"{v:.4g}" for v in rows[row])
            raise PredictionError(
                f"The probabilities of face {row} of the batch are wrong: one {problem} [{values}]; "
                f"{int(bad.sum())} of {len(checked)} such."
            )


class Classifier(Protocol):
    """Anything with a `predict`.

    Faces are uint8 RGB (H, W, 3) arrays of any sizes; the `Predictions` have the same length.
    """

    def predict(self, faces: Sequence[Face], /) -> Predictions:
        """Predict the emotion of each face, without changing the faces."""
        ...


@runtime_checkable
class Preprocessable(Protocol):
    """Classifier whose preprocessing can be timed separately from its network."""

    def preprocess(self, faces: Sequence[Face], /) -> Any:
        """Preprocess faces into a batch for the network."""
        ...

    def infer(self, batch: Any, /) -> Predictions:
        """Predict from a preprocessed batch."""
        ...


@runtime_checkable
class Prefetchable(Preprocessable, Protocol):
    """Classifier whose `preprocess` may run in another thread while `infer` computes the batch before.

    It changes no global state there, such as the filters of warnings. `infer(preprocess(faces))` equals
    `predict(faces)`; with embeddings, `encode(preprocess(faces))` equals `embed(faces)`.
    """

    @property
    def is_prefetchable(self) -> bool:
        """Whether it makes this promise: a class that has only the methods makes none."""
        ...


@runtime_checkable
class Profiled(Protocol):
    """Classifier with a number of parameters and of operations."""

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
    """Classifier that predicts from embeddings of faces only.

    With another prompt, no face is encoded again.
    """

    def embed(self, faces: Sequence[Face], /) -> NDArray[np.float32]:
        """Embed each face: float32 (n, d)."""
        ...

    def classify(self, features: NDArray[np.float32], /) -> Predictions:
        """Predict from the embeddings of faces, float32 (n, d)."""
        ...


class Promptable(Protocol):
    """Classifier of embeddings with any prompt set."""

    def classify(self, features: NDArray[np.float32], prompts: PromptSet | None = None, /) -> Predictions:
        """See `clip.Clip.classify`."""
        ...


@runtime_checkable
class QuestionAnswering(Protocol):
    """Classifier with a question, which can be replaced without loading the model again."""

    def with_question(self, question: Question, /) -> Classifier:
        """The same model with another question."""
        ...


@runtime_checkable
class Reformattable(Protocol):
    """Classifier that preprocesses faces by a declared format, which may be wrong."""

    @property
    def network_format(self) -> NetworkFormat:
        """The declared format of the network's input and output."""
        ...

    def with_format(self, network_format: NetworkFormat, /) -> Classifier:
        """The same network with another preprocessing; the weights are not loaded again."""
        ...


def device_of(*models: object) -> str | None:
    """The kind of device on which loaded models or restorers compute, from their attribute `device`.

    Returns:
        `cpu`, `cuda`, `mps`, or `server` for another machine; of several models that of one which does not
        use the CPU; None where none of them has it.
    """
    kinds = [str(getattr(model, "device", None)).partition(":")[0] for model in models]
    named = [kind for kind in kinds if kind in ("cpu", "cuda", "mps", "server")]
    return next((kind for kind in named if kind != "cpu"), named[0] if named else None)
