"""What a restoration does to answers, where it is known."""

from dataclasses import replace

import numpy as np
import pytest
from eval_reports import report
from fakes import answers_of, drawn
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
    adjusted,
    effect,
    flipped_faces,
    image_fidelity,
    pooled_effect,
)
from fer_models.report.html_report import section_html

TRUTH = np.arange(210) % 7


def answering(wrong):
    """Right on all faces but those in `wrong`."""
    answers = TRUTH.copy()
    answers[list(wrong)] = (answers[list(wrong)] + 1) % 7
    return answers_of(TRUTH, answers)


@given(st.sets(st.integers(0, 209), max_size=60), st.sets(st.integers(0, 209), max_size=60))
def test_helped_and_hurt_are_the_turned_faces_and_p_is_mcnemars_exact_two_sided_one(wrong, still):
    before, after = answering(wrong), answering(still)
    found = effect("m", "r", "raw", before, after, resamples=50)
    assert (found.corrected, found.broken) == (len(wrong - still), len(still - wrong))
    table = [[0, found.broken], [found.corrected, 0]]
    assert found.p == pytest.approx(
        mcnemar(table, exact=True).pvalue if found.corrected + found.broken else 1.0
    )
    assert found.accuracy["change"] == pytest.approx((found.corrected - found.broken) / 210)
    assert found.accuracy["low"] <= found.accuracy["change"] <= found.accuracy["high"]
    assert sum(c["corrected"] for c in found.per_class.values()) == found.corrected


@given(st.sets(st.integers(0, 209), max_size=40), st.sets(st.integers(0, 209), max_size=40))
def test_exchanging_before_and_after_turns_the_effect_round(wrong, still):
    there = effect("m", "r", "raw", answering(wrong), answering(still), resamples=50)
    back = effect("m", "raw", "r", answering(still), answering(wrong), resamples=50)
    assert (there.corrected, there.broken, there.p) == (back.broken, back.corrected, back.p)
    assert there.accuracy["change"] == pytest.approx(-back.accuracy["change"])


def test_the_verdict_says_helps_harms_or_nothing_shown():
    some, many = range(3), range(40)
    (helps, harms, nothing) = adjusted(
        [
            effect("m", "r", "raw", answering(many), answering([])),
            effect("m", "r", "raw", answering([]), answering(many)),
            effect("m", "r", "raw", answering(some), answering([])),
        ]
    )
    assert [helps.verdict, harms.verdict, nothing.verdict] == [HELPS, HARMS, NOTHING_SHOWN]
    assert nothing.p_adjusted >= nothing.p
    assert 0 < nothing.minimum_detectable_effect <= 1


def test_many_models_do_not_drown_what_is_so_over_all_of_them():
    """p of 0.004 over all models is no accident however many models are asked about beside it; of one model
    among many it may be one.
    """
    one = replace(effect("m", "r", "raw", answering(range(40)), answering([])), p=0.004)
    found = adjusted([replace(one, model=ALL_MODELS), *[replace(one, model=f"m{i}") for i in range(5)]])
    assert found[0].verdict == HELPS
    assert {e.verdict for e in found[1:]} == {NOTHING_SHOWN}
    assert found[1].p_adjusted == pytest.approx(5 * 0.004)


def test_a_face_more_that_is_right_has_its_price():
    found = effect("m", "r", "raw", answering(range(30)), answering(range(10)))
    assert found.seconds_per_corrected_face is None  # nobody measured the time
    assert replace(found, seconds_per_face=0.2).seconds_per_corrected_face == pytest.approx(0.2 * 210 / 20)
    harmful = replace(effect("m", "r", "raw", answering([]), answering([1])), seconds_per_face=0.2)
    assert harmful.seconds_per_corrected_face is None


def test_over_all_models_a_face_counts_once():
    """A restoration that helps ten models on the same few faces has not shown more than for one of them."""
    pair = (answering(range(4)), answering([]))
    one = effect("a", "r", "raw", *pair)
    both = pooled_effect([one, one], {"a": pair, "b": pair})
    alone = pooled_effect([one], {"a": pair})
    assert both.model == ALL_MODELS
    assert both.p == alone.p
    assert both.accuracy["change"] == pytest.approx(4 / 210)
    assert both.corrected == 8
    assert pooled_effect([one, one], {"a": pair, "b": pair[::-1]}).accuracy["change"] == pytest.approx(0)


def test_other_faces_are_refused():
    few = answers_of(TRUTH[:7], TRUTH[:7])
    with pytest.raises(FacesDifferError, match="the same faces"):
        effect("m", "r", "raw", few, answering([]))
    pair = (answering([]), answering([]))
    with pytest.raises(FacesDifferError):
        pooled_effect([effect("m", "r", "raw", *pair)], {"a": pair, "b": (few, few)})


def test_likeness_is_one_for_the_same_face_and_low_for_another():
    faces = drawn(7).faces(range(7))
    assert image_fidelity(faces, faces) == pytest.approx(1)
    large = [np.asarray(Image.fromarray(face).resize((192, 192), Image.Resampling.BICUBIC)) for face in faces]
    assert image_fidelity(faces, large) > 0.98
    assert image_fidelity(faces, [255 - face for face in faces]) == pytest.approx(-1)
    assert image_fidelity(faces, faces[1:] + faces[:1]) < 0.9
    assert np.isnan(image_fidelity([np.zeros((8, 8, 3), np.uint8)], [np.ones((8, 8, 3), np.uint8)]))


def test_the_faces_shown_are_those_that_turned():
    helped, hurt = flipped_faces(answering([3, 5, 9]), answering([9, 20]), 2)
    assert sorted(helped) == [3, 5]
    assert list(hurt) == [20]


def test_effects_stand_on_the_page_and_their_words_do_nothing():
    found = effect("<b>m</b>", "r", "raw", answering([3]), answering([5])).as_json()
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
    page = section_html(report(restorations=[{**found, **about}]), "restorations")
    assert "<b>m</b>" not in page
    assert "no answer \u2192 &lt;i&gt;" in page
    assert page.count("<img") == 2
    assert section_html(report(), "restorations") == ""
