"""The statistics agree with scipy, statsmodels and simulation, and never let a NaN pass."""

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
from statsmodels.stats.proportion import proportion_confint

from fer_models.emotions import Emotion
from fer_models.errors import FerModelsError, PredictionError
from fer_models.scoring import metrics
from fer_models.scoring.detectable_changes import minimum_detectable_fall, minimum_detectable_mean_change
from fer_models.scoring.intervals import (
    Measurement,
    bootstrap_confusions,
    bootstrap_means,
    percentile_interval,
    wilson_interval,
)
from fer_models.scoring.paired_tests import Score, holm, mcnemar_exact, paired_score_test, paired_t_test

shares = st.integers(1, 400).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))
counts = st.integers(0, 60)


def answers_of(truth: np.ndarray, accuracy: float, seed: int) -> np.ndarray:
    """Answers that are right with probability `accuracy`, and otherwise any, no answer among them."""
    rng = np.random.default_rng(seed)
    return np.where(rng.random(len(truth)) < accuracy, truth, rng.integers(-1, 7, len(truth)))


@pytest.fixture(scope="module")
def truth() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 7, 400)


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

    def test_an_interval_holds_its_value_even_where_the_resamples_lean_away(self) -> None:
        assert percentile_interval(0.1, np.linspace(0.2, 0.3, 50), 3).low == 0.1
        assert percentile_interval(0.4, np.linspace(0.2, 0.3, 50), 3).high == 0.4


class TestWilson:
    @settings(deadline=None)
    @given(shares)
    def test_it_is_the_interval_of_statsmodels_and_holds_the_share(self, share: tuple[int, int]) -> None:
        measured = wilson_interval(*share)
        assert (measured.low, measured.high) == pytest.approx(
            proportion_confint(*share, method="wilson"), abs=1e-12
        )
        assert 0 <= measured.low <= measured.value <= measured.high <= 1
        assert measured.value == share[0] / share[1]

    @pytest.mark.parametrize(("successes", "value"), [(0, 0.0), (1, 1.0)])
    def test_one_face_leaves_nearly_everything_open(self, successes: int, value: float) -> None:
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


class TestMcNemarFall:
    def test_without_a_changed_face_there_is_no_fall(self) -> None:
        assert mcnemar_exact(0, 0) == 1.0

    @settings(deadline=None)
    @given(counts, counts)
    def test_the_two_sided_test_of_statsmodels_is_twice_the_smaller_side(self, fell: int, rose: int) -> None:
        two_sided = mcnemar([[0, fell], [rose, 0]], exact=True).pvalue
        assert two_sided == pytest.approx(
            min(1.0, 2 * min(mcnemar_exact(fell, rose), mcnemar_exact(rose, fell)))
        )

    @settings(deadline=None)
    @given(counts, counts)
    def test_more_falls_never_raise_p_and_more_rises_never_lower_it(self, fell: int, rose: int) -> None:
        here = mcnemar_exact(fell, rose)
        assert 0 < here <= 1
        assert mcnemar_exact(fell + 1, rose) <= here * (1 + 1e-9)
        assert mcnemar_exact(fell, rose + 1) >= here * (1 - 1e-9)

    def test_the_example_of_the_manual_is_a_fall_beyond_doubt(self) -> None:
        assert mcnemar_exact(201, 104) < 1e-6

    def test_a_negative_count_is_an_error(self) -> None:
        with pytest.raises(PredictionError, match="cannot be negative"):
            mcnemar_exact(-1, 3)


@pytest.fixture(scope="class")
def still_heap() -> Iterator[None]:
    """statsmodels collects garbage in each call: what lies on the heap already is kept out of that."""
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
        self, still_heap: None, p_values: list[float]
    ) -> None:
        stepped, worst = [0.0] * len(p_values), 0.0
        for rank, index in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
            worst = max(worst, (len(p_values) - rank) * p_values[index])
            stepped[index] = min(1.0, worst)
        assert holm(p_values) == pytest.approx(stepped)
        assert holm(p_values) == pytest.approx(multipletests(p_values, method="holm")[1].tolist(), abs=1e-15)

    @pytest.mark.parametrize("p", [math.nan, -0.1, 1.1])
    def test_what_is_no_p_value_is_an_error(self, p: float) -> None:
        with pytest.raises(PredictionError, match=r"must be in \[0, 1\]"):
            holm([0.5, p])


def power_of(n: int, discordant: int, fall: float, alpha: float) -> float:
    """The exact chance that `mcnemar_fall` establishes a true fall of `fall`, by summing over every
    outcome.
    """
    share_fallen = (fall * n / discordant + 1) / 2
    found = [fell for fell in range(discordant + 1) if mcnemar_exact(fell, discordant - fell) <= alpha]
    return float(stats.binom.pmf(found, discordant, share_fallen).sum())


class TestSmallestFall:
    @settings(max_examples=40, deadline=None)
    @given(st.integers(10, 150), st.sampled_from([0.05, 0.01, 0.001]), st.sampled_from([0.5, 0.8, 0.95]))
    def test_its_fall_is_found_with_exactly_the_power_asked_for(
        self, discordant: int, alpha: float, power: float
    ) -> None:
        fall = minimum_detectable_fall(1000, discordant, alpha, power)
        assert 0 < fall <= discordant / 1000
        assert power_of(1000, discordant, fall, alpha) == pytest.approx(power, abs=1e-6)

    def test_simulated_comparisons_find_it_as_often_as_promised(self) -> None:
        n, discordant = 500, 60
        share_fallen = (minimum_detectable_fall(n, discordant) * n / discordant + 1) / 2
        fell = np.random.default_rng(0).binomial(discordant, share_fallen, 4000)
        p = np.array([mcnemar_exact(count, discordant - count) for count in range(discordant + 1)])
        assert (p[fell] <= 0.01).mean() == pytest.approx(0.8, abs=0.02)

    def test_the_example_of_the_manual_can_establish_a_fall_of_1_6_points(self) -> None:
        assert round(100 * minimum_detectable_fall(3589, 201 + 104), 1) == 1.6

    @pytest.mark.parametrize("alpha", [0.05, 0.01, 0.001])
    def test_where_few_faces_changed_it_is_the_fewest_that_prove_a_fall_by_all_falling(
        self, alpha: float
    ) -> None:
        fewest = round(200 * minimum_detectable_fall(200, 0, alpha))
        assert mcnemar_exact(fewest, 0) <= alpha < mcnemar_exact(fewest - 1, 0)
        assert minimum_detectable_fall(200, fewest - 1, alpha) == minimum_detectable_fall(200, 0, alpha)
        assert minimum_detectable_fall(200, fewest, alpha) <= minimum_detectable_fall(200, 0, alpha)

    @pytest.mark.parametrize("n", [1, 6, 7])
    def test_a_handful_of_faces_can_at_best_establish_that_everything_fell(self, n: int) -> None:
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


class TestBootstrapConfusions:
    @settings(max_examples=25, deadline=None)
    @given(
        st.lists(st.lists(st.integers(0, 40), min_size=8, max_size=8), min_size=7, max_size=7),
        st.integers(0, 2**32 - 1),
    )
    def test_every_resample_keeps_each_emotions_faces_and_invents_no_answer(
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

    def test_the_seed_decides(self) -> None:
        confusion = np.full((7, 8), 10)
        assert (bootstrap_confusions(confusion, 5, 1) == bootstrap_confusions(confusion, 5, 1)).all()
        assert (bootstrap_confusions(confusion, 5, 1) != bootstrap_confusions(confusion, 5, 2)).any()

    @pytest.mark.parametrize("confusion", [np.ones((7, 7), int), np.ones((7, 8)), -np.ones((7, 8), int)])
    def test_what_is_no_confusion_is_an_error(self, confusion: np.ndarray) -> None:
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


class TestPairedFall:
    @pytest.mark.parametrize("score", [metrics.macro_f1, metrics.accuracy, metrics.recall_of(Emotion.FEAR)])
    def test_the_same_answers_are_no_fall(self, truth: np.ndarray, score: Score) -> None:
        answers = answers_of(truth, 0.6, 1)
        assert paired_score_test(truth, answers, answers, score, 200) == (0.0, 0.0, 0.0, 1.0)

    def test_one_face_suffices(self) -> None:
        assert paired_score_test([3], [3], [3], metrics.macro_f1, 20) == (0.0, 0.0, 0.0, 1.0)
        fallen = paired_score_test([3], [3], [-1], metrics.macro_f1, 999)
        assert fallen[:3] == (-1.0, -1.0, -1.0)
        assert fallen.p == pytest.approx(0.5, abs=0.06)  # it could as well have gone the other way
        five = paired_score_test([3] * 5, [3] * 5, [-1] * 5, metrics.macro_f1, 9999)
        assert five.p == pytest.approx(0.5**5, abs=0.006)

    def test_its_change_is_the_difference_that_scikit_learn_sees(self, truth: np.ndarray) -> None:
        before, now = answers_of(truth, 0.7, 1), answers_of(truth, 0.5, 2)
        expected = f1_score(truth, now, average="macro", labels=range(7)) - f1_score(
            truth, before, average="macro", labels=range(7)
        )
        assert paired_score_test(truth, before, now, metrics.macro_f1, 100).change == pytest.approx(expected)

    def test_its_interval_is_that_of_drawing_faces_one_by_one(self, truth: np.ndarray) -> None:
        before = answers_of(truth, 0.7, 1)
        now = np.where(np.random.default_rng(5).random(len(truth)) < 0.8, before, -1)
        rng = np.random.default_rng(6)
        changes = []
        for _ in range(1000):
            faces = np.concatenate(
                [
                    rng.choice(np.flatnonzero(truth == emotion), (truth == emotion).sum())
                    for emotion in range(7)
                ]
            )
            changes.append(np.mean(now[faces] == truth[faces]) - np.mean(before[faces] == truth[faces]))
        found = paired_score_test(truth, before, now, metrics.accuracy)
        assert (found.low, found.high) == pytest.approx(np.quantile(changes, [0.025, 0.975]), abs=0.007)

    def test_pairing_finds_a_small_fall_that_two_separate_intervals_would_miss(
        self, truth: np.ndarray
    ) -> None:
        before = answers_of(truth, 0.7, 1)
        now = before.copy()
        now[np.flatnonzero(before == truth)[:15]] = -1
        assert (
            wilson_interval(int((now == truth).sum()), 400).high
            > wilson_interval(int((before == truth).sum()), 400).low
        )
        assert paired_score_test(truth, before, now, metrics.macro_f1).p < 0.001

    def test_a_rise_is_no_fall(self, truth: np.ndarray) -> None:
        found = paired_score_test(
            truth, answers_of(truth, 0.4, 1), answers_of(truth, 0.8, 2), metrics.macro_f1, 500
        )
        assert found.change > 0
        assert found.low > 0
        assert found.p == 1.0

    def test_p_stays_near_the_exact_test_where_many_faces_changed(self, truth: np.ndarray) -> None:
        before = answers_of(truth, 0.7, 1)
        now = before.copy()
        right, wrong = np.flatnonzero(before == truth), np.flatnonzero(before != truth)
        now[right[:40]], now[wrong[:25]] = -1, truth[wrong[:25]]
        assert paired_score_test(truth, before, now, metrics.accuracy).p == pytest.approx(
            mcnemar_exact(40, 25), abs=0.025
        )

    def test_more_falls_never_raise_p(self, truth: np.ndarray) -> None:
        before = answers_of(truth, 0.7, 1)
        right = np.flatnonzero(before == truth)
        p_values = []
        for fell in (0, 2, 5, 20, 80):
            now = before.copy()
            now[right[:fell]] = -1
            p_values.append(paired_score_test(truth, before, now, metrics.macro_f1, 2000).p)
        assert p_values == sorted(p_values, reverse=True)

    def test_the_seed_and_not_the_order_of_the_faces_decides(self, truth: np.ndarray) -> None:
        before, now, order = (
            answers_of(truth, 0.7, 1),
            answers_of(truth, 0.65, 2),
            np.random.default_rng(3).permutation(len(truth)),
        )
        found = paired_score_test(truth, before, now, metrics.macro_f1, 300, seed=4)
        assert found == paired_score_test(
            truth[order], before[order], now[order], metrics.macro_f1, 300, seed=4
        )
        assert found != paired_score_test(truth, before, now, metrics.macro_f1, 300, seed=5)

    def test_the_recall_of_an_emotion_that_does_not_occur_cannot_be_compared(self) -> None:
        with pytest.raises(PredictionError, match="undefined"):
            paired_score_test([0, 1], [0, 1], [0, 2], metrics.recall_of(Emotion.FEAR), 20)

    def test_other_faces_are_an_error(self) -> None:
        with pytest.raises(PredictionError, match="2 in truth, 2 in before, 1 in now"):
            paired_score_test([0, 1], [0, 1], [0], metrics.macro_f1)

    @pytest.mark.parametrize(
        ("truth", "before", "now", "message"),
        [
            ([], [], [], "truth must hold"),
            ([7], [0], [0], r"truth must be in 0\.\.6, got 7 at face 0"),
            ([0], [-2], [0], r"the answers before must be in -1\.\.6"),
            ([0], [0], [0.0], "the answers now must be integers"),
        ],
    )
    def test_impossible_arrays_are_an_error(
        self, truth: list[int], before: list[int], now: list[float], message: str
    ) -> None:
        with pytest.raises(PredictionError, match=message):
            paired_score_test(truth, before, now, metrics.macro_f1)


class TestPairedMeanFall:
    @settings(max_examples=40, deadline=None)
    @given(st.integers(0, 2**32 - 1), st.integers(10, 200), st.floats(-0.3, 0.3))
    def test_it_is_scipys_paired_t_test(self, seed: int, n: int, shift: float) -> None:
        rng = np.random.default_rng(seed)
        before = rng.normal(size=n)
        now = before + shift + rng.normal(scale=0.4, size=n)
        found, expected = paired_t_test(before, now), stats.ttest_rel(now, before, alternative="less")
        assert found.p == pytest.approx(max(expected.pvalue, 0.5**n))
        both = stats.ttest_rel(now, before).confidence_interval(0.95)
        assert (found.low, found.change, found.high) == pytest.approx(
            (both.low, (now - before).mean(), both.high)
        )

    def test_equal_scores_have_not_fallen(self) -> None:
        assert paired_t_test(np.ones(5), np.ones(5)) == (0.0, 0.0, 0.0, 1.0)

    def test_faces_that_all_moved_alike_prove_no_more_than_their_number(self) -> None:
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
    def test_what_cannot_be_compared_is_an_error(self, before: list[float], now: list[float]) -> None:
        with pytest.raises(PredictionError):
            paired_t_test(np.array(before), np.array(now))


class TestSmallestMeanChange:
    @pytest.mark.parametrize(("n", "alpha", "power"), [(60, 0.05, 0.8), (300, 0.01, 0.8), (300, 0.01, 0.5)])
    def test_a_change_of_that_size_is_found_as_often_as_asked(
        self, n: int, alpha: float, power: float
    ) -> None:
        rng = np.random.default_rng(0)
        smallest = minimum_detectable_mean_change(rng.normal(size=100_000)[:n], alpha, power)
        shift = smallest / np.std(np.random.default_rng(0).normal(size=100_000)[:n], ddof=1)
        p = stats.ttest_1samp(rng.normal(shift, 1.0, size=(4000, n)), 0.0, axis=1).pvalue
        assert np.mean(p < alpha) == pytest.approx(power, abs=0.03)

    def test_it_grows_with_the_spread_and_ignores_the_direction(self) -> None:
        differences = np.random.default_rng(0).normal(size=50)
        assert minimum_detectable_mean_change(3 * differences) == pytest.approx(
            3 * minimum_detectable_mean_change(differences)
        )
        assert minimum_detectable_mean_change(-differences) == pytest.approx(
            minimum_detectable_mean_change(differences)
        )

    @pytest.mark.parametrize("differences", [np.zeros(50), np.ones(50)])
    def test_where_nothing_varies_it_is_that_of_faces_of_which_none_changed(
        self, differences: np.ndarray
    ) -> None:
        assert minimum_detectable_mean_change(differences) == minimum_detectable_fall(50, 0, 0.005)
