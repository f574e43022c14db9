"""Plausibility of a declaration: a planted mistake is found, and a right declaration passes."""

import math

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.stats import binom, binomtest

from fer_models.emotions import EMOTIONS
from fer_models.scoring.plausibility import (
    ALPHA,
    SMALLEST_GAIN,
    Alternative,
    best_alternative,
    best_label_order,
    chance_p_value,
)

N = 70
TRUTH = np.arange(N) % 7


def answers(rng, accuracy, n=N):
    """Predictions that are correct with a probability, and else one of the six other emotions."""
    truth = np.arange(n) % 7
    return np.where(rng.random(n) < accuracy, truth, (truth + rng.integers(1, 7, n)) % 7)


@given(st.integers(0, N), st.integers(0, N), st.integers(1, 20))
def test_the_p_value_is_the_exact_sign_test_times_the_number_of_alternatives(corrected, broken, tried):
    alternative = Alternative("other", N, broken, corrected, broken, tried)
    flips = corrected + broken
    exact = binomtest(corrected, flips, 0.5, alternative="greater").pvalue if flips else 1.0
    assert alternative.p == pytest.approx(min(1.0, tried * exact))
    assert alternative.gain == corrected - broken
    assert alternative.is_far_better == (alternative.p < ALPHA and alternative.gain > SMALLEST_GAIN * N)


def test_a_significant_gain_of_less_than_five_points_is_not_far_better():
    small = Alternative("other", 3589, 2000, 150, 10, 1)
    assert small.p < ALPHA
    assert not small.is_far_better
    assert Alternative("other", 3589, 2000, 200, 10, 1).is_far_better


@given(st.lists(st.integers(-1, 6), min_size=N, max_size=N), st.integers(0, 2**32 - 1))
def test_predictions_are_never_worse_than_themselves(answer, seed):
    answer = np.array(answer)
    assert best_alternative(TRUTH, answer, {"same": answer}).p == 1.0
    worse = np.where(np.random.default_rng(seed).random(N) < 0.5, -1, answer)
    assert not best_alternative(TRUTH, answer, {"without some": worse}).is_far_better


@given(st.floats(0, 1), st.integers(0, 9), st.integers(0, 2**32 - 1))
@settings(max_examples=50)
def test_the_planted_alternative_is_chosen_and_far_better(share, position, seed):
    rng = np.random.default_rng(seed)
    declared = answers(rng, 0.4 * share)
    others = {str(i): answers(rng, 0.4 * share) for i in range(10)}
    others[str(position)] = answers(rng, 0.99)
    best = best_alternative(TRUTH, declared, others)
    assert best.name == str(position)
    assert best.is_far_better
    assert best.n_correct == (declared == TRUTH).sum()


@given(st.permutations(range(7)), st.integers(0, 2**32 - 1))
@settings(max_examples=50)
def test_a_planted_label_order_is_found_with_its_names(order, seed):
    order = np.array(order)
    assume((order != np.arange(7)).sum() > 2)  # an exchange of two labels needs more faces
    truth = np.arange(350) % 7
    right = answers(np.random.default_rng(seed), 0.8, 350)
    best = best_label_order(truth, order[right])
    assert best.is_far_better
    assert best.tried == math.factorial(7)
    expected = {
        f"{EMOTIONS[i].label} instead of {EMOTIONS[order[i]].label}" for i in range(7) if order[i] != i
    }
    assert set(best.name.split(", ")) == expected
    assert best.n_correct + best.gain == (right == truth).sum()


def test_faces_without_a_prediction_do_not_count_for_the_label_order():
    answer = np.where(np.arange(N) < 35, -1, TRUTH)
    assert best_label_order(TRUTH, answer).n == 35
    assert not best_label_order(TRUTH, np.full(N, -1)).is_far_better


@pytest.mark.slow
def test_a_right_declaration_fails_no_more_often_than_the_level():
    """All alternatives are as good as the declaration: the hardest case of a right one. At a level of 5 % the
    rejections of 1,000 runs stay below the binomial bound; at the level of the test none is expected.
    """
    rng, runs, level = np.random.default_rng(0), 1000, 0.05
    p = [
        best_alternative(TRUTH, answers(rng, 0.6), {str(i): answers(rng, 0.6) for i in range(8)}).p
        for _ in range(runs)
    ]
    assert np.sum(np.array(p) < level) <= binom.ppf(0.999, runs, level)
    assert min(p) > ALPHA
    orders = [best_label_order(TRUTH, answers(rng, 1 / 7)) for _ in range(runs)]
    assert not any(order.is_far_better for order in orders)


def test_the_correction_for_several_alternatives_is_needed():
    """Without it, the best of eight equally good alternatives is rejected far more often than the level."""
    rng, runs, level = np.random.default_rng(0), 300, 0.05
    best = [
        best_alternative(TRUTH, answers(rng, 0.6), {str(i): answers(rng, 0.6) for i in range(8)})
        for _ in range(runs)
    ]
    assert np.mean([b.p / b.tried < level for b in best if b.p < 1]) > level


def test_chance_is_the_share_of_the_most_frequent_emotion():
    truth = np.array([3] * 40 + [0] * 30)
    assert chance_p_value(40, truth) > 0.4
    assert chance_p_value(65, truth) < ALPHA
    assert chance_p_value(10, TRUTH) > 0.4
