from dataclasses import replace

import hypothesis.strategies as st
import numpy as np
import pytest
from fakes import prediction_table
from hypothesis import given, settings

from fer_models.errors import BaselinesError, FacesDifferError, PredictionError, UsageError
from fer_models.gate import baselines, gate
from fer_models.gate.metric_checks import DEGRADED_MARGIN
from fer_models.report import verdicts
from fer_models.scoring.metrics import measure
from fer_models.scoring.paired_tests import mcnemar_exact
from fer_models.scoring.sample_size import required_sample_size
from fer_models.store.subject import Subject

SUBJECT = Subject("toy", "test", "raw", "net")
FINGERPRINT = "f" * 64


def measured(predictions):
    return measure(predictions.truth, predictions.answer, predictions.probabilities, resamples=200)


def record_of(predictions, **changes):
    made = baselines.record_of(SUBJECT, FINGERPRINT, predictions, measured(predictions), {})
    return baselines.replace(made, **changes)


def compare(before, now, resamples=999, **changes):
    return compare_with(record_of(before, **changes), now, resamples=resamples)


def compare_with(record, now, labels=None, fingerprint=FINGERPRINT, resamples=9999, **known):
    faces = gate.ComparedFaces(fingerprint, now.truth if labels is None else labels, **known)
    return gate.compare(SUBJECT, now, measured(now), record, faces, resamples=resamples)


def verdict(before, now, **options):
    return gate.judge([compare(before, now, resamples=options.pop("resamples", 999))], **options)[0]


def model_predictions(n=1400, accuracy=0.7, seed=0):
    """Predictions with this accuracy, in every emotion."""
    rng = np.random.default_rng(seed)
    truth = np.arange(n) % 7
    answer = np.where(rng.random(n) < accuracy, truth, (truth + rng.integers(1, 7, n)) % 7)
    return prediction_table(truth, answer)


def flip(predictions, rows):
    """The same predictions, but wrong on `rows`."""
    answer = predictions.answer.copy()
    answer[rows] = (predictions.truth[rows] + 1) % 7
    return prediction_table(predictions.truth, answer)


def first_correct(predictions, k):
    return np.flatnonzero(predictions.correct)[:k]


def test_the_same_predictions_pass():
    result = verdict(model_predictions(), model_predictions())
    assert result.status == gate.PASS
    assert all(c.change == 0 and c.p == 1 for c in result.comparison.checks)


def test_three_percent_of_negative_flips_fail_with_the_message_of_the_contract():
    before = model_predictions()
    result = verdict(
        before, flip(before, first_correct(before, int(0.03 * before.correct.sum()))), resamples=9999
    )
    assert result.status == gate.FAIL
    text = verdicts.message(result)
    assert text.splitlines()[0].startswith("net-raw on toy/test: ")
    assert "fell below" in text
    assert "> accuracy" in text
    assert "faces were correct and are wrong now, 0 the other way" in text
    assert "can establish a fall of" in text
    assert text.endswith("and review the diff.")


def test_three_negative_flips_pass():
    before = model_predictions()
    assert verdict(before, flip(before, first_correct(before, 3))).status == gate.PASS


def test_a_fall_on_few_faces_is_inconclusive_and_the_message_has_the_minimum_detectable_fall():
    before = model_predictions(n=70)
    result = verdict(before, flip(before, first_correct(before, 2)))
    assert result.status == gate.INCONCLUSIVE
    assert result.minimum_detectable_fall > 0.02
    assert "cannot establish" in verdicts.message(result)
    assert verdicts.failure_text(result, "accuracy", strict=False) is None
    assert verdicts.failure_text(result, "accuracy", strict=True) is not None


def with_flips(before, negative, positive):
    """The same predictions, with this many negative and positive flips."""
    answer, wrong = flip(before, first_correct(before, negative)).answer, np.flatnonzero(~before.correct)
    answer[wrong[:positive]] = before.truth[wrong[:positive]]
    return prediction_table(before.truth, answer)


def test_an_inconclusive_fall_of_accuracy_has_the_number_of_faces_that_would_establish_it():
    before = model_predictions(n=700)
    result = verdict(before, with_flips(before, 20, 12))
    assert result.status == gate.INCONCLUSIVE
    n = result.required_sample_size
    assert n == required_sample_size(8 / 700, 32 / 700, family=2) > 700
    sentence = f"about {n:,} faces in all ({n - 700:,} more) would establish this fall"
    assert sentence in verdicts.message(result)
    assert result.changes_json()["faces"]["required_sample_size"] == n


@pytest.mark.parametrize(("negative", "positive"), [(3, 0), (60, 10), (12, 12), (0, 12)])
def test_other_verdicts_name_no_number_of_faces(negative, positive):
    before = model_predictions(n=700)
    result = verdict(before, with_flips(before, negative, positive))
    assert result.required_sample_size is None
    assert "more) would establish" not in verdicts.message(result)
    assert gate.judge([compare_with(None, before)])[0].required_sample_size is None


def test_an_inconclusive_fall_of_macro_f1_alone_names_no_number_of_faces():
    truth = np.r_[np.ones(10, dtype=np.int64), np.arange(690) % 6 + 1]
    truth[truth == 1] = np.r_[np.ones(10, dtype=np.int64), np.full((truth == 1).sum() - 10, 3)]
    before = prediction_table(truth, truth)
    result = verdict(before, flip(before, range(3)))  # three of ten faces of one emotion
    assert result.status == gate.INCONCLUSIVE
    assert [c.metric for c in result.comparison.checks[:2] if c.regressed] == ["macro_f1"]
    assert result.required_sample_size is None


def test_a_run_with_more_subjects_needs_more_faces():
    before = model_predictions(n=700)
    comparison = compare(before, with_flips(before, 20, 12))
    alone, *others = gate.judge([comparison])[0], *gate.judge([comparison] * 5)
    assert {v.required_sample_size for v in others} == {required_sample_size(8 / 700, 32 / 700, family=10)}
    assert others[0].required_sample_size > alone.required_sample_size


@given(st.integers(1, 120), st.integers(0, 100), st.integers(0, 50), st.sampled_from([1, 2, 20]))
def test_a_fall_that_is_not_significant_needs_more_faces_than_there_are(fall, positive, unchanged, family):
    negative = positive + fall
    n = negative + positive + unchanged
    if family * mcnemar_exact(negative, positive) >= 0.01:
        assert required_sample_size(fall / n, (negative + positive) / n, family=family) > n


def test_without_a_record_the_verdict_is_new_and_fails_only_when_strict():
    predictions = model_predictions(n=70)
    result = gate.judge([compare_with(None, predictions)])[0]
    assert result.status == gate.NEW
    assert verdicts.failure_text(result, "accuracy", strict=False) is None
    assert "--update-baselines" in verdicts.failure_text(result, "accuracy", strict=True)


def test_accuracy_under_the_floor_fails_whatever_the_tests_result_in():
    before = model_predictions()
    comparison = compare(before, before, floor=0.9)
    result = gate.judge([comparison])[0]
    assert result.status == gate.FAIL
    assert "hard floor" in verdicts.failure_text(result, "accuracy", strict=False)


def on_some_faces(before, rows):
    """The verdict on `rows` of the record's faces, where no prediction changed."""
    now = prediction_table(before.truth[rows], before.answer[rows])
    compared = compare_with(record_of(before, floor=0.65), now, before.truth, rows=rows, resamples=999)
    return gate.judge([compared])[0]


def test_unchanged_predictions_pass_on_some_of_the_faces_also_where_these_are_more_difficult_than_the_floor():
    before = model_predictions()
    rows = np.sort(np.r_[first_correct(before, 20), np.flatnonzero(~before.correct)[:29]])
    assert before.correct[rows].mean() < 0.65 < before.correct.mean()
    assert on_some_faces(before, rows).status == gate.PASS


def test_unchanged_predictions_pass_on_some_of_the_faces_also_where_most_of_the_unanswered_are_among_these():
    before = model_predictions()
    answer = before.answer.copy()
    answer[np.flatnonzero(~before.correct)[:20]] = -1
    before = prediction_table(before.truth, answer)
    assert on_some_faces(before, np.arange(70)).status == gate.PASS


def test_more_faces_without_a_prediction_than_the_bound_fail():
    before = model_predictions()
    answer = before.answer.copy()
    answer[np.flatnonzero(~before.correct)[:20]] = -1  # all were wrong already: accuracy does not change
    result = verdict(before, prediction_table(before.truth, answer))
    assert result.status == gate.FAIL
    assert "have no prediction" in result.problems[0]


def test_one_face_without_a_prediction_among_few_is_no_evidence():
    before = model_predictions(n=49)
    answer = before.answer.copy()
    answer[np.flatnonzero(~before.correct)[:1]] = -1
    assert verdict(before, prediction_table(before.truth, answer)).status == gate.PASS


def test_the_detectable_fall_is_that_of_the_whole_family():
    before = model_predictions()
    now = flip(before, first_correct(before, 40))
    one, many = (
        gate.judge([compare(before, now), *[compare(before, before)] * others])[0] for others in (0, 17)
    )
    assert many.minimum_detectable_fall > one.minimum_detectable_fall


def test_an_unknown_metric_is_refused_and_does_not_pass():
    before = model_predictions()
    with pytest.raises(UsageError, match="no metric 'macro-f1'"):
        verdicts.failure_text(verdict(before, before), "macro-f1", strict=False)


@pytest.mark.parametrize(
    ("faces", "lost", "fails"),
    [
        (1000, 20, True),  # a fall of just the margin, 2 points
        (1000, 19, False),  # a significant fall below it
        (50, 12, True),  # by chance once in 2**12, times seven emotions: below 0.002
        (50, 11, False),  # once in 2**11, times seven
    ],
)
def test_a_recall_fails_by_a_relevant_and_significant_fall(faces, lost, fails):
    truth = np.repeat(np.arange(7), faces)
    before = prediction_table(truth, truth)
    result = verdict(before, flip(before, np.flatnonzero(truth == 1)[:lost]))
    (disgust,) = (c for c in result.comparison.checks if c.metric == "recall:disgust")
    assert disgust.failed is fails


def test_one_emotion_that_is_not_recognized_any_more_fails_by_its_recall():
    before = model_predictions(n=3500)
    rows = np.flatnonzero(before.correct & (before.truth == 1))[:40]
    gained = np.flatnonzero(~before.correct & (before.truth != 1))[:40]
    answer = before.answer.copy()
    answer[rows], answer[gained] = 0, before.truth[gained]
    result = verdict(before, prediction_table(before.truth, answer))
    assert [c.metric for c in result.failed_checks] == ["recall:disgust"]
    assert verdicts.failure_text(result, "recall", strict=False) is not None
    assert verdicts.failure_text(result, "accuracy", strict=False) is None
    assert result.worst_class[0] == "disgust"


def test_other_faces_are_an_error_with_the_expected_ones():
    predictions = model_predictions(n=70)
    with pytest.raises(FacesDifferError, match="computed over 70 faces of toy/test"):
        compare_with(record_of(predictions), predictions, fingerprint="0" * 64)


def test_a_record_that_contradicts_itself_is_an_error():
    predictions = model_predictions(n=70)
    contradictory = record_of(predictions, metrics={"accuracy": 0.99, "macro_f1": 0.9})
    with pytest.raises(BaselinesError, match="contradicts itself"):
        compare_with(contradictory, predictions)


def test_a_part_of_the_faces_is_compared_with_the_same_part_of_the_record():
    full = model_predictions(n=140)
    rows = np.arange(0, 140, 3)
    part = prediction_table(full.truth[rows], full.answer[rows])
    comparison = compare_with(record_of(full), part, full.truth, rows=rows)
    assert comparison.negative_flips == comparison.positive_flips == 0


def test_the_more_comparisons_a_run_makes_the_smaller_each_p_value_must_be():
    before = model_predictions()
    regressed = compare(before, flip(before, first_correct(before, 9)), resamples=9999)
    unchanged = compare(before, before)
    assert gate.judge([regressed])[0].status == gate.FAIL
    assert gate.judge([regressed] + [unchanged] * 20)[0].status != gate.FAIL


def test_few_changed_faces_cannot_fail_macro_f1_by_the_bootstrap_alone():
    before = model_predictions(n=140)
    check = compare(before, flip(before, first_correct(before, 5)), resamples=9999).checks[1]
    assert check.metric == "macro_f1"
    assert check.p >= 0.5**5


def less_certain(predictions, by, rows=slice(None)):
    """The same predictions, with less probability given to them."""
    p = predictions.probabilities.copy()
    p[rows] = p[rows] * (1 - by) + by / 7
    return with_probabilities(predictions, p)


def with_probabilities(predictions, probabilities):
    return replace(predictions, probabilities=probabilities)


def test_degradation_is_detected_where_accuracy_is_unchanged():
    before = model_predictions()
    result = verdict(before, less_certain(before, 0.1))
    assert result.status == gate.PASS
    assert result.is_degraded
    assert result.comparison.degradation.now < result.comparison.degradation.before
    assert "DEGRADED" in verdicts.message(result)
    assert "fails with --strict-gate" in verdicts.message(result)
    assert verdicts.failure_text(result, "log_loss", strict=False) is None
    assert verdicts.failure_text(result, "log_loss", strict=True) is not None
    assert verdicts.failure_text(result, "accuracy", strict=True) is None


def test_a_change_too_small_to_be_relevant_is_no_degradation_however_significant_it_is():
    before = model_predictions(n=14000)
    result = verdict(before, less_certain(before, 0.1, rows=slice(0, 200)))
    assert result.comparison.degradation.p < 1e-6
    assert -DEGRADED_MARGIN < result.comparison.degradation.change < 0
    assert not result.is_degraded


def test_where_accuracy_failed_degradation_adds_a_line_and_no_second_verdict():
    before = model_predictions()
    result = verdict(before, flip(before, first_correct(before, 60)))
    assert result.status == gate.FAIL
    assert not result.is_degraded
    assert "probability given to the true emotion fell" in verdicts.message(result)


def test_probabilities_that_differ_less_than_a_record_resolves_are_no_degradation():
    before = model_predictions()
    p = before.probabilities + 1e-5 * (np.arange(7) == 0) - 1e-5 * (np.arange(7) == 1)
    assert verdict(before, with_probabilities(before, p)).comparison.degradation.change == 0


def test_few_changed_faces_are_no_significant_degradation_however_alike_they_change():
    before = model_predictions(n=1400)
    check = verdict(before, less_certain(before, 0.9, rows=slice(0, 5))).comparison.degradation
    assert check.p >= 0.5**5


@settings(max_examples=12, deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(0, 0.5), st.floats(0, 0.4))
def test_lower_probabilities_never_remove_a_degradation(seed, by, more):
    before = model_predictions(n=280, accuracy=1.0, seed=seed)
    less, most = (verdict(before, less_certain(before, b), resamples=99) for b in (by, by + more))
    assert most.comparison.degradation.change <= less.comparison.degradation.change + 1e-12
    assert most.is_degraded >= less.is_degraded


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 60), st.sampled_from([np.nan, np.inf, -0.1]))
def test_an_invalid_probability_gets_no_verdict(seed, n, flaw):
    predictions = model_predictions(n=n, seed=seed)
    p = predictions.probabilities.copy()
    p[seed % n, seed % 7] = flaw
    with pytest.raises(PredictionError):
        compare(predictions, with_probabilities(predictions, p))


def test_no_faces_get_no_verdict():
    predictions = model_predictions(n=7)
    none, faces = predictions.select(np.arange(0)), gate.ComparedFaces(FINGERPRINT, predictions.truth)
    with pytest.raises(PredictionError, match="nothing to judge"):
        gate.compare(SUBJECT, none, measured(predictions), None, faces)


RANK = {gate.PASS: 0, gate.INCONCLUSIVE: 1, gate.FAIL: 2}


@settings(max_examples=12, deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(0, 0.2), st.integers(1, 40))
def test_more_negative_flips_never_improve_the_verdict_on_accuracy(seed, share, more):
    before = model_predictions(n=280, seed=seed)
    rng = np.random.default_rng(seed)
    correct = rng.permutation(np.flatnonzero(before.correct))
    k = int(share * len(correct))
    worse, worst = (verdict(before, flip(before, correct[:j]), resamples=199) for j in (k, k + more))

    def accuracy(v):
        check = v.comparison.checks[0]
        return gate.FAIL if check.failed else gate.INCONCLUSIVE if check.regressed else gate.PASS

    assert RANK[accuracy(worst)] >= RANK[accuracy(worse)]


@settings(max_examples=8, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_the_order_of_faces_changes_no_verdict(seed):
    before, now = model_predictions(n=140, seed=seed), model_predictions(n=140, accuracy=0.6, seed=seed + 1)
    order = np.random.default_rng(seed).permutation(140)
    a = verdict(before, now)
    b = verdict(
        prediction_table(before.truth[order], before.answer[order]),
        prediction_table(now.truth[order], now.answer[order]),
    )
    assert a.status == b.status
    assert [c.p for c in a.comparison.checks] == pytest.approx([c.p for c in b.comparison.checks], abs=1e-12)


def test_the_printed_probabilities_change_in_the_direction_of_the_log_score():
    before = model_predictions()
    surer, wrong = with_probabilities(before, before.probabilities.copy()), ~before.correct
    rows = np.arange(len(before))
    surer.probabilities[:] = 0.002
    surer.probabilities[rows, before.answer] = 0.988  # surer of every prediction, also of the wrong ones
    now = verdict(before, surer)
    assert surer.p_true.mean() > before.p_true.mean()
    assert wrong.any()
    assert now.is_degraded
    assert now.comparison.degradation.now < now.comparison.degradation.before


def test_faces_too_few_for_any_verdict_say_so():
    before = model_predictions(n=7)
    (result,) = gate.judge([compare(before, flip(before, first_correct(before, 4)), floor=None)])
    assert result.status == gate.INCONCLUSIVE
    assert result.minimum_detectable_fall is None
    assert "n = 7 can establish no fall, however large" in verdicts.message(result)


def test_no_number_of_faces_is_promised_for_a_fall_of_just_the_margin():
    before = model_predictions(n=1000)
    result = verdict(before, flip(before, first_correct(before, 5)))
    assert result.status == gate.INCONCLUSIVE
    assert result.required_sample_size is None
    more = verdict(before, flip(before, first_correct(before, 6)))
    assert more.required_sample_size > 1000


def test_an_accuracy_that_rounds_to_the_floor_is_told_in_faces():
    before = model_predictions(n=1400)
    correct = int(before.correct.sum())
    (result,) = gate.judge([compare(before, before, floor=(correct + 0.2) / 1400)])
    assert f"{correct} of 1400 faces are correct, and {correct + 1} must be" in verdicts.message(result)


def test_a_command_that_cannot_record_names_one_that_can():
    before = model_predictions()
    result = verdict(before, flip(before, first_correct(before, 60)))
    assert "repeat the run with --update-baselines" in verdicts.message(result)
    assert "fer-models eval --update-baselines" in verdicts.message(result, update=verdicts.RECORD)


def test_the_test_of_the_log_score_shows_it_also_where_accuracy_is_inconclusive():
    before = model_predictions(n=700)
    now = less_certain(flip(before, first_correct(before, 4)), 0.2)
    result = verdict(before, now)
    assert (result.status, result.is_degraded) == (gate.INCONCLUSIVE, True)
    assert "DEGRADED" in verdicts.failure_text(result, "log_loss", strict=True)
    assert "cannot establish" in verdicts.failure_text(result, "accuracy", strict=True)


def test_answers_without_probabilities_in_the_record_are_no_degradation():
    before = model_predictions()
    without = baselines.replace(before, has_probabilities=False)
    measures = measure(without.truth, without.answer, None, resamples=200)
    record = baselines.record_of(SUBJECT, FINGERPRINT, without, measures, {})
    result = gate.judge([compare_with(record, before)])[0]
    assert result.status == gate.PASS
    assert not result.is_degraded
    assert result.comparison.degradation is None
    assert compare_with(record_of(before), before).degradation is not None
