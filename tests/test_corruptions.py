"""Corruptions: seeded, graded, and nothing at severity 0."""

from itertools import pairwise

import numpy as np
import pytest
from fakes import drawn
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from fer_models.corruptions import SEVERITIES, Corruption, names, to_face, to_picture
from fer_models.errors import UnknownNameError, UsageError
from fer_models.images import resize, to_rgb

NAMES = names()
sides = st.integers(1, 40)
#: Any faces: grey and coloured ones, of any proportions.
pictures = (
    st.tuples(sides, sides, st.sampled_from((1, 3)))
    .flatmap(lambda shape: arrays(np.uint8, shape))
    .map(to_rgb)
)
corruptions = st.builds(Corruption, st.sampled_from(NAMES), st.sampled_from(SEVERITIES))


def is_grey(face):
    return (face[..., 0] == face[..., 1]).all() and (face[..., 1] == face[..., 2]).all()


def distortion(name, severity, faces):
    """The mean absolute change of a pixel, over many faces."""
    return np.mean(
        [np.abs(Corruption(name, severity).apply(f).astype(int) - f.astype(int)).mean() for f in faces]
    )


@settings(deadline=None)
@given(corruptions, pictures, st.integers(0, 2**64))
def test_a_corrupted_face_is_a_face_of_the_same_size_and_the_same_each_time(corruption, face, seed):
    before = face.copy()
    corrupted = corruption.apply(face, seed)
    assert corrupted.dtype == np.uint8
    assert corrupted.shape == face.shape
    np.testing.assert_array_equal(corruption.apply(face, seed), corrupted)
    np.testing.assert_array_equal(face, before)


@given(st.sampled_from(NAMES), pictures)
def test_severity_zero_changes_no_pixel(name, face):
    np.testing.assert_array_equal(Corruption(name, 0).apply(face), face)


@settings(deadline=None)
@given(corruptions, pictures)
def test_a_grey_face_stays_grey(corruption, face):
    grey = np.repeat(face[..., :1], 3, axis=2)
    assert is_grey(corruption.apply(grey))


@given(pictures)
def test_a_face_survives_the_way_to_floating_point_and_back(face):
    np.testing.assert_array_equal(to_face(to_picture(face)), face)


@pytest.mark.parametrize("name", NAMES)
def test_each_severity_distorts_drawn_faces_more_than_the_one_before(name):
    faces = drawn(28).faces(range(28))
    grades = [distortion(name, severity, faces) for severity in (0, *SEVERITIES)]
    assert grades[0] == 0
    assert all(a < b for a, b in pairwise(grades)), grades


@pytest.mark.parametrize("name", NAMES)
def test_every_drawn_face_is_changed_from_severity_1_on(name):
    for face in drawn(28).faces(range(28)):
        assert (Corruption(name, 1).apply(face) != face).any()


@pytest.mark.parametrize("name", ["defocus-blur", "motion-blur", "low-resolution", "mask", "sunglasses"])
def test_lengths_follow_the_size_of_the_face(name):
    """A face twice as large loses about as much: its blur is twice as wide, its glasses twice as large."""
    small = drawn(14).faces(range(14))
    large = [resize(face, 96) for face in small]
    assert distortion(name, 4, large) == pytest.approx(distortion(name, 4, small), rel=0.2)


def test_what_is_drawn_depends_on_the_face_and_the_seed_alone():
    one, other = drawn(2).faces(range(2))
    noise = Corruption("gaussian-noise", 3)
    of_one = noise.apply(one).astype(int) - one
    noise.apply(other)  # whoever was asked in between
    np.testing.assert_array_equal(noise.apply(one).astype(int) - one, of_one)
    assert (noise.apply(other).astype(int) - other != of_one).any()
    assert (noise.apply(one, seed=1) != noise.apply(one)).any()


def test_severities_share_their_noise():
    face = np.full((48, 48, 3), 128, dtype=np.uint8)
    weak, strong = (Corruption("gaussian-noise", s).apply(face)[..., 0].astype(float).ravel() for s in (1, 2))
    assert np.corrcoef(weak, strong)[0, 1] > 0.99


def test_gaussian_noise_has_the_deviation_it_says():
    face = np.full((96, 96, 3), 128, dtype=np.uint8)
    assert Corruption("gaussian-noise", 3).apply(face).std() / 255 == pytest.approx(0.12, rel=0.05)


@pytest.mark.parametrize(
    ("name", "covered", "open_"),
    [("mask", (0.75, 0.5), (0.3, 0.5)), ("sunglasses", (0.38, 0.31), (0.75, 0.5))],
)
def test_what_covers_a_face_covers_its_own_part_and_no_other(name, covered, open_):
    faces = drawn(7).faces(range(7))
    for face in faces:
        changed = Corruption(name, 4).apply(face)
        at = [tuple(int(share * 48) for share in where) for where in (covered, open_)]
        assert (changed[at[1]] == face[at[1]]).all()
        assert len(np.unique(changed[at[0][0] - 1 : at[0][0] + 2, at[0][1] - 1 : at[0][1] + 2])) == 1


@given(corruptions)
def test_an_id_is_read_as_it_is_written(corruption):
    assert Corruption.parse(corruption.id) == corruption


@pytest.mark.parametrize(
    "text",
    [
        "gaussian-noise",
        "gaussian-noise@",
        "gaussian-noise@six",
        "gaussian-noise@6",
        "gaussian-noise@-1",
        "jpeg@²",
        "",
    ],
)
def test_what_is_no_severity_is_refused_with_an_example(text):
    with pytest.raises(UsageError, match="@"):
        Corruption.parse(text)


def test_an_unknown_corruption_gets_a_suggestion():
    with pytest.raises(UnknownNameError, match="Did you mean 'motion-blur'"):
        Corruption.parse("motionblur@2")
