"""Scores in slices: fairlearn and scikit-learn are the oracles."""

import numpy as np
import pytest
from fairlearn.metrics import MetricFrame
from fakes import calibrated_predictions, prediction_table
from hypothesis import example, given
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, f1_score, recall_score

from fer_models.emotions import EMOTIONS
from fer_models.scoring.metrics import measure_predictions
from fer_models.scoring.slices import score_slices
from fer_models.slices.columns import SliceColumn, SliceColumns

EXACT = 1e-9


def columns_of(*codes, minimum=1, levels=4):
    return SliceColumns(
        tuple(
            SliceColumn(f"c{i}", tuple("abcd"[:levels]), np.asarray(each, dtype=np.int64), "test")
            for i, each in enumerate(codes)
        ),
        minimum=minimum,
    )


@st.composite
def sliced_predictions(draw):
    """Labels, predictions (-1 for none) and slices (-1 for none): with absent classes and empty slices."""
    n = draw(st.integers(2, 60))
    emotions = draw(st.lists(st.integers(0, 6), min_size=1, max_size=7, unique=True))
    truth = draw(st.lists(st.sampled_from(emotions), min_size=n, max_size=n))
    answer = draw(st.lists(st.sampled_from([-1, *emotions]), min_size=n, max_size=n))
    codes = draw(st.lists(st.integers(-1, 3), min_size=n, max_size=n))
    return np.array(truth), np.array(answer), np.array(codes)


@pytest.mark.slow
@given(sliced_predictions())
@example((np.zeros(4, int), np.zeros(4, int), np.array([0, 0, 1, 1])))  # no gap
@example((np.zeros(4, int), np.ones(4, int), np.array([0, 0, 1, 3])))  # all wrong
def test_scores_by_group_equal_fairlearns(case):
    truth, answer, codes = case
    scored = score_slices(prediction_table(truth, answer), columns_of(codes))
    has_slice = codes >= 0
    if len(set(codes[has_slice].tolist())) < 2:
        assert scored == ()
        return
    names = np.array(list("abcd"))[codes[has_slice]]
    frame = MetricFrame(
        metrics={"accuracy": accuracy_score},
        y_true=truth[has_slice],
        y_pred=answer[has_slice],
        sensitive_features={"c0": names},
    )
    (column,) = scored
    assert {s.name: s.n for s in column.slices} == {name: int((names == name).sum()) for name in set(names)}
    for one in column.slices:
        assert one.accuracy.value == pytest.approx(frame.by_group["accuracy"][one.name], abs=EXACT)
    assert column.gap.difference.value == pytest.approx(frame.difference()["accuracy"], abs=EXACT)
    ratio = frame.ratio()["accuracy"]  # NaN where all accuracies are 0
    assert column.gap.ratio == pytest.approx(1.0 if np.isnan(ratio) else ratio, abs=EXACT)
    assert column.without_value == int((~has_slice).sum())


@pytest.mark.slow
@given(sliced_predictions())
def test_macro_f1_and_recalls_of_a_slice_equal_scikit_learns(case):
    truth, answer, codes = case
    for column in score_slices(prediction_table(truth, answer), columns_of(codes)):
        for one in column.slices:
            rows = codes == "abcd".index(one.name)
            present = np.unique(truth[rows])
            f1 = f1_score(truth[rows], answer[rows], labels=present, average="macro", zero_division=0)
            assert one.macro_f1.value == pytest.approx(f1, abs=EXACT)
            recalls = recall_score(truth[rows], answer[rows], labels=present, average=None, zero_division=0)
            expected = {EMOTIONS[e].label: r for e, r in zip(present, recalls, strict=True)}
            assert {k: m.value for k, m in one.recalls.items()} == pytest.approx(expected, abs=EXACT)
            assert one.macro_f1.low <= one.macro_f1.value <= one.macro_f1.high


@pytest.mark.slow
@given(st.integers(0, 2**31), st.integers(2, 4))
def test_the_calibration_error_of_a_slice_is_that_of_its_faces_alone(seed, levels):
    table = calibrated_predictions(60, seed)
    codes = np.random.default_rng(seed).integers(levels, size=60)
    (column,) = score_slices(table, columns_of(codes))
    for one in column.slices:
        alone = measure_predictions(
            table.select(np.flatnonzero(codes == "abcd".index(one.name))), resamples=1
        )
        assert one.ece.value == pytest.approx(alone.overall["ece"].value, abs=EXACT)
        assert one.ece.low <= one.ece.value <= one.ece.high


def test_a_model_without_predictions_has_no_calibration_error():
    table = prediction_table(np.zeros(8, int), np.full(8, -1))
    (column,) = score_slices(table, columns_of([0, 1] * 4))
    assert [(s.accuracy.value, s.ece) for s in column.slices] == [(0.0, None)] * 2
    assert (column.gap.difference.value, column.gap.ratio, column.gap.p) == (0.0, 1.0, 1.0)


def test_the_order_of_the_faces_changes_nothing():
    table, rng = calibrated_predictions(300), np.random.default_rng(1)
    codes, order = rng.integers(4, size=300), rng.permutation(300)
    before = score_slices(table, columns_of(codes))[0]
    after = score_slices(table.select(order), columns_of(codes[order]))[0]
    assert after.gap == before.gap
    for one, other in zip(after.slices, before.slices, strict=True):
        assert (one.accuracy, one.recalls, one.macro_f1) == (other.accuracy, other.recalls, other.macro_f1)
        assert one.ece.value == pytest.approx(other.ece.value, abs=EXACT)


def test_a_small_slice_is_scored_and_takes_no_part_in_the_gap():
    truth = np.zeros(130, int)
    codes = np.array([0] * 60 + [1] * 60 + [2] * 10)
    answer = np.where(codes == 2, 1, 0)  # all wrong in the small slice
    (column,) = score_slices(prediction_table(truth, answer), columns_of(codes, minimum=50))
    assert [one.is_judged for one in column.slices] == [True, True, False]
    assert column.gap.difference.value == 0.0
    (column,) = score_slices(prediction_table(truth, answer), columns_of(codes, minimum=61))
    assert column.gap is None


def test_the_p_values_of_the_gaps_are_adjusted_for_all_columns():
    rng = np.random.default_rng(0)
    correct = rng.random(800) < np.where(np.arange(800) < 400, 0.75, 0.6)
    table, halves = prediction_table(np.zeros(800, int), np.where(correct, 0, 1)), np.arange(800) // 400
    (alone,) = score_slices(table, columns_of(halves))
    several = score_slices(table, columns_of(halves, *rng.integers(4, size=(4, 800))))
    assert several[0].gap.p == pytest.approx(5 * alone.gap.p)
    assert alone.gap.p < 0.01


@pytest.mark.slow
def test_slices_that_mean_nothing_seldom_have_a_gap_and_the_interval_holds_the_true_one():
    rng = np.random.default_rng(0)
    codes, truth = np.repeat(np.arange(4), 150), np.zeros(600, int)
    for accuracies, most_rejected in (([0.7] * 4, 0.09), ([0.75, 0.7, 0.7, 0.6], 1.0)):
        true_gap, covered, rejected = max(accuracies) - min(accuracies), 0, 0
        for _ in range(200):
            answer = np.where(rng.random(600) < np.array(accuracies)[codes], 0, 1)
            (column,) = score_slices(prediction_table(truth, answer), columns_of(codes))
            gap = column.gap
            covered += gap.difference.low - EXACT <= true_gap <= gap.difference.high
            rejected += gap.p < 0.05
        assert covered >= 0.92 * 200
        assert rejected <= most_rejected * 200
