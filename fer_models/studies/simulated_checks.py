"""Simulated robustness checks: predictions of two versions of a model for copies of faces.

A copy of a face (corrupted, shifted, or classified with another prompt) has the logits of the face and a
disturbance of its own, the same for both versions. The noise of a version on the copies of one face has a
shared part, because further training that changes the prediction for a face changes those for its copies too;
otherwise fifty copies would count as fifty faces. A harm makes one version worse.
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
#: Baseline and candidate of the metrics of one check, by the metric's name.
Versions: TypeAlias = dict[str, tuple[FaceCounts, FaceCounts]]
#: Changes the candidate's logits (copies, faces, 7) for the worse, in place; the first copy is the face as it
#: is: (logits, truth, size, rng).
Harm: TypeAlias = Callable[[FloatArray, IntArray, float, np.random.Generator], None]

#: The correlation of a version's noise between two copies of one face, by kind. Measured as the intraclass
#: correlation of what noise on all weights (1 to 4 % of a layer's spread) does to the logits of copies of the
#: synthetic test faces: 0.20 to 0.30 for corrupted and 0.81 to 0.83 for slightly changed copies (`resnet50`),
#: 0.85 to 0.88 for prompts (`clip-nano`), 0.60 for questions (`phi3v-nano+likelihood`).
NOISE_CORRELATION: Mapping[str, float] = {
    "corruptions": 0.25,
    "metamorphic": 0.82,
    "prompt_robustness": 0.86,
    "question_robustness": 0.60,
}
#: The share of copies whose prediction differs from that of the face, in one version; about as in the records
#: of the shipped models (mean error 0.25 to 0.38; one pixel of shift 0.01 to 0.11; one template 0.01 to 0.04,
#: one word up to 0.1; another order 0.06 to 0.11).
DISTURBED_SHARE: Mapping[str, float] = {
    "corruptions": 0.30,
    "metamorphic": 0.05,
    "prompt_robustness": 0.05,
    "question_robustness": 0.10,
}
#: Prompts in a simulated search for the worst prompt, at most; the real number would take minutes.
_SEARCHED = 20
#: Templates and, for four emotions, words of the prompt set that is simulated (as in `openai`).
_TEMPLATES, _WORDS = 6, {"happy": 2, "sad": 2, "surprise": 3, "neutral": 2}


@dataclass(frozen=True)
class Simulation:
    """Parameters of simulated runs, as standard deviations of a logit.

    Attributes:
        source: the faces to draw from.
        noise: of a version.
        n: faces per run.
        disturbance: of a copy, by the kind of check.
    """

    source: power.Source
    noise: float
    n: int
    disturbance: Mapping[str, float]


def calibrate_disturbance(source: power.Source, noise: float, kind: str) -> float:
    """Calibrate the standard deviation of a disturbance that changes the `DISTURBED_SHARE` of predictions.

    The noise of the version on the copy alone is part of the change.
    """
    share = DISTURBED_SHARE[kind]
    rng = np.random.default_rng(0)
    logits = source.logits[np.resize(rng.permutation(len(source.truth)), 20_000)]
    shift, noise_of_copy = (rng.standard_normal(logits.shape, dtype=np.float32) for _ in range(2))
    logits = logits + np.float32(noise) * noise_of_copy
    predicted = logits.argmax(axis=-1)

    def excess(size: float) -> float:
        return float(((logits + size * shift).argmax(axis=-1) != predicted).mean()) - share

    try:
        both = power.find_root(excess, 0.0, 50.0)
    except ValueError as error:  # no such size: the logits are all equal, or infinitely far apart
        raise UsageError(
            f"These predictions cannot be disturbed so that {share:.0%} of them change. "
            "Choose those of another model."
        ) from error
    return float(np.sqrt(max(0.0, both**2 - 2 * (1 - NOISE_CORRELATION[kind]) * noise**2)))


# -- nothing changed ------------------------------------------------------------------------------


def draw_faces(simulation: Simulation, rng: np.random.Generator, n: int) -> tuple[IntArray, FloatArray]:
    """Draw faces with replacement: labels (n,) and logits (n, 7)."""
    rows = rng.integers(len(simulation.source.truth), size=n)
    return simulation.source.truth[rows], simulation.source.logits[rows]


def stratified_rows(truth: IntArray, n: int) -> IntArray:
    """Rows of about `n` faces, the same number of each emotion."""
    return np.concatenate([np.flatnonzero(truth == e)[: max(1, n // len(EMOTIONS))] for e in EMOTIONS])


@dataclass(frozen=True)
class _Draw:
    """Random state of one simulated check, and the harm of the candidate."""

    simulation: Simulation
    rng: np.random.Generator
    harm: Harm | None
    size: float

    def predict(
        self, kind: str, logits: FloatArray, truth: IntArray, disturbances: Sequence[float]
    ) -> tuple[IntArray, IntArray]:
        """Predictions of both versions for copies of faces, each (copies, faces).

        Args:
            kind: of the check.
            logits: (n, 7) of the faces.
            truth: (n,) their labels.
            disturbances: the standard deviation of the disturbance of each copy.
        """
        rng, shape = self.rng, (len(disturbances), *logits.shape)
        scale = np.asarray(disturbances, dtype=np.float32)[:, None, None]
        base = logits + scale * rng.standard_normal(shape, dtype=np.float32)
        correlation, versions = NOISE_CORRELATION[kind], []
        shared_scale, own_scale = np.float32(correlation**0.5), np.float32((1 - correlation) ** 0.5)
        for is_candidate in (False, True):
            shared, own = (rng.standard_normal(s, dtype=np.float32) for s in (logits.shape, shape))
            noisy = base + np.float32(self.simulation.noise) * (shared_scale * shared + own_scale * own)
            if is_candidate and self.harm is not None:
                self.harm(noisy, truth, self.size, rng)
            versions.append(noisy.argmax(axis=-1))
        return versions[0], versions[1]


def check_faces(simulation: Simulation, rng: np.random.Generator, n: int) -> tuple[IntArray, FloatArray]:
    """Draw the faces of a check: labels and logits of about `n`, the same number of each emotion."""
    truth, logits = draw_faces(simulation, rng, simulation.n)
    rows = stratified_rows(truth, n) if n < len(truth) else slice(None)
    return truth[rows], logits[rows]


def _corruptions(
    simulation: Simulation, depth: Depth, rng: np.random.Generator, harm: Harm | None, size: float
) -> Versions:
    truth, logits = check_faces(simulation, rng, depth.corruption_limit)
    images = len(corruptions.names()) * len(depth.severities)
    copies = [simulation.disturbance["corruptions"]] * images
    both = _Draw(simulation, rng, harm, size).predict("corruptions", logits, truth, copies)
    baseline, candidate = (FaceCounts((predicted != truth).sum(axis=0), images) for predicted in both)
    return {f"{corruption_robustness.PREFIX}mean error": (baseline, candidate)}


def _metamorphic(
    simulation: Simulation, depth: Depth, rng: np.random.Generator, harm: Harm | None, size: float
) -> Versions:
    truth, logits = check_faces(simulation, rng, depth.metamorphic_limit)
    copies = [0.0, *[simulation.disturbance["metamorphic"]] * (metamorphic.COPIES - 1)]
    both = _Draw(simulation, rng, harm, size).predict("metamorphic", logits, truth, copies)
    versions, start = {}, 1
    for name, perturbations in metamorphic.RELATIONS.items():
        k = len(perturbations)
        baseline, candidate = (
            FaceCounts((predicted[start : start + k] != predicted[0]).sum(axis=0), k) for predicted in both
        )
        versions[f"{metamorphic.PREFIX}flip rate, {name}"] = baseline, candidate
        start += k
    return versions


def _prompt_robustness(
    simulation: Simulation, depth: Depth, rng: np.random.Generator, harm: Harm | None, size: float
) -> Versions:
    truth, logits = draw_faces(simulation, rng, simulation.n)
    small, large = simulation.disturbance["prompt_robustness"], simulation.disturbance["question_robustness"]
    n_searched = min(_SEARCHED, depth.prompt_search_examples)
    sizes = [1, _TEMPLATES, sum(_WORDS.values()), len(prompt_robustness.INVARIANCES), n_searched]
    copies = [0.0, *[small] * sum(sizes[1:4]), *[large] * n_searched]
    both = _Draw(simulation, rng, harm, size).predict("prompt_robustness", logits, truth, copies)
    baseline, candidate = (_prompt_counts(truth, predicted, sizes) for predicted in both)
    return {f"{prompt_robustness.PREFIX}{name}": (baseline[name], candidate[name]) for name in baseline}


def _prompt_counts(truth: IntArray, predicted: IntArray, sizes: Sequence[int]) -> dict[str, FaceCounts]:
    """Counts of all prompt metrics of one version; `sizes` are the numbers of copies of each kind."""
    default, templates, words, edits, searched = np.split(predicted, np.cumsum(sizes)[:-1])
    by_word = dict(zip(_WORDS, np.split(words, np.cumsum(list(_WORDS.values()))[:-1]), strict=True))
    by_emotion = {emotion: list(rows) for emotion, rows in by_word.items()}
    counts = prompt_robustness.spread_counts(truth, default[0], list(templates), by_emotion)
    worst = prompt_robustness.worst_counts([row == truth for row in searched])
    counts["accuracy of the worst prompt found"] = worst
    for name, row in zip(prompt_robustness.INVARIANCES, edits, strict=True):
        counts[f"flip rate, {name}"] = FaceCounts((row != default[0]).astype(np.int64), 1)
    return counts


_QUESTION = QUESTIONS["one-word"]
_VARIANTS = question_robustness.variants(_QUESTION)


def _question_robustness(
    simulation: Simulation, depth: Depth, rng: np.random.Generator, harm: Harm | None, size: float
) -> Versions:
    truth, logits = check_faces(simulation, rng, depth.question_limit)
    copies = [0.0, *[simulation.disturbance["question_robustness"]] * (len(_VARIANTS) - 1)]
    both = _Draw(simulation, rng, harm, size).predict("question_robustness", logits, truth, copies)
    names = [question.name for question in _VARIANTS]
    baseline, candidate = (
        question_robustness.counts_of(dict(zip(names, predicted, strict=True)), _QUESTION, truth)
        for predicted in both
    )
    return {f"{prompt_robustness.PREFIX}{name}": (baseline[name], candidate[name]) for name in baseline}


#: The simulation of each kind of check.
CHECKS = {
    "corruptions": _corruptions,
    "metamorphic": _metamorphic,
    "prompt_robustness": _prompt_robustness,
    "question_robustness": _question_robustness,
}


# -- harms ----------------------------------------------------------------------------------------


def _lose_truth(logits: FloatArray, truth: IntArray, size: float) -> None:
    """Lower the logit of the true emotion of every copy."""
    logits[:, np.arange(len(truth)), truth] -= np.float32(size)


def _on_all_copies(logits: FloatArray, truth: IntArray, size: float, rng: np.random.Generator) -> None:
    _lose_truth(logits, truth, size)


def _on_one_template(logits: FloatArray, truth: IntArray, size: float, rng: np.random.Generator) -> None:
    _lose_truth(logits[1:2], truth, size)


def _disturb_copies(logits: FloatArray, truth: IntArray, size: float, rng: np.random.Generator) -> None:
    """Disturb every copy more, and not the face as it is."""
    logits[1:] += np.float32(size) * rng.standard_normal(logits[1:].shape, dtype=np.float32)


def _prefer_first_option(logits: FloatArray, truth: IntArray, size: float, rng: np.random.Generator) -> None:
    """Raise the logit of the first option in a multiple-choice question."""
    for copy, question in zip(logits, _VARIANTS, strict=True):
        if question.multiple_choice:
            copy[:, question.order[0]] += np.float32(size)


#: For a metric of each kind: its kind, and the harm.
HARMS: dict[str, tuple[str, Harm]] = {
    f"{corruption_robustness.PREFIX}mean error": ("corruptions", _on_all_copies),
    f"{metamorphic.PREFIX}flip rate, 1 pixel shift": ("metamorphic", _disturb_copies),
    f"{prompt_robustness.PREFIX}accuracy of the worst template": ("prompt_robustness", _on_one_template),
    f"{prompt_robustness.PREFIX}flip rate, another order": ("question_robustness", _disturb_copies),
    f"{prompt_robustness.PREFIX}position bias in multiple-choice": (
        "question_robustness",
        _prefer_first_option,
    ),
}
