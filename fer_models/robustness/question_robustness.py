"""Question robustness of vision-language models: other questions, and other orders of the options.

The prediction should not depend on the position of the correct option. So each list is rotated until every
emotion has been at every position once: CircularEval (Liu et al. 2023, arXiv:2307.06281) counts a prediction
as correct if it is correct in all rotations, and the positions of the predicted options show a position bias.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fer_models.classifiers.vlm.questions import QUESTIONS, Question
from fer_models.emotions import EMOTIONS
from fer_models.robustness.prompt_robustness import PREFIX, worst_counts
from fer_models.scoring.face_counts import FaceCounts
from fer_models.scoring.intervals import fleiss_kappa, wilson_interval

#: Number of random orders, in addition to the rotations.
SHUFFLES = 3
Answer = Callable[[Question], NDArray[np.int64]]  # the predicted emotion per face, -1 for none


@dataclass(frozen=True)
class QuestionScores:
    """Scores of one question.

    Attributes:
        accuracy: a JSON measurement: value, low, high (Wilson, 95 %).
        unanswered: the share of faces without a prediction.
        changed: the share of faces with another prediction than with the model's own question.
    """

    accuracy: dict[str, float]
    unanswered: float
    changed: float


@dataclass(frozen=True)
class OptionOrder:
    """Effect of the order of a question's options.

    Attributes:
        rotations: each rotation's score, by the question's name.
        circular: the share of faces with a correct prediction in every rotation; a JSON measurement.
        position_shares: of the predictions in all rotations, the share of the first, second, … option.
        position_bias: distance of `position_shares` from even ones (total variation, 0 to 6/7).
    """

    rotations: dict[str, QuestionScores]
    circular: dict[str, float]
    position_shares: tuple[float, ...]
    position_bias: float


@dataclass(frozen=True)
class QuestionRobustness:
    """Question robustness of one model.

    Attributes:
        question: the model's own.
        n: the number of faces.
        questions: scores of each question of the package, and of the model's own.
        kappa: Fleiss' kappa between the predictions with these; no prediction is a category of its own.
        orders: the effect of the option order, for the model's own question and the multiple-choice one.
        shuffles: the model's own question with random orders.
        face_counts: the counts per face by figure.
        suffix: of the recorded figures' names, for `n` (`Depth.size_suffix`).
    """

    question: str
    n: int
    questions: dict[str, QuestionScores]
    kappa: float | None
    orders: dict[str, OptionOrder]
    shuffles: dict[str, QuestionScores]
    face_counts: dict[str, FaceCounts] = field(compare=False)
    suffix: str = ""

    def figures(self) -> dict[str, FaceCounts]:
        """The recorded figures: accuracies, which must not fall, and shares, which must not rise."""
        return {f"{PREFIX}{name}{self.suffix}": counts for name, counts in self.face_counts.items()}

    def as_json(self) -> dict[str, Any]:
        """For evals.json."""
        return {name: value for name, value in asdict(self).items() if name not in ("suffix", "face_counts")}


def variants(question: Question) -> list[Question]:
    """Every question that `question_robustness` uses, each once."""
    questions = [question, *(q for q in QUESTIONS.values() if q.name != question.name)]
    rotated = [one.rotated(by) for one in _listed(question) for by in range(1, len(EMOTIONS))]
    return [*questions, *rotated, *(question.shuffled(seed) for seed in range(SHUFFLES))]


def _listed(question: Question) -> list[Question]:
    """The questions whose options are rotated: the model's own, and the multiple-choice one."""
    return [question] if question.multiple_choice else [question, QUESTIONS["multiple-choice"]]


def question_robustness(
    answer: Answer, question: Question, truth: NDArray[np.int64], suffix: str = ""
) -> QuestionRobustness:
    """Predict with all of `variants`.

    Args:
        answer: the predictions for all faces with a question.
        question: the model's own.
        truth: (n,) emotions.
        suffix: as in `QuestionRobustness`.
    """
    answers = {q.name: answer(q) for q in variants(question)}
    reference = answers[question.name]
    names = [question.name, *(name for name in QUESTIONS if name != question.name)]
    return QuestionRobustness(
        question.name,
        len(truth),
        {name: _scores(answers[name], reference, truth) for name in names},
        fleiss_kappa([answers[name] for name in names]),
        {q.name: _order(q, answers, reference, truth) for q in _listed(question)},
        {
            q.name: _scores(answers[q.name], reference, truth)
            for q in (question.shuffled(seed) for seed in range(SHUFFLES))
        },
        counts_of(answers, question, truth),
        suffix,
    )


def counts_of(
    answers: Mapping[str, NDArray[np.int64]], question: Question, truth: NDArray[np.int64]
) -> dict[str, FaceCounts]:
    """Counts per face by figure.

    Args:
        answers: (n,) the predictions with each of `variants`, by the question's name.
        question: the model's own.
        truth: (n,) emotions.
    """
    reference = answers[question.name]
    others = [answers[name] != reference for name in QUESTIONS if name != question.name]
    orders = [answers[question.shuffled(seed).name] != reference for seed in range(SHUFFLES)]
    counted = {
        "accuracy of the worst question": worst_counts(
            [answers[name] == truth for name in (question.name, *QUESTIONS)]
        ),
        "flip rate, another question": FaceCounts(np.sum(others, axis=0, dtype=np.int64), len(others)),
        "flip rate, another order": FaceCounts(np.sum(orders, axis=0, dtype=np.int64), len(orders)),
    }
    for listed in _listed(question):
        rotated = [answers[listed.rotated(by).name] for by in range(len(EMOTIONS))]
        in_all = np.logical_and.reduce([answer == truth for answer in rotated])
        counted[f"accuracy in all rotations of {listed.name}"] = FaceCounts(in_all.astype(np.int64), 1)
        counted[f"position bias in {listed.name}"] = FaceCounts(_positions(listed, rotated), len(EMOTIONS))
    return counted


def _positions(question: Question, rotated: Sequence[NDArray[np.int64]]) -> NDArray[np.int64]:
    """Counts of each face's predictions at each position of the options, over all rotations: (n, 7)."""
    counts = np.zeros((len(rotated[0]), len(EMOTIONS)), dtype=np.int64)
    for by, answer in enumerate(rotated):
        place = np.argsort(question.rotated(by).order)  # where each emotion is in the list
        faces = np.flatnonzero(answer >= 0)
        np.add.at(counts, (faces, place[answer[faces]]), 1)
    return counts


def _scores(
    answer: NDArray[np.int64], reference: NDArray[np.int64], truth: NDArray[np.int64]
) -> QuestionScores:
    return QuestionScores(
        _share(answer == truth), float((answer < 0).mean()), float((answer != reference).mean())
    )


def _share(correct: NDArray[np.bool_]) -> dict[str, float]:
    return dict(wilson_interval(int(correct.sum()), len(correct)).as_json())


def _order(
    question: Question,
    answers: dict[str, NDArray[np.int64]],
    reference: NDArray[np.int64],
    truth: NDArray[np.int64],
) -> OptionOrder:
    rotated = [question.rotated(by) for by in range(len(EMOTIONS))]
    positions = _positions(question, [answers[q.name] for q in rotated])
    totals = positions.sum(axis=0)
    shares = totals / totals.sum() if totals.any() else np.full(len(EMOTIONS), 1 / len(EMOTIONS))
    return OptionOrder(
        {q.name: _scores(answers[q.name], reference, truth) for q in rotated},
        _share(np.logical_and.reduce([answers[q.name] == truth for q in rotated])),
        tuple(float(share) for share in shares),
        FaceCounts(positions, len(EMOTIONS)).value,
    )
