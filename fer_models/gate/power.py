"""Monte Carlo estimate of the gate's false-positive rate and power.

Runs are simulated from real stored probabilities, so the true change is known. Each run draws faces with
replacement and simulates two versions of the model: its logits with independent Gaussian noise, so that
without a fall neither is better. The noise is as large as makes the wanted share of faces discordant. A true
fall lowers the logit of the true emotion: a little on every face, or much on a few faces; the amount is
solved for, so that the expected accuracy falls as wanted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from joblib import Parallel, delayed
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import softmax
from statsmodels.stats.proportion import proportions_ztest

from fer_models.errors import UsageError
from fer_models.gate import metric_checks
from fer_models.gate.baselines import quantize_probability
from fer_models.gate.calibration import CalibrationFaces, FloatArray, IntArray
from fer_models.gate.metric_checks import ALPHA, DEGRADED_MARGIN, MetricCheck
from fer_models.scoring.intervals import Measurement, wilson_interval
from fer_models.scoring.paired_tests import mcnemar_exact
from fer_models.store.predictions import PredictionTable

#: The tests that are compared, and when each of them detects a fall.
TESTS: dict[str, str] = {
    "FAIL": "the gate's verdict is FAIL",
    "FAIL or DEGRADED": "the gate's verdict is FAIL, or has the label DEGRADED",
    "McNemar": f"accuracy: exact paired test at p < {ALPHA:.2f}, nothing else",
    "DEGRADED": f"log score: paired test at p < {ALPHA:.2f}, and a fall of at least {DEGRADED_MARGIN} nats",
    "unpaired": f"accuracy: two-sample test at p < {ALPHA:.2f}, as if the faces were different ones",
    "threshold": "accuracy under the baseline - 1 point",
}
DIFFUSE, CONCENTRATED = "a little on every face", "much on a few faces"
#: What a concentrated fall takes from the logit of the true emotion of a face: odds of 50 to 1 become even.
CONCENTRATED_LOSS = 4.0
#: Bootstrap resamples of macro-F1 in one simulated run: enough for falls as small as the gate's margin.
_RESAMPLES = 499
_BATCH_SIZE = 16  # runs simulated together: some ten megabytes


@dataclass(frozen=True)
class Scenario:
    """True change between the two versions.

    Attributes:
        fall: the fall of the expected accuracy, 0..1.
        discordant: the share of faces that change between correct and wrong, either way, 0..1: the
            discordant pairs of McNemar's test.
        kind: `DIFFUSE` or `CONCENTRATED`; without meaning where there is no fall.
    """

    fall: float
    discordant: float
    kind: str = DIFFUSE


#: No change, with more noise than another precision makes and with as much as further training makes
#: (measured in docs/verdicts.md); then true falls.
SCENARIOS: tuple[Scenario, ...] = (
    Scenario(0.0, 0.01),
    Scenario(0.0, 0.10),
    *(Scenario(fall, 0.10) for fall in (0.005, 0.01, 0.015, 0.02, 0.03)),
    *(Scenario(fall, 0.10, CONCENTRATED) for fall in (0.01, 0.02)),
)


@dataclass(frozen=True)
class ScenarioResult:
    """Rejection rate of each test in one scenario.

    Attributes:
        scenario: the true change.
        rates: by the test's name; the share of runs with its Wilson interval.
        prediction_change_rate: the mean share of faces whose prediction changed, also from wrong to wrong.
        log_score: the mean change of the log score, nats.
    """

    scenario: Scenario
    rates: dict[str, Measurement]
    prediction_change_rate: float
    log_score: float

    def as_json(self) -> dict[str, Any]:
        """Return plain values."""
        s = self.scenario
        return {
            "fall": s.fall,
            "discordant": s.discordant,
            "answers_changed": self.prediction_change_rate,
            "kind": s.kind if s.fall else None,
            "log_score": self.log_score,
            "rejection_rate": {name: rate.as_json() for name, rate in self.rates.items()},
        }


@dataclass(frozen=True)
class SimulationOptions:
    """Size of a simulation, here and in `fer_models.studies.run_power`.

    Attributes:
        runs: simulated runs, at least one.
        n: faces per run, drawn with replacement.
        seed: the same seed gives the same results, in any number of processes.
        processes: number of tasks that are computed in parallel.
    """

    runs: int
    n: int = 3589
    seed: int = 0
    processes: int = 1


class Source(NamedTuple):
    """Faces to simulate from: logits up to a constant (n, 7), labels (n,)."""

    logits: FloatArray
    truth: IntArray

    @classmethod
    def from_predictions(cls, predictions: PredictionTable) -> Source:
        """Convert a model's predictions. Raises UsageError where they have no probabilities."""
        rows = ~np.isnan(predictions.probabilities).any(axis=1)
        if not rows.any():
            raise UsageError(
                "These predictions have no probabilities to simulate runs from. Choose another model's."
            )
        # A float32 probability can be 0, which has no logarithm.
        logits = np.log(np.clip(predictions.probabilities[rows], 1e-7, 1)).astype(np.float32)
        return cls(logits, predictions.truth[rows])


class _Change(NamedTuple):
    """Change of the logits between two versions.

    Attributes:
        noise: the standard deviation of the noise on every logit.
        loss: what is taken from the logit of the true emotion.
        share: the share of the faces that have this loss.
    """

    noise: float
    loss: float
    share: float


class _SimulatedRun(NamedTuple):
    """Labels, predictions and probabilities of the true emotion of both versions, each (n,)."""

    truth: IntArray
    baseline: IntArray
    candidate: IntArray
    p_baseline: NDArray[np.float64]
    p_candidate: NDArray[np.float64]


def run(
    predictions: PredictionTable,
    options: SimulationOptions,
    *,
    scenarios: Sequence[Scenario] = SCENARIOS,
    progress: Callable[[int], None] = lambda scenarios: None,
) -> list[ScenarioResult]:
    """Simulate and judge runs of each scenario.

    Args:
        predictions: real predictions of a model; those without probabilities are left out.
        options: the runs per scenario; each is judged as one run of the gate with one subject.
        scenarios: the true changes.
        progress: called with the number of scenarios that were completed since the last call.

    Raises:
        UsageError: no run, no face, or a scenario that is impossible with these predictions (such as a fall
            larger than the share of discordant faces).
    """
    runs, n = options.runs, options.n
    if runs < 1 or n < 1:
        raise UsageError(
            f"The simulation needs at least one run of at least one face, got {runs} runs of {n} faces."
        )
    source = Source.from_predictions(predictions)
    tasks = [(source, scenario, runs, n, (options.seed, i)) for i, scenario in enumerate(scenarios)]
    parallel = Parallel(n_jobs=min(options.processes, len(tasks)), return_as="generator")
    results = []
    for result in parallel(delayed(_simulate_scenario)(*task) for task in tasks):
        results.append(result)
        progress(1)
    return results


def minimum_detectable_fall(results: Sequence[ScenarioResult], test: str, power: float = 0.8) -> float | None:
    """Smallest diffuse fall that a test detects in this share of runs.

    Returns:
        interpolated between the simulated falls; None if even the largest is detected less often.
    """
    falls = [r for r in results if r.scenario.fall and r.scenario.kind == DIFFUSE]
    return interpolate_size([(0.0, 0.0), *((r.scenario.fall, r.rates[test].value) for r in falls)], power)


def interpolate_size(curve: Sequence[tuple[float, float]], power: float) -> float | None:
    """Smallest size at which a power curve of (size, rate) reaches a rate; None if it never does."""
    for (low, rate), (high, next_rate) in pairwise(sorted(curve)):
        if next_rate >= power:
            return low + (high - low) * (power - rate) / (next_rate - rate)
    return None


def _simulate_scenario(
    source: Source, scenario: Scenario, runs: int, n: int, seed: tuple[int, int]
) -> ScenarioResult:
    rng = np.random.default_rng(seed)
    change = calibrate(source, scenario)
    rejections, change_rate, log_score = dict.fromkeys(TESTS, 0), 0.0, 0.0
    for simulated in _simulated(source, change, runs, n, rng):
        test = metric_checks.log_score_test(
            quantize_probability(simulated.p_baseline), quantize_probability(simulated.p_candidate)
        )
        log_score += test.change / runs
        change_rate += float((simulated.baseline != simulated.candidate).mean()) / runs
        rejected = _rejections(simulated.truth, simulated.baseline, simulated.candidate)
        rejected["DEGRADED"] = test.change <= -DEGRADED_MARGIN and test.p < ALPHA
        rejected["FAIL or DEGRADED"] = rejected["FAIL"] or rejected["DEGRADED"]
        for name in TESTS:
            rejections[name] += rejected[name]
    rates = {name: wilson_interval(k, runs) for name, k in rejections.items()}
    return ScenarioResult(scenario, rates, change_rate, log_score)


def _rejections(truth: IntArray, baseline: IntArray, candidate: IntArray) -> dict[str, bool]:
    """Which of the tests of predictions detect a fall."""
    was_correct, is_correct, n = baseline == truth, candidate == truth, len(truth)
    negative, positive = int((was_correct & ~is_correct).sum()), int((~was_correct & is_correct).sum())
    unpaired = 1.0
    if negative > positive:
        counts = [is_correct.sum(), was_correct.sum()]
        unpaired = float(proportions_ztest(counts, [n, n], alternative="smaller")[1])
    return {
        "FAIL": _fails(truth, baseline, candidate),
        "McNemar": mcnemar_exact(negative, positive) < ALPHA,
        "unpaired": unpaired < ALPHA,
        "threshold": (negative - positive) / n > 0.01,
    }


def _fails(truth: IntArray, baseline: IntArray, candidate: IntArray) -> bool:
    """Whether the gate fails; runs the bootstrap of macro-F1 only where its p can change the verdict."""
    checks = metric_checks.paired_checks(truth, baseline, candidate, resamples=0)
    at_least, at_most = (_failed(replace_macro_f1_p(checks, p)) for p in (1.0, 0.0))
    if at_least == at_most:
        return at_least
    return _failed(metric_checks.paired_checks(truth, baseline, candidate, resamples=_RESAMPLES))


def replace_macro_f1_p(checks: tuple[MetricCheck, ...], p: float) -> tuple[MetricCheck, ...]:
    """Replace the p-value of macro-F1."""
    return tuple(replace(c, p=p) if c.metric == "macro_f1" else c for c in checks)


def _failed(checks: tuple[MetricCheck, ...]) -> bool:
    return any(c.failed for c in metric_checks.adjust_for_multiplicity([checks])[0])


# -- simulation -----------------------------------------------------------------------------------


def _simulated(
    source: Source, change: _Change, runs: int, n: int, rng: np.random.Generator
) -> Iterator[_SimulatedRun]:
    """Simulate runs of `n` faces."""
    for start in range(0, runs, _BATCH_SIZE):
        rows = rng.integers(len(source.truth), size=(min(_BATCH_SIZE, runs - start), n))
        truth, logits = source.truth[rows], source.logits[rows]
        (baseline, p_baseline), (candidate, p_candidate) = (
            _version(logits, truth, change._replace(loss=loss), rng) for loss in (0.0, change.loss)
        )
        yield from map(_SimulatedRun, truth, baseline, candidate, p_baseline, p_candidate)


def _version(
    logits: FloatArray, truth: IntArray, change: _Change, rng: np.random.Generator
) -> tuple[IntArray, NDArray[np.float64]]:
    """Predictions and probabilities of the true emotion (..., n) from changed logits (..., n, 7)."""
    noisy = logits + change.noise * rng.standard_normal(logits.shape, dtype=np.float32)
    if change.loss:
        loss = change.loss * (rng.random(truth.shape) < change.share)
        lowered = np.take_along_axis(noisy, truth[..., None], axis=-1) - loss[..., None].astype(np.float32)
        np.put_along_axis(noisy, truth[..., None], lowered, axis=-1)
    predicted = noisy.argmax(axis=-1)
    p_true = np.take_along_axis(softmax(noisy, axis=-1), truth[..., None], axis=-1)[..., 0]
    return predicted.astype(np.int64), np.asarray(p_true, dtype=np.float64)


def calibrate(source: Source, scenario: Scenario) -> _Change:
    """Calibrate the noise and the loss, so that a scenario holds in expectation.

    Raises:
        UsageError: it is impossible with these predictions.
    """
    if not 0 <= scenario.fall < scenario.discordant <= 0.5:
        raise UsageError(
            f"A fall of {scenario.fall:.1%} needs more discordant faces than that, and at most half of all: "
            f"got {scenario.discordant:.1%}."
        )

    faces = CalibrationFaces.draw(source.logits, source.truth)

    def change_with(noise: float) -> _Change:
        if not scenario.fall:
            return _Change(noise, 0.0, 1.0)
        versions = faces.versions(noise)
        if scenario.kind == CONCENTRATED:
            loss = CONCENTRATED_LOSS
            return _Change(noise, loss, find_root(lambda x: versions.fall(loss, x) - scenario.fall, 0.0, 1.0))
        return _Change(noise, find_root(lambda x: versions.fall(x, 1.0) - scenario.fall, 0.0, 8.0), 1.0)

    def excess_discordance(noise: float) -> float:
        _, loss, share = change_with(noise)
        return faces.versions(noise).discordance(loss, share) - scenario.discordant

    try:
        return change_with(find_root(excess_discordance, 0.0, 8.0))
    except ValueError as error:  # brentq: the ends have the same sign
        raise UsageError(
            f"A fall of {scenario.fall:.1%} with {scenario.discordant:.1%} discordant faces cannot be "
            "simulated from these predictions: too many of them are certain, or there are too few faces. "
            "Choose the predictions of another model, or another --discordant."
        ) from error


def version(
    logits: FloatArray, truth: IntArray, noise: float, rng: np.random.Generator
) -> tuple[IntArray, NDArray[np.float64]]:
    """Simulate one version without a loss: predictions and p_true (..., n) from logits (..., n, 7)."""
    return _version(logits, truth, _Change(noise, 0.0, 1.0), rng)


def find_root(f: Callable[[float], float], low: float, high: float) -> float:
    """Find a root of `f` between two ends. Raises ValueError where `f` has the same sign at both."""
    return float(brentq(f, low, high, xtol=1e-4, rtol=1e-4))
