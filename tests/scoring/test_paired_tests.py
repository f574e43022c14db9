"""Paired tests agree with scipy, statsmodels and simulation, and reject NaN."""

from __future__ import annotations

import gc
import math
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn.metrics import f1_score
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.multitest import multipletests

from fer_models.emotions import Emotion
from fer_models.errors import PredictionError
from fer_models.scoring import metrics
from fer_models.scoring.intervals import wilson_interval
from fer_models.scoring.paired_tests import (
    CLEAR_P,
    FIRST_RESAMPLES,
    Score,
    holm,
    mcnemar_exact,
    paired_score_test,
    paired_t_test,
)

counts = st.integers(0, 60)


def predictions_of(truth: np.ndarray, accuracy: float, seed: int) -> np.ndarray:
    """Predictions that are correct with probability `accuracy`, else random, some missing."""
    rng = np.random.default_rng(seed)
    return np.where(rng.random(len(truth)) < accuracy, truth, rng.integers(-1, 7, len(truth)))


@pytest.fixture(scope="module")
def truth() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 7, 400)


class TestMcNemarExact:
    def test_without_a_changed_face_there_is_no_fall(self) -> None:
        assert mcnemar_exact(0, 0) == 1.0

    @settings(deadline=None)
    @given(counts, counts)
    def test_the_two_sided_test_of_statsmodels_is_twice_the_smaller_side(
        self, negative: int, positive: int
    ) -> None:
        two_sided = mcnemar([[0, negative], [positive, 0]], exact=True).pvalue
        assert two_sided == pytest.approx(
            min(1.0, 2 * min(mcnemar_exact(negative, positive), mcnemar_exact(positive, negative)))
        )

    @settings(deadline=None)
    @given(counts, counts)
    def test_negative_flips_never_raise_p_and_positive_flips_never_lower_it(
        self, negative: int, positive: int
    ) -> None:
        here = mcnemar_exact(negative, positive)
        assert 0 < here <= 1
        assert mcnemar_exact(negative + 1, positive) <= here * (1 + 1e-9)
        assert mcnemar_exact(negative, positive + 1) >= here * (1 - 1e-9)

    def test_the_example_of_the_manual_is_significant(self) -> None:
        assert mcnemar_exact(201, 104) < 1e-6

    def test_a_negative_count_is_an_error(self) -> None:
        with pytest.raises(PredictionError, match="cannot be negative"):
            mcnemar_exact(-1, 3)


@pytest.fixture(scope="class")
def frozen_heap() -> Iterator[None]:
    """statsmodels collects garbage in each call: freeze the objects that exist already."""
    gc.freeze()
    yield
    gc.unfreeze()


class TestHolm:
    def test_no_tests_need_no_adjustment(self) -> None:
        assert holm([]) == []

    def test_one_test_stays_as_it_is(self) -> None:
        assert holm([0.03]) == [0.03]

    def test_a_worked_example_keeps_its_order(self) -> None:
        assert holm([0.04, 0.001, 0.03, 0.005]) == pytest.approx([0.06, 0.004, 0.06, 0.015])

    @settings(max_examples=50, deadline=None)
    @given(st.lists(st.floats(0, 1), min_size=1, max_size=30))
    def test_it_rejects_what_stepping_down_from_the_smallest_rejects(
        self, frozen_heap: None, p_values: list[float]
    ) -> None:
        stepped, worst = [0.0] * len(p_values), 0.0
        for rank, index in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
            worst = max(worst, (len(p_values) - rank) * p_values[index])
            stepped[index] = min(1.0, worst)
        assert holm(p_values) == pytest.approx(stepped)
        assert holm(p_values) == pytest.approx(multipletests(p_values, method="holm")[1].tolist(), abs=1e-15)

    @pytest.mark.parametrize("p", [math.nan, -0.1, 1.1])
    def test_an_invalid_p_value_is_an_error(self, p: float) -> None:
        with pytest.raises(PredictionError, match=r"must be in \[0, 1\]"):
            holm([0.5, p])


def recall_of_fear(confusions: np.ndarray) -> np.ndarray:
    """A score that is undefined where an emotion does not occur."""
    row = confusions[..., Emotion.FEAR, :]
    with np.errstate(invalid="ignore"):
        return np.asarray(row[..., Emotion.FEAR] / row.sum(axis=-1))


class TestPairedScoreTest:
    @pytest.mark.parametrize("score", [metrics.macro_f1, metrics.accuracy, recall_of_fear])
    def test_the_same_predictions_are_no_fall(self, truth: np.ndarray, score: Score) -> None:
        predictions = predictions_of(truth, 0.6, 1)
        assert paired_score_test(truth, predictions, predictions, score, 200) == (0.0, 0.0, 0.0, 1.0)

    def test_one_face_suffices(self) -> None:
        assert paired_score_test([3], [3], [3], metrics.macro_f1, 20) == (0.0, 0.0, 0.0, 1.0)
        regressed = paired_score_test([3], [3], [-1], metrics.macro_f1, 999)
        assert regressed[:3] == (-1.0, -1.0, -1.0)
        assert regressed.p == pytest.approx(0.5, abs=0.06)  # the other way is as likely
        five = paired_score_test([3] * 5, [3] * 5, [-1] * 5, metrics.macro_f1, 9999)
        assert five.p == pytest.approx(0.5**5, abs=0.006)

    def test_its_change_is_the_difference_by_scikit_learn(self, truth: np.ndarray) -> None:
        before, now = predictions_of(truth, 0.7, 1), predictions_of(truth, 0.5, 2)
        expected = f1_score(truth, now, average="macro", labels=range(7)) - f1_score(
            truth, before, average="macro", labels=range(7)
        )
        assert paired_score_test(truth, before, now, metrics.macro_f1, 100).change == pytest.approx(expected)

    def test_its_interval_is_that_of_drawing_faces_one_by_one(self, truth: np.ndarray) -> None:
        before = predictions_of(truth, 0.7, 1)
        now = np.where(np.random.default_rng(5).random(len(truth)) < 0.8, before, -1)
        rng = np.random.default_rng(6)
        changes = []
        for _ in range(1000):
            rows = [np.flatnonzero(truth == emotion) for emotion in range(7)]
            faces = np.concatenate([rng.choice(r, len(r)) for r in rows])
            changes.append(np.mean(now[faces] == truth[faces]) - np.mean(before[faces] == truth[faces]))
        result = paired_score_test(truth, before, now, metrics.accuracy)
        assert (result.low, result.high) == pytest.approx(np.quantile(changes, [0.025, 0.975]), abs=0.007)

    def test_pairing_detects_a_small_fall_that_two_separate_intervals_would_miss(
        self, truth: np.ndarray
    ) -> None:
        before = predictions_of(truth, 0.7, 1)
        now = before.copy()
        now[np.flatnonzero(before == truth)[:15]] = -1
        old, new = (wilson_interval(int((side == truth).sum()), 400) for side in (before, now))
        assert new.high > old.low
        assert paired_score_test(truth, before, now, metrics.macro_f1).p < 0.001

    def test_a_rise_is_no_fall(self, truth: np.ndarray) -> None:
        result = paired_score_test(
            truth, predictions_of(truth, 0.4, 1), predictions_of(truth, 0.8, 2), metrics.macro_f1, 500
        )
        assert result.change > 0
        assert result.low > 0
        assert result.p == 1.0

    def test_p_stays_near_the_exact_test_where_many_faces_changed(self, truth: np.ndarray) -> None:
        before = predictions_of(truth, 0.7, 1)
        now = before.copy()
        correct, wrong = np.flatnonzero(before == truth), np.flatnonzero(before != truth)
        now[correct[:40]], now[wrong[:25]] = -1, truth[wrong[:25]]
        assert paired_score_test(truth, before, now, metrics.accuracy).p == pytest.approx(
            mcnemar_exact(40, 25), abs=0.025
        )

    def test_more_negative_flips_never_raise_p(self, truth: np.ndarray) -> None:
        before = predictions_of(truth, 0.7, 1)
        correct = np.flatnonzero(before == truth)
        p_values = []
        for negative in (0, 2, 5, 20, 80):
            now = before.copy()
            now[correct[:negative]] = -1
            p_values.append(paired_score_test(truth, before, now, metrics.macro_f1, 2000).p)
        assert p_values == sorted(p_values, reverse=True)

    def test_the_seed_and_not_the_order_of_the_faces_changes_the_result(self, truth: np.ndarray) -> None:
        before, now = predictions_of(truth, 0.7, 1), predictions_of(truth, 0.65, 2)
        order = np.random.default_rng(3).permutation(len(truth))
        result = paired_score_test(truth, before, now, metrics.macro_f1, 300, seed=4)
        assert result == paired_score_test(
            truth[order], before[order], now[order], metrics.macro_f1, 300, seed=4
        )
        assert result != paired_score_test(truth, before, now, metrics.macro_f1, 300, seed=5)

    def test_a_score_that_is_undefined_cannot_be_compared(self) -> None:
        with pytest.raises(PredictionError, match="undefined"):
            paired_score_test([0, 1], [0, 1], [0, 2], recall_of_fear, 20)

    def test_other_faces_are_an_error(self) -> None:
        with pytest.raises(PredictionError, match="2 in truth, 2 in baseline, 1 in candidate"):
            paired_score_test([0, 1], [0, 1], [0], metrics.macro_f1)

    @pytest.mark.parametrize(
        ("truth", "before", "now", "message"),
        [
            ([], [], [], "truth must have"),
            ([7], [0], [0], r"truth must be in 0\.\.6, got 7 at face 0"),
            ([0], [-2], [0], r"the predictions of the baseline must be in -1\.\.6"),
            ([0], [0], [0.0], "the predictions of the candidate must be integers"),
        ],
    )
    def test_impossible_arrays_are_an_error(
        self, truth: list[int], before: list[int], now: list[float], message: str
    ) -> None:
        with pytest.raises(PredictionError, match=message):
            paired_score_test(truth, before, now, metrics.macro_f1)


class TestPairedTTest:
    @settings(max_examples=40, deadline=None)
    @given(st.integers(0, 2**32 - 1), st.integers(10, 200), st.floats(-0.3, 0.3))
    def test_it_is_scipys_paired_t_test(self, seed: int, n: int, shift: float) -> None:
        rng = np.random.default_rng(seed)
        before = rng.normal(size=n)
        now = before + shift + rng.normal(scale=0.4, size=n)
        result, expected = paired_t_test(before, now), stats.ttest_rel(now, before, alternative="less")
        assert result.p == pytest.approx(max(expected.pvalue, 0.5**n))
        both = stats.ttest_rel(now, before).confidence_interval(0.95)
        assert (result.low, result.change, result.high) == pytest.approx(
            (both.low, (now - before).mean(), both.high)
        )

    def test_equal_scores_have_not_fallen(self) -> None:
        assert paired_t_test(np.ones(5), np.ones(5)) == (0.0, 0.0, 0.0, 1.0)

    def test_equal_changes_are_no_more_significant_than_their_number(self) -> None:
        assert paired_t_test(np.zeros(4), np.full(4, -1.0)).p == 0.5**4
        assert paired_t_test(np.zeros(4), np.full(4, 1.0)).p == 1.0
        assert paired_t_test(np.zeros(1), np.full(1, -1.0)).p == 0.5

    def test_the_order_of_the_faces_changes_nothing(self) -> None:
        before, now = np.random.default_rng(0).normal(size=(2, 50))
        order = np.random.default_rng(1).permutation(50)
        assert paired_t_test(before, now) == paired_t_test(before[order], now[order])

    @pytest.mark.parametrize(
        ("before", "now"), [([], []), ([1.0], [math.nan]), ([math.inf], [1.0]), ([1.0, 2.0], [1.0])]
    )
    def test_invalid_scores_are_an_error(self, before: list[float], now: list[float]) -> None:
        with pytest.raises(PredictionError):
            paired_t_test(np.array(before), np.array(now))


@given(seed=st.integers(0, 10_000))
@settings(max_examples=10, deadline=None)
def test_a_clear_p_is_that_of_the_first_resamples(seed: int) -> None:
    truth = np.random.default_rng(seed).integers(0, 7, 200)
    before = predictions_of(truth, 0.6, seed + 1)
    after = np.where(np.random.default_rng(seed + 2).random(200) < 0.1, truth, before)  # it can only gain
    results = [paired_score_test(truth, before, after, metrics.macro_f1, n) for n in (FIRST_RESAMPLES, 9999)]
    assert results[0].p >= CLEAR_P
    assert results[0] == results[1]


def test_any_other_p_needs_all_resamples() -> None:
    truth = np.arange(700) % 7
    fallen = np.where(np.arange(700) < 100, -1, truth)
    assert paired_score_test(truth, truth, fallen, metrics.macro_f1, 9999).p == 1 / 10_000
