"""Intervals agree with scipy and statsmodels, and reject NaN."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.proportion import proportion_confint

from fer_models.errors import FerModelsError, PredictionError
from fer_models.scoring import intervals
from fer_models.scoring.intervals import (
    Measurement,
    bootstrap_confusions,
    bootstrap_means,
    percentile_interval,
    wilson_interval,
)

shares = st.integers(1, 400).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))


class TestMeasurement:
    @pytest.mark.parametrize("place", range(3))
    @pytest.mark.parametrize("number", [math.nan, math.inf])
    def test_a_measurement_that_is_not_finite_cannot_be_made(self, place: int, number: float) -> None:
        numbers = [0.5, 0.4, 0.6]
        numbers[place] = number
        value, low, high = numbers
        with pytest.raises(FerModelsError, match="must be finite"):
            Measurement(value, low, high, n=3)

    def test_a_measurement_on_no_faces_cannot_be_made(self) -> None:
        with pytest.raises(FerModelsError, match="at least one face, got n = 0"):
            Measurement(0.5, 0.4, 0.6, n=0)

    def test_its_json_holds_the_value_and_the_interval_as_plain_floats(self) -> None:
        as_json = Measurement(np.float64(0.5), np.float64(0.4), np.float64(0.6), n=3).as_json()
        assert as_json == {"value": 0.5, "low": 0.4, "high": 0.6}
        assert {type(number) for number in as_json.values()} == {float}

    def test_a_nan_among_the_resamples_is_an_error(self) -> None:
        with pytest.raises(PredictionError, match="must be finite"):
            percentile_interval(0.5, np.array([0.4, math.nan, 0.6]), 3)

    def test_an_interval_contains_its_value_also_where_the_resamples_are_biased(self) -> None:
        assert percentile_interval(0.1, np.linspace(0.2, 0.3, 50), 3).low == 0.1
        assert percentile_interval(0.4, np.linspace(0.2, 0.3, 50), 3).high == 0.4


class TestWilson:
    @settings(deadline=None)
    @given(shares)
    def test_it_is_the_interval_of_statsmodels_and_contains_the_share(self, share: tuple[int, int]) -> None:
        measured = wilson_interval(*share)
        assert (measured.low, measured.high) == pytest.approx(
            proportion_confint(*share, method="wilson"), abs=1e-12
        )
        assert 0 <= measured.low <= measured.value <= measured.high <= 1
        assert measured.value == share[0] / share[1]

    @pytest.mark.parametrize(("successes", "value"), [(0, 0.0), (1, 1.0)])
    def test_one_face_has_a_wide_interval(self, successes: int, value: float) -> None:
        measured = wilson_interval(successes, 1)
        assert measured.value == value
        assert measured.high - measured.low > 0.75

    def test_more_confidence_is_a_wider_interval(self) -> None:
        assert (
            wilson_interval(60, 100, 0.99).low
            < wilson_interval(60, 100).low
            < wilson_interval(60, 100, 0.9).low
        )

    @pytest.mark.parametrize(("successes", "n"), [(0, 0), (-1, 5), (6, 5)])
    def test_impossible_counts_are_an_error(self, successes: int, n: int) -> None:
        with pytest.raises(PredictionError, match=f"got {successes} of {n}"):
            wilson_interval(successes, n)


class TestBootstrapConfusions:
    @settings(max_examples=25, deadline=None)
    @given(
        st.lists(st.lists(st.integers(0, 40), min_size=8, max_size=8), min_size=7, max_size=7),
        st.integers(0, 2**32 - 1),
    )
    def test_every_resample_keeps_the_faces_of_each_emotion_and_adds_no_new_prediction(
        self, table: list[list[int]], seed: int
    ) -> None:
        confusion = np.array(table)
        draws = bootstrap_confusions(confusion, 20, seed)
        assert draws.shape == (20, 7, 8)
        assert (draws.sum(axis=2) == confusion.sum(axis=1)).all()
        assert (draws[:, confusion == 0] == 0).all()

    def test_its_mean_and_spread_are_those_of_a_multinomial(self) -> None:
        confusion = np.full((7, 8), 10) + 90 * np.eye(7, 8, dtype=int)
        draws = bootstrap_confusions(confusion, 4000, 0)
        totals = confusion.sum(axis=1, keepdims=True)
        assert draws.mean(axis=0) == pytest.approx(confusion, rel=0.05)
        assert draws.var(axis=0) == pytest.approx(confusion * (1 - confusion / totals), rel=0.15)

    def test_the_seed_determines_the_draws(self) -> None:
        confusion = np.full((7, 8), 10)
        assert (bootstrap_confusions(confusion, 5, 1) == bootstrap_confusions(confusion, 5, 1)).all()
        assert (bootstrap_confusions(confusion, 5, 1) != bootstrap_confusions(confusion, 5, 2)).any()

    @pytest.mark.parametrize("confusion", [np.ones((7, 7), int), np.ones((7, 8)), -np.ones((7, 8), int)])
    def test_an_invalid_confusion_is_an_error(self, confusion: np.ndarray) -> None:
        with pytest.raises(PredictionError, match="A confusion is a"):
            bootstrap_confusions(confusion, 5, 0)

    def test_no_resamples_are_an_error(self) -> None:
        with pytest.raises(PredictionError, match="at least one resample"):
            bootstrap_confusions(np.ones((7, 8), int), 0, 0)


class TestBootstrapMeans:
    def test_its_interval_is_that_of_scipy(self) -> None:
        numbers = np.random.default_rng(0).gamma(2.0, size=300)
        ours = np.quantile(bootstrap_means(numbers[:, None], 4000, 0), [0.025, 0.975])
        theirs = stats.bootstrap(
            (numbers,), np.mean, n_resamples=4000, method="percentile", random_state=1
        ).confidence_interval
        assert ours == pytest.approx(theirs, rel=0.02)

    def test_the_order_of_the_rows_changes_nothing(self) -> None:
        rows = np.random.default_rng(0).random((50, 3))
        assert (bootstrap_means(rows, 20, 0) == bootstrap_means(rows[::-1], 20, 0)).all()

    def test_no_rows_are_an_error(self) -> None:
        with pytest.raises(PredictionError, match="at least one row"):
            bootstrap_means(np.empty((0, 3)), 20, 0)


def test_means_of_many_rows_have_the_distribution_of_a_bootstrap(monkeypatch):
    """The same rows, with the normal distribution and with drawn rows."""
    rng = np.random.default_rng(0)
    sizes = rng.exponential(size=4000)
    rows = np.column_stack([sizes, sizes > 4])  # correlated, and the second is rarely 1
    drawn = intervals.bootstrap_means(rows, 4000, seed=1)
    monkeypatch.setattr(intervals, "LARGEST_BOOTSTRAP", 3999)
    normal = intervals.bootstrap_means(rows, 4000, seed=1)
    spread = rows.std(axis=0) / np.sqrt(len(rows))
    for level in (0.025, 0.5, 0.975):
        ends = np.quantile(drawn, level, axis=0), np.quantile(normal, level, axis=0)
        assert (np.abs(ends[0] - ends[1]) < 0.25 * spread).all()
    assert np.cov(drawn.T)[0, 1] / np.cov(normal.T)[0, 1] == pytest.approx(1, abs=0.2)
