import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fer_models.errors import PredictionError
from fer_models.scoring.agreement import measure_agreement


def random_predictions(n, seed, abstentions=0.0):
    rng = np.random.default_rng(seed)
    p = rng.dirichlet(np.ones(7), n)
    silent = rng.random(n) < abstentions
    answer = np.where(silent, -1, p.argmax(axis=1))
    return answer, np.where(silent[:, None], np.nan, p)


@given(st.integers(1, 50), st.integers(0, 99), st.floats(0, 1))
def test_identical_predictions_agree_exactly(n, seed, abstentions):
    predictions = random_predictions(n, seed, abstentions)
    agreement = measure_agreement(predictions, predictions)
    assert (agreement.share, agreement.largest_difference, agreement.mean_difference) == (1.0, 0.0, 0.0)
    assert len(agreement.differing) == 0
    assert agreement.is_exact


@given(st.integers(1, 50), st.integers(0, 99), st.integers(100, 199))
def test_agreement_does_not_depend_on_which_of_both_is_the_reference(n, seed, other_seed):
    one, two = random_predictions(n, seed, 0.2), random_predictions(n, other_seed, 0.2)
    forward, backward = measure_agreement(one, two), measure_agreement(two, one)
    np.testing.assert_array_equal(forward.differing, backward.differing)
    assert forward.largest_difference == backward.largest_difference
    assert forward.mean_difference == backward.mean_difference


def test_a_missing_prediction_is_another_answer_and_has_no_difference_of_probabilities():
    answer, p = random_predictions(3, 0)
    silent = np.array([0, -1, 0]) == -1
    other = np.where(silent, -1, answer), np.where(silent[:, None], np.nan, p)
    agreement = measure_agreement((answer, p), other)
    assert agreement.differing.tolist() == [1]
    assert agreement.largest_difference == 0.0


def test_one_other_answer_in_a_thousand_is_allowed_and_two_are_not():
    p = np.eye(7)[np.zeros(1000, dtype=int)]
    answer = np.zeros(1000, dtype=np.int64)
    for flips, is_exact in ((1, True), (2, False)):
        other = answer.copy()
        other[:flips] = 1
        assert measure_agreement((answer, p), (other, p)).is_exact is is_exact


def test_a_large_difference_of_one_probability_is_not_exact():
    answer, p = random_predictions(1000, 0)
    other = p.copy()
    first, second = np.argsort(p[0])[:2]  # the answer stays
    other[0, [first, second]] = other[0, second], other[0, first]
    moved = np.abs(other - p).max()
    assert moved > 1e-3
    agreement = measure_agreement((answer, p), (answer, other))
    assert agreement.largest_difference == pytest.approx(moved)
    assert not agreement.is_exact


def test_predictions_for_different_numbers_of_faces_are_refused():
    with pytest.raises(PredictionError, match="got 3 and 2 predictions"):
        measure_agreement(random_predictions(3, 0), random_predictions(2, 0))
    empty = np.zeros(0, dtype=np.int64), np.zeros((0, 7))
    with pytest.raises(PredictionError, match="at least one face"):
        measure_agreement(empty, empty)
