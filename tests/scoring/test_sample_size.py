"""Sample sizes: with that many faces the tests detect the change with the wanted power."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy import stats

from fer_models.errors import UsageError
from fer_models.scoring.detectable_changes import paired_t_power
from fer_models.scoring.paired_tests import mcnemar_exact
from fer_models.scoring.sample_size import (
    _connor,
    detection_rate,
    required_sample_size,
    required_sample_size_for_mean,
)

POINTS = st.integers(1, 30).map(lambda points: points / 100)


def enumerated_rate(n: int, fall: float, discordant: float, level: float, margin: float = 0.0) -> float:
    """The probability of a significant fall, as a sum of trinomial probabilities over all outcomes."""
    outcomes = [(b, c) for b in range(n + 1) for c in range(n + 1 - b)]
    detected = [(b, c) for b, c in outcomes if b - c >= margin * n and mcnemar_exact(b, c) <= level]
    if not detected:
        return 0.0
    shares = ((discordant + fall) / 2, (discordant - fall) / 2, 1 - discordant)
    counts = [(b, c, n - b - c) for b, c in detected]
    return float(stats.multinomial.pmf(counts, n, shares).sum())


@pytest.mark.parametrize("margin", [0.0, 0.2])
@pytest.mark.parametrize("discordant", [0.3, 0.6, 1.0])
@pytest.mark.parametrize("n", [1, 7, 30])
def test_the_detection_rate_is_the_sum_over_all_outcomes(n: int, discordant: float, margin: float) -> None:
    expected = enumerated_rate(n, 0.3, discordant, 0.05, margin)
    assert detection_rate(n, 0.3, discordant, 0.05, margin) == pytest.approx(expected, abs=1e-7)


@pytest.mark.parametrize(
    ("fall", "discordant", "power", "family"),
    [(0.05, 0.2, 0.8, 1), (0.05, 0.05, 0.9, 1), (0.1, 0.4, 0.8, 36)],
)
def test_simulated_comparisons_of_that_many_faces_have_the_wanted_power(
    fall: float, discordant: float, power: float, family: int
) -> None:
    n = required_sample_size(fall, discordant, power=power, family=family)
    shares = ((discordant + fall) / 2, (discordant - fall) / 2, 1 - discordant)
    flips = np.random.default_rng(0).multinomial(n, shares, size=4000)
    p = np.array([mcnemar_exact(int(b), int(c)) for b, c, _ in flips])
    assert (family * p <= 0.01).mean() == pytest.approx(power, abs=0.025)


@given(POINTS, st.integers(0, 20), st.sampled_from([0.5, 0.8, 0.95]), st.sampled_from([1, 2, 100]))
@settings(max_examples=50, deadline=None)
def test_it_is_the_smallest_number_of_faces_with_the_wanted_power(
    fall: float, more: int, power: float, family: int
) -> None:
    discordant = fall + more / 100
    n = required_sample_size(fall, discordant, power=power, family=family)
    rates = [detection_rate(m, fall, discordant, 0.01 / family) for m in (n - 1, n)]
    assert rates[0] < power <= rates[1]


@given(POINTS, POINTS, st.integers(0, 20))
@settings(max_examples=50, deadline=None)
def test_a_larger_fall_needs_fewer_faces(fall: float, other: float, more: int) -> None:
    assume(fall < other)
    discordant = other + more / 100
    assert required_sample_size(other, discordant) < required_sample_size(fall, discordant)


@given(POINTS, st.integers(0, 30), st.integers(1, 30))
@settings(max_examples=50, deadline=None)
def test_the_more_faces_change_the_more_are_needed(fall: float, some: int, more: int) -> None:
    discordant = fall + some / 100
    assert required_sample_size(fall, discordant) < required_sample_size(fall, discordant + more / 100)


def test_more_power_a_smaller_level_and_a_larger_family_need_more_faces() -> None:
    n = required_sample_size(0.02, 0.1)
    assert required_sample_size(0.02, 0.1, power=0.9) > n
    assert required_sample_size(0.02, 0.1, alpha=0.001) > n
    assert required_sample_size(0.02, 0.1, family=10) == required_sample_size(0.02, 0.1, alpha=0.001)


def test_a_fall_just_above_the_margin_needs_more_faces_than_its_significance() -> None:
    n = required_sample_size(0.06, 0.1, margin=0.05)
    assert n > required_sample_size(0.06, 0.1)
    flips = np.random.default_rng(0).multinomial(n, (0.08, 0.02, 0.9), size=4000)
    p = np.array([mcnemar_exact(int(b), int(c)) for b, c, _ in flips])
    detected = (p <= 0.01) & (flips[:, 0] - flips[:, 1] >= 0.05 * n)
    assert detected.mean() == pytest.approx(0.8, abs=0.025)


@pytest.mark.parametrize("margin", [0.0, 0.005])
@pytest.mark.parametrize(("fall", "discordant"), [(0.006, 0.1), (0.006, 0.2), (0.01, 0.9)])
def test_for_many_faces_the_formula_and_the_exact_number_agree(
    fall: float, discordant: float, margin: float
) -> None:
    estimate = _connor(fall, discordant, 0.005, 0.8, margin)
    assert estimate > 30_000
    low, high = (
        detection_rate(round(factor * estimate), fall, discordant, 0.005, margin) for factor in (0.99, 1.01)
    )
    assert low < 0.8 < high


@pytest.mark.parametrize(
    ("fall", "discordant"),
    [(0.02, 0.01), (0.0, 0.1), (-0.1, 0.1), (0.1, 1.1), (math.nan, 0.1), (0.1, math.nan)],
)
def test_an_impossible_fall_is_an_error(fall: float, discordant: float) -> None:
    with pytest.raises(UsageError, match="is impossible"):
        required_sample_size(fall, discordant)


@pytest.mark.parametrize("margin", [0.05, 0.06, math.nan])
def test_a_fall_that_does_not_exceed_the_margin_is_an_error(margin: float) -> None:
    with pytest.raises(UsageError, match="Choose a larger fall"):
        required_sample_size(0.05, 0.1, margin=margin)


@pytest.mark.parametrize(("alpha", "power"), [(0.0, 0.8), (0.01, 1.0), (0.9, 0.8), (math.nan, 0.8)])
def test_impossible_levels_are_an_error(alpha: float, power: float) -> None:
    with pytest.raises(UsageError, match="0 < alpha < power"):
        required_sample_size(0.02, 0.1, alpha=alpha, power=power)


@pytest.mark.parametrize("family", [0, -1, 10**400])
def test_an_impossible_family_is_an_error(family: int) -> None:
    with pytest.raises(UsageError, match="1 to 1,000,000 tests"):
        required_sample_size(0.02, 0.1, family=family)


def test_simulated_mean_changes_on_that_many_faces_are_detected_with_the_wanted_power() -> None:
    n = required_sample_size_for_mean(-0.1, 0.5, power=0.8, family=4)
    changes = np.random.default_rng(0).normal(-0.1, 0.5, (4000, n))
    p = stats.ttest_1samp(changes, 0.0, axis=1).pvalue
    assert (4 * p < 0.01).mean() == pytest.approx(0.8, abs=0.025)


@pytest.mark.parametrize("effect", [0.05, 0.5, 3.0, 8.497, 12.0, 20.0, 1000.0])
@pytest.mark.parametrize("family", [1, 40])
def test_no_smaller_number_of_faces_detects_a_mean_change_with_the_wanted_power(
    effect: float, family: int
) -> None:
    n = required_sample_size_for_mean(effect, 1.0, alpha=0.01, power=0.8, family=family)
    assert paired_t_power(effect, n, 0.01 / family) >= 0.8
    assert n == 2 or paired_t_power(effect, n - 1, 0.01 / family) < 0.8


def test_equal_changes_of_all_faces_need_as_many_as_are_significant_in_one_direction() -> None:
    n = required_sample_size_for_mean(0.5, 0.0, alpha=0.01)
    assert mcnemar_exact(n, 0) <= 0.005 < mcnemar_exact(n - 1, 0)


@pytest.mark.parametrize(("change", "spread"), [(0.0, 0.5), (math.nan, 0.5), (0.1, -1.0), (0.1, math.nan)])
def test_no_number_of_faces_detects_an_impossible_mean_change(change: float, spread: float) -> None:
    with pytest.raises(UsageError, match="cannot be detected"):
        required_sample_size_for_mean(change, spread)
