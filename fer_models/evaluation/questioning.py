"""How much the answers of a model that writes hang on how it is asked: other words for the question, and another order of the list.

A model that knows what it sees gives the same answer wherever the right one stands in the list. So each list is turned round until every
emotion stood at every place once: an answer counts as known when it is right in all of these (CircularEval, Liu et al. 2023, arXiv:2307.06281),
and the places of the answers tell which of them the model favours.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fer_models.classifiers.questions import QUESTIONS, Question
from fer_models.emotions import EMOTIONS
from fer_models.evaluation.prompting import PREFIX
from fer_models.evaluation.statistics import agreement, wilson

#: How many random orders are tried beside the rotations.
SHUFFLES = 3
Answer = Callable[[Question], NDArray[np.int64]]  # the emotion answered per face, -1 for no answer


@dataclass(frozen=True)
class Asked:
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
class Order:
    """What the order of a question's list does.

    Attributes:
        rotations: each rotation's score, by the question's name.
        circular: the share of faces that are answered rightly in every rotation; a JSON measurement.
        places: of the answers in all rotations, the share that stood first, second, … in the list.
        bias: how far `places` are from even (total variation, 0 to 6/7): 0 for a model that does not care for places.
    """

    rotations: dict[str, Asked]
    circular: dict[str, float]
    places: tuple[float, ...]
    bias: float


@dataclass(frozen=True)
class Wording:
    """How much one model's answers hang on how it is asked.

    Attributes:
        question: the model's own.
        n: faces asked.
        questions: each question of the package, and the model's own.
        kappa: Fleiss' kappa between the answers to these, with no answer as an answer of its own.
        orders: for the model's own question, and for the lettered one, what the order of the list does.
        shuffles: the model's own question with random orders.
        suffix: what the recorded figures' names say of `n` (`Depth.size_suffix`).
    """

    question: str
    n: int
    questions: dict[str, Asked]
    kappa: float | None
    orders: dict[str, Order]
    shuffles: dict[str, Asked]
    suffix: str = ""

    def figures(self) -> dict[str, float]:
        """What is recorded: accuracies, which must not fall, and shares, which must not rise."""
        return {name: value for name, (value, _) in self._counted().items()}

    def counts(self) -> dict[str, int]:
        """How many predictions each figure is computed over. The worst of several, and all rotations at once, count each face once."""
        return {name: count for name, (_, count) in self._counted().items()}

    def _counted(self) -> dict[str, tuple[float, int]]:
        worst = min(asked.accuracy["value"] for asked in self.questions.values())
        others = [asked.changed for name, asked in self.questions.items() if name != self.question]
        orders = [asked.changed for asked in self.shuffles.values()]
        own = {
            "accuracy of the worst question": (worst, self.n),
            "answers changed by another question": (float(np.mean(others)), self.n * len(others)),
            "answers changed by another order": (float(np.mean(orders)), self.n * len(orders)),
        }
        for name, order in self.orders.items():
            own[f"accuracy in all rotations of {name}"] = (order.circular["value"], self.n)
            own[f"bias towards places in {name}"] = (order.bias, self.n * len(order.rotations))
        return {f"{PREFIX}{name}{self.suffix}": (round(value, 6), count) for name, (value, count) in own.items()}

    def as_json(self) -> dict[str, Any]:
        """For evals.json."""
        return {name: value for name, value in asdict(self).items() if name != "suffix"}


def variants(question: Question) -> list[Question]:
    """Every question that `wording` asks, each once."""
    named = [question, *(q for q in QUESTIONS.values() if q.name != question.name)]
    turned = [one.rotated(by) for one in _listed(question) for by in range(1, len(EMOTIONS))]
    return [*named, *turned, *(question.shuffled(seed) for seed in range(SHUFFLES))]


def _listed(question: Question) -> list[Question]:
    """The questions whose lists are turned round: the model's own, and the lettered one, where a place has a letter."""
    return [question] if question.lettered else [question, QUESTIONS["lettered"]]


def wording(answer: Answer, question: Question, truth: NDArray[np.int64], suffix: str = "") -> Wording:
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
    return Wording(
        question.name,
        len(truth),
        {name: _asked(said[name], own, truth) for name in names},
        agreement([said[name] for name in names]),
        {q.name: _order(q, said, own, truth) for q in _listed(question)},
        {q.name: _asked(said[q.name], own, truth) for q in (question.shuffled(seed) for seed in range(SHUFFLES))},
        suffix,
    )


def _asked(said: NDArray[np.int64], own: NDArray[np.int64], truth: NDArray[np.int64]) -> Asked:
    return Asked(_share(said == truth), float((said < 0).mean()), float((said != own).mean()))


def _share(right: NDArray[np.bool_]) -> dict[str, float]:
    return dict(wilson(int(right.sum()), len(right)).as_json())


def _order(question: Question, said: dict[str, NDArray[np.int64]], own: NDArray[np.int64], truth: NDArray[np.int64]) -> Order:
    turned = [question.rotated(by) for by in range(len(EMOTIONS))]
    stood = np.zeros(len(EMOTIONS))
    for q in turned:
        place = {int(emotion): i for i, emotion in enumerate(q.order)}
        for emotion in said[q.name][said[q.name] >= 0]:
            stood[place[int(emotion)]] += 1
    places = stood / stood.sum() if stood.any() else np.full(len(EMOTIONS), 1 / len(EMOTIONS))
    return Order(
        {q.name: _asked(said[q.name], own, truth) for q in turned},
        _share(np.logical_and.reduce([said[q.name] == truth for q in turned])),
        tuple(float(share) for share in places),
        float(np.abs(places - 1 / len(EMOTIONS)).sum() / 2),
    )
