import hypothesis.strategies as st
import numpy as np
import pytest
from fakes import answers_of
from hypothesis import given, settings

from fer_models.errors import BaselinesError, FacesDifferError, PredictionError
from fer_models.gate import baselines, gate
from fer_models.report import verdicts
from fer_models.scoring.metrics import measure
from fer_models.store.subject import Subject

SUBJECT = Subject("drawn", "test", "raw", "net")
FINGERPRINT = "f" * 64


def measured(answers):
    return measure(answers.truth, answers.answer, answers.probabilities, resamples=200)


def record_of(answers, **changes):
    made = baselines.record_of(SUBJECT, FINGERPRINT, answers, measured(answers), {})
    return baselines.replace(made, **changes)


def compare(before, now, resamples=999, **changes):
    return gate.compare(
        SUBJECT,
        now,
        measured(now),
        record_of(before, **changes),
        fingerprint=FINGERPRINT,
        labels=now.truth,
        resamples=resamples,
    )


def verdict(before, now, **options):
    return gate.judge([compare(before, now, resamples=options.pop("resamples", 999))], **options)[0]


def a_model(n=1400, right=0.7, seed=0):
    """Answers of which a share is right, in every emotion."""
    rng = np.random.default_rng(seed)
    truth = np.arange(n) % 7
    answer = np.where(rng.random(n) < right, truth, (truth + rng.integers(1, 7, n)) % 7)
    return answers_of(truth, answer)


def turned(answers, rows):
    """The same answers, but wrong on `rows`."""
    answer = answers.answer.copy()
    answer[rows] = (answers.truth[rows] + 1) % 7
    return answers_of(answers.truth, answer)


def first_right(answers, k):
    return np.flatnonzero(answers.correct)[:k]


def test_the_same_answers_pass():
    said = verdict(a_model(), a_model())
    assert said.status == gate.PASS
    assert all(c.change == 0 and c.p == 1 for c in said.comparison.checks)


def test_three_percent_of_the_right_answers_turned_fails_and_reads_like_the_contract():
    before = a_model()
    said = verdict(
        before, turned(before, first_right(before, int(0.03 * before.correct.sum()))), resamples=9999
    )
    assert said.status == gate.FAIL
    text = verdicts.message(said)
    assert text.splitlines()[0].startswith("net-raw on drawn/test: ")
    assert "fell below" in text
    assert "> accuracy" in text
    assert "faces were right and are wrong now, 0 the other way" in text
    assert "can establish a fall of" in text
    assert text.endswith("then review the diff of baselines.json.")


def test_three_faces_turned_pass():
    before = a_model()
    assert verdict(before, turned(before, first_right(before, 3))).status == gate.PASS


def test_a_fall_that_few_faces_cannot_establish_is_inconclusive_and_says_what_they_could():
    before = a_model(n=70)
    said = verdict(before, turned(before, first_right(before, 2)))
    assert said.status == gate.INCONCLUSIVE
    assert said.minimum_detectable_fall > 0.02
    assert "cannot establish" in verdicts.message(said)
    assert verdicts.why_not(said, "accuracy", strict=False) is None
    assert verdicts.why_not(said, "accuracy", strict=True) is not None


def test_without_a_record_the_verdict_is_new_and_fails_only_when_strict():
    answers = a_model(n=70)
    said = gate.judge(
        [
            gate.compare(
                SUBJECT, answers, measured(answers), None, fingerprint=FINGERPRINT, labels=answers.truth
            )
        ]
    )[0]
    assert said.status == gate.NEW
    assert verdicts.why_not(said, "accuracy", strict=False) is None
    assert "--update-baselines" in verdicts.why_not(said, "accuracy", strict=True)


def test_the_floor_fails_whatever_the_statistics_say():
    before = a_model()
    comparison = compare(before, before, floor=0.9)
    said = gate.judge([comparison])[0]
    assert said.status == gate.FAIL
    assert "hard floor" in verdicts.why_not(said, "accuracy", strict=False)


def on_some_faces(before, rows):
    """The verdict on `rows` of the record's faces, where no prediction changed."""
    now = answers_of(before.truth[rows], before.answer[rows])
    record = record_of(before, floor=0.65)
    compared = gate.compare(
        SUBJECT,
        now,
        measured(now),
        record,
        fingerprint=FINGERPRINT,
        labels=before.truth,
        rows=rows,
        resamples=999,
    )
    return gate.judge([compared])[0]


def test_unchanged_predictions_pass_on_some_of_the_faces_also_where_these_are_more_difficult_than_the_floor():
    before = a_model()
    rows = np.sort(np.r_[first_right(before, 20), np.flatnonzero(~before.correct)[:29]])
    assert before.correct[rows].mean() < 0.65 < before.correct.mean()
    assert on_some_faces(before, rows).status == gate.PASS


def test_unchanged_predictions_pass_on_some_of_the_faces_also_where_most_of_the_unanswered_are_among_these():
    before = a_model()
    answer = before.answer.copy()
    answer[np.flatnonzero(~before.correct)[:20]] = -1
    before = answers_of(before.truth, answer)
    assert on_some_faces(before, np.arange(70)).status == gate.PASS


def test_more_silence_than_the_bound_fails():
    before = a_model()
    answer = before.answer.copy()
    answer[np.flatnonzero(~before.correct)[:20]] = -1  # all were wrong already: accuracy does not move
    said = verdict(before, answers_of(before.truth, answer))
    assert said.status == gate.FAIL
    assert "have no answer" in said.problems[0]


def test_one_emotion_that_is_forgotten_fails_by_its_recall():
    before = a_model(n=3500)
    rows = np.flatnonzero(before.correct & (before.truth == 1))[:40]
    rose = np.flatnonzero(~before.correct & (before.truth != 1))[:40]
    answer = before.answer.copy()
    answer[rows], answer[rose] = 0, before.truth[rose]
    said = verdict(before, answers_of(before.truth, answer))
    assert [c.metric for c in said.failed_checks] == ["recall:disgust"]
    assert verdicts.why_not(said, "recall", strict=False) is not None
    assert verdicts.why_not(said, "accuracy", strict=False) is None
    assert said.worst_class[0] == "disgust"


def test_other_faces_are_an_error_that_says_which_were_expected():
    answers = a_model(n=70)
    with pytest.raises(FacesDifferError, match="stands on 70 faces of drawn/test"):
        gate.compare(
            SUBJECT,
            answers,
            measured(answers),
            record_of(answers),
            fingerprint="0" * 64,
            labels=answers.truth,
        )


def test_a_record_that_contradicts_itself_is_an_error():
    answers = a_model(n=70)
    lying = record_of(answers, metrics={"accuracy": 0.99, "macro_f1": 0.9})
    with pytest.raises(BaselinesError, match="contradicts itself"):
        gate.compare(
            SUBJECT, answers, measured(answers), lying, fingerprint=FINGERPRINT, labels=answers.truth
        )


def test_a_part_of_the_faces_is_compared_with_the_same_part_of_the_record():
    whole = a_model(n=140)
    kept = np.arange(0, 140, 3)
    part = answers_of(whole.truth[kept], whole.answer[kept])
    comparison = gate.compare(
        SUBJECT,
        part,
        measured(part),
        record_of(whole),
        fingerprint=FINGERPRINT,
        labels=whole.truth,
        rows=kept,
    )
    assert comparison.negative_flips == comparison.positive_flips == 0


def test_the_more_comparisons_a_run_makes_the_surer_each_must_be():
    before = a_model()
    fallen = compare(before, turned(before, first_right(before, 9)), resamples=9999)
    calm = compare(before, before)
    assert gate.judge([fallen])[0].status == gate.FAIL
    assert gate.judge([fallen] + [calm] * 20)[0].status != gate.FAIL


def test_few_changed_faces_cannot_fail_macro_f1_by_the_bootstrap_alone():
    before = a_model(n=140)
    check = compare(before, turned(before, first_right(before, 5)), resamples=9999).checks[1]
    assert check.metric == "macro_f1"
    assert check.p >= 0.5**5


def doubting(answers, by, rows=slice(None)):
    """The same answers, with less probability given to them."""
    p = answers.probabilities.copy()
    kept = 1 - by
    p[rows] = p[rows] * kept + by / 7
    return with_probabilities(answers, p)


def with_probabilities(answers, probabilities):
    return type(answers)(
        answers.faces,
        answers.index,
        answers.truth,
        answers.answer,
        probabilities,
        answers.status,
        answers.text,
    )


def test_drift_is_found_where_accuracy_sees_nothing():
    before = a_model()
    said = verdict(before, doubting(before, 0.1))
    assert said.status == gate.PASS
    assert said.is_degraded
    assert said.comparison.degradation.now < said.comparison.degradation.before
    assert "DEGRADED" in verdicts.message(said)
    assert "fails with --strict-gate" in verdicts.message(said)
    assert verdicts.why_not(said, "log_loss", strict=False) is None
    assert verdicts.why_not(said, "log_loss", strict=True) is not None
    assert verdicts.why_not(said, "accuracy", strict=True) is None


def test_a_change_too_small_to_matter_is_no_drift_however_sure_it_is():
    before = a_model(n=14000)
    said = verdict(before, doubting(before, 0.1, rows=slice(0, 200)))
    assert said.comparison.degradation.p < 1e-6
    assert -gate.DEGRADED_MARGIN < said.comparison.degradation.change < 0
    assert not said.is_degraded


def test_where_accuracy_failed_drift_adds_a_line_and_no_second_verdict():
    before = a_model()
    said = verdict(before, turned(before, first_right(before, 60)))
    assert said.status == gate.FAIL
    assert not said.is_degraded
    assert "probability given to the true emotion fell" in verdicts.message(said)


def test_probabilities_that_differ_less_than_a_record_can_tell_are_no_drift():
    before = a_model()
    p = before.probabilities + 1e-5 * (np.arange(7) == 0) - 1e-5 * (np.arange(7) == 1)
    assert verdict(before, with_probabilities(before, p)).comparison.degradation.change == 0


def test_few_faces_cannot_drift_however_alike_they_move():
    before = a_model(n=1400)
    check = verdict(before, doubting(before, 0.9, rows=slice(0, 5))).comparison.degradation
    assert check.p >= 0.5**5


@settings(max_examples=12, deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(0, 0.5), st.floats(0, 0.4))
def test_doubting_more_never_makes_drift_vanish(seed, by, more):
    before = a_model(n=280, right=1.0, seed=seed)
    less, most = (verdict(before, doubting(before, b), resamples=99) for b in (by, by + more))
    assert most.comparison.degradation.change <= less.comparison.degradation.change + 1e-12
    assert most.is_degraded >= less.is_degraded


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 60), st.sampled_from([np.nan, np.inf, -0.1]))
def test_no_probability_that_is_none_gets_a_verdict(seed, n, flaw):
    answers = a_model(n=n, seed=seed)
    p = answers.probabilities.copy()
    p[seed % n, seed % 7] = flaw
    with pytest.raises(PredictionError):
        compare(answers, with_probabilities(answers, p))


def test_no_faces_get_no_verdict():
    answers = a_model(n=7)
    none = type(answers)(
        (), *(a[:0] for a in (answers.index, answers.truth, answers.answer, answers.probabilities)), (), ()
    )
    with pytest.raises(PredictionError, match="nothing to judge"):
        gate.compare(SUBJECT, none, measured(answers), None, fingerprint=FINGERPRINT, labels=answers.truth)


RANK = {gate.PASS: 0, gate.INCONCLUSIVE: 1, gate.FAIL: 2}


@settings(max_examples=12, deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(0, 0.2), st.integers(1, 40))
def test_turning_more_right_answers_wrong_never_makes_accuracy_hold(seed, share, more):
    before = a_model(n=280, seed=seed)
    rng = np.random.default_rng(seed)
    right = rng.permutation(np.flatnonzero(before.correct))
    k = int(share * len(right))
    worse, worst = (verdict(before, turned(before, right[:j]), resamples=199) for j in (k, k + more))

    def accuracy(v):
        check = v.comparison.checks[0]
        return gate.FAIL if check.failed else gate.INCONCLUSIVE if check.regressed else gate.PASS

    assert RANK[accuracy(worst)] >= RANK[accuracy(worse)]


@settings(max_examples=8, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_the_order_of_faces_changes_no_verdict(seed):
    before, now = a_model(n=140, seed=seed), a_model(n=140, right=0.6, seed=seed + 1)
    order = np.random.default_rng(seed).permutation(140)
    a = verdict(before, now)
    b = verdict(
        answers_of(before.truth[order], before.answer[order]), answers_of(now.truth[order], now.answer[order])
    )
    assert a.status == b.status
    assert [c.p for c in a.comparison.checks] == pytest.approx([c.p for c in b.comparison.checks], abs=1e-12)
