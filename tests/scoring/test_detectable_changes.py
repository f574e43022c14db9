"""Minimum detectable changes are detected with the given power."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from scipy.integrate import quad

from fer_models.errors import PredictionError
from fer_models.scoring.detectable_changes import (
    minimum_detectable_fall,
    minimum_detectable_mean_change,
    paired_t_power,
)
from fer_models.scoring.paired_tests import mcnemar_exact


def power_of(n: int, discordant: int, fall: float, alpha: float) -> float:
    """Exact power of `mcnemar_exact` for a true fall of `fall`, by a sum over all outcomes."""
    share = (fall * n / discordant + 1) / 2
    significant = [
        negative
        for negative in range(discordant + 1)
        if mcnemar_exact(negative, discordant - negative) <= alpha
    ]
    return float(stats.binom.pmf(significant, discordant, share).sum())


class TestMinimumDetectableFall:
    @settings(max_examples=40, deadline=None)
    @given(st.integers(10, 150), st.sampled_from([0.05, 0.01, 0.001]), st.sampled_from([0.5, 0.8, 0.95]))
    def test_its_fall_is_detected_with_exactly_the_given_power(
        self, discordant: int, alpha: float, power: float
    ) -> None:
        fall = minimum_detectable_fall(1000, discordant, alpha, power)
        assert 0 < fall <= discordant / 1000
        assert power_of(1000, discordant, fall, alpha) == pytest.approx(power, abs=1e-6)

    @settings(max_examples=40, deadline=None)
    @given(st.integers(0, 150), st.sampled_from([0.001, 0.02, 0.05]))
    def test_an_observed_fall_under_the_margin_does_not_count(self, discordant: int, margin: float) -> None:
        fall = minimum_detectable_fall(1000, discordant, margin=margin)
        assert fall >= minimum_detectable_fall(1000, discordant)
        if discordant < 1000 * margin:
            assert fall >= margin
        elif discordant > 10:
            least = (discordant + 1000 * margin) / 2  # negative flips with a fall of the margin
            share = (fall * 1000 / discordant + 1) / 2
            enough = [k for k in range(discordant + 1) if k >= least - 1e-9]
            detected = [k for k in enough if mcnemar_exact(k, discordant - k) <= 0.01]
            assert stats.binom.pmf(detected, discordant, share).sum() == pytest.approx(0.8, abs=1e-6)

    def test_simulated_comparisons_detect_it_with_the_given_power(self) -> None:
        n, discordant = 500, 60
        share = (minimum_detectable_fall(n, discordant) * n / discordant + 1) / 2
        negative = np.random.default_rng(0).binomial(discordant, share, 4000)
        p = np.array([mcnemar_exact(count, discordant - count) for count in range(discordant + 1)])
        assert (p[negative] <= 0.01).mean() == pytest.approx(0.8, abs=0.02)

    def test_the_example_of_the_manual_can_detect_a_fall_of_1_6_points(self) -> None:
        assert round(100 * minimum_detectable_fall(3589, 201 + 104), 1) == 1.6

    @pytest.mark.parametrize("alpha", [0.05, 0.01, 0.001])
    def test_where_few_faces_changed_it_is_the_smallest_significant_number_of_negative_flips(
        self, alpha: float
    ) -> None:
        smallest = round(200 * minimum_detectable_fall(200, 0, alpha))
        assert mcnemar_exact(smallest, 0) <= alpha < mcnemar_exact(smallest - 1, 0)
        assert minimum_detectable_fall(200, smallest - 1, alpha) == minimum_detectable_fall(200, 0, alpha)
        assert minimum_detectable_fall(200, smallest, alpha) <= minimum_detectable_fall(200, 0, alpha)

    @pytest.mark.parametrize("n", [1, 6, 7])
    def test_on_a_few_faces_only_a_fall_of_everything_is_detectable(self, n: int) -> None:
        assert minimum_detectable_fall(n, 0) == 1.0

    def test_the_more_faces_change_by_chance_the_larger_a_fall_must_be(self) -> None:
        falls = [minimum_detectable_fall(35_000, discordant) for discordant in (100, 1000, 10_000, 35_000)]
        assert falls == sorted(falls)

    @pytest.mark.parametrize(("n", "discordant"), [(0, 0), (10, 11), (10, -1)])
    def test_impossible_counts_are_an_error(self, n: int, discordant: int) -> None:
        with pytest.raises(PredictionError, match=f"got {discordant} of {n}"):
            minimum_detectable_fall(n, discordant)

    @pytest.mark.parametrize(
        ("alpha", "power"), [(0.0, 0.8), (0.01, 1.0), (0.9, 0.8), (math.nan, 0.8), (0.01, math.nan)]
    )
    def test_impossible_levels_are_an_error(self, alpha: float, power: float) -> None:
        with pytest.raises(PredictionError, match="0 < alpha < power < 1"):
            minimum_detectable_fall(10, 5, alpha, power)


class TestMinimumDetectableMeanChange:
    @pytest.mark.parametrize(("n", "alpha", "power"), [(60, 0.05, 0.8), (300, 0.01, 0.8), (300, 0.01, 0.5)])
    def test_a_change_of_that_size_is_detected_with_the_given_power(
        self, n: int, alpha: float, power: float
    ) -> None:
        rng = np.random.default_rng(0)
        shift = minimum_detectable_mean_change(n, 1.0, alpha, power)
        p = stats.ttest_1samp(rng.normal(shift, 1.0, size=(4000, n)), 0.0, axis=1).pvalue
        assert np.mean(p < alpha) == pytest.approx(power, abs=0.03)

    @pytest.mark.parametrize("n", [2, 3, 5, 21, 49, 70, 350, 3589, 35887])
    @pytest.mark.parametrize("alpha", [0.05, 0.01, 0.01 / 77])
    def test_it_has_the_given_power_at_any_level(self, n: int, alpha: float) -> None:
        effect = minimum_detectable_mean_change(n, 1.0, alpha)
        assert paired_t_power(effect, n, alpha) == pytest.approx(0.8, abs=1e-6)
        critical, spread = stats.t.isf(alpha / 2, n - 1), math.sqrt(n - 1)
        # By integration over the sample's standard deviation, without the noncentral t distribution.
        power, _ = quad(
            lambda share: stats.norm.sf(
                critical * math.sqrt(stats.chi2.ppf(share, n - 1)) / spread - effect * math.sqrt(n)
            ),
            *(0, 1),
            limit=500,
        )
        assert power == pytest.approx(0.8, abs=2e-3)

    def test_it_grows_with_the_spread(self) -> None:
        assert minimum_detectable_mean_change(50, 0.3) == pytest.approx(
            3 * minimum_detectable_mean_change(50, 0.1)
        )

    def test_where_nothing_varies_it_is_that_of_faces_of_which_none_changed(self) -> None:
        assert minimum_detectable_mean_change(50, 0.0) == minimum_detectable_fall(50, 0, 0.005)
