"""Metamorphic robustness, on models with a known one."""

import numpy as np
import pytest
from eval_reports import report, robustness_entry
from fakes import toy_faces
from hypothesis import given
from hypothesis import strategies as st

from fer_models.classifiers.base import Predictions
from fer_models.emotions import EMOTIONS
from fer_models.report.html_report import section_html
from fer_models.robustness.metamorphic import COPIES, RELATIONS, Perturbation, measure, perturbations

FACES = toy_faces(14).faces(range(14))
NAMES = [(h, i) for i, h in enumerate(toy_faces(14).hashes)]


def predicting(answers, sure=0.9):
    rows = np.full((len(answers), 7), (1 - sure) / 6)
    rows[np.arange(len(answers)), answers] = sure
    return Predictions.from_probabilities(rows)


def steady(faces):
    return predicting([0] * len(faces))


def lopsided(faces):
    """Happy where the left half is the lighter one, sad elsewhere."""
    return predicting([3 if face[:, :24].mean() >= face[:, 24:].mean() else 4 for face in faces])


def afraid_if_bright(faces):
    return predicting(
        [0 if face.mean() <= bright else 1 for face, bright in zip(faces, [BRIGHT] * len(faces), strict=True)]
    )


BRIGHT = max(face.mean() for face in FACES) + 9


@given(perturbations())
def test_a_perturbation_keeps_type_and_size_and_the_empty_one_every_pixel(change):
    face = FACES[0]
    changed = change.apply(face)
    assert changed.shape == face.shape
    assert changed.dtype == np.uint8
    if str(change) == "no change":
        np.testing.assert_array_equal(changed, face)


@given(st.integers(-2, 2), st.integers(-2, 2), st.booleans())
def test_shift_and_mirror_image_move_the_same_pixels(right, down, mirror):
    face = FACES[1][:, ::-1] if mirror else FACES[1]
    moved = Perturbation(mirror=mirror, right=right, down=down).apply(FACES[1])
    inner = (slice(2 + down, 46 + down), slice(2 + right, 46 + right))
    np.testing.assert_array_equal(moved[inner], face[2:46, 2:46])


def test_brightness_and_contrast_change_mean_and_spread():
    face = np.full((10, 10, 3), 100, np.uint8)
    face[:5] = 120
    assert Perturbation(brightness=7).apply(face).mean() == pytest.approx(117)
    assert np.ptp(Perturbation(contrast=20).apply(face)) == 24
    assert Perturbation(brightness=25).apply(np.full((4, 4, 3), 250, np.uint8)).max() == 255


def test_a_constant_model_has_no_flip():
    result = measure(steady, FACES, NAMES)
    assert set(result.flip_rate) == set(RELATIONS)
    assert not any(result.flip_rate.values())
    assert result.flips == ()
    assert result.n_robust == 3


def test_a_model_that_depends_on_the_mirror_image_has_flips_of_it_alone():
    result = measure(lopsided, FACES, NAMES)
    assert result.flip_rate["mirror image"] > 0.9
    assert result.flip_rate["5 % brightness"] < 0.2
    assert {flip.change for flip in result.flips} == {"mirror image"}


def test_a_flip_is_shrunk_to_the_smallest_perturbation():
    bright = max(range(14), key=lambda i: FACES[i].mean())
    (flip,) = measure(afraid_if_bright, [FACES[bright]], [NAMES[bright]], searched=1).flips
    assert flip.change in (
        "+3.9% brightness",
        "+3.5% brightness",
    )  # ten steps of 255, or nine where rounding helps
    assert (flip.answer, flip.changed_answer) == (0, 1)
    assert (flip.face, flip.index) == NAMES[bright]


def test_the_number_of_predictions_is_that_of_the_progress_bar():
    n_faces = []
    measure(lambda faces: n_faces.append(len(faces)) or steady(faces), FACES, NAMES, searched=0)
    assert sum(n_faces) == COPIES * len(FACES)


def test_searched_faces_are_evenly_spaced_by_confidence():
    def turned_by_the_mirror(faces):  # and the surer, the lighter the face
        rows = np.zeros((len(faces), 7))
        for row, face in zip(rows, faces, strict=True):
            first, second = (0, 1) if face[:, :24].mean() < face[:, 24:].mean() else (1, 0)
            row[first] = 0.5 + face.mean() / 600
            row[second] = 1 - row[first]
        return Predictions.from_probabilities(rows)

    by_light = sorted(range(14), key=lambda i: FACES[i].mean())
    result = measure(turned_by_the_mirror, FACES, NAMES, searched=3)
    assert [flip.index for flip in result.flips] == [by_light[2], by_light[7], by_light[11]]


@pytest.mark.parametrize("number", [0, 1, 5])
def test_the_same_seed_finds_the_same_flips(number):
    once, again = (measure(lopsided, FACES[:7], NAMES[:7], number=number, searched=1) for _ in range(2))
    assert once == again


def test_flips_are_recorded_and_shown():
    result = measure(lopsided, FACES, NAMES)
    assert result.figures()["metamorphic: flip rate, mirror image"].value == result.flip_rate["mirror image"]
    counts = result.figures()["metamorphic: flip rate, 1 pixel shift"]
    assert (counts.n, counts.denominator) == (len(FACES), 4)
    entry = robustness_entry(**result.as_json())
    page = section_html(report(metamorphic=[entry]), "metamorphic")
    assert page.count("<img") == 2 * len(result.flips)
    assert f"{EMOTIONS[result.flips[0].answer].label} \u2192" in page
    hostile = {**entry, "flips": [{**entry["flips"][0], "before": "https://x", "change": "<b>"}]}
    assert "https" not in section_html(report(metamorphic=[hostile]), "metamorphic")
