"""Thresholds of confidence: their halves of the faces, their walk and their guarantee."""

import numpy as np
import pytest
from fakes import calibrated_predictions, prediction_table

from fer_models.scoring.confidence_thresholds import TARGETS, THRESHOLDS, calibration_half, choose_thresholds


def halves(n):
    return np.arange(n) % 2 == 0


def chosen(confidence, errors):
    return [one.threshold for one in choose_thresholds(confidence, errors, halves(len(errors)))]


def share_of_violations(error_rate, draws=200, faces=2000):
    """The share of drawn samples in which the true error rate above a threshold exceeds its target.

    Args:
        error_rate: of faces with each of (n,) confidences.
        draws: samples.
        faces: of each sample; their confidence is uniform in 0.2..1.
    """
    grid = np.linspace(0.2, 1, 20_001)
    violations = np.zeros((draws, len(TARGETS)))
    for seed in range(draws):
        rng = np.random.default_rng(seed)
        confidence = rng.uniform(0.2, 1, faces)
        errors = rng.random(faces) < error_rate(confidence)
        for i, (target, threshold) in enumerate(zip(TARGETS, chosen(confidence, errors), strict=True)):
            if threshold is not None:
                violations[seed, i] = error_rate(grid[grid >= threshold.value]).mean() > target
    return violations.mean(axis=0)


@pytest.mark.parametrize(
    "error_rate",
    [
        lambda confidence: 1 - confidence,
        lambda confidence: 0.6 * (1 - confidence) ** 2,
        lambda confidence: 0.12 + 0.1 * np.sin(40 * confidence),  # confidence orders the faces badly
    ],
    ids=["calibrated", "underconfident", "not monotone"],
)
def test_the_true_error_rate_exceeds_the_target_in_at_most_five_percent_of_the_choices(error_rate):
    assert (share_of_violations(error_rate) <= 0.05).all()


@pytest.mark.parametrize("target", TARGETS)
def test_a_model_that_is_always_worse_than_the_target_rarely_gets_a_threshold(target):
    share = share_of_violations(lambda confidence: np.full_like(confidence, 1.001 * target), draws=400)
    assert share[TARGETS.index(target)] <= 0.05


def test_a_calibrated_model_gets_a_threshold_for_each_target():
    rng = np.random.default_rng(0)
    confidence = rng.uniform(0.2, 1, 4000)
    found = chosen(confidence, rng.random(4000) > confidence)
    values = [one.value for one in found]
    assert values == sorted(values, reverse=True)
    for target, one in zip(TARGETS, found, strict=True):
        assert one.error.low <= target
        assert one.coverage.value == pytest.approx((1 - one.value) / 0.8, abs=0.05)


def test_a_threshold_is_checked_on_the_faces_that_did_not_choose_it():
    confidence, errors = np.full(2000, 0.9), np.zeros(2000, dtype=bool)
    errors[1::2] = np.arange(1000) % 4 == 0  # one of four, all in the other half
    for one in chosen(confidence, errors):
        assert (one.coverage.value, one.error.value, one.error.n) == (1, 0.25, 1000)


def test_the_walk_stops_at_the_first_threshold_that_fails():
    # Correct above 0.8, wrong from 0.7 to 0.8, and so many correct ones below that the rate falls again.
    confidence = np.r_[np.full(400, 0.85), np.full(400, 0.75), np.full(40_000, 0.5)]
    errors = np.r_[np.zeros(400, bool), np.ones(400, bool), np.zeros(40_000, bool)]
    assert [one.value for one in chosen(confidence, errors)] == [0.76, 0.76, 0.76]


def test_an_unsure_model_gets_a_threshold_too():
    confidence, errors = np.full(2000, 0.25), np.zeros(2000, dtype=bool)
    assert [one.value for one in chosen(confidence, errors)] == [0.15] * 3


def test_too_few_faces_have_no_threshold():
    assert chosen(np.full(40, 0.9), np.zeros(40, dtype=bool)) == [None] * 3
    by_count = [one is None for one in chosen(np.full(160, 0.9), np.zeros(160, dtype=bool))]
    assert by_count == [True, False, False]


def test_a_face_without_a_prediction_is_never_accepted():
    confidence = np.where(np.arange(2000) % 4 < 2, 0.9, -np.inf)
    for one in chosen(confidence, np.isinf(confidence)):
        assert (one.coverage.value, one.error.value) == (0.5, 0)


def test_thresholds_are_unique_and_fall_from_almost_one_to_about_one_seventh():
    assert (np.diff(THRESHOLDS) < 0).all()
    assert (THRESHOLDS[0], THRESHOLDS[-1]) == (0.99999, 0.15)


def test_halves_are_stratified_and_the_same_for_each_order_of_the_faces():
    table = calibrated_predictions(500)
    is_calibration = calibration_half(table)
    counts = [np.bincount(table.truth[half], minlength=7) for half in (is_calibration, ~is_calibration)]
    assert (abs(counts[0] - counts[1]) <= 1).all()
    order = np.random.default_rng(0).permutation(500)
    assert (calibration_half(table.select(order)) == is_calibration[order]).all()


def test_copies_of_a_face_are_in_the_same_half():
    table = prediction_table(np.zeros(9, dtype=int), np.zeros(9, dtype=int))
    twice = table.select(np.repeat(np.arange(9), 2))
    assert (calibration_half(twice) == np.repeat(calibration_half(table), 2)).all()
