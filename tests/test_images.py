"""Face images are uint8 RGB; invalid images are refused by name."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from fer_models import images
from fer_models.datasets import synthetic_drawing
from fer_models.errors import DatasetError, ImageError

FACE = synthetic_drawing.draw("test", 3)


def encoded(picture: Image.Image, kind: str = "PNG") -> bytes:
    data = io.BytesIO()
    picture.save(data, kind)
    return data.getvalue()


@st.composite
def greys(draw: st.DrawFn) -> np.ndarray:
    height, width, seed = draw(st.integers(1, 9)), draw(st.integers(1, 9)), draw(st.integers(0, 2**31))
    return np.random.RandomState(seed).randint(0, 256, (height, width)).astype(np.uint8)


@given(greys())
@settings(deadline=None)
def test_conversion_of_a_grey_face_to_rgb_and_back_is_exact(face: np.ndarray) -> None:
    rgb = images.to_rgb(face)
    assert rgb.shape == (*face.shape, 3)
    assert np.array_equal(images.grey(rgb), face)


def test_conversion_of_every_grey_level_to_rgb_and_back_is_exact() -> None:
    levels = np.arange(256, dtype=np.uint8).reshape(16, 16)
    assert np.array_equal(images.grey(images.to_rgb(levels)), levels)


@given(greys(), greys(), greys())
@settings(deadline=None)
def test_grey_is_pillows_luma(red: np.ndarray, green: np.ndarray, blue: np.ndarray) -> None:
    height, width = (min(c.shape[axis] for c in (red, green, blue)) for axis in (0, 1))
    face = np.ascontiguousarray(np.stack([c[:height, :width] for c in (red, green, blue)], axis=2))
    assert np.array_equal(images.grey(face), np.asarray(Image.fromarray(face).convert("L")))


@given(greys(), st.sampled_from(["PNG", "BMP", "TIFF"]))
@settings(max_examples=30, deadline=None)
def test_a_lossless_file_gives_back_its_pixels(face: np.ndarray, kind: str) -> None:
    assert np.array_equal(images.decode(encoded(Image.fromarray(face), kind), "a face"), images.to_rgb(face))


def test_sixteen_bit_grey_is_scaled_not_cut() -> None:
    deep = np.array([[0, 0x1234], [0x80FF, 0xFFFF]], dtype=np.uint16)
    assert images.decode(encoded(Image.fromarray(deep)), "deep")[:, :, 0].tolist() == [
        [0, 0x12],
        [0x80, 0xFF],
    ]


def test_black_and_white_becomes_0_and_255() -> None:
    picture = Image.fromarray(np.array([[True, False]]))
    assert images.decode(encoded(picture), "bits").tolist() == [[[255] * 3, [0] * 3]]


def test_a_palette_picture_keeps_its_colours() -> None:
    picture = Image.new("RGB", (2, 1), (200, 10, 30)).quantize(2)
    assert images.decode(encoded(picture), "palette").tolist() == [[[200, 10, 30]] * 2]


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((4, 4), np.float32),
        np.zeros((4, 4, 4), np.uint8),
        np.zeros((0, 4), np.uint8),
        np.zeros(4, np.uint8),
        np.zeros((1, 4, 4, 3), np.uint8),
    ],
    ids=["float", "four channels", "empty", "one axis", "a batch"],
)
def test_an_array_of_another_type_or_shape_is_refused(array: np.ndarray) -> None:
    with pytest.raises(ImageError, match="An image must be"):
        images.to_rgb(array)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", r"face.png is empty \(0 bytes\)"),
        (b"emotion,pixels,Usage\n", "face.png cannot be read as an image"),
        (encoded(Image.fromarray(FACE))[:-500], "face.png cannot be read as an image"),
        (encoded(Image.fromarray(FACE), "JPEG")[:300], "face.png cannot be read as an image"),
        (encoded(Image.new("L", (images.LARGEST_SIDE + 1, 1))), "face.png is 8193x1 pixels"),
    ],
    ids=["0 bytes", "text", "truncated png", "truncated jpeg", "too large"],
)
def test_bytes_that_are_no_valid_image_are_refused_by_name(data: bytes, message: str) -> None:
    with pytest.raises(ImageError, match=message) as caught:
        images.decode(data, "face.png")
    assert "\n" not in str(caught.value)
    assert isinstance(caught.value, DatasetError)


def test_a_file_that_cannot_be_opened_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r"gone\.png cannot be opened"):
        images.read(tmp_path / "gone.png")


def test_resizing_to_its_own_size_changes_nothing_and_to_another_gives_that_square() -> None:
    face = images.to_rgb(FACE)
    assert np.array_equal(images.resize(face, 48), face)
    assert images.resize(face, 224).shape == (224, 224, 3)


def test_the_hash_of_a_face_depends_on_its_pixels_and_its_size() -> None:
    flat = np.zeros((2, 8, 3), np.uint8)
    other = flat.copy()
    other[1, 7, 2] = 1
    assert (
        len({images.face_hash(flat), images.face_hash(flat.reshape(4, 4, 3)), images.face_hash(other)}) == 3
    )
    assert images.face_hash(flat) == images.face_hash(np.asfortranarray(flat))
