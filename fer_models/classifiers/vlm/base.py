"""A model that reads a picture and writes, as a classifier: asked to write an answer, or how likely it finds
each of the seven.

Both are declared ways to ask (`+likelihood`, …), and part of a model's name: they are different measurements.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from fer_models.classifiers.base import ANSWERED, Predictions
from fer_models.classifiers.vlm import response_parser
from fer_models.classifiers.vlm.questions import Question
from fer_models.emotions import EMOTIONS, LABELS
from fer_models.images import Face

#: The ways to ask: free text, read by `answers`; or the probabilities of the seven replies, as they are, per
#: token (so that long words are not at a disadvantage), or against their probabilities for a picture that
#: shows nothing (contextual calibration, Zhao et al. 2021, arXiv:2102.09690).
GENERATE, LIKELIHOOD, NORMALIZED, CALIBRATED = (
    "generate",
    "likelihood",
    "likelihood-normalized",
    "likelihood-calibrated",
)
ANSWER_MODES = (GENERATE, LIKELIHOOD, NORMALIZED, CALIBRATED)
#: The longest answer that is waited for, in tokens.
LONGEST = 64
#: A picture that shows nothing: even grey, as large as a face of FER-2013.
_NOTHING: Face = np.full((48, 48, 3), 128, dtype=np.uint8)


class VlmBackend(Protocol):
    """A model that is shown a picture and asked in words."""

    def generate(self, faces: Sequence[Face], question: str, longest: int) -> list[str]:
        """Its answer to the question about each face: the likeliest token each time, at most `longest` of
        them.
        """
        ...

    def loglikelihood(
        self, faces: Sequence[Face], question: str, replies: Sequence[str]
    ) -> NDArray[np.float64]:
        """How likely it is to begin its answer with each reply: natural logarithms, (n, replies)."""
        ...

    def lengths(self, replies: Sequence[str]) -> NDArray[np.int64]:
        """How many tokens each reply has."""
        ...

    @property
    def parameters(self) -> int:
        """Number of parameters."""
        ...


class VlmClassifier:
    """A chat model, asked one question in one way."""

    labels = LABELS

    def __init__(self, backend: VlmBackend, question: Question, answer_mode: str = GENERATE) -> None:
        self.chat, self.question, self.way = backend, question, answer_mode
        self._nothing: NDArray[np.float64] | None = None

    def predict(self, faces: Sequence[Face], /) -> Predictions:
        """See `Classifier.predict`; what was written is the text."""
        if self.way == GENERATE:
            return parse_responses(self.chat.generate(faces, self.question.written(), LONGEST), self.question)
        from scipy.special import softmax  # here, so that listing the zoo does not wait for it

        return Predictions.from_probabilities(softmax(self._scores(faces), axis=1), LABELS)

    def with_question(self, question: Question, /) -> VlmClassifier:
        """The same model with another question."""
        return VlmClassifier(self.chat, question, self.way)

    def _scores(self, faces: Sequence[Face]) -> NDArray[np.float64]:
        asked, replies = self.question.written(), self.question.replies
        scores = self.chat.loglikelihood(faces, asked, replies)
        if self.way == NORMALIZED:
            return scores / self.chat.lengths(replies)
        if self.way == CALIBRATED:
            if self._nothing is None:
                self._nothing = self.chat.loglikelihood([_NOTHING], asked, replies)
            return scores - self._nothing
        return scores

    @property
    def parameters(self) -> int:
        """Number of parameters."""
        return self.chat.parameters

    @property
    def macs(self) -> int:
        """Multiply-accumulates to read one face and the question once, see `arithmetic.macs`."""
        from fer_models.classifiers import flops

        return flops.macs(
            lambda: self.chat.loglikelihood([_NOTHING], self.question.written(), self.question.replies[:1])
        )


def parse_responses(replies: Sequence[str], question: Question) -> Predictions:
    """What replies mean: all probability on the emotion that is named, no answer where none can be read; the
    replies are kept.
    """
    readings = [response_parser.parse_response(reply, question.options) for reply in replies]
    rows = np.zeros((len(replies), len(EMOTIONS)))
    for row, reading in zip(rows, readings, strict=True):
        row[reading.emotion if reading.emotion is not None else 0] = 1.0
    silent = {i: reading.status for i, reading in enumerate(readings) if reading.status != ANSWERED}
    return Predictions.from_probabilities(
        rows, LABELS, unanswered=silent, text=replies, has_probabilities=False
    )
