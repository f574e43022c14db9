"""Whole runs, simulated: how often anything fails although nothing changed, and which changes for the worse robustness checks find.

A run judges several subjects by accuracy, macro-F1, recall and log score, and robustness figures of all kinds, in the sizes of a depth. As in
`selftest`, faces are drawn from real stored probabilities, and each model has two versions: its own logits and independent noise.

A copy of a face (corrupted, shifted, or classified with another prompt) has the logits of the face and a disturbance of its own, the same
for both versions. A version's noise on the copies of one face has a part that they share, because what a model forgets of a face it forgets
of its copies too; otherwise fifty copies would count as fifty faces.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from joblib import Parallel, delayed
from numpy.typing import NDArray

from fer_models import corruptions
from fer_models.classifiers.vlm.questions import QUESTIONS
from fer_models.depth import FULL, STANDARD, Depth
from fer_models.emotions import EMOTIONS
from fer_models.errors import UsageError
from fer_models.gate import gate, power
from fer_models.gate.baselines import in_steps
from fer_models.gate.robustness_gate import ROBUSTNESS_ALPHA, is_worse, p_worse, worsened
from fer_models.robustness import corruption_robustness, metamorphic, prompt_robustness, question_robustness
from fer_models.scoring import metrics
from fer_models.scoring.face_counts import FaceCounts
from fer_models.scoring.intervals import Measurement, wilson
from fer_models.scoring.paired_tests import PairedChange, holm, paired_fall
from fer_models.store.predictions import Answers

FloatArray = NDArray[np.float32]
IntArray = NDArray[np.int64]
#: Two versions of the figures of one check: before and now, by the figure's name.
Versions: TypeAlias = dict[str, tuple[FaceCounts, FaceCounts]]
#: What the version now does to the logits (copies, faces, 7) of all copies, the first of them the face as it is: (logits, truth, how much, rng).
Harm: TypeAlias = Callable[[FloatArray, IntArray, float, np.random.Generator], None]

#: The correlation of a version's noise between two copies of one face, by kind. Measured as the intraclass correlation of what noise on
#: all weights (1 to 4 % of a layer's spread) does to the logits of copies of the drawn test faces: 0.20 to 0.30 for corrupted and 0.81 to
#: 0.83 for slightly changed copies (`resnet50`), 0.85 to 0.88 for prompts (`clip-nano`), 0.60 for questions (`phi3v-nano+likelihood`).
SHARED: Mapping[str, float] = {"corruptions": 0.25, "metamorphic": 0.82, "prompting": 0.86, "questioning": 0.60}
#: The share of answers by which a copy and the face differ in one version; about as in the records of the shipped models (mean error
#: 0.25 to 0.38; one pixel of shift 0.01 to 0.11; one template 0.01 to 0.04, one word up to 0.1; another order 0.06 to 0.11).
DISTURBED: Mapping[str, float] = {"corruptions": 0.30, "metamorphic": 0.05, "prompting": 0.05, "questioning": 0.10}
#: How often the search for the worst prompt is simulated to try one, at most; its real number would take minutes.
_SEARCHED = 20
#: Templates and, for four emotions, words of the prompt set that is simulated (as in `openai`).
_TEMPLATES, _WORDS = 6, {"happy": 2, "sad": 2, "surprise": 3, "neutral": 2}
#: Runs simulated in one task; runs per point of a power curve, and its points.
_AT_ONCE, _POWER_RUNS, _POINTS = 25, 150, 8
_LARGEST = 12.0  # the largest harm that is tried, in logits


@dataclass(frozen=True)
class Plan:
    """What one run judges.

    Attributes:
        depth: the sizes of its checks.
        subjects, variants: how many subjects are evaluated on all faces, and how many on `depth.variant_limit` of them.
        checks: how many models or pairs have each kind of check.
    """

    depth: Depth
    subjects: int
    variants: int
    checks: Mapping[str, int]


#: What `pytest evals` judges on the embedded faces with the models that ship: five networks and a second answer mode, each with two
#: restorations.
PLANS: tuple[Plan, ...] = (
    Plan(STANDARD, 5, 13, {"corruptions": 5, "metamorphic": 5, "prompting": 1, "questioning": 1}),
    Plan(FULL, 18, 0, {"corruptions": 18, "metamorphic": 6, "prompting": 1, "questioning": 2}),
)

#: What can make a run fail.
FAMILIES: dict[str, str] = {
    "accuracy": f"accuracy or macro-F1 of a subject, at p < {gate.ALPHA} over the run",
    "recall": f"the recall of an emotion, at p < {gate.RECALL_ALPHA} over the run",
    "robustness": f"a robustness figure, at p < {ROBUSTNESS_ALPHA} over the run",
}


@dataclass(frozen=True)
class WholeRuns:
    """What whole runs of one plan came to.

    Attributes:
        false_alarms: the share of runs with a FAIL although nothing changed: `any`, and by each of `FAMILIES`; and with a `DRIFT`.
        figures: how many robustness figures a run judges.
        smallest_found: for a figure of each kind, the smallest change for the worse that is found four times in five; None where none is.
        faces: how many faces that figure is computed from.
    """

    plan: Plan
    false_alarms: dict[str, Measurement]
    figures: int
    smallest_found: dict[str, float | None]
    faces: dict[str, int]

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "depth": self.plan.depth.name,
            "false_alarms": {name: share.as_json() for name, share in self.false_alarms.items()},
            "figures": self.figures,
            "smallest_found": self.smallest_found,
            "faces": self.faces,
        }


def tasks(runs: int, plans: Sequence[Plan] = PLANS) -> int:
    """How many times `run` reports progress."""
    return len(plans) * (-(-runs // _AT_ONCE) + len(HARMS))


def run(
    answers: Answers,
    *,
    plans: Sequence[Plan] = PLANS,
    runs: int = 1000,
    n: int = 3589,
    discordant: float = 0.10,
    seed: int = 0,
    processes: int = 1,
    progress: Callable[[int], None] = lambda done: None,
) -> list[WholeRuns]:
    """Simulate and judge.

    Args:
        answers: a model's real answers; those without probabilities are left out.
        runs: whole runs of each plan in which nothing changed; as many, but at most 150, make each point of a power curve.
        n: faces of the subjects that are evaluated on all faces.
        discordant: the share of faces that the versions' noise changes between right and wrong.
        seed: the same seed gives the same figures, in however many processes.
        processes: how many tasks are computed side by side.
        progress: called with how many more of `tasks` are done.

    Raises:
        UsageError: no run or too few faces, or answers that cannot show so much noise.
    """
    if runs < 1 or n < 7:
        raise UsageError(f"Whole runs need at least one run of at least seven faces, got {runs} runs of {n} faces.")
    source = power.Source.of(answers)
    noise = power.calibrate(source, power.Scenario(0.0, discordant)).noise
    simulation = _Simulation(source, noise, n, {kind: _disturbance(source, noise, kind) for kind in DISTURBED})
    found = []
    with Parallel(n_jobs=processes, return_as="generator") as parallel:
        for number, plan in enumerate(plans):
            sizes = [min(_AT_ONCE, runs - start) for start in range(0, runs, _AT_ONCE)]
            chunks = parallel(delayed(_null_runs)(simulation, plan, size, (seed, number, i)) for i, size in enumerate(sizes))
            failed: Counter[str] = Counter()
            for chunk in chunks:
                failed.update(chunk)
                progress(1)
            family = len(_robustness(simulation, plan, np.random.default_rng(seed)))
            level = ROBUSTNESS_ALPHA / family
            smallest = {}
            curves = parallel(
                delayed(_smallest)(simulation, plan, figure, level, (seed, number, i), min(runs, _POWER_RUNS)) for i, figure in enumerate(HARMS)
            )
            for figure, value in zip(HARMS, curves, strict=True):
                smallest[figure] = value
                progress(1)
            faces = {figure: _faces_of(plan, HARMS[figure][0], n) for figure in HARMS}
            alarms = {name: wilson(failed[name], runs) for name in ("any", *FAMILIES, "DRIFT")}
            found.append(WholeRuns(plan, alarms, family, smallest, faces))
    return found


@dataclass(frozen=True)
class _Simulation:
    """Where runs come from: the noise of a version and the disturbance of a copy, by kind, as standard deviations of a logit."""

    source: power.Source
    noise: float
    n: int
    disturbance: Mapping[str, float]


def _disturbance(source: power.Source, noise: float, kind: str) -> float:
    """The standard deviation of a disturbance that, with a version's noise on the copy alone, changes the share of answers that it is to."""
    share = DISTURBED[kind]
    rng = np.random.default_rng(0)
    logits = source.logits[np.resize(rng.permutation(len(source.truth)), 20_000)]
    shift, own = (rng.standard_normal(logits.shape, dtype=np.float32) for _ in range(2))
    logits = logits + np.float32(noise) * own
    before = logits.argmax(axis=-1)
    try:
        both = power.solve(lambda size: float(((logits + size * shift).argmax(axis=-1) != before).mean()) - share, 0.0, 50.0)
        return float(np.sqrt(max(0.0, both**2 - 2 * (1 - SHARED[kind]) * noise**2)))
    except ValueError as error:  # no such size: the logits are all alike, or infinitely far apart
        raise UsageError(f"These answers cannot be disturbed so that {share:.0%} of them change. Choose those of another model.") from error


# -- nothing changed ------------------------------------------------------------------------------


def _null_runs(simulation: _Simulation, plan: Plan, runs: int, seed: tuple[int, ...]) -> Counter[str]:
    """How many runs failed, by family; and how many had a DRIFT."""
    rng = np.random.default_rng(seed)
    return Counter(name for _ in range(runs) for name in _null_run(simulation, plan, rng))


def _null_run(simulation: _Simulation, plan: Plan, rng: np.random.Generator) -> set[str]:
    subjects = [_subject(simulation, truth, logits, plan, rng) for truth, logits in _subjects(simulation, plan, rng)]
    metrics_failed = {c.metric.split(":")[0] for checks in gate.settle([checks for checks, _ in subjects]) for c in checks if c.failed}
    alarms = {"recall": "recall" in metrics_failed, "accuracy": bool(metrics_failed & {"accuracy", "macro_f1"})}
    alarms["robustness"] = _fails(_robustness(simulation, plan, rng))
    alarms["any"] = any(alarms.values())
    drifts = [drift for _, drift in subjects]
    adjusted = holm([drift.p for drift in drifts])
    alarms["DRIFT"] = any(d.change <= -gate.DRIFT_MARGIN and p < gate.ALPHA for d, p in zip(drifts, adjusted, strict=True))
    return {name for name, alarm in alarms.items() if alarm}


def _subjects(simulation: _Simulation, plan: Plan, rng: np.random.Generator) -> Iterator[tuple[IntArray, FloatArray]]:
    """Labels and logits of the faces of each subject: the same faces for all."""
    truth, logits = _faces(simulation, rng, simulation.n)
    some = _few(truth, plan.depth.variant_limit or simulation.n)
    yield from [(truth, logits)] * plan.subjects
    yield from [(truth[some], logits[some])] * plan.variants


def _faces(simulation: _Simulation, rng: np.random.Generator, n: int) -> tuple[IntArray, FloatArray]:
    rows = rng.integers(len(simulation.source.truth), size=n)
    return simulation.source.truth[rows], simulation.source.logits[rows]


def _few(truth: IntArray, n: int) -> IntArray:
    """About `n` faces, as many of each emotion as there are."""
    return np.concatenate([np.flatnonzero(truth == e)[: max(1, n // len(EMOTIONS))] for e in EMOTIONS])


def _subject(
    simulation: _Simulation, truth: IntArray, logits: FloatArray, plan: Plan, rng: np.random.Generator
) -> tuple[tuple[gate.Check, ...], PairedChange]:
    """The checks of two versions of one subject, and their log scores. Macro-F1 gets all its resamples only where few leave it open."""
    (before, p_before), (now, p_now) = (power.version(logits, truth, simulation.noise, rng) for _ in range(2))
    resamples = max(9999, 200 * 2 * (plan.subjects + plan.variants))  # as `Suite` has it
    p = paired_fall(truth, before, now, metrics.macro_f1, resamples=199).p
    if p < 0.02:
        p = paired_fall(truth, before, now, metrics.macro_f1, resamples=resamples).p
    checks = gate.paired_checks(truth, before, now, resamples=0)
    return power.with_f1(checks, p), gate.log_score_fall(in_steps(p_before), in_steps(p_now))


def _robustness(simulation: _Simulation, plan: Plan, rng: np.random.Generator) -> list[tuple[str, FaceCounts, FaceCounts]]:
    """Both versions of all robustness figures of a run."""
    return [
        (name, before, now)
        for kind, number in plan.checks.items()
        for _ in range(number)
        for name, (before, now) in KINDS[kind](simulation, plan.depth, rng, None, 0.0).items()
    ]


def _fails(figures: Sequence[tuple[str, FaceCounts, FaceCounts]]) -> bool:
    """Whether the robustness gate fails any of them."""
    rises = [worsened(name, now.value - before.value) for name, before, now in figures]
    adjusted = holm([_p(*figure, rise) for figure, rise in zip(figures, rises, strict=True)])
    return any(is_worse(rise) and p < ROBUSTNESS_ALPHA for rise, p in zip(rises, adjusted, strict=True))


def _p(name: str, before: FaceCounts, now: FaceCounts, rise: float) -> float:
    """The p-value of a figure; for a bias towards positions computed only as far as it can decide."""
    if now.counts.ndim == 1:
        return p_worse(name, before, now)
    if not is_worse(rise) or p_worse(name, before, now, 499) > 0.02:
        return 1.0
    return p_worse(name, before, now)


# -- something got worse --------------------------------------------------------------------------


def _faces_of(plan: Plan, kind: str, n: int) -> int:
    depth = plan.depth
    limits = {"corruptions": depth.corruption_limit, "metamorphic": depth.metamorphic_limit, "questioning": depth.question_limit}
    return min(n, limits.get(kind, n))


def _smallest(
    simulation: _Simulation, plan: Plan, figure: str, level: float, seed: tuple[int, ...], runs: int = _POWER_RUNS
) -> float | None:
    """The smallest mean change of a figure for the worse that is found four times in five in a run without others, by interpolation."""
    kind, harm = HARMS[figure]
    low, high, curve = 0.0, _LARGEST, [(0.0, 0.0)]
    for point in range(_POINTS):
        size = high if point == 0 else (low + high) / 2
        rng = np.random.default_rng((*seed, point))
        rises, found = [], 0
        for _ in range(runs):
            before, now = KINDS[kind](simulation, plan.depth, rng, harm, size)[figure]
            rises.append(worsened(figure, now.value - before.value))
            found += is_worse(rises[-1]) and _p(figure, before, now, rises[-1]) < level
        curve.append((float(np.mean(rises)), found / runs))
        if point == 0 and curve[-1][1] < 0.8:
            return None
        low, high = (low, size) if curve[-1][1] >= 0.8 else (size, high)
    return power.interpolated(curve, 0.8)


# -- the checks -----------------------------------------------------------------------------------


def _answers(
    simulation: _Simulation,
    kind: str,
    logits: FloatArray,
    truth: IntArray,
    disturbances: Sequence[float],
    rng: np.random.Generator,
    harm: Harm | None,
    size: float,
) -> tuple[IntArray, IntArray]:
    """The answers of both versions to the copies of some faces, each (copies, faces); a copy has a disturbance of this size."""
    shape = (len(disturbances), *logits.shape)
    scale = np.asarray(disturbances, dtype=np.float32)[:, None, None]
    base = logits + scale * rng.standard_normal(shape, dtype=np.float32)
    shares, versions = (np.float32(SHARED[kind] ** 0.5), np.float32((1 - SHARED[kind]) ** 0.5)), []
    for now in (False, True):
        shared, own = (rng.standard_normal(s, dtype=np.float32) for s in (logits.shape, shape))
        noisy = base + np.float32(simulation.noise) * (shares[0] * shared + shares[1] * own)
        if now and harm is not None:
            harm(noisy, truth, size, rng)
        versions.append(noisy.argmax(axis=-1))
    return versions[0], versions[1]


def _check_faces(simulation: _Simulation, rng: np.random.Generator, n: int) -> tuple[IntArray, FloatArray]:
    """Labels and logits of the faces of a check: as many of each emotion."""
    truth, logits = _faces(simulation, rng, simulation.n)
    some = _few(truth, n) if n < len(truth) else slice(None)
    return truth[some], logits[some]


def _corruptions(simulation: _Simulation, depth: Depth, rng: np.random.Generator, harm: Harm | None, size: float) -> Versions:
    truth, logits = _check_faces(simulation, rng, depth.corruption_limit)
    images = len(corruptions.names()) * len(depth.severities)
    both = _answers(simulation, "corruptions", logits, truth, [simulation.disturbance["corruptions"]] * images, rng, harm, size)
    before, now = (FaceCounts((answers != truth).sum(axis=0), images) for answers in both)
    return {f"{corruption_robustness.PREFIX}mean error": (before, now)}


def _metamorphic(simulation: _Simulation, depth: Depth, rng: np.random.Generator, harm: Harm | None, size: float) -> Versions:
    truth, logits = _check_faces(simulation, rng, depth.metamorphic_limit)
    copies = [0.0, *[simulation.disturbance["metamorphic"]] * (metamorphic.COPIES - 1)]
    both = _answers(simulation, "metamorphic", logits, truth, copies, rng, harm, size)
    figures, first = {}, 1
    for name, family in metamorphic.FAMILIES.items():
        own = slice(first, first + len(family))
        before, now = (FaceCounts((answers[own] != answers[0]).sum(axis=0), len(family)) for answers in both)
        figures[f"{metamorphic.PREFIX}answers changed by {name}"] = before, now
        first = own.stop
    return figures


def _prompting(simulation: _Simulation, depth: Depth, rng: np.random.Generator, harm: Harm | None, size: float) -> Versions:
    truth, logits = _faces(simulation, rng, simulation.n)
    usual, tried = simulation.disturbance["prompting"], min(_SEARCHED, depth.prompt_search_examples)
    numbers = [1, _TEMPLATES, sum(_WORDS.values()), len(prompt_robustness.INVARIANCES), tried]
    copies = [0.0, *[usual] * sum(numbers[1:4]), *[simulation.disturbance["questioning"]] * tried]
    both = _answers(simulation, "prompting", logits, truth, copies, rng, harm, size)

    def figures(answers: IntArray) -> dict[str, FaceCounts]:
        whole, templates, words, edits, found = np.split(answers, np.cumsum(numbers)[:-1])
        each = dict(zip(_WORDS, np.split(words, np.cumsum(list(_WORDS.values()))[:-1]), strict=True))
        own = prompt_robustness.spread_counts(truth, whole[0], list(templates), {emotion: list(said) for emotion, said in each.items()})
        own["accuracy of the worst prompt found"] = prompt_robustness.worst_counts([said == truth for said in found])
        for name, said in zip(prompt_robustness.INVARIANCES, edits, strict=True):
            own[f"answers changed by {name}"] = FaceCounts((said != whole[0]).astype(np.int64), 1)
        return own

    before, now = (figures(answers) for answers in both)
    return {f"{prompt_robustness.PREFIX}{name}": (before[name], now[name]) for name in before}


_QUESTION = QUESTIONS["one-word"]
_VARIANTS = question_robustness.variants(_QUESTION)


def _questioning(simulation: _Simulation, depth: Depth, rng: np.random.Generator, harm: Harm | None, size: float) -> Versions:
    truth, logits = _check_faces(simulation, rng, depth.question_limit)
    copies = [0.0, *[simulation.disturbance["questioning"]] * (len(_VARIANTS) - 1)]
    both = _answers(simulation, "questioning", logits, truth, copies, rng, harm, size)
    before, now = (
        question_robustness.counts_of({q.name: said for q, said in zip(_VARIANTS, answers, strict=True)}, _QUESTION, truth) for answers in both
    )
    return {f"{prompt_robustness.PREFIX}{name}": (before[name], now[name]) for name in before}


KINDS = {"corruptions": _corruptions, "metamorphic": _metamorphic, "prompting": _prompting, "questioning": _questioning}


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


def _like_the_first_letter(logits: FloatArray, truth: IntArray, size: float, rng: np.random.Generator) -> None:
    """Add to the emotion that is first in a lettered list."""
    for copy, question in zip(logits, _VARIANTS, strict=True):
        if question.lettered:
            copy[:, question.order[0]] += np.float32(size)


#: For a figure of each kind: its kind, and what makes it worse.
HARMS: dict[str, tuple[str, Harm]] = {
    f"{corruption_robustness.PREFIX}mean error": ("corruptions", _on_all_copies),
    f"{metamorphic.PREFIX}answers changed by one pixel of shift": ("metamorphic", _disturb_copies),
    f"{prompt_robustness.PREFIX}accuracy of the worst template": ("prompting", _on_one_template),
    f"{prompt_robustness.PREFIX}answers changed by another order": ("questioning", _disturb_copies),
    f"{prompt_robustness.PREFIX}bias towards places in lettered": ("questioning", _like_the_first_letter),
}
