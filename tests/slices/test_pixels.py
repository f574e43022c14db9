"""Slices from pixels."""

import numpy as np
import pytest
from fakes import toy_faces
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image, ImageFilter, ImageStat

from fer_models.datasets import synthetic
from fer_models.slices.pixels import PROPERTIES, SYNTHETIC_CUTS, cuts_of, pixel_columns, pixel_values

pictures = arrays(np.uint8, st.tuples(st.integers(2, 12), st.integers(2, 12)))


def grey_face(levels):
    return np.repeat(levels[..., None], 3, axis=2)


@given(pictures)
def test_brightness_and_contrast_are_those_of_pillow(levels):
    values = pixel_values([grey_face(levels)])
    statistics = ImageStat.Stat(Image.fromarray(levels))
    assert values["brightness"] == [pytest.approx(statistics.mean[0])]
    assert values["contrast"] == [pytest.approx(statistics.stddev[0], abs=1e-6)]
    assert values["size"] == [min(levels.shape)]
    assert values["colour"] == [0.0]


def test_a_blurred_face_is_less_sharp_and_a_darker_one_less_bright():
    face = toy_faces(1).face(0)
    blurred = np.asarray(Image.fromarray(face).filter(ImageFilter.GaussianBlur(1)))
    sharp, soft, dark = (
        {k: v[0] for k, v in pixel_values([each]).items()} for each in (face, blurred, face // 2)
    )
    assert soft["sharpness"] < 0.5 * sharp["sharpness"]
    assert dark["brightness"] < sharp["brightness"]


def test_a_face_with_one_colour_channel_changed_is_in_colour():
    face = toy_faces(1).face(0).copy()
    face[3, 3, 1] ^= 255
    values = pixel_values([toy_faces(1).face(0), face])
    assert pixel_columns(values, cuts_of(values), "these")[-1].codes.tolist() == [1, 0]  # colour, grey


def test_the_cuts_come_from_the_reference_and_not_from_the_faces():
    values = pixel_values(toy_faces(14).faces(range(14)))
    bright = {**values, "brightness": [value + 100 for value in values["brightness"]]}
    brightness = pixel_columns(bright, cuts_of(values), "the train split")[0]
    assert set(brightness.codes.tolist()) == {len(brightness.levels) - 1}
    assert "the train split" in brightness.source


def test_the_shipped_cuts_are_the_quartiles_of_the_synthetic_training_faces():
    # To print them: cuts_of(pixel_values(map(train.face, range(len(train)))))
    train = synthetic.load("train")
    cuts = cuts_of(pixel_values(map(train.face, range(len(train)))))
    assert cuts.keys() == SYNTHETIC_CUTS.keys() == PROPERTIES.keys()
    for name, values in cuts.items():
        assert values == pytest.approx(SYNTHETIC_CUTS[name], rel=1e-9)
