"""Corruptions: seeded, graded, versioned, and no change at severity 0."""

from itertools import pairwise

import numpy as np
import pytest
from fakes import toy_faces
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from fer_models import corruptions
from fer_models.classifiers.dummy import Constant
from fer_models.config import EvalConfig
from fer_models.corruptions import SEVERITIES, Corruption, names, to_face, to_picture
from fer_models.emotions import Emotion
from fer_models.errors import UnknownNameError, UsageError
from fer_models.images import resize, to_rgb
from fer_models.inference.runner import Runner
from fer_models.zoo.registry import Registry
from fer_models.zoo.restorers import RESTORERS
from fer_models.zoo.spec import ModelSpec

NAMES = names()
sides = st.integers(1, 40)
#: Any faces: grey and coloured ones, of any proportions.
pictures = (
    st.tuples(sides, sides, st.sampled_from((1, 3)))
    .flatmap(lambda shape: arrays(np.uint8, shape))
    .map(to_rgb)
)
any_corruption = st.builds(Corruption, st.sampled_from(NAMES), st.sampled_from(SEVERITIES))
#: The version of each corruption, and its distortion of `toy_faces(14)` at severity 3. Another distortion
#: needs another version, so that no stored prediction for other pixels is used.
VERSIONS = {
    "gaussian-noise": (1, 23.927),
    "shot-noise": (1, 18.613),
    "defocus-blur": (1, 4.039),
    "motion-blur": (1, 6.217),
    "low-resolution": (1, 7.023),
    "jpeg": (1, 3.765),
    "low-light": (1, 71.676),
    "contrast": (1, 30.075),
    "mask": (1, 20.203),
    "sunglasses": (1, 10.532),
}


def is_grey(face):
    return (face[..., 0] == face[..., 1]).all() and (face[..., 1] == face[..., 2]).all()


def distortion(name, severity, faces):
    """The mean absolute change of a pixel, over many faces."""
    corruption = Corruption(name, severity)
    return np.mean([np.abs(corruption.apply(face).astype(int) - face.astype(int)).mean() for face in faces])


@settings(deadline=None)
@given(any_corruption, pictures, st.integers(0, 2**64))
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
@given(any_corruption, pictures)
def test_a_grey_face_stays_grey(corruption, face):
    grey = np.repeat(face[..., :1], 3, axis=2)
    assert is_grey(corruption.apply(grey))


@given(pictures)
def test_conversion_to_floating_point_and_back_changes_no_pixel(face):
    np.testing.assert_array_equal(to_face(to_picture(face)), face)


@pytest.mark.parametrize("name", NAMES)
def test_each_severity_distorts_synthetic_faces_more_than_the_one_before(name):
    faces = toy_faces(28).faces(range(28))
    grades = [distortion(name, severity, faces) for severity in (0, *SEVERITIES)]
    assert grades[0] == 0
    assert all(a < b for a, b in pairwise(grades)), grades


@pytest.mark.parametrize("name", NAMES)
def test_every_synthetic_face_is_changed_from_severity_1_on(name):
    for face in toy_faces(28).faces(range(28)):
        assert (Corruption(name, 1).apply(face) != face).any()


@pytest.mark.parametrize("name", ["defocus-blur", "motion-blur", "low-resolution", "mask", "sunglasses"])
def test_lengths_follow_the_size_of_the_face(name):
    """A face twice as large is distorted about as much: blur and glasses are twice as large."""
    small = toy_faces(14).faces(range(14))
    large = [resize(face, 96) for face in small]
    assert distortion(name, 4, large) == pytest.approx(distortion(name, 4, small), rel=0.2)


def test_noise_depends_on_the_face_and_the_seed_alone():
    one, other = toy_faces(2).faces(range(2))
    noise = Corruption("gaussian-noise", 3)
    of_one = noise.apply(one).astype(int) - one
    noise.apply(other)  # calls in between do not matter
    np.testing.assert_array_equal(noise.apply(one).astype(int) - one, of_one)
    assert (noise.apply(other).astype(int) - other != of_one).any()
    assert (noise.apply(one, seed=1) != noise.apply(one)).any()


def test_severities_share_their_noise():
    face = np.full((48, 48, 3), 128, dtype=np.uint8)
    weak, strong = (Corruption("gaussian-noise", s).apply(face)[..., 0].astype(float).ravel() for s in (1, 2))
    assert np.corrcoef(weak, strong)[0, 1] > 0.99


def test_gaussian_noise_has_its_documented_deviation():
    face = np.full((96, 96, 3), 128, dtype=np.uint8)
    assert Corruption("gaussian-noise", 3).apply(face).std() / 255 == pytest.approx(0.12, rel=0.05)


@pytest.mark.parametrize(
    ("name", "covered", "uncovered"),
    [("mask", (36, 24), (14, 24)), ("sunglasses", (18, 14), (36, 24))],
    ids=["mask", "sunglasses"],
)
def test_a_cover_hides_its_own_part_of_the_face_and_no_other(name, covered, uncovered):
    row, column = covered
    for face in toy_faces(7).faces(range(7)):
        corrupted = Corruption(name, 4).apply(face)
        assert (corrupted[uncovered] == face[uncovered]).all()
        assert len(np.unique(corrupted[row - 1 : row + 2, column - 1 : column + 2])) == 1


@pytest.mark.parametrize("name", NAMES)
def test_other_pixels_need_another_version(name):
    version, expected = VERSIONS[name]
    assert Corruption(name, 3).versioned_id == f"{name}@3 version {version}"
    # Noise and JPEG may differ a little between library versions.
    assert distortion(name, 3, toy_faces(14).faces(range(14))) == pytest.approx(expected, rel=0.02)


def test_another_version_is_another_key_in_the_store_under_the_same_id(monkeypatch):
    def partition(corruption):
        model = ModelSpec("constant", lambda runtime: Constant(Emotion.HAPPY))
        config = EvalConfig(corruption=corruption, limit=7)
        return Runner(config, Registry("model", model), RESTORERS).partition(("constant", "raw"))

    noise, jpeg = Corruption("gaussian-noise", 3), Corruption("jpeg", 3)
    before, of_jpeg = partition(noise), partition(jpeg)
    newer = corruptions._KINDS["gaussian-noise"]._replace(version=2)
    monkeypatch.setitem(corruptions._KINDS, "gaussian-noise", newer)
    assert partition(noise).key != before.key
    assert partition(noise).subject == before.subject
    assert partition(jpeg).key == of_jpeg.key


@given(any_corruption)
def test_an_id_is_parsed_as_it_is_written(corruption):
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
def test_an_invalid_severity_is_refused_with_an_example(text):
    with pytest.raises(UsageError, match="@"):
        Corruption.parse(text)


def test_an_unknown_corruption_gets_a_suggestion():
    with pytest.raises(UnknownNameError, match="Did you mean 'motion-blur'"):
        Corruption.parse("motionblur@2")
