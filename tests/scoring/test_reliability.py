"""The bins of the reliability diagram."""

import numpy as np
import pytest
from fakes import calibrated_predictions, prediction_table
from hypothesis import given
from hypothesis import strategies as st

from fer_models.scoring.metrics import measure_predictions
from fer_models.scoring.reliability import reliability_bins


@pytest.mark.slow
@given(st.integers(1, 80), st.integers(0, 2**31))
def test_the_mean_gap_of_the_bins_is_the_calibration_error(n, seed):
    table = calibrated_predictions(n, seed)
    bins = reliability_bins(table)
    gaps = [one.n * abs(one.accuracy.value - one.confidence) for one in bins]
    assert sum(one.n for one in bins) == n
    ece = measure_predictions(table, resamples=1).overall["ece"].value
    assert sum(gaps) / n == pytest.approx(ece, abs=1e-12)


def test_bins_are_sorted_and_hold_the_confidence_that_they_name():
    bins = reliability_bins(calibrated_predictions())
    assert [one.lower for one in bins] == sorted(one.lower for one in bins)
    assert all(one.lower <= one.confidence <= one.upper for one in bins)
    assert all(one.accuracy.low <= one.accuracy.value <= one.accuracy.high for one in bins)


def test_the_order_of_the_faces_changes_nothing():
    table = calibrated_predictions(300)
    order = np.random.default_rng(1).permutation(300)
    assert reliability_bins(table) == reliability_bins(table.select(order))


def test_faces_without_a_prediction_are_left_out_and_a_silent_model_has_no_bins():
    truth = np.zeros(4, dtype=int)
    (one,) = reliability_bins(prediction_table(truth, np.array([0, -1, 0, -1])))
    assert (one.n, one.accuracy.value) == (2, 1.0)
    assert reliability_bins(prediction_table(truth, np.full(4, -1))) == ()
