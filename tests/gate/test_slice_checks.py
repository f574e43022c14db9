"""Paired checks in slices, and what the gate says of a fall in one of them."""

from dataclasses import replace

import numpy as np
import pytest
from fakes import prediction_table
from fakes_runs import record_of
from hypothesis import given
from hypothesis import strategies as st

from fer_models.gate import gate
from fer_models.gate.metric_checks import SLICE_ALPHA, adjust_for_multiplicity, paired_checks
from fer_models.gate.slice_checks import slice_checks
from fer_models.report import verdicts
from fer_models.scoring.metrics import measure_predictions
from fer_models.scoring.paired_tests import holm, mcnemar_exact
from fer_models.slices.columns import SliceColumn, SliceColumns


def slices_of(codes, minimum=1, name="brightness"):
    levels = ("dark", "bright", "other")
    return SliceColumns((SliceColumn(name, levels, np.asarray(codes), "test"),), minimum=minimum)


predictions = st.integers(2, 40).flatmap(
    lambda n: st.tuples(
        st.lists(st.integers(0, 6), min_size=n, max_size=n),
        st.lists(st.integers(-1, 6), min_size=n, max_size=n),
        st.lists(st.integers(-1, 6), min_size=n, max_size=n),
        st.lists(st.integers(-1, 2), min_size=n, max_size=n),
    )
)


@given(predictions)
def test_the_check_of_a_slice_is_the_check_of_accuracy_on_its_faces_alone(case):
    truth, before, now, codes = map(np.array, case)
    checks = {c.metric: c for c in slice_checks(truth, before, now, slices_of(codes))}
    for level, name in enumerate(("dark", "bright", "other")):
        rows = codes == level
        if not rows.any():
            assert f"slice:brightness={name}" not in checks
            continue
        found = checks[f"slice:brightness={name}"]
        alone = paired_checks(truth[rows], before[rows], now[rows], resamples=0)[0]
        assert (found.now.value, found.baseline) == (alone.now.value, alone.baseline)
        assert found.change == pytest.approx(alone.change, abs=1e-12)
        worse = int(((before == truth) & (now != truth) & rows).sum())
        better = int(((before != truth) & (now == truth) & rows).sum())
        assert found.p == pytest.approx(mcnemar_exact(worse, better), rel=1e-9)


def test_a_slice_with_few_faces_is_not_checked():
    truth = np.zeros(60, int)
    codes = np.array([0] * 50 + [1] * 10)
    checks = slice_checks(truth, truth, truth, slices_of(codes, minimum=50))
    assert [c.metric for c in checks] == ["slice:brightness=dark"]


@pytest.mark.parametrize(
    ("faces", "lost", "fails"),
    [
        (1000, 20, True),  # a fall of just the margin, 2 points
        (1000, 19, False),  # a significant fall below it
        (50, 10, True),  # by chance once in 2**10, times two slices: below 0.002
        (50, 9, False),  # once in 2**9, times two
    ],
)
def test_a_slice_fails_by_a_relevant_and_significant_fall(faces, lost, fails):
    truth = np.zeros(2 * faces, int)
    now = np.where(np.arange(len(truth)) < lost, 1, truth)
    checks = slice_checks(truth, truth, now, slices_of(np.repeat([0, 1], faces)))
    (judged,) = adjust_for_multiplicity([checks])
    assert [check.failed for check in judged] == [fails, False]


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_slices_are_a_family_of_their_own(p_values):
    truth = np.zeros(8, int)
    (made,) = slice_checks(truth, truth, truth, slices_of(np.zeros(8, int)))
    checks = [replace(made, metric=f"slice:x={i}", p=p, change=-0.1) for i, p in enumerate(p_values)]
    overall = paired_checks(truth, truth, np.ones(8, int), resamples=0)
    (adjusted,) = adjust_for_multiplicity([(*overall, *checks)])
    of_slices = [c for c in adjusted if c.family == "slice"]
    assert [c.p for c in of_slices] == holm(p_values)
    assert [c.failed for c in of_slices] == [p < SLICE_ALPHA for p in holm(p_values)]
    (alone,) = adjust_for_multiplicity([overall])
    assert [c for c in adjusted if c.family != "slice"] == list(alone)


def run_gate(worse_on_dark, better_elsewhere, codes, slice_codes=None):
    """The verdict on a model with so many worse and better predictions, on 400 dark and 1,200 other faces.

    The slices are those of `slice_codes`, by default of `codes`.
    """
    n = len(codes)
    truth = np.arange(n) % 7
    before = np.where(np.arange(n) % 10 < 3, (truth + 1) % 7, truth)
    now = before.copy()
    dark, elsewhere = np.flatnonzero(codes == 0), np.flatnonzero(codes != 0)
    wrong = dark[before[dark] == truth[dark]][:worse_on_dark]
    right = elsewhere[before[elsewhere] != truth[elsewhere]][:better_elsewhere]
    now[wrong], now[right] = (truth[wrong] + 1) % 7, truth[right]
    old, new = prediction_table(truth, before), prediction_table(truth, now)
    faces = gate.ComparedFaces(
        old.fingerprint, truth, slices=slices_of(codes if slice_codes is None else slice_codes)
    )
    record = record_of(old)
    compared = gate.compare(record.subject, new, measure_predictions(new, resamples=50), record, faces)
    return gate.judge([compared])[0]


CODES = np.repeat([0, 1, 1, 1], 400)


def test_a_fall_on_dark_faces_alone_fails_by_its_slice_and_the_text_says_so():
    verdict = run_gate(32, 30, CODES)
    assert verdict.status == gate.FAIL
    assert [c.metric for c in verdict.failed_checks] == ["slice:brightness=dark"]
    text = verdicts.message(verdict)
    assert "Over all faces no fall is established, but accuracy in brightness = dark fell below" in text
    assert verdicts.failure_text(verdict, "slice", strict=False) == text
    assert verdicts.failure_text(verdict, "accuracy", strict=False) is None
    assert "bright " not in text.replace("brightness", "")  # a slice that holds is not listed


def test_the_same_changes_spread_over_all_faces_pass():
    shuffled = np.random.default_rng(0).permutation(CODES)
    assert run_gate(32, 30, CODES, shuffled).status == gate.PASS


def test_a_fall_in_a_slice_that_chance_explains_is_no_reason_to_fail():
    assert run_gate(5, 10, CODES).status == gate.PASS


def test_a_comparison_without_slices_has_no_check_of_them():
    truth = np.arange(70) % 7
    table = prediction_table(truth, truth)
    record = record_of(table)
    faces = gate.ComparedFaces(table.fingerprint, truth)
    compared = gate.compare(record.subject, table, measure_predictions(table, resamples=50), record, faces)
    assert {c.family for c in compared.checks} == {"overall", "recall"}
