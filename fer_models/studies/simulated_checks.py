"""Simulated robustness checks: what two versions of a model predict for copies of faces, and how a version
can get worse.

A copy of a face (corrupted, shifted, or classified with another prompt) has the logits of the face and a
disturbance of its own, the same for both versions. A version's noise on the copies of one face has a part
that they share, because what a model forgets of a face it forgets of its copies too; otherwise fifty copies
would count as fifty faces.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from fer_models import corruptions
from fer_models.classifiers.vlm.questions import QUESTIONS
from fer_models.depth import Depth
from fer_models.emotions import EMOTIONS
from fer_models.errors import UsageError
from fer_models.gate import power
from fer_models.robustness import corruption_robustness, metamorphic, prompt_robustness, question_robustness
from fer_models.scoring.face_counts import FaceCounts

FloatArray = NDArray[np.float32]
IntArray = NDArray[np.int64]
#: Two versions of the figures of one check: before and now, by the figure's name.
Versions: TypeAlias = dict[str, tuple[FaceCounts, FaceCounts]]
#: What the version now does to the logits (copies, faces, 7) of all copies, the first of them the face as it
#: is: (logits, truth, how much, rng).
Harm: TypeAlias = Callable[[FloatArray, IntArray, float, np.random.Generator], None]

#: The correlation of a version's noise between two copies of one face, by kind. Measured as the intraclass
#: correlation of what noise on all weights (1 to 4 % of a layer's spread) does to the logits of copies of the
#: drawn test faces: 0.20 to 0.30 for corrupted and 0.81 to 0.83 for slightly changed copies (`resnet50`),
#: 0.85 to 0.88 for prompts (`clip-nano`), 0.60 for questions (`phi3v-nano+likelihood`).
NOISE_CORRELATION: Mapping[str, float] = {
    "corruptions": 0.25,
    "metamorphic": 0.82,
    "prompting": 0.86,
    "questioning": 0.60,
}
#: The share of answers by which a copy and the face differ in one version; about as in the records of the
#: shipped models (mean error 0.25 to 0.38; one pixel of shift 0.01 to 0.11; one template 0.01 to 0.04, one
#: word up to 0.1; another order 0.06 to 0.11).
DISTURBED_SHARE: Mapping[str, float] = {
    "corruptions": 0.30,
    "metamorphic": 0.05,
    "prompting": 0.05,
    "questioning": 0.10,
}
#: How often the search for the worst prompt is simulated to try one, at most; its real number would take
#: minutes.
_SEARCHED = 20
#: Templates and, for four emotions, words of the prompt set that is simulated (as in `openai`).
_TEMPLATES, _WORDS = 6, {"happy": 2, "sad": 2, "surprise": 3, "neutral": 2}


@dataclass(frozen=True)
class Simulation:
    """Where runs come from: the noise of a version and the disturbance of a copy, by kind, as standard
    deviations of a logit.
    """

    source: power.Source
    noise: float
    n: int
    disturbance: Mapping[str, float]


def calibrate_disturbance(source: power.Source, noise: float, kind: str) -> float:
    """The standard deviation of a disturbance that, with a version's noise on the copy alone, changes the
    share of answers that it is to.
    """
    share = DISTURBED_SHARE[kind]
    rng = np.random.default_rng(0)
    logits = source.logits[np.resize(rng.permutation(len(source.truth)), 20_000)]
    shift, own = (rng.standard_normal(logits.shape, dtype=np.float32) for _ in range(2))
    logits = logits + np.float32(noise) * own
    before = logits.argmax(axis=-1)
    try:
        both = power.find_root(
            lambda size: float(((logits + size * shift).argmax(axis=-1) != before).mean()) - share, 0.0, 50.0
        )
        return float(np.sqrt(max(0.0, both**2 - 2 * (1 - NOISE_CORRELATION[kind]) * noise**2)))
    except ValueError as error:  # no such size: the logits are all alike, or infinitely far apart
        raise UsageError(
            f"These answers cannot be disturbed so that {share:.0%} of them change. Choose those of another model."
        ) from error


# -- nothing changed ------------------------------------------------------------------------------


def draw_faces(simulation: Simulation, rng: np.random.Generator, n: int) -> tuple[IntArray, FloatArray]:
    rows = rng.integers(len(simulation.source.truth), size=n)
    return simulation.source.truth[rows], simulation.source.logits[rows]


def stratified_rows(truth: IntArray, n: int) -> IntArray:
    """About `n` faces, as many of each emotion as there are."""
    return np.concatenate([np.flatnonzero(truth == e)[: max(1, n // len(EMOTIONS))] for e in EMOTIONS])


def _answers(
    simulation: Simulation,
    kind: str,
    logits: FloatArray,
    truth: IntArray,
    disturbances: Sequence[float],
    rng: np.random.Generator,
    harm: Harm | None,
    size: float,
) -> tuple[IntArray, IntArray]:
    """The answers of both versions to the copies of some faces, each (copies, faces); a copy has a
    disturbance of this size.
    """
    shape = (len(disturbances), *logits.shape)
    scale = np.asarray(disturbances, dtype=np.float32)[:, None, None]
    base = logits + scale * rng.standard_normal(shape, dtype=np.float32)
    shares, versions = (np.float32(NOISE_CORRELATION[kind] ** 0.5), np.float32((1 - NOISE_CORRELATION[kind]) ** 0.5)), []
    for now in (False, True):
        shared, own = (rng.standard_normal(s, dtype=np.float32) for s in (logits.shape, shape))
        noisy = base + np.float32(simulation.noise) * (shares[0] * shared + shares[1] * own)
        if now and harm is not None:
            harm(noisy, truth, size, rng)
        versions.append(noisy.argmax(axis=-1))
    return versions[0], versions[1]


def check_faces(simulation: Simulation, rng: np.random.Generator, n: int) -> tuple[IntArray, FloatArray]:
    """Labels and logits of the faces of a check: as many of each emotion."""
    truth, logits = draw_faces(simulation, rng, simulation.n)
    some = stratified_rows(truth, n) if n < len(truth) else slice(None)
    return truth[some], logits[some]


def _corruptions(
    simulation: Simulation, depth: Depth, rng: np.random.Generator, harm: Harm | None, size: float
) -> Versions:
    truth, logits = check_faces(simulation, rng, depth.corruption_limit)
    images = len(corruptions.names()) * len(depth.severities)
    both = _answers(
        simulation,
        "corruptions",
        logits,
        truth,
        [simulation.disturbance["corruptions"]] * images,
        rng,
        harm,
        size,
    )
    before, now = (FaceCounts((answers != truth).sum(axis=0), images) for answers in both)
    return {f"{corruption_robustness.PREFIX}mean error": (before, now)}


def _metamorphic(
    simulation: Simulation, depth: Depth, rng: np.random.Generator, harm: Harm | None, size: float
) -> Versions:
    truth, logits = check_faces(simulation, rng, depth.metamorphic_limit)
    copies = [0.0, *[simulation.disturbance["metamorphic"]] * (metamorphic.COPIES - 1)]
    both = _answers(simulation, "metamorphic", logits, truth, copies, rng, harm, size)
    figures, first = {}, 1
    for name, family in metamorphic.RELATIONS.items():
        own = slice(first, first + len(family))
        before, now = (FaceCounts((answers[own] != answers[0]).sum(axis=0), len(family)) for answers in both)
        figures[f"{metamorphic.PREFIX}flip rate, {name}"] = before, now
        first = own.stop
    return figures


def _prompting(
    simulation: Simulation, depth: Depth, rng: np.random.Generator, harm: Harm | None, size: float
) -> Versions:
    truth, logits = draw_faces(simulation, rng, simulation.n)
    usual, tried = simulation.disturbance["prompting"], min(_SEARCHED, depth.prompt_search_examples)
    numbers = [1, _TEMPLATES, sum(_WORDS.values()), len(prompt_robustness.INVARIANCES), tried]
    copies = [0.0, *[usual] * sum(numbers[1:4]), *[simulation.disturbance["questioning"]] * tried]
    both = _answers(simulation, "prompting", logits, truth, copies, rng, harm, size)

    def figures(answers: IntArray) -> dict[str, FaceCounts]:
        whole, templates, words, edits, found = np.split(answers, np.cumsum(numbers)[:-1])
        each = dict(zip(_WORDS, np.split(words, np.cumsum(list(_WORDS.values()))[:-1]), strict=True))
        own = prompt_robustness.spread_counts(
            truth, whole[0], list(templates), {emotion: list(said) for emotion, said in each.items()}
        )
        own["accuracy of the worst prompt found"] = prompt_robustness.worst_counts(
            [said == truth for said in found]
        )
        for name, said in zip(prompt_robustness.INVARIANCES, edits, strict=True):
            own[f"flip rate, {name}"] = FaceCounts((said != whole[0]).astype(np.int64), 1)
        return own

    before, now = (figures(answers) for answers in both)
    return {f"{prompt_robustness.PREFIX}{name}": (before[name], now[name]) for name in before}


_QUESTION = QUESTIONS["one-word"]
_VARIANTS = question_robustness.variants(_QUESTION)


def _questioning(
    simulation: Simulation, depth: Depth, rng: np.random.Generator, harm: Harm | None, size: float
) -> Versions:
    truth, logits = check_faces(simulation, rng, depth.question_limit)
    copies = [0.0, *[simulation.disturbance["questioning"]] * (len(_VARIANTS) - 1)]
    both = _answers(simulation, "questioning", logits, truth, copies, rng, harm, size)
    before, now = (
        question_robustness.counts_of(
            {q.name: said for q, said in zip(_VARIANTS, answers, strict=True)}, _QUESTION, truth
        )
        for answers in both
    )
    return {f"{prompt_robustness.PREFIX}{name}": (before[name], now[name]) for name in before}


CHECKS = {
    "corruptions": _corruptions,
    "metamorphic": _metamorphic,
    "prompting": _prompting,
    "questioning": _questioning,
}


# -- harms ----------------------------------------------------------------------------------------


def _lose_truth(logits: FloatArray, truth: IntArray, size: float) -> None:
    """Take from the logit of the true emotion of every copy."""
    logits[:, np.arange(len(truth)), truth] -= np.float32(size)


def _on_all_copies(logits: FloatArray, truth: IntArray, size: float, rng: np.random.Generator) -> None:
    _lose_truth(logits, truth, size)


def _on_one_template(logits: FloatArray, truth: IntArray, size: float, rng: np.random.Generator) -> None:
    _lose_truth(logits[1:2], truth, size)


def _disturb_copies(logits: FloatArray, truth: IntArray, size: float, rng: np.random.Generator) -> None:
    """Disturb every copy more, and not the face as it is."""
    logits[1:] += np.float32(size) * rng.standard_normal(logits[1:].shape, dtype=np.float32)


def _like_the_first_letter(
    logits: FloatArray, truth: IntArray, size: float, rng: np.random.Generator
) -> None:
    """Add to the emotion that is first in a lettered list."""
    for copy, question in zip(logits, _VARIANTS, strict=True):
        if question.multiple_choice:
            copy[:, question.order[0]] += np.float32(size)


#: For a figure of each kind: its kind, and what makes it worse.
HARMS: dict[str, tuple[str, Harm]] = {
    f"{corruption_robustness.PREFIX}mean error": ("corruptions", _on_all_copies),
    f"{metamorphic.PREFIX}flip rate, 1 pixel shift": ("metamorphic", _disturb_copies),
    f"{prompt_robustness.PREFIX}accuracy of the worst template": ("prompting", _on_one_template),
    f"{prompt_robustness.PREFIX}flip rate, another order": ("questioning", _disturb_copies),
    f"{prompt_robustness.PREFIX}position bias in multiple-choice": ("questioning", _like_the_first_letter),
}
