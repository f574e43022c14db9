"""Parity of an export with its reference, as statistics: no network is needed."""

from dataclasses import replace

import numpy as np
import pytest
from fakes import calibrated_predictions, prediction_table
from fakes_runs import SUBJECT
from hypothesis import given, settings
from hypothesis import strategies as st
from statsmodels.stats.contingency_tables import mcnemar

from fer_models.errors import FacesDifferError
from fer_models.gate import gate, parity
from fer_models.scoring.metrics import measure


def export_of(reference, flips, seed=0):
    """The reference with another answer for `flips` random faces."""
    rng = np.random.default_rng(seed)
    answer = reference.answer.copy()
    rows = rng.permutation(len(reference))[:flips]
    answer[rows] = (answer[rows] + 1 + rng.integers(0, 6, flips)) % 7
    return prediction_table(reference.truth, answer)


def reference_of(n=490, wrong=3):
    truth = np.arange(n) % 7
    return prediction_table(truth, np.where(np.arange(n) % wrong == 0, (truth + 1) % 7, truth))


def compared(reference, export, resamples=200):
    measured = [measure(t.truth, t.answer, t.probabilities, resamples=20) for t in (reference, export)]
    pair = zip((reference, export), measured, strict=True)
    return parity.compare(SUBJECT, *pair, resamples=resamples)


def parity_of(reference, export, quantization=None):
    agreement = parity.agreement_of(reference, export)
    return parity.Parity("vgg19", quantization, reference, export, agreement, (8, 2))


def test_identical_predictions_have_no_disagreement_and_pass():
    table = calibrated_predictions(700)
    (verdict,) = gate.judge([compared(table, table)])
    measured = parity_of(table, table)
    assert verdict.status == gate.PASS
    assert measured.figures()[parity.DISAGREEMENT].value == 0.0
    assert parity.check_agreement(measured.agreement, "vgg19", None) is None
    assert measured.as_json()["accuracy"]["change"] == 0.0
    assert measured.flips() == []


@settings(max_examples=20)
@given(st.integers(0, 200), st.integers(0, 9))
def test_swapping_reference_and_export_negates_every_change(flips, seed):
    reference = reference_of()
    export = export_of(reference, flips, seed)
    forward, backward = compared(reference, export, 20), compared(export, reference, 20)
    assert [c.metric for c in forward.checks] == [c.metric for c in backward.checks]
    for one, two in zip(forward.checks, backward.checks, strict=True):
        assert one.change == pytest.approx(-two.change, abs=1e-12)
    assert (forward.negative_flips, forward.positive_flips) == (
        *(backward.positive_flips, backward.negative_flips),
    )


@settings(max_examples=20)
@given(st.integers(0, 60), st.integers(0, 9))
def test_the_p_value_of_accuracy_is_statsmodels_exact_test_of_mcnemar(flips, seed):
    reference = reference_of()
    comparison = compared(reference, export_of(reference, flips, seed), 20)
    fell, rose = comparison.negative_flips, comparison.positive_flips
    table = [[0, fell], [rose, 0]]
    two_sided = float(mcnemar(table, exact=True).pvalue)
    one_sided = comparison.checks[0].p
    if fell > rose:
        assert two_sided == pytest.approx(min(1.0, 2 * one_sided))
    else:
        assert one_sided >= 0.5


def test_an_export_that_lost_many_faces_fails():
    reference = reference_of()
    (verdict,) = gate.judge([compared(reference, export_of(reference, 100))])
    assert verdict.status == gate.FAIL
    assert verdict.failed_checks[0].metric == "accuracy"


def test_an_export_without_predictions_for_some_faces_fails():
    reference = reference_of()
    silent = np.where(np.arange(490) < 20, -1, reference.answer)
    (verdict,) = gate.judge([compared(reference, prediction_table(reference.truth, silent))])
    assert verdict.status == gate.FAIL
    assert "20 of 490 faces have no prediction" in verdict.problems[0]


def test_a_change_that_few_faces_cannot_establish_is_inconclusive():
    reference = reference_of(210)
    export = prediction_table(reference.truth, reference.answer.copy())
    rows = np.flatnonzero(reference.correct)[:3]
    export.answer[rows] = (export.answer[rows] + 1) % 7
    (verdict,) = gate.judge([compared(reference, export)])
    assert verdict.status == gate.INCONCLUSIVE


def test_only_an_export_in_float32_must_agree():
    reference = reference_of()
    agreement = parity.agreement_of(reference, export_of(reference, 5))
    reason = parity.check_agreement(agreement, "vgg19", None)
    assert reason is not None
    assert "5 of 490 predictions differ from those of vgg19 (0 may)" in reason
    assert parity.check_agreement(agreement, "vgg19", "int8-static") is None


def test_the_listed_faces_have_both_answers():
    reference = reference_of(14)
    export = prediction_table(reference.truth, np.where(np.arange(14) == 4, -1, reference.answer))
    measured = parity_of(reference, export)
    (flip,) = measured.flips()
    assert (flip["index"], flip["answer"]) == (4, None)
    assert measured.figures()[parity.DISAGREEMENT].counts.tolist() == [0] * 4 + [1] + [0] * 9


def test_predictions_for_other_faces_are_not_compared():
    reference = reference_of(14)
    other = replace(reference, faces=tuple(reversed(reference.faces)))
    with pytest.raises(FacesDifferError, match="the same faces"):
        parity.agreement_of(reference, other)
