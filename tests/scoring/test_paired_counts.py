"""Paired tests of counts per face: exact, at their level for any number of faces, in any order."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats

from fer_models.errors import PredictionError
from fer_models.scoring.detectable_changes import (
    minimum_detectable_fall,
    minimum_detectable_rise,
    minimum_discordant,
)
from fer_models.scoring.face_counts import position_bias
from fer_models.scoring.intervals import jackknife_interval
from fer_models.scoring.paired_tests import mcnemar_exact, permutation_test, sign_flip_test


def differences(smallest=1, largest=40, size=9):
    return st.integers(smallest, largest).flatmap(
        lambda n: arrays(np.int64, n, elements=st.integers(-size, size))
    )


def positions(n, k=3, of=4):
    return arrays(np.int64, (n, k), elements=st.integers(0, of))


def scipy_p_value(d):
    return stats.permutation_test(
        (d,), np.sum, permutation_type="samples", alternative="greater", n_resamples=np.inf
    ).pvalue


# -- the sign-flip test -----------------------------------------------------------------------------


@settings(max_examples=40)
@given(differences(smallest=2, largest=10))
def test_it_is_scipys_permutation_test(d):
    assert sign_flip_test(d) == pytest.approx(scipy_p_value(d))


@given(st.integers(0, 300), st.integers(0, 300), st.integers(0, 300))
def test_for_correct_and_wrong_it_is_mcnemars(positive, negative, same):
    d = np.repeat(np.array([1, -1, 0]), [positive, negative, same + 1])
    assert sign_flip_test(d) == pytest.approx(mcnemar_exact(positive, negative), rel=1e-9, abs=1e-300)


@given(differences(), st.randoms(use_true_random=False))
def test_the_order_of_the_faces_and_those_that_did_not_change_do_not_matter(d, random):
    shuffled = d.copy()
    random.shuffle(shuffled)
    assert sign_flip_test(shuffled) == sign_flip_test(d)
    assert sign_flip_test(np.concatenate([d, [0, 0, 0]])) == sign_flip_test(d)


@given(differences(), st.data())
def test_p_never_falls_when_a_rise_becomes_a_fall(d, data):
    positive = np.flatnonzero(d > 0)
    if len(positive) == 0:
        assert sign_flip_test(d) >= 0.5
        return
    flipped = d.copy()
    flipped[data.draw(st.sampled_from(positive.tolist()))] *= -1
    assert sign_flip_test(flipped) >= sign_flip_test(d) - 1e-12


@given(differences())
def test_a_p_value_is_no_smaller_than_one_of_all_exchanges(d):
    p = sign_flip_test(d)
    assert 0.5 ** np.count_nonzero(d) * (1 - 1e-9) <= p <= 1
    if (d >= 0).all():
        assert p == pytest.approx(0.5 ** np.count_nonzero(d))


@pytest.mark.parametrize("alpha", [0.3, 0.05, 0.01, 0.003])
@pytest.mark.parametrize("sizes", [[1] * 7, [3, 1, 1, 2, 9, 9, 4], [1, 2, 4, 8, 16, 32, 64, 128, 5, 5]])
def test_of_all_exchanges_no_more_than_alpha_are_significant(sizes, alpha):
    """The level holds exactly, whatever the sizes: all exchanges of the versions are equally likely."""
    rejected = [
        sign_flip_test(np.array(sizes) * signs) <= alpha
        for signs in itertools.product([1, -1], repeat=len(sizes))
    ]
    assert np.mean(rejected) <= alpha


@pytest.mark.slow
@settings(max_examples=15)
@given(
    st.integers(0, 2**32 - 1),
    st.sampled_from([7, 21, 70, 350]),
    st.sampled_from([1, 4, 10, 50]),
    st.floats(0.0, 0.9),
)
def test_exchangeable_versions_are_rarely_significantly_worse(seed, n, of, correlation):
    """Simulated versions with correlated predictions for one face: at most alpha, and a little by chance."""
    rng = np.random.default_rng(seed)
    runs, alpha = 300, 0.05
    face = rng.normal(size=(runs, 1, n, 1))  # the difficulty of a face, for both versions
    version = np.sqrt(correlation) * rng.normal(size=(runs, 2, n, 1)) + np.sqrt(1 - correlation) * rng.normal(
        size=(runs, 2, n, of)
    )
    counts = (face + 0.5 * version > 0).sum(axis=-1)
    rejected = sum(sign_flip_test(now - before) < alpha for before, now in counts)
    assert rejected <= stats.binom.isf(1e-6, runs, alpha)


@pytest.mark.parametrize("bad", [np.zeros(0, dtype=np.int64), np.zeros((2, 2), dtype=np.int64), np.zeros(3)])
def test_invalid_differences_are_an_error(bad):
    with pytest.raises(PredictionError, match="integer differences"):
        sign_flip_test(bad)


# -- the minimum detectable rise
# ------------------------------------------------------------------------------


@given(st.integers(0, 150), st.integers(0, 150), st.integers(200, 400))
def test_for_correct_and_wrong_the_minimum_detectable_rise_is_mcnemars(positive, negative, n):
    d = np.repeat(np.array([1, -1, 0]), [positive, negative, n - min(n, positive + negative)])
    assert minimum_detectable_rise(d, 0.01) / len(d) == pytest.approx(
        minimum_detectable_fall(len(d), positive + negative, 0.01), rel=1e-6
    )


@pytest.mark.slow
@pytest.mark.parametrize(("n", "of"), [(21, 50), (70, 4), (350, 1)])
def test_a_rise_of_that_size_is_detected_in_80_percent_of_runs(n, of):
    rng = np.random.default_rng(0)
    sizes = rng.integers(1, of + 1, n)
    rise, alpha = minimum_detectable_rise(sizes, 0.01), 0.01
    share = (rise / sizes.sum() + 1) / 2
    significant = [
        sign_flip_test(sizes * np.where(rng.random(n) < share, 1, -1)) <= alpha for _ in range(1500)
    ]
    assert np.mean(significant) == pytest.approx(0.8, abs=0.04)


def test_on_too_few_faces_nothing_is_significant_and_too_few_changes_give_the_number_that_is_needed():
    assert minimum_discordant(0.003) == 9
    assert minimum_detectable_rise(np.ones(8, dtype=np.int64), 0.003) is None
    assert minimum_detectable_rise(np.zeros(9, dtype=np.int64), 0.003) == 9
    assert minimum_detectable_rise(np.array([5, -5] + [0] * 7), 0.003) == 45
    with pytest.raises(PredictionError, match="0 < alpha < power < 1"):
        minimum_detectable_rise(np.ones(8, dtype=np.int64), 0.9)


# -- the permutation test ------------------------------------------------------------------------------


@settings(max_examples=30)
@given(st.integers(2, 9).flatmap(lambda n: st.tuples(positions(n), positions(n))))
def test_the_permutation_test_tries_all_exchanges_of_few_faces(versions):
    before, now = versions

    def change(first, second):
        return float(
            position_bias(second.sum(axis=0).astype(float)) - position_bias(first.sum(axis=0).astype(float))
        )

    changes = []
    for exchanged in itertools.product([False, True], repeat=len(before)):
        rows = np.array(exchanged)[:, None]
        changes.append(change(np.where(rows, now, before), np.where(rows, before, now)))
    expected = np.mean(np.array(changes) >= change(before, now) - 1e-9)
    assert permutation_test(before, now, position_bias) == pytest.approx(expected)


@settings(max_examples=20)
@given(positions(30), positions(30), st.integers(0, 2**32 - 1))
def test_the_order_of_the_faces_changes_no_p_value_of_the_permutation_test(before, now, seed):
    order = np.random.default_rng(seed).permutation(30)
    assert permutation_test(before, now, position_bias, 500) == permutation_test(
        before[order], now[order], position_bias, 500
    )


def test_exchangeable_positions_are_rarely_significantly_more_biased():
    rng, runs = np.random.default_rng(0), 300
    rejected = 0
    for _ in range(runs):
        preference = rng.dirichlet(np.ones(7) * 0.5)  # of this model for each position, in both versions
        before, now = (rng.multinomial(7, preference, size=21) for _ in range(2))
        rejected += permutation_test(before, now, position_bias, 999) < 0.05
    assert rejected <= stats.binom.isf(1e-6, runs, 0.05)


def test_random_exchanges_agree_with_all_of_them():
    rng = np.random.default_rng(3)
    before, now = rng.multinomial(7, np.ones(7) / 7, 12), rng.multinomial(7, [0.3] + [0.7 / 6] * 6, 12)
    assert permutation_test(before, now, position_bias, 4000) == pytest.approx(
        permutation_test(before, now, position_bias), abs=0.03
    )


@pytest.mark.parametrize(
    ("before", "now", "resamples"),
    [
        (np.ones((2, 3), int), np.ones((3, 3), int), 9),
        (np.ones((0, 3), int), np.ones((0, 3), int), 9),
        (np.ones((2, 3), int), np.ones((2, 3), int), 0),
    ],
)
def test_invalid_counts_are_an_error(before, now, resamples):
    with pytest.raises(PredictionError):
        permutation_test(before, now, position_bias, resamples)


# -- the interval -----------------------------------------------------------------------------------


@given(differences(smallest=2, size=3))
def test_for_a_mean_the_interval_is_that_of_the_paired_t_test(d):
    n = len(d)
    low, high = jackknife_interval(d.mean() / 9, (d.sum() - d) / (n - 1) / 9)
    if np.ptp(d):
        expected = stats.ttest_1samp(d / 9, 0.0).confidence_interval(0.95)
        assert (low, high) == pytest.approx((max(-1, expected.low), min(1, expected.high)), abs=1e-9)
    else:
        assert low == pytest.approx(high)


def test_a_single_face_has_the_widest_interval():
    assert jackknife_interval(0.5, np.array([0.5])) == (-1.0, 1.0)
