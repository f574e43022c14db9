"""Small changes of faces, on models that mind some of them and not others."""

import numpy as np
import pytest
from fakes import drawn
from hypothesis import given
from hypothesis import strategies as st

from fer_models.classifiers.base import Predictions
from fer_models.emotions import EMOTIONS
from fer_models.report.metamorphic import metamorphic_html
from fer_models.robustness.metamorphic import COPIES, RELATIONS, Perturbation, measure, perturbations

FACES = drawn(14).faces(range(14))
NAMES = [(h, i) for i, h in enumerate(drawn(14).hashes)]


def saying(answers, sure=0.9):
    rows = np.full((len(answers), 7), (1 - sure) / 6)
    rows[np.arange(len(answers)), answers] = sure
    return Predictions.from_probabilities(rows)


def steady(faces):
    return saying([0] * len(faces))


def lopsided(faces):
    """Happy where the left half is the lighter one, sad elsewhere."""
    return saying([3 if face[:, :24].mean() >= face[:, 24:].mean() else 4 for face in faces])


def afraid_of_light(faces):
    return saying(
        [0 if face.mean() <= bright else 1 for face, bright in zip(faces, [BRIGHT] * len(faces), strict=True)]
    )


BRIGHT = max(face.mean() for face in FACES) + 9


@given(perturbations())
def test_a_change_keeps_type_and_size_and_no_change_keeps_every_pixel(change):
    face = FACES[0]
    changed = change.apply(face)
    assert changed.shape == face.shape
    assert changed.dtype == np.uint8
    if str(change) == "no change":
        np.testing.assert_array_equal(changed, face)


@given(st.integers(-2, 2), st.integers(-2, 2), st.booleans())
def test_moving_and_mirroring_show_the_same_pixels_elsewhere(right, down, mirror):
    face = FACES[1][:, ::-1] if mirror else FACES[1]
    moved = Perturbation(mirror=mirror, right=right, down=down).apply(FACES[1])
    inner = (slice(2 + down, 46 + down), slice(2 + right, 46 + right))
    np.testing.assert_array_equal(moved[inner], face[2:46, 2:46])


def test_light_and_contrast_do_what_they_say():
    face = np.full((10, 10, 3), 100, np.uint8)
    face[:5] = 120
    assert Perturbation(brightness=7).apply(face).mean() == pytest.approx(117)
    assert np.ptp(Perturbation(contrast=20).apply(face)) == 24
    assert Perturbation(brightness=25).apply(np.full((4, 4, 3), 250, np.uint8)).max() == 255


def test_a_model_that_minds_nothing_has_no_changed_answer_and_no_flip():
    found = measure(steady, FACES, NAMES)
    assert set(found.flip_rate) == set(RELATIONS)
    assert not any(found.flip_rate.values())
    assert found.flips == ()
    assert found.n_robust == 3


def test_a_model_that_minds_the_mirror_image_is_turned_by_that_alone():
    found = measure(lopsided, FACES, NAMES)
    assert found.flip_rate["mirror image"] > 0.9
    assert found.flip_rate["5 % brightness"] < 0.2
    assert {flip.change for flip in found.flips} == {"mirror image"}


def test_the_change_that_turns_a_face_is_shrunk_to_the_smallest():
    bright = max(range(14), key=lambda i: FACES[i].mean())
    (flip,) = measure(afraid_of_light, [FACES[bright]], [NAMES[bright]], searched=1).flips
    assert flip.change in (
        "+3.9% brightness",
        "+3.5% brightness",
    )  # ten steps of 255, or nine where rounding helps
    assert (flip.answer, flip.changed_answer) == (0, 1)
    assert (flip.face, flip.index) == NAMES[bright]


def test_faces_are_asked_as_often_as_the_bar_is_told():
    asked = []
    measure(lambda faces: asked.append(len(faces)) or steady(faces), FACES, NAMES, searched=0)
    assert sum(asked) == COPIES * len(FACES)


def test_the_searched_faces_lie_evenly_between_doubtful_and_sure():
    def turned_by_the_mirror(faces):  # and the surer, the lighter the face
        rows = np.zeros((len(faces), 7))
        for row, face in zip(rows, faces, strict=True):
            first, second = (0, 1) if face[:, :24].mean() < face[:, 24:].mean() else (1, 0)
            row[first] = 0.5 + face.mean() / 600
            row[second] = 1 - row[first]
        return Predictions.from_probabilities(rows)

    by_light = sorted(range(14), key=lambda i: FACES[i].mean())
    found = measure(turned_by_the_mirror, FACES, NAMES, searched=3)
    assert [flip.index for flip in found.flips] == [by_light[2], by_light[7], by_light[11]]


@pytest.mark.parametrize("number", [0, 1, 5])
def test_the_same_seed_finds_the_same_changes(number):
    once, again = (measure(lopsided, FACES[:7], NAMES[:7], number=number, searched=1) for _ in range(2))
    assert once == again


def test_what_is_found_is_recorded_and_shown():
    found = measure(lopsided, FACES, NAMES)
    assert found.figures()["metamorphic: flip rate, mirror image"].value == found.flip_rate["mirror image"]
    counts = found.figures()["metamorphic: flip rate, 1 pixel shift"]
    assert (counts.n, counts.denominator) == (len(FACES), 4)
    entry = {
        "id": "m",
        "subject": {"model": "m", "restoration": "raw", "dataset": "d", "split": "s"},
        **found.as_json(),
    }
    page = metamorphic_html({"metamorphic": [entry]})
    assert page.count("<img") == 2 * len(found.flips)
    assert f"{EMOTIONS[found.flips[0].answer].label} \u2192" in page
    hostile = {**entry, "flips": [{**entry["flips"][0], "before": "https://x", "change": "<b>"}]}
    assert "https" not in metamorphic_html({"metamorphic": [hostile]})
