"""The gate put to its own question: how often is it right?

Runs are simulated from real stored probabilities, where the truth is known because we set it. Each run draws
faces with replacement and gives the model two versions, both of them its own logits and independent Gaussian
noise, so that without a fall neither is better in any respect. The noise is as large as makes the wanted
share of faces change between right and wrong. A true fall takes from the logit of the true emotion: a little
on every face, or much on a few; how much is solved for, so that the expected accuracy falls by the wanted
points.
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
from statsmodels.stats.proportion import proportions_ztest

from fer_models.errors import UsageError
from fer_models.gate import gate
from fer_models.gate.baselines import quantize_probability
from fer_models.scoring.intervals import Measurement, wilson_interval
from fer_models.scoring.paired_tests import mcnemar_exact
from fer_models.store.predictions import PredictionTable

FloatArray = NDArray[np.float32]

#: The tests set side by side, and what each of them calls a fall.
TESTS: dict[str, str] = {
    "FAIL": "the gate's verdict is FAIL",
    "FAIL or DEGRADED": "the gate's verdict is FAIL, or DEGRADED stands beside it",
    "McNemar": f"accuracy: exact paired test at p < {gate.ALPHA:.2f}, nothing else",
    "DEGRADED": f"log score: paired test at p < {gate.ALPHA:.2f}, and a fall of at least {gate.DEGRADED_MARGIN} nats",
    "unpaired": f"accuracy: two-sample test at p < {gate.ALPHA:.2f}, as if the faces were others",
    "threshold": "accuracy under the baseline - 1 point",
}
DIFFUSE, CONCENTRATED = "a little on every face", "much on a few faces"
#: What a face that is badly hit loses of its true emotion's logit: odds of 50 to 1 on become even.
CONCENTRATED_LOSS = 4.0
#: Enough to see falls as small as the gate's margin: bootstrap resamples of macro-F1 in one simulated run.
_RESAMPLES = 499
_AT_ONCE = 16  # runs simulated together: some ten megabytes


@dataclass(frozen=True)
class Scenario:
    """What truly happens between the two versions.

    Attributes:
        fall: how far the expected accuracy falls, 0..1.
        discordant: the share of faces that change between right and wrong, either way, 0..1: the discordant
            pairs of McNemar's test.
        kind: `EVERYWHERE` or `A_FEW`; says nothing where there is no fall.
    """

    fall: float
    discordant: float
    kind: str = DIFFUSE


#: No change, with more noise than another precision makes (bfloat16 changed 0.2 % of a thousand faces between
#: right and wrong) and with as much as training on did (10.3 % of PrivateTest between two versions of
#: `vgg19`); then true falls.
SCENARIOS: tuple[Scenario, ...] = (
    Scenario(0.0, 0.01),
    Scenario(0.0, 0.10),
    *(Scenario(fall, 0.10) for fall in (0.005, 0.01, 0.015, 0.02, 0.03)),
    *(Scenario(fall, 0.10, CONCENTRATED) for fall in (0.01, 0.02)),
)


@dataclass(frozen=True)
class ScenarioResult:
    """How often each test called a fall in one scenario.

    Attributes:
        rates: by the test's name; the share of runs with its Wilson interval.
        changed: the mean share of faces whose answer changed, from one wrong answer to another too.
        log_score: the mean change of the log score, nats.
    """

    scenario: Scenario
    rates: dict[str, Measurement]
    prediction_change_rate: float
    log_score: float

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        s = self.scenario
        rates = {name: rate.as_json() for name, rate in self.rates.items()}
        return {
            "fall": s.fall,
            "discordant": s.discordant,
            "answers_changed": self.prediction_change_rate,
            "kind": s.kind if s.fall else None,
            "log_score": self.log_score,
            "rejection_rate": rates,
        }


class Source(NamedTuple):
    """Where the runs come from: logits up to a constant (n, 7), labels (n,)."""

    logits: FloatArray
    truth: NDArray[np.int64]

    @classmethod
    def from_predictions(cls, answers: PredictionTable) -> Source:
        """From a model's answers. Raises UsageError where they hold no probabilities."""
        rows = ~np.isnan(answers.probabilities).any(axis=1)
        if not rows.any():
            raise UsageError(
                "These answers hold no probabilities, from which runs could be simulated. Choose another model's."
            )
        # float32 probabilities may be 0, whose logarithm is none.
        return cls(
            np.log(np.clip(answers.probabilities[rows], 1e-7, 1)).astype(np.float32), answers.truth[rows]
        )


class _Change(NamedTuple):
    """Noise of this standard deviation on every logit; `loss` taken from the true emotion's, on this share of
    the faces.
    """

    noise: float
    loss: float
    share: float


def run(
    predictions: PredictionTable,
    *,
    scenarios: Sequence[Scenario] = SCENARIOS,
    runs: int = 2000,
    n: int = 3589,
    seed: int = 0,
    processes: int = 1,
    progress: Callable[[int], None] = lambda scenarios: None,
) -> list[ScenarioResult]:
    """Simulate and judge.

    Args:
        answers: a model's real answers; those without probabilities are left out.
        runs: simulated runs per scenario; each judged as one run of the gate with one subject.
        n: faces per run, drawn with replacement.
        seed: the same seed gives the same figures, in however many processes.
        processes: how many scenarios are simulated side by side.
        progress: told how many more scenarios are done.

    Raises:
        UsageError: no run, no face, or a scenario that these answers cannot show (such as a fall larger than
            what may change).
    """
    if runs < 1 or n < 1:
        raise UsageError(
            f"The self-test needs at least one run of at least one face, got {runs} runs of {n} faces."
        )
    source = Source.from_predictions(predictions)
    tasks = [(source, scenario, runs, n, (seed, i)) for i, scenario in enumerate(scenarios)]
    outcomes = []
    for outcome in Parallel(n_jobs=processes, return_as="generator")(
        delayed(_outcome)(*task) for task in tasks
    ):
        outcomes.append(outcome)
        progress(1)
    return outcomes


def minimum_detectable_fall(
    outcomes: Sequence[ScenarioResult], test: str, power: float = 0.8
) -> float | None:
    """The smallest true fall, a little on every face, that a test finds in this share of runs; None if even
    the largest is found less often.

    Interpolated between the simulated falls, in their order.
    """
    curve = [
        (o.scenario.fall, o.rates[test].value)
        for o in outcomes
        if o.scenario.fall and o.scenario.kind == DIFFUSE
    ]
    return interpolate_size([(0.0, 0.0), *curve], power)


def interpolate_size(curve: Sequence[tuple[float, float]], power: float) -> float | None:
    """The smallest size at which a curve of (size, rate) reaches a rate, by interpolation in the order of
    sizes; None if it never does.
    """
    for (low, rate), (high, next_rate) in pairwise(sorted(curve)):
        if next_rate >= power:
            return low + (high - low) * (power - rate) / (next_rate - rate)
    return None


def _outcome(source: Source, scenario: Scenario, runs: int, n: int, seed: tuple[int, int]) -> ScenarioResult:
    rng = np.random.default_rng(seed)
    change = calibrate(source, scenario)
    called, changed, drifts = dict.fromkeys(TESTS, 0), 0.0, 0.0
    for truth, before, now, p_before, p_now in _simulated(source, change, runs, n, rng):
        drift = gate.log_score_test(quantize_probability(p_before), quantize_probability(p_now))
        drifts += drift.change / runs
        changed += float((before != now).mean()) / runs
        said = _judged(truth, before, now) | {
            "DEGRADED": drift.change <= -gate.DEGRADED_MARGIN and drift.p < gate.ALPHA
        }
        for name in TESTS:
            called[name] += said["FAIL"] or said["DEGRADED"] if name == "FAIL or DEGRADED" else said[name]
    return ScenarioResult(
        scenario, {name: wilson_interval(k, runs) for name, k in called.items()}, changed, drifts
    )


def _judged(truth: NDArray[np.int64], before: NDArray[np.int64], now: NDArray[np.int64]) -> dict[str, bool]:
    was, is_now = before == truth, now == truth
    fell, rose, n = int((was & ~is_now).sum()), int((~was & is_now).sum()), len(truth)
    unpaired = (
        1.0
        if fell <= rose
        else float(proportions_ztest([is_now.sum(), was.sum()], [n, n], alternative="smaller")[1])
    )
    return {
        "FAIL": _fails(truth, before, now),
        "McNemar": mcnemar_exact(fell, rose) < gate.ALPHA,
        "unpaired": unpaired < gate.ALPHA,
        "threshold": (fell - rose) / n > 0.01,
    }


def _fails(truth: NDArray[np.int64], before: NDArray[np.int64], now: NDArray[np.int64]) -> bool:
    """Whether the gate says FAIL. The bootstrap of macro-F1 is run only where its p, whatever it were, could
    decide.
    """
    checks = gate.paired_checks(truth, before, now, resamples=0)
    at_least, at_most = (_failed(replace_macro_f1_p(checks, p)) for p in (1.0, 0.0))
    if at_least == at_most:
        return at_least
    return _failed(gate.paired_checks(truth, before, now, resamples=_RESAMPLES))


def replace_macro_f1_p(checks: tuple[gate.MetricCheck, ...], p: float) -> tuple[gate.MetricCheck, ...]:
    """The checks with another p-value of macro-F1."""
    return tuple(replace(c, p=p) if c.metric == "macro_f1" else c for c in checks)


def _failed(checks: tuple[gate.MetricCheck, ...]) -> bool:
    return any(c.failed for c in gate.adjust_for_multiplicity([checks])[0])


# -- simulation -----------------------------------------------------------------------------------


def _simulated(
    source: Source, change: _Change, runs: int, n: int, rng: np.random.Generator
) -> Iterator[
    tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]
]:
    """One (truth, answers before, answers now, p_truth before, p_truth now) per run, each (n,)."""
    for start in range(0, runs, _AT_ONCE):
        rows = rng.integers(len(source.truth), size=(min(_AT_ONCE, runs - start), n))
        truth, logits = source.truth[rows], source.logits[rows]
        versions = [
            _version(logits, truth, _Change(change.noise, loss, change.share), rng)
            for loss in (0.0, change.loss)
        ]
        for i, true in enumerate(truth):
            (before, p_before), (now, p_now) = ((answer[i], p[i]) for answer, p in versions)
            yield true, before, now, p_before, p_now


def _version(
    logits: FloatArray, truth: NDArray[np.int64], change: _Change, rng: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Answers and p_truth (..., n) of logits (..., n, 7) after a change."""
    noisy = logits + change.noise * rng.standard_normal(logits.shape, dtype=np.float32)
    if change.loss:
        hit = change.loss * (rng.random(truth.shape) < change.share)
        own = np.take_along_axis(noisy, truth[..., None], axis=-1) - hit[..., None].astype(np.float32)
        np.put_along_axis(noisy, truth[..., None], own, axis=-1)
    answer = noisy.argmax(axis=-1)
    p = np.exp(noisy - noisy.max(axis=-1, keepdims=True))
    own = np.take_along_axis(p, truth[..., None], axis=-1)[..., 0]
    return answer.astype(np.int64), np.asarray(own / p.sum(axis=-1), dtype=np.float64)


def calibrate(source: Source, scenario: Scenario) -> _Change:
    """The noise and the loss that make a scenario true of a source, in expectation.

    Raises:
        UsageError: no noise or loss does.
    """
    if not 0 <= scenario.fall < scenario.discordant <= 0.5:
        raise UsageError(
            f"A fall of {scenario.fall:.1%} needs more faces than that to change, and at most half of them: got {scenario.discordant:.1%}."
        )

    def of(noise: float) -> _Change:
        if not scenario.fall:
            return _Change(noise, 0.0, 1.0)
        if scenario.kind == CONCENTRATED:
            return _Change(
                noise,
                CONCENTRATED_LOSS,
                find_root(
                    lambda share: (
                        _effect(source, _Change(noise, CONCENTRATED_LOSS, share))[0] - scenario.fall
                    ),
                    0.0,
                    1.0,
                ),
            )
        return _Change(
            noise,
            find_root(lambda loss: _effect(source, _Change(noise, loss, 1.0))[0] - scenario.fall, 0.0, 8.0),
            1.0,
        )

    try:
        return of(find_root(lambda noise: _effect(source, of(noise))[1] - scenario.discordant, 0.0, 8.0))
    except ValueError as error:  # brentq: the ends have the same sign
        raise UsageError(
            f"These answers cannot show a fall of {scenario.fall:.1%} where {scenario.discordant:.1%} of the faces change: too many of them are "
            "certain, or too few faces. Choose the answers of another model, or another --discordant."
        ) from error


def version(
    logits: FloatArray, truth: NDArray[np.int64], noise: float, rng: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Answers and p_truth (..., n) of one version of a model that lost nothing, from logits (..., n, 7)."""
    return _version(logits, truth, _Change(noise, 0.0, 1.0), rng)


def find_root(f: Callable[[float], float], low: float, high: float) -> float:
    """Where `f` is 0 between `low` and `high`. Raises ValueError where its ends have the same sign."""
    return float(brentq(f, low, high, xtol=1e-4, rtol=1e-4))


def _effect(source: Source, change: _Change, draws: int = 40_000) -> tuple[float, float]:
    """The fall of accuracy and the share of discordant faces, estimated with the same random numbers each
    time, so that they vary smoothly.

    The fall is told by what the loss does to one and the same noise: two noises differ by chance, far more
    than a small loss does.
    """
    rows = np.resize(np.random.default_rng(0).permutation(len(source.truth)), draws)
    truth, logits = source.truth[rows], source.logits[rows]

    def right(loss: float, noise: int) -> NDArray[np.bool_]:
        return np.equal(
            _version(logits, truth, _Change(change.noise, loss, change.share), np.random.default_rng(noise))[
                0
            ],
            truth,
        )

    before, now = right(0.0, 1), right(change.loss, 2)
    return float(right(0.0, 2).mean() - now.mean()), float((before != now).mean())
