"""Effects of restoration on predictions, where they are known."""

from dataclasses import replace

import numpy as np
import pytest
from eval_reports import report
from fakes import prediction_table, toy_faces
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from statsmodels.stats.contingency_tables import mcnemar

from fer_models.errors import FacesDifferError
from fer_models.gate.restoration_effect import (
    ALL_MODELS,
    HARMS,
    HELPS,
    NOTHING_SHOWN,
    adjust_effects,
    flipped_faces,
    image_fidelity,
    measure_effect,
    pooled_effect,
)
from fer_models.report.html_report import section_html
from fer_models.scoring.sample_size import required_sample_size

TRUTH = np.arange(210) % 7


def wrong_on(faces):
    """Predictions that are correct on all faces except `faces`."""
    predicted, rows = TRUTH.copy(), list(faces)
    predicted[rows] = (predicted[rows] + 1) % 7
    return prediction_table(TRUTH, predicted)


@given(st.sets(st.integers(0, 209), max_size=60), st.sets(st.integers(0, 209), max_size=60))
def test_corrected_and_broken_are_the_flipped_faces_and_p_is_mcnemars_exact_two_sided_one(
    wrong_before, wrong_after
):
    before, after = wrong_on(wrong_before), wrong_on(wrong_after)
    effect = measure_effect("m", "r", "raw", before, after, resamples=50)
    assert (effect.corrected, effect.broken) == (
        len(wrong_before - wrong_after),
        len(wrong_after - wrong_before),
    )
    table = [[0, effect.broken], [effect.corrected, 0]]
    p = mcnemar(table, exact=True).pvalue if effect.corrected + effect.broken else 1.0
    assert effect.p == pytest.approx(p)
    assert effect.accuracy["change"] == pytest.approx((effect.corrected - effect.broken) / 210)
    assert effect.accuracy["low"] <= effect.accuracy["change"] <= effect.accuracy["high"]
    assert sum(c["corrected"] for c in effect.per_class.values()) == effect.corrected


@pytest.mark.slow
@given(st.sets(st.integers(0, 209), max_size=40), st.sets(st.integers(0, 209), max_size=40))
def test_exchanging_before_and_after_reverses_the_effect(wrong_before, wrong_after):
    there = measure_effect("m", "r", "raw", wrong_on(wrong_before), wrong_on(wrong_after), resamples=50)
    back = measure_effect("m", "raw", "r", wrong_on(wrong_after), wrong_on(wrong_before), resamples=50)
    assert (there.corrected, there.broken, there.p) == (back.broken, back.corrected, back.p)
    assert there.accuracy["change"] == pytest.approx(-back.accuracy["change"])


def test_the_verdict_is_helps_harms_or_no_difference_shown():
    some, many = range(3), range(40)
    (helps, harms, nothing) = adjust_effects(
        [
            measure_effect("m", "r", "raw", wrong_on(many), wrong_on([])),
            measure_effect("m", "r", "raw", wrong_on([]), wrong_on(many)),
            measure_effect("m", "r", "raw", wrong_on(some), wrong_on([])),
        ]
    )
    assert [helps.verdict, harms.verdict, nothing.verdict] == [HELPS, HARMS, NOTHING_SHOWN]
    assert nothing.p_adjusted >= nothing.p
    assert 0 < nothing.minimum_detectable_effect <= 1


def test_where_no_difference_is_shown_the_effect_has_the_number_of_faces_that_would_show_it():
    pair = (wrong_on(range(7)), wrong_on(range(5, 9)))  # 5 corrected, 2 broken
    one = measure_effect("a", "r", "raw", *pair)
    pooled = pooled_effect([one, one], {"a": pair, "b": pair})
    adjusted = adjust_effects([pooled, one, one])
    assert {e.verdict for e in adjusted} == {NOTHING_SHOWN}
    expected = required_sample_size(3 / 210, 7 / 210, alpha=0.005, family=2)
    assert [e.required_sample_size for e in adjusted[1:]] == [expected, expected]
    assert adjusted[0].required_sample_size == pytest.approx(
        required_sample_size(3 / 210, 7 / 210, alpha=0.005), rel=0.05
    )
    assert "spread" not in adjusted[0].as_json()
    assert adjusted[0].as_json()["required_sample_size"] > 210


def test_a_shown_difference_and_a_change_of_0_have_no_such_number():
    helps = measure_effect("m", "r", "raw", wrong_on(range(40)), wrong_on([]))
    same = measure_effect("m", "r", "raw", wrong_on([0]), wrong_on([1]))
    none = measure_effect("m", "r", "raw", wrong_on([]), wrong_on([]))
    pair, back = (wrong_on([0]), wrong_on([1])), (wrong_on([1]), wrong_on([0]))
    pooled = pooled_effect([same, same], {"a": pair, "b": back})
    effects = adjust_effects([helps, same, none, pooled])
    assert [e.verdict for e in effects] == [HELPS, *[NOTHING_SHOWN] * 3]
    assert {e.required_sample_size for e in effects} == {None}


@pytest.mark.parametrize("corrected", range(1, 8))
def test_faces_that_all_change_in_one_direction_have_such_a_number(corrected):
    for before, after in ((range(corrected), []), ([], range(corrected))):
        effect = measure_effect("m", "r", "raw", wrong_on(before), wrong_on(after), resamples=50)
        expected = required_sample_size(corrected / 210, corrected / 210, alpha=0.005)
        assert adjust_effects([effect])[0].required_sample_size == expected


@pytest.mark.slow
@given(st.integers(1, 60), st.integers(0, 60))
def test_the_number_is_larger_than_that_of_the_faces(corrected, broken):
    before, after = wrong_on(range(corrected)), wrong_on(range(corrected, corrected + broken))
    effect = measure_effect("a", "r", "raw", before, after, resamples=50)
    pooled = pooled_effect([effect], {"a": (before, after)})
    for one in adjust_effects([effect, pooled]):
        assert one.required_sample_size is None or one.required_sample_size > 210


def test_the_number_of_models_does_not_weaken_the_test_over_all_of_them():
    """p = 0.004 over all models is significant for any number of models; for one model of many it is not."""
    one = replace(measure_effect("m", "r", "raw", wrong_on(range(40)), wrong_on([])), p=0.004)
    adjusted = adjust_effects(
        [replace(one, model=ALL_MODELS), *[replace(one, model=f"m{i}") for i in range(5)]]
    )
    assert adjusted[0].verdict == HELPS
    assert {e.verdict for e in adjusted[1:]} == {NOTHING_SHOWN}
    assert adjusted[1].p_adjusted == pytest.approx(5 * 0.004)


def test_the_time_per_corrected_face_needs_a_time_and_a_gain():
    effect = measure_effect("m", "r", "raw", wrong_on(range(30)), wrong_on(range(10)))
    assert effect.seconds_per_corrected_face is None  # the time was not measured
    assert replace(effect, seconds_per_face=0.2).seconds_per_corrected_face == pytest.approx(0.2 * 210 / 20)
    harmful = replace(measure_effect("m", "r", "raw", wrong_on([]), wrong_on([1])), seconds_per_face=0.2)
    assert harmful.seconds_per_corrected_face is None


def test_over_all_models_a_face_counts_once():
    """The same few corrected faces with ten models are no more evidence than with one."""
    pair = (wrong_on(range(4)), wrong_on([]))
    one = measure_effect("a", "r", "raw", *pair)
    both = pooled_effect([one, one], {"a": pair, "b": pair})
    alone = pooled_effect([one], {"a": pair})
    assert both.model == ALL_MODELS
    assert both.p == alone.p
    assert both.accuracy["change"] == pytest.approx(4 / 210)
    assert both.corrected == 8
    assert pooled_effect([one, one], {"a": pair, "b": pair[::-1]}).accuracy["change"] == pytest.approx(0)


def test_other_faces_are_refused():
    few = prediction_table(TRUTH[:7], TRUTH[:7])
    with pytest.raises(FacesDifferError, match="the same faces"):
        measure_effect("m", "r", "raw", few, wrong_on([]))
    pair = (wrong_on([]), wrong_on([]))
    with pytest.raises(FacesDifferError):
        pooled_effect([measure_effect("m", "r", "raw", *pair)], {"a": pair, "b": (few, few)})


def test_fidelity_is_one_for_the_same_face_and_low_for_another():
    faces = toy_faces(7).faces(range(7))
    assert image_fidelity(faces, faces) == pytest.approx(1)
    large = [np.asarray(Image.fromarray(face).resize((192, 192), Image.Resampling.BICUBIC)) for face in faces]
    assert image_fidelity(faces, large) > 0.98
    assert image_fidelity(faces, [255 - face for face in faces]) == pytest.approx(-1)
    assert image_fidelity(faces, faces[1:] + faces[:1]) < 0.9
    assert image_fidelity(faces, [np.zeros_like(face) for face in faces]) == 0
    assert image_fidelity([np.zeros((8, 8, 3), np.uint8)], faces[:1]) is None


def test_the_listed_faces_are_those_that_flipped():
    corrected, broken = flipped_faces(wrong_on([3, 5, 9]), wrong_on([9, 20]), 2)
    assert sorted(corrected) == [3, 5]
    assert list(broken) == [20]


def test_effects_are_on_the_page_and_their_names_are_escaped():
    effect = measure_effect("<b>m</b>", "r", "raw", wrong_on([3]), wrong_on([5])).as_json()
    faces = {
        "corrected": [
            {
                "truth": "sad",
                "index": 1,
                "answers": [None, "<i>"],
                "pictures": ["data:image/png;base64,AA", "data:image/png;base64,AA"],
            }
        ]
    }
    about = {"subject": {"dataset": "d", "split": "s", "corruption": None}, "faces": faces}
    page = section_html(report(restorations=[{**effect, **about}]), "restorations")
    assert "<b>m</b>" not in page
    assert "no prediction \u2192 &lt;i&gt;" in page
    assert page.count("<img") == 2
    assert section_html(report(), "restorations") == ""


def test_no_minimum_detectable_effect_is_above_all_faces():
    truth = np.arange(3)
    correct, wrong = prediction_table(truth, truth), prediction_table(truth, (truth + 1) % 7)
    half = prediction_table(truth, np.array([0, 2, 2]))
    pairs = {"a": (correct, half), "b": (wrong, correct)}
    effects = [measure_effect(name, "r", "raw", *pair, resamples=50) for name, pair in pairs.items()]
    for effect in adjust_effects([*effects, pooled_effect(effects, pairs)]):
        assert 0 < effect.minimum_detectable_effect <= 1
