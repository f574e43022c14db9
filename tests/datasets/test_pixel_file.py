"""The temporary file of a dataset's pixels."""

from __future__ import annotations

import gc
import os

import pytest
from fakes import full_disk
from hypothesis import given, settings
from hypothesis import strategies as st

from fer_models.datasets.pixel_file import PixelFile
from fer_models.errors import DatasetError


@given(st.lists(st.binary(min_size=6, max_size=6), max_size=20), st.data())
@settings(max_examples=40, deadline=None)
def test_images_are_read_in_any_order_also_while_others_are_added(
    images: list[bytes], data: st.DataObject
) -> None:
    file = PixelFile(2, 3)
    for n, pixels in enumerate(images, start=1):
        file.add(pixels)
        row = data.draw(st.integers(0, n - 1))
        assert file[row].tobytes() == images[row]
    assert [file[row].tobytes() for row in range(len(file))] == images


def test_an_image_is_grey_and_cannot_be_changed() -> None:
    file = PixelFile(2, 3)
    file.add(bytes(range(6)))
    assert file[0].tolist() == [[0, 1, 2], [3, 4, 5]]
    with pytest.raises(ValueError, match="read-only"):
        file[0][0, 0] = 1


@pytest.mark.parametrize("row", [-1, 1])
def test_there_is_no_image_outside_the_file(row: int) -> None:
    file = PixelFile(1, 1)
    file.add(b"\x00")
    with pytest.raises(IndexError):
        file[row]


def test_images_are_also_read_where_the_system_has_no_positioned_reads(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delattr(os, "pread")
    file = PixelFile(1, 2)
    for i in range(4):
        file.add(bytes([i, i]))
    assert [file[i].tolist() for i in (3, 0)] == [[[3, 3]], [[0, 0]]]


def test_nothing_of_the_file_is_left_when_the_images_are_not_used_any_more(
    tmp_path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    file = PixelFile(1, 1)
    file.add(b"\x00")
    descriptor = file._file.fileno()
    del file
    gc.collect()
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(descriptor)


def test_a_full_temporary_folder_is_an_error_that_names_it(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    file = PixelFile(10, 10)
    file.add(bytes(100))
    with full_disk(150), pytest.raises(DatasetError, match="TMPDIR=FOLDER") as caught:
        file.add(bytes(100))
    assert str(tmp_path) in str(caught.value)


def test_a_temporary_folder_that_cannot_be_written_is_an_error_that_names_it(
    tmp_path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "missing"))
    with pytest.raises(DatasetError, match=r"missing.*No such file or directory.*TMPDIR=FOLDER"):
        PixelFile(1, 1)
