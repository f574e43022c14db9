"""Whole runs, simulated: how often anything fails although nothing changed, and which changes for the worse
robustness checks find.

A run judges several subjects by accuracy, macro-F1, recall and log score, and robustness figures of all
kinds, in the sizes of a depth. As in `selftest`, faces are drawn from real stored probabilities, and each
model has two versions: its own logits and independent noise.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from joblib import Parallel, delayed

from fer_models.depth import FULL, STANDARD, Depth
from fer_models.errors import UsageError
from fer_models.gate import gate, power
from fer_models.gate.baselines import quantize_probability
from fer_models.gate.robustness_gate import ROBUSTNESS_ALPHA, is_worse, p_worse, worsened
from fer_models.scoring import metrics
from fer_models.scoring.face_counts import FaceCounts
from fer_models.scoring.intervals import Measurement, wilson_interval
from fer_models.scoring.paired_tests import PairedChange, holm, paired_score_test
from fer_models.store.predictions import PredictionTable
from fer_models.studies.simulated_checks import (
    DISTURBED,
    HARMS,
    KINDS,
    FloatArray,
    IntArray,
    Simulation,
    disturbance,
    draw_faces,
    stratified_rows,
)

#: Runs simulated in one task; runs per point of a power curve, and its points.
_AT_ONCE, _POWER_RUNS, _POINTS = 25, 150, 8
_LARGEST = 12.0  # the largest harm that is tried, in logits


@dataclass(frozen=True)
class Plan:
    """What one run judges.

    Attributes:
        depth: the sizes of its checks.
        subjects, variants: how many subjects are evaluated on all faces, and how many on
            `depth.variant_limit` of them.
        checks: how many models or pairs have each kind of check.
    """

    depth: Depth
    subjects: int
    variants: int
    checks: Mapping[str, int]


#: What `pytest evals` judges on the embedded faces with the models that ship: five networks and a second
#: answer mode, each with two restorations.
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
class DepthPower:
    """What whole runs of one plan came to.

    Attributes:
        false_alarms: the share of runs with a FAIL although nothing changed: `any`, and by each of
            `FAMILIES`; and with a `DEGRADED`.
        figures: how many robustness figures a run judges.
        smallest_found: for a figure of each kind, the smallest change for the worse that is found four times
            in five; None where none is.
        faces: how many faces that figure is computed from.
    """

    plan: Plan
    false_alarms: dict[str, Measurement]
    figures: int
    minimum_detectable_changes: dict[str, float | None]
    faces: dict[str, int]

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "depth": self.plan.depth.name,
            "false_alarms": {name: share.as_json() for name, share in self.false_alarms.items()},
            "figures": self.figures,
            "smallest_found": self.minimum_detectable_changes,
            "faces": self.faces,
        }


def tasks(runs: int, plans: Sequence[Plan] = PLANS) -> int:
    """How many times `run` reports progress."""
    return len(plans) * (-(-runs // _AT_ONCE) + len(HARMS))


def run(
    answers: PredictionTable,
    *,
    plans: Sequence[Plan] = PLANS,
    runs: int = 1000,
    n: int = 3589,
    discordant: float = 0.10,
    seed: int = 0,
    processes: int = 1,
    progress: Callable[[int], None] = lambda done: None,
) -> list[DepthPower]:
    """Simulate and judge.

    Args:
        answers: a model's real answers; those without probabilities are left out.
        runs: whole runs of each plan in which nothing changed; as many, but at most 150, make each point of a
            power curve.
        n: faces of the subjects that are evaluated on all faces.
        discordant: the share of faces that the versions' noise changes between right and wrong.
        seed: the same seed gives the same figures, in however many processes.
        processes: how many tasks are computed side by side.
        progress: called with how many more of `tasks` are done.

    Raises:
        UsageError: no run or too few faces, or answers that cannot show so much noise.
    """
    if runs < 1 or n < 7:
        raise UsageError(
            f"Whole runs need at least one run of at least seven faces, got {runs} runs of {n} faces."
        )
    source = power.Source.of(answers)
    noise = power.calibrate(source, power.Scenario(0.0, discordant)).noise
    simulation = Simulation(source, noise, n, {kind: disturbance(source, noise, kind) for kind in DISTURBED})
    found = []
    with Parallel(n_jobs=processes, return_as="generator") as parallel:
        for number, plan in enumerate(plans):
            sizes = [min(_AT_ONCE, runs - start) for start in range(0, runs, _AT_ONCE)]
            chunks = parallel(
                delayed(_null_runs)(simulation, plan, size, (seed, number, i)) for i, size in enumerate(sizes)
            )
            failed: Counter[str] = Counter()
            for chunk in chunks:
                failed.update(chunk)
                progress(1)
            family = len(_robustness(simulation, plan, np.random.default_rng(seed)))
            level = ROBUSTNESS_ALPHA / family
            smallest = {}
            curves = parallel(
                delayed(_smallest)(simulation, plan, figure, level, (seed, number, i), min(runs, _POWER_RUNS))
                for i, figure in enumerate(HARMS)
            )
            for figure, value in zip(HARMS, curves, strict=True):
                smallest[figure] = value
                progress(1)
            faces = {figure: _faces_of(plan, HARMS[figure][0], n) for figure in HARMS}
            alarms = {name: wilson_interval(failed[name], runs) for name in ("any", *FAMILIES, "DEGRADED")}
            found.append(DepthPower(plan, alarms, family, smallest, faces))
    return found


def _null_runs(simulation: Simulation, plan: Plan, runs: int, seed: tuple[int, ...]) -> Counter[str]:
    """How many runs failed, by family; and how many had a DEGRADED."""
    rng = np.random.default_rng(seed)
    return Counter(name for _ in range(runs) for name in _null_run(simulation, plan, rng))


def _null_run(simulation: Simulation, plan: Plan, rng: np.random.Generator) -> set[str]:
    subjects = [
        _subject(simulation, truth, logits, plan, rng) for truth, logits in _subjects(simulation, plan, rng)
    ]
    metrics_failed = {
        c.metric.split(":")[0]
        for checks in gate.adjust_for_multiplicity([checks for checks, _ in subjects])
        for c in checks
        if c.failed
    }
    alarms = {
        "recall": "recall" in metrics_failed,
        "accuracy": bool(metrics_failed & {"accuracy", "macro_f1"}),
    }
    alarms["robustness"] = _fails(_robustness(simulation, plan, rng))
    alarms["any"] = any(alarms.values())
    drifts = [drift for _, drift in subjects]
    adjusted = holm([drift.p for drift in drifts])
    alarms["DEGRADED"] = any(
        d.change <= -gate.DEGRADED_MARGIN and p < gate.ALPHA for d, p in zip(drifts, adjusted, strict=True)
    )
    return {name for name, alarm in alarms.items() if alarm}


def _subjects(
    simulation: Simulation, plan: Plan, rng: np.random.Generator
) -> Iterator[tuple[IntArray, FloatArray]]:
    """Labels and logits of the faces of each subject: the same faces for all."""
    truth, logits = draw_faces(simulation, rng, simulation.n)
    some = stratified_rows(truth, plan.depth.variant_limit or simulation.n)
    yield from [(truth, logits)] * plan.subjects
    yield from [(truth[some], logits[some])] * plan.variants


def _subject(
    simulation: Simulation, truth: IntArray, logits: FloatArray, plan: Plan, rng: np.random.Generator
) -> tuple[tuple[gate.MetricCheck, ...], PairedChange]:
    """The checks of two versions of one subject, and their log scores. Macro-F1 gets all its resamples only
    where few leave it open.
    """
    (before, p_before), (now, p_now) = (power.version(logits, truth, simulation.noise, rng) for _ in range(2))
    resamples = max(9999, 200 * 2 * (plan.subjects + plan.variants))  # as `Evaluation` has it
    p = paired_score_test(truth, before, now, metrics.macro_f1, resamples=199).p
    if p < 0.02:
        p = paired_score_test(truth, before, now, metrics.macro_f1, resamples=resamples).p
    checks = gate.paired_checks(truth, before, now, resamples=0)
    return power.with_f1(checks, p), gate.log_score_test(
        quantize_probability(p_before), quantize_probability(p_now)
    )


def _robustness(
    simulation: Simulation, plan: Plan, rng: np.random.Generator
) -> list[tuple[str, FaceCounts, FaceCounts]]:
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
    limits = {
        "corruptions": depth.corruption_limit,
        "metamorphic": depth.metamorphic_limit,
        "questioning": depth.question_limit,
    }
    return min(n, limits.get(kind, n))


def _smallest(
    simulation: Simulation,
    plan: Plan,
    figure: str,
    level: float,
    seed: tuple[int, ...],
    runs: int = _POWER_RUNS,
) -> float | None:
    """The smallest mean change of a figure for the worse that is found four times in five in a run without
    others, by interpolation.
    """
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
