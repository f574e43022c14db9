"""The robustness gate: what fails, what passes, and what so few faces cannot tell."""

import eval_reports
import numpy as np
import pytest
from fakes import prediction_table
from hypothesis import given, settings
from hypothesis import strategies as st

from fer_models.errors import BaselinesError, FacesDifferError
from fer_models.gate import baselines
from fer_models.gate.robustness_gate import FAIL, INCONCLUSIVE, NEW, PASS, ROBUSTNESS_ALPHA, compare, judge
from fer_models.report import robustness
from fer_models.scoring.face_counts import FaceCounts
from fer_models.scoring.metrics import measure
from fer_models.store.subject import Subject

FACES = "f" * 64
ERROR, ACCURACY, BIAS = (
    "corruptions: mean error",
    "prompts: accuracy of the worst template",
    "prompts: position bias in multiple-choice",
)


def counted(counts, of=1):
    return FaceCounts(np.asarray(counts, dtype=np.int64), of)


def record(figures, faces=FACES):
    """A record of some figures."""
    answers = prediction_table(np.arange(7), np.arange(7))
    made = baselines.record_of(
        Subject("toy", "test", "raw", "net"),
        FACES,
        answers,
        measure(answers.truth, answers.answer, None, resamples=10),
        {},
    )
    values = {name: round(counts.value, 6) for name, counts in figures.items()}
    texts = {name: counts.encode(faces) for name, counts in figures.items()}
    return baselines.replace(made, metrics={**made.metrics, **values}, face_counts=texts)


def figure(name, before, now):
    return compare("net-raw on toy/test", name, now, FACES, record({name: before}))


def verdict(name, before, now, others=0):
    """The verdict in a run with `others` figures that did not change."""
    same = figure(ERROR, counted([0] * 70), counted([0] * 70))
    return judge([figure(name, before, now), *[same] * others])[0]


def corrupted(n=21, error=0.3, seed=0):
    """Wrong images of each face, of fifty; some faces are harder than others."""
    rng = np.random.default_rng(seed)
    return counted(rng.binomial(50, rng.beta(4 * error, 4 * (1 - error), n)), 50)


def harder(counts, by):
    return counted(np.minimum(counts.denominator, counts.counts + by), counts.denominator)


# -- verdicts ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [ERROR, ACCURACY])
def test_identical_predictions_pass(name):
    result = verdict(name, corrupted(), corrupted(), others=50)
    assert (result.status, result.change, result.p, result.low, result.high) == (PASS, 0.0, 1.0, 0.0, 0.0)


def test_a_corruption_error_that_rose_a_lot_on_21_faces_fails_in_a_whole_run():
    result = verdict(ERROR, corrupted(), harder(corrupted(), 10), others=76)
    assert result.status == FAIL
    assert result.low > 0
    text = robustness.failure_text("net-raw on toy/test", [result], strict=False)
    assert text.startswith("net-raw on toy/test: robustness got worse than its baseline by 2 points or more.")
    assert "> corruptions: mean error" in text
    assert "21 faces can establish a change of" in text
    assert text.endswith("and review the diff.")


def test_an_error_that_fell_a_lot_passes():
    assert verdict(ERROR, harder(corrupted(), 10), corrupted()).status == PASS


def test_an_accuracy_that_fell_fails_and_one_that_rose_passes():
    good, bad = counted([1] * 60 + [0] * 10), counted([1] * 20 + [0] * 50)
    assert verdict(ACCURACY, good, bad).status == FAIL
    assert verdict(ACCURACY, bad, good).status == PASS


def test_seven_faces_cannot_fail_and_say_what_it_takes():
    result = verdict(ERROR, counted([3] * 7, 10), counted([10] * 7, 10), others=52)
    assert result.status == INCONCLUSIVE
    assert result.minimum_detectable_change is None
    text = robustness.message("net", [result])
    assert "7 faces cannot establish a change; at least 15 must change" in text
    assert robustness.failure_text("net", [result], strict=False) is None
    assert robustness.failure_text("net", [result], strict=True) == text


def test_a_change_of_less_than_two_points_passes_however_sure_it_is():
    before = counted(np.zeros(3589))
    assert verdict(ERROR, before, counted(np.arange(3589) < 70)).status == PASS
    assert verdict(ERROR, before, counted(np.arange(3589) < 72)).status == FAIL


def test_the_more_figures_a_run_has_the_surer_each_must_be():
    before, now = counted([0] * 70), counted([1] * 12 + [0] * 58)
    assert verdict(ERROR, before, now).status == FAIL
    assert verdict(ERROR, before, now, others=70).status == INCONCLUSIVE


def test_a_model_that_likes_one_place_of_the_list_more_than_before_fails():
    rng = np.random.default_rng(0)
    even, first = rng.multinomial(7, np.ones(7) / 7, 70), rng.multinomial(7, [0.4] + [0.1] * 6, 70)
    result = verdict(BIAS, counted(even, 7), counted(first, 7), others=60)
    assert result.status == FAIL
    assert result.low < result.change < result.high
    assert 0 < result.minimum_detectable_change < 0.5
    assert verdict(BIAS, counted(first, 7), counted(even, 7)).status == PASS
    assert verdict(BIAS, counted(even, 7), counted(even, 7)).status == PASS
    few = verdict(BIAS, counted(even[:7], 7), counted(first[:7], 7), others=60)
    assert few.minimum_detectable_change is None


def test_what_has_no_record_is_new_and_fails_only_when_strict():
    (result,) = judge([compare("net", ERROR, corrupted(), FACES, None)])
    (other,) = judge([compare("net", ERROR, corrupted(), FACES, record({ACCURACY: corrupted()}))])
    assert result.status == other.status == NEW
    assert robustness.failure_text("net", [result], strict=False) is None
    assert "no baseline yet for corruptions: mean error" in robustness.failure_text(
        "net", [result], strict=True
    )


def test_figures_without_a_record_are_no_part_of_the_family():
    new = compare("net", ERROR, corrupted(), FACES, None)
    before, now = counted([0] * 70), counted([1] * 12 + [0] * 58)
    assert judge([figure(ERROR, before, now), *[new] * 70])[0].status == FAIL


# -- records ----------------------------------------------------------------------------------------


def test_a_figure_recorded_without_counts_per_face_is_refused_with_the_command():
    old = baselines.replace(record({ERROR: corrupted()}), face_counts={})
    with pytest.raises(BaselinesError, match=r"has no counts per face.*--update-baselines"):
        compare("net", ERROR, corrupted(), FACES, old)


@pytest.mark.parametrize("now", [corrupted(22), counted(corrupted().counts, 60)])
def test_a_figure_of_other_faces_or_sizes_is_refused_and_new_where_only_some_faces_are_evaluated(now):
    with pytest.raises(FacesDifferError, match="of 21 faces with fingerprint ffffffffffff"):
        compare("net", ERROR, now, FACES, record({ERROR: corrupted()}))
    assert compare("net", ERROR, now, FACES, record({ERROR: corrupted()}), limited=True).status == NEW


def test_the_same_number_of_other_faces_is_refused():
    with pytest.raises(FacesDifferError):
        compare("net", ERROR, corrupted(), "0" * 64, record({ERROR: corrupted()}))


def test_what_is_recorded_is_read_again_and_stays_where_a_run_measured_something_else(tmp_path):
    path = tmp_path / "baselines.json"
    baselines.Baselines((record({ERROR: corrupted()}),)).write(path)
    assert baselines.read(path).measured == (record({ERROR: corrupted()}),)
    baselines.read(path).updated([record({ACCURACY: counted([1, 0, 1])})]).write(path)
    (both,) = baselines.read(path).measured
    assert set(both.face_counts) == {ERROR, ACCURACY}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda r: {"face_counts": {ERROR: r.face_counts[ERROR][:-1]}}, "another number of characters"),
        (lambda r: {"face_counts": {ERROR: "?"}}, "does not read"),
        (lambda r: {"face_counts": {ERROR: 7}}, "must be str"),
        (lambda r: {"face_counts": {ERROR: corrupted(seed=1).encode(FACES)}}, "but the record has"),
        (lambda r: {"face_counts": {**r.face_counts, ACCURACY: r.face_counts[ERROR]}}, "has no such metric"),
        (lambda r: {"face_counts": []}, "face_counts must be dict"),
    ],
)
def test_counts_that_cannot_be_or_contradict_their_figure_are_refused_on_reading(tmp_path, change, message):
    made, path = record({ERROR: corrupted()}), tmp_path / "baselines.json"
    baselines.Baselines((baselines.replace(made, **change(made)),)).write(path)
    with pytest.raises(BaselinesError, match=message) as caught:
        baselines.read(path)
    assert "measured record 1" in str(caught.value)


# -- algebra ----------------------------------------------------------------------------------------

RANK = {PASS: 0, INCONCLUSIVE: 1, FAIL: 2}


@pytest.mark.slow
@settings(max_examples=40)
@given(st.integers(0, 2**32 - 1), st.integers(0, 40), st.integers(1, 10), st.integers(0, 60))
def test_more_wrong_images_never_make_a_worse_figure_hold(seed, by, more, others):
    before = corrupted(seed=seed, error=0.1)
    worse, worst = (verdict(ERROR, before, harder(before, b), others) for b in (by, by + more))
    assert RANK[worst.status] >= RANK[worse.status]


@pytest.mark.slow
@settings(max_examples=25)
@given(st.integers(0, 2**32 - 1), st.sampled_from([ERROR, ACCURACY]))
def test_the_order_of_the_faces_changes_no_verdict(seed, name):
    before, now = corrupted(seed=seed), corrupted(seed=seed + 1, error=0.5)
    order = np.random.default_rng(seed).permutation(21)
    a, b = (
        verdict(name, counted(x.counts[o], 50), counted(y.counts[o], 50))
        for x, y, o in ((before, now, slice(None)), (before, now, order))
    )
    assert (a.status, a.p) == (b.status, b.p)
    assert (a.low, a.high) == pytest.approx((b.low, b.high))


@pytest.mark.slow
@settings(max_examples=20)
@given(st.integers(0, 2**32 - 1), st.integers(1, 60))
def test_a_figure_whose_versions_are_exchanged_fails_in_at_most_one_direction(seed, others):
    before, now = corrupted(seed=seed), corrupted(seed=seed + 1)
    both = verdict(ERROR, before, now, others).status, verdict(ERROR, now, before, others).status
    assert PASS in both


def test_the_levels_of_all_families_leave_a_whole_run_under_two_percent():
    from fer_models.gate.gate import UNANSWERED_ALPHA
    from fer_models.gate.metric_checks import ALPHA, RECALL_ALPHA, SLICE_ALPHA

    levels = (ALPHA, RECALL_ALPHA, SLICE_ALPHA, UNANSWERED_ALPHA, ROBUSTNESS_ALPHA)
    assert sum(levels) == pytest.approx(0.019)


# -- the page ---------------------------------------------------------------------------------------


def report(*figures, name="<net>"):
    entry = eval_reports.robustness_entry(
        subject=eval_reports.subject(model=name),
        figures=[f.as_json() for f in figures],
        message=robustness.message("net", figures),
        **{"clean": 0.9, "accuracy": {"jpeg": [0.8]}, "severities": [1], "mean_error": 0.2},
    )
    return eval_reports.report(corruptions=[entry])


def test_the_page_and_the_terminal_show_each_verdict():
    from fer_models.report import html_report

    failed, same = judge(
        [figure(ERROR, corrupted(), harder(corrupted(), 10)), figure(ACCURACY, corrupted(), corrupted())]
    )
    shown = report(failed, same)
    html = html_report.page_html(shown)
    assert "2 figures against the baseline" in html
    assert "verdict fail" in html
    assert "verdict pass" in html
    assert "&lt;net&gt;" in html
    assert "> corruptions: mean error".replace(">", "&gt;") in html  # the failure's own words
    first, second = robustness.lines(shown)
    assert first == "robustness: 1 FAIL, 1 PASS of 2 figures"
    assert second.startswith("FAIL <net>-raw, corruptions: mean error: ")
    assert robustness.lines(report()) == []
