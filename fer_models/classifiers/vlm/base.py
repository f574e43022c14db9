"""Vision-language models as classifiers, by generated replies or by the likelihood of seven replies.

The answer mode is part of a model's name (`+likelihood`, …): the modes are different measurements.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from fer_models.classifiers.base import ANSWERED, Predictions, device_of
from fer_models.classifiers.vlm import response_parser
from fer_models.classifiers.vlm.questions import Question
from fer_models.emotions import EMOTIONS, LABELS
from fer_models.images import Face

#: The answer modes: generated text, parsed by `response_parser`; or the probabilities of the seven replies,
#: as they are, per token (so that long words are not at a disadvantage), or relative to their probabilities
#: for a blank image (contextual calibration, Zhao et al. 2021, arXiv:2102.09690).
GENERATE, LIKELIHOOD, NORMALIZED, CALIBRATED = (
    "generate",
    "likelihood",
    "likelihood-normalized",
    "likelihood-calibrated",
)
ANSWER_MODES = (GENERATE, LIKELIHOOD, NORMALIZED, CALIBRATED)
#: The largest number of tokens that a reply may have.
MAX_REPLY_TOKENS = 64
#: A blank image: uniform grey, as large as a face of FER-2013.
_BLANK_IMAGE: Face = np.full((48, 48, 3), 128, dtype=np.uint8)


class VlmBackend(Protocol):
    """Vision-language model: an image and a question in, text or likelihoods of replies out."""

    def generate(self, faces: Sequence[Face], question: str, longest: int) -> list[str]:
        """Generate a reply per face by greedy decoding, of at most `longest` tokens."""
        ...

    def loglikelihood(
        self, faces: Sequence[Face], question: str, replies: Sequence[str]
    ) -> NDArray[np.float64]:
        """Log-likelihood that the response begins with each reply: natural logarithms, (n, replies)."""
        ...

    def lengths(self, replies: Sequence[str]) -> NDArray[np.int64]:
        """Number of tokens of each reply."""
        ...

    @property
    def parameters(self) -> int:
        """Number of parameters."""
        ...


class VlmClassifier:
    """Classifier around a vision-language model, with one question and one answer mode."""

    labels = LABELS

    def __init__(self, backend: VlmBackend, question: Question, answer_mode: str = GENERATE) -> None:
        self.backend, self.question, self.answer_mode = backend, question, answer_mode
        self.device = device_of(backend)
        self._blank_scores: NDArray[np.float64] | None = None

    def predict(self, faces: Sequence[Face], /) -> Predictions:
        """See `Classifier.predict`; the texts are the replies."""
        if self.answer_mode == GENERATE:
            return parse_responses(
                self.backend.generate(faces, self.question.render(), MAX_REPLY_TOKENS), self.question
            )
        from scipy.special import softmax  # imported late, so that listing the zoo stays fast

        return Predictions.from_probabilities(softmax(self._scores(faces), axis=1), LABELS)

    def with_question(self, question: Question, /) -> VlmClassifier:
        """The same model with another question."""
        return VlmClassifier(self.backend, question, self.answer_mode)

    def _scores(self, faces: Sequence[Face]) -> NDArray[np.float64]:
        question, replies = self.question.render(), self.question.replies
        scores = self.backend.loglikelihood(faces, question, replies)
        if self.answer_mode == NORMALIZED:
            return scores / self.backend.lengths(replies)
        if self.answer_mode == CALIBRATED:
            if self._blank_scores is None:
                self._blank_scores = self.backend.loglikelihood([_BLANK_IMAGE], question, replies)
            return scores - self._blank_scores
        return scores

    @property
    def parameters(self) -> int:
        """Number of parameters."""
        return self.backend.parameters

    @property
    def macs(self) -> int:
        """Multiply-accumulates to process one face and the question once; see `flops.macs`."""
        from fer_models.classifiers import flops

        return flops.macs(
            lambda: self.backend.loglikelihood(
                [_BLANK_IMAGE], self.question.render(), self.question.replies[:1]
            )
        )


def parse_responses(
    replies: Sequence[str], question: Question, refused: Mapping[int, str] = MappingProxyType({})
) -> Predictions:
    """Parse replies into predictions.

    All probability is on the emotion that is named; a face whose reply names none has no prediction.

    Args:
        replies: one per face.
        question: the question about each face.
        refused: the reason why there is no reply, by row.
    """
    responses = [response_parser.parse_response(reply, question.options) for reply in replies]
    rows = np.zeros((len(replies), len(EMOTIONS)))
    for row, response in zip(rows, responses, strict=True):
        row[response.emotion if response.emotion is not None else 0] = 1.0
    reasons = {i: response.status for i, response in enumerate(responses) if response.status != ANSWERED}
    reasons |= refused
    return Predictions.from_probabilities(
        rows, LABELS, unanswered=reasons, text=replies, has_probabilities=False
    )
