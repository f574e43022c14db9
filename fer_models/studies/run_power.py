"""Monte Carlo estimate of the false-positive rate and the power of full runs.

A run judges several subjects by accuracy, macro-F1, recall and log score, and robustness metrics of all
kinds, in the sizes of a depth. As in `fer_models.gate.power`, faces are drawn from real stored probabilities,
and each model has two versions: its logits with independent noise.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from joblib import Parallel, delayed

from fer_models.depth import FULL, STANDARD, Depth
from fer_models.errors import UsageError
from fer_models.gate import metric_checks, power
from fer_models.gate.baselines import quantize_probability
from fer_models.gate.gate import resamples_for
from fer_models.gate.metric_checks import (
    ALPHA,
    DEGRADED_MARGIN,
    RECALL,
    RECALL_ALPHA,
    SLICE,
    SLICE_ALPHA,
    MetricCheck,
)
from fer_models.gate.robustness_gate import ROBUSTNESS_ALPHA, is_worse, p_worse, worsened
from fer_models.gate.slice_checks import slice_checks
from fer_models.scoring import metrics
from fer_models.scoring.face_counts import FaceCounts
from fer_models.scoring.intervals import Measurement, wilson_interval
from fer_models.scoring.paired_tests import PairedChange, holm, paired_score_test
from fer_models.slices.columns import SliceColumns, numeric_column
from fer_models.store.predictions import PredictionTable
from fer_models.studies.simulated_checks import (
    CHECKS,
    DISTURBED_SHARE,
    HARMS,
    FloatArray,
    IntArray,
    Simulation,
    calibrate_disturbance,
    draw_faces,
    stratified_rows,
)

#: Runs simulated in one task; runs per point of a power curve, and its points.
_BATCH_SIZE, _POWER_RUNS, _POINTS = 25, 150, 8
_PROPERTIES = 5  # of the faces, each with four slices
_LARGEST = 12.0  # the largest harm, in logits


@dataclass(frozen=True)
class Plan:
    """Sizes of one full run.

    Attributes:
        depth: the sizes of its checks.
        subjects: the number of subjects that are evaluated on all faces.
        variants: the number of subjects that are evaluated on `depth.variant_limit` faces.
        checks: the number of subjects with each kind of robustness check.
    """

    depth: Depth
    subjects: int
    variants: int
    checks: Mapping[str, int]


#: `pytest evals` on the synthetic faces with the shipped models: five networks and a second answer mode, each
#: with two restorations.
PLANS: tuple[Plan, ...] = (
    Plan(
        STANDARD,
        5,
        13,
        {"corruptions": 5, "metamorphic": 5, "prompt_robustness": 1, "question_robustness": 1},
    ),
    Plan(
        FULL, 18, 0, {"corruptions": 18, "metamorphic": 6, "prompt_robustness": 1, "question_robustness": 2}
    ),
)

#: Reasons for a run to fail.
FAMILIES: dict[str, str] = {
    "accuracy": f"accuracy or macro-F1 of a subject, at p < {ALPHA} over the run",
    "recall": f"the recall of an emotion, at p < {RECALL_ALPHA} over the run",
    "slice": f"accuracy in a slice of the faces, at p < {SLICE_ALPHA} over the run",
    "robustness": f"a robustness metric, at p < {ROBUSTNESS_ALPHA} over the run",
}


@dataclass(frozen=True)
class DepthPower:
    """False-positive rate and minimum detectable changes of full runs at one depth.

    Attributes:
        plan: the sizes of the runs.
        false_positive_rates: the share of runs without a change that FAIL: `any`, and by each of `FAMILIES`;
            and with a `DEGRADED`.
        n_metrics: the number of robustness metrics that a run judges.
        minimum_detectable_changes: for a metric of each kind, the smallest change for the worse that is
            detected in 80 % of runs; None where none is.
        faces: the number of faces of that metric.
    """

    plan: Plan
    false_positive_rates: dict[str, Measurement]
    n_metrics: int
    minimum_detectable_changes: dict[str, float | None]
    faces: dict[str, int]

    def as_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "depth": self.plan.depth.name,
            "false_positive_rates": {
                name: share.as_json() for name, share in self.false_positive_rates.items()
            },
            "n_metrics": self.n_metrics,
            "minimum_detectable_change": self.minimum_detectable_changes,
            "faces": self.faces,
        }


def tasks(runs: int, plans: Sequence[Plan] = PLANS) -> int:
    """Number of progress steps of `run`."""
    return len(plans) * (-(-runs // _BATCH_SIZE) + len(HARMS))


def run(
    predictions: PredictionTable,
    options: power.SimulationOptions,
    *,
    plans: Sequence[Plan] = PLANS,
    discordant: float = 0.10,
    progress: Callable[[int], None] = lambda done: None,
) -> list[DepthPower]:
    """Simulate and judge full runs of each plan.

    Args:
        predictions: real predictions of a model; those without probabilities are left out.
        options: the full runs of each plan without a change, and as many, at most 150, per point of a power
            curve; the faces of the subjects that are evaluated on all faces.
        plans: the sizes of the runs.
        discordant: the share of faces that the versions' noise changes between correct and wrong.
        progress: called with the number of `tasks` that were completed since the last call.

    Raises:
        UsageError: no run or too few faces, or so much noise is impossible with these predictions.
    """
    runs, n, seed = options.runs, options.n, options.seed
    if runs < 1 or n < 7:
        raise UsageError(f"Simulate at least one run of at least seven faces, not {runs} runs of {n} faces.")
    source = power.Source.from_predictions(predictions)
    noise = power.calibrate(source, power.Scenario(0.0, discordant)).noise
    simulation = Simulation(
        source, noise, n, {kind: calibrate_disturbance(source, noise, kind) for kind in DISTURBED_SHARE}
    )
    results = []
    with Parallel(n_jobs=options.processes, return_as="generator") as parallel:
        for number, plan in enumerate(plans):
            sizes = [min(_BATCH_SIZE, runs - start) for start in range(0, runs, _BATCH_SIZE)]
            counts = parallel(
                delayed(_null_runs)(simulation, plan, size, (seed, number, i)) for i, size in enumerate(sizes)
            )
            failed: Counter[str] = Counter()
            for count in counts:
                failed.update(count)
                progress(1)
            figures = len(_robustness(simulation, plan, np.random.default_rng(seed)))
            level, curve_runs = ROBUSTNESS_ALPHA / figures, min(runs, _POWER_RUNS)
            changes = parallel(
                delayed(_detectable_change)(simulation, plan, name, level, (seed, number, i), curve_runs)
                for i, name in enumerate(HARMS)
            )
            detectable = {}
            for name, change in zip(HARMS, changes, strict=True):
                detectable[name] = change
                progress(1)
            faces = {name: _faces_of(plan, kind, n) for name, (kind, _) in HARMS.items()}
            alarms = {name: wilson_interval(failed[name], runs) for name in ("any", *FAMILIES, "DEGRADED")}
            results.append(DepthPower(plan, alarms, figures, detectable, faces))
    return results


def _null_runs(simulation: Simulation, plan: Plan, runs: int, seed: tuple[int, ...]) -> Counter[str]:
    """Number of runs that failed, by family; and of runs with a DEGRADED."""
    rng = np.random.default_rng(seed)
    return Counter(name for _ in range(runs) for name in _null_run(simulation, plan, rng))


def _null_run(simulation: Simulation, plan: Plan, rng: np.random.Generator) -> set[str]:
    subjects = [_subject(simulation, faces, plan, rng) for faces in _subjects(simulation, plan, rng)]
    adjusted = metric_checks.adjust_for_multiplicity([checks for checks, _ in subjects])
    failed = {c.metric.split(":")[0] for checks in adjusted for c in checks if c.failed}
    alarms = {
        "recall": RECALL in failed,
        "slice": SLICE in failed,
        "accuracy": bool(failed & {"accuracy", "macro_f1"}),
        "robustness": _fails(_robustness(simulation, plan, rng)),
    }
    alarms["any"] = any(alarms.values())
    tests = [test for _, test in subjects]
    alarms["DEGRADED"] = any(
        test.change <= -DEGRADED_MARGIN and p < ALPHA
        for test, p in zip(tests, holm([test.p for test in tests]), strict=True)
    )
    return {name for name, alarm in alarms.items() if alarm}


class _Faces(NamedTuple):
    """The faces of a subject: labels (n,), logits (n, 7), and slices."""

    truth: IntArray
    logits: FloatArray
    slices: SliceColumns

    def select(self, rows: IntArray) -> _Faces:
        return _Faces(self.truth[rows], self.logits[rows], self.slices.select(rows))


def _subjects(simulation: Simulation, plan: Plan, rng: np.random.Generator) -> Iterator[_Faces]:
    """Draw the faces of each subject: the same faces for all."""
    truth, logits = draw_faces(simulation, rng, simulation.n)
    faces = _Faces(truth, logits, _random_slices(len(truth), rng))
    yield from [faces] * plan.subjects
    yield from [
        faces.select(stratified_rows(truth, plan.depth.variant_limit or simulation.n))
    ] * plan.variants


def _random_slices(n: int, rng: np.random.Generator) -> SliceColumns:
    """As many properties with four slices as FER-2013 has or a little more, each face in a random one."""
    values = rng.random((_PROPERTIES, n))
    columns = (
        numeric_column(f"property {i}", each, "random", (0.25, 0.5, 0.75)) for i, each in enumerate(values)
    )
    return SliceColumns(tuple(columns))


def _subject(
    simulation: Simulation, faces: _Faces, plan: Plan, rng: np.random.Generator
) -> tuple[tuple[MetricCheck, ...], PairedChange]:
    """Check two versions of one subject, and test their log scores.

    Macro-F1 gets all its resamples only where a first estimate of its p is small.
    """
    truth = faces.truth
    versions = (power.version(faces.logits, truth, simulation.noise, rng) for _ in range(2))
    (baseline, p_baseline), (candidate, p_candidate) = versions
    resamples = resamples_for(plan.subjects + plan.variants)
    p = paired_score_test(truth, baseline, candidate, metrics.macro_f1, resamples=199).p
    if p < 0.02:
        p = paired_score_test(truth, baseline, candidate, metrics.macro_f1, resamples=resamples).p
    checks = metric_checks.paired_checks(truth, baseline, candidate, resamples=0)
    log_scores = metric_checks.log_score_test(
        quantize_probability(p_baseline), quantize_probability(p_candidate)
    )
    in_slices = slice_checks(truth, baseline, candidate, faces.slices)
    return (*power.replace_macro_f1_p(checks, p), *in_slices), log_scores


def _robustness(
    simulation: Simulation, plan: Plan, rng: np.random.Generator
) -> list[tuple[str, FaceCounts, FaceCounts]]:
    """Simulate both versions of all robustness metrics of a run."""
    return [
        (name, baseline, candidate)
        for kind, number in plan.checks.items()
        for _ in range(number)
        for name, (baseline, candidate) in CHECKS[kind](simulation, plan.depth, rng, None, 0.0).items()
    ]


def _fails(figures: Sequence[tuple[str, FaceCounts, FaceCounts]]) -> bool:
    """Whether the robustness gate fails any metric."""
    rises = [worsened(name, candidate.value - baseline.value) for name, baseline, candidate in figures]
    adjusted = holm([_p(*figure, rise) for figure, rise in zip(figures, rises, strict=True)])
    return any(is_worse(rise) and p < ROBUSTNESS_ALPHA for rise, p in zip(rises, adjusted, strict=True))


def _p(name: str, baseline: FaceCounts, candidate: FaceCounts, rise: float) -> float:
    """P-value of a metric; that of a position bias only as far as it can change the verdict."""
    if candidate.counts.ndim == 1:
        return p_worse(name, baseline, candidate)
    if not is_worse(rise) or p_worse(name, baseline, candidate, 499) > 0.02:
        return 1.0
    return p_worse(name, baseline, candidate)


# -- power -----------------------------------------------------------------------------------------


def _faces_of(plan: Plan, kind: str, n: int) -> int:
    depth = plan.depth
    limits = {
        "corruptions": depth.corruption_limit,
        "metamorphic": depth.metamorphic_limit,
        "question_robustness": depth.question_limit,
    }
    return min(n, limits.get(kind, n))


def _detectable_change(
    simulation: Simulation,
    plan: Plan,
    figure: str,
    level: float,
    seed: tuple[int, ...],
    runs: int = _POWER_RUNS,
) -> float | None:
    """Smallest mean change of a metric for the worse that is detected in 80 % of runs without others.

    It is interpolated on a power curve whose points are found by bisection.
    """
    kind, harm = HARMS[figure]
    low, high, curve = 0.0, _LARGEST, [(0.0, 0.0)]
    for point in range(_POINTS):
        size = high if point == 0 else (low + high) / 2
        rng = np.random.default_rng((*seed, point))
        rises, detected = [], 0
        for _ in range(runs):
            baseline, candidate = CHECKS[kind](simulation, plan.depth, rng, harm, size)[figure]
            rise = worsened(figure, candidate.value - baseline.value)
            rises.append(rise)
            detected += is_worse(rise) and _p(figure, baseline, candidate, rise) < level
        rate = detected / runs
        curve.append((float(np.mean(rises)), rate))
        if point == 0 and rate < 0.8:
            return None
        low, high = (low, size) if rate >= 0.8 else (size, high)
    return power.interpolate_size(curve, 0.8)
