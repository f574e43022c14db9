"""How much the answers of a model that writes hang on how it is asked: other words for the question, and
another order of the list.

A model that knows what it sees gives the same answer wherever the right one stands in the list. So each list
is turned round until every emotion stood at every place once: an answer counts as known when it is right in
all of these (CircularEval, Liu et al. 2023, arXiv:2307.06281), and the places of the answers tell which of
them the model favours.
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

#: How many random orders are tried beside the rotations.
SHUFFLES = 3
Answer = Callable[[Question], NDArray[np.int64]]  # the emotion answered per face, -1 for no answer


@dataclass(frozen=True)
class QuestionScores:
    """What one way to put the question scores.

    Attributes:
        accuracy: a JSON measurement: value, low, high (Wilson, 95 %).
        unanswered: the share of faces without an answer.
        changed: the share of faces with another answer than the model's own question gets.
    """

    accuracy: dict[str, float]
    unanswered: float
    changed: float


@dataclass(frozen=True)
class OptionOrder:
    """What the order of a question's list does.

    Attributes:
        rotations: each rotation's score, by the question's name.
        circular: the share of faces that are answered rightly in every rotation; a JSON measurement.
        places: of the answers in all rotations, the share that stood first, second, … in the list.
        bias: how far `places` are from even (total variation, 0 to 6/7): 0 for a model that does not care for
            places.
    """

    rotations: dict[str, QuestionScores]
    circular: dict[str, float]
    position_shares: tuple[float, ...]
    position_bias: float


@dataclass(frozen=True)
class QuestionRobustness:
    """How much one model's answers hang on how it is asked.

    Attributes:
        question: the model's own.
        n: faces asked.
        questions: each question of the package, and the model's own.
        kappa: Fleiss' kappa between the answers to these, with no answer as an answer of its own.
        orders: for the model's own question, and for the lettered one, what the order of the list does.
        shuffles: the model's own question with random orders.
        face_counts: by the names of figures, what they count per face.
        suffix: what the recorded figures' names say of `n` (`Depth.size_suffix`).
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
        """What is recorded: accuracies, which must not fall, and shares, which must not rise."""
        return {f"{PREFIX}{name}{self.suffix}": counts for name, counts in self.face_counts.items()}

    def as_json(self) -> dict[str, Any]:
        """For evals.json."""
        return {name: value for name, value in asdict(self).items() if name not in ("suffix", "face_counts")}


def variants(question: Question) -> list[Question]:
    """Every question that `wording` asks, each once."""
    named = [question, *(q for q in QUESTIONS.values() if q.name != question.name)]
    turned = [one.rotated(by) for one in _listed(question) for by in range(1, len(EMOTIONS))]
    return [*named, *turned, *(question.shuffled(seed) for seed in range(SHUFFLES))]


def _listed(question: Question) -> list[Question]:
    """The questions whose lists are turned round: the model's own, and the lettered one, where a place has a
    letter.
    """
    return [question] if question.multiple_choice else [question, QUESTIONS["multiple-choice"]]


def question_robustness(
    answer: Answer, question: Question, truth: NDArray[np.int64], suffix: str = ""
) -> QuestionRobustness:
    """Ask all of `variants`.

    Args:
        answer: the answers to all faces by a question.
        question: the model's own.
        truth: (n,) emotions.
        suffix: as in `Wording`.
    """
    said = {q.name: answer(q) for q in variants(question)}
    own = said[question.name]
    names = [question.name, *(name for name in QUESTIONS if name != question.name)]
    return QuestionRobustness(
        question.name,
        len(truth),
        {name: _asked(said[name], own, truth) for name in names},
        fleiss_kappa([said[name] for name in names]),
        {q.name: _order(q, said, own, truth) for q in _listed(question)},
        {
            q.name: _asked(said[q.name], own, truth)
            for q in (question.shuffled(seed) for seed in range(SHUFFLES))
        },
        counts_of(said, question, truth),
        suffix,
    )


def counts_of(
    said: Mapping[str, NDArray[np.int64]], question: Question, truth: NDArray[np.int64]
) -> dict[str, FaceCounts]:
    """What the figures count per face, by their names.

    Args:
        said: (n,) the answers to each of `variants`, by the question's name.
        question: the model's own.
        truth: (n,) emotions.
    """
    own = said[question.name]
    others = [said[name] != own for name in QUESTIONS if name != question.name]
    orders = [said[question.shuffled(seed).name] != own for seed in range(SHUFFLES)]
    counted = {
        "accuracy of the worst question": worst_counts(
            [said[name] == truth for name in (question.name, *QUESTIONS)]
        ),
        "flip rate, another question": FaceCounts(np.sum(others, axis=0, dtype=np.int64), len(others)),
        "flip rate, another order": FaceCounts(np.sum(orders, axis=0, dtype=np.int64), len(orders)),
    }
    for listed in _listed(question):
        turned = [said[listed.rotated(by).name] for by in range(len(EMOTIONS))]
        in_all = np.logical_and.reduce([answer == truth for answer in turned])
        counted[f"accuracy in all rotations of {listed.name}"] = FaceCounts(in_all.astype(np.int64), 1)
        counted[f"position bias in {listed.name}"] = FaceCounts(_positions(listed, turned), len(EMOTIONS))
    return counted


def _positions(question: Question, turned: Sequence[NDArray[np.int64]]) -> NDArray[np.int64]:
    """How often each face's answer was at each place of the list, over all rotations: (n, 7)."""
    counts = np.zeros((len(turned[0]), len(EMOTIONS)), dtype=np.int64)
    for by, answer in enumerate(turned):
        place = np.argsort(question.rotated(by).order)  # where each emotion is in the list
        faces = np.flatnonzero(answer >= 0)
        np.add.at(counts, (faces, place[answer[faces]]), 1)
    return counts


def _asked(said: NDArray[np.int64], own: NDArray[np.int64], truth: NDArray[np.int64]) -> QuestionScores:
    return QuestionScores(_share(said == truth), float((said < 0).mean()), float((said != own).mean()))


def _share(right: NDArray[np.bool_]) -> dict[str, float]:
    return dict(wilson_interval(int(right.sum()), len(right)).as_json())


def _order(
    question: Question, said: dict[str, NDArray[np.int64]], own: NDArray[np.int64], truth: NDArray[np.int64]
) -> OptionOrder:
    turned = [question.rotated(by) for by in range(len(EMOTIONS))]
    positions = _positions(question, [said[q.name] for q in turned])
    stood = positions.sum(axis=0)
    places = stood / stood.sum() if stood.any() else np.full(len(EMOTIONS), 1 / len(EMOTIONS))
    return OptionOrder(
        {q.name: _asked(said[q.name], own, truth) for q in turned},
        _share(np.logical_and.reduce([said[q.name] == truth for q in turned])),
        tuple(float(share) for share in places),
        FaceCounts(positions, len(EMOTIONS)).value,
    )
