"""Untrusted pictures: invalid ones are named, special files are not opened, any name is printable."""

from __future__ import annotations

import os
import re
import socket
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from guards import outcome
from hypothesis import given, settings
from hypothesis import strategies as st
from image_folders import (
    BMP,
    GIF,
    JPEG,
    NAMES,
    NO_PICTURES,
    PNG,
    PPM,
    ROOT,
    TIFF,
    WEBP,
    encoded,
    named,
    on_posix,
    read_all,
    write_images,
)
from PIL import Image

from fer_models import datasets, images
from fer_models.datasets import FaceSet
from fer_models.datasets.audit import audit

# -- invalid pictures ----------------------------------------------------------------------------


@pytest.mark.parametrize("kind", NO_PICTURES)
def test_an_invalid_picture_is_named_and_the_others_are_read(tmp_path: Path, kind: str) -> None:
    write_images(tmp_path, "happy/a.png", "sad/b.png")
    write_images(tmp_path, "happy/bad.png", data=NO_PICTURES[kind])
    message = read_all(tmp_path)
    assert isinstance(message, str)
    assert "1 of 3 pictures cannot be read: happy/bad.png. The first: " in message
    assert f"fer-models data audit --dataset {tmp_path}" in message
    result = audit([datasets.load(str(tmp_path))], near=False)
    assert [bad.source for bad in result.splits[0].unreadable] == ["happy/bad.png"]
    assert result.n == 2


def grey_tiff(pixels: bytes, bits: int, photometric: int, side: int) -> bytes:
    """An uncompressed TIFF of a grey square with `bits` per pixel; `photometric` 0: white is zero."""
    short, long = 3, 4
    tags = [
        (256, short, side),
        (257, short, side),
        (258, short, bits),
        (259, short, 1),
        (262, short, photometric),
        (273, long, 8),
        (277, short, 1),
        (278, short, side),
        (279, long, len(pixels)),
    ]
    directory = struct.pack("<H", len(tags))
    for tag, kind, value in tags:
        directory += struct.pack(
            "<HHIHH" if kind == short else "<HHII", tag, kind, 1, value, *[0] * (kind == short)
        )
    return struct.pack("<2sHI", b"II", 42, 8 + len(pixels)) + pixels + directory + bytes(4)


@pytest.mark.parametrize(
    ("make", "pixel"),
    [
        (lambda: encoded("PNG", Image.new("L", (1, 1), 7)), 7),
        (lambda: grey_tiff(b"\xff" * 96, 12, 1, 8), 255),
        (lambda: grey_tiff(b"\x80\x08\x00" * 32, 12, 1, 8), 128),
        (lambda: grey_tiff(b"\xff\xff" * 64, 16, 0, 8), 0),
        (lambda: grey_tiff(b"\x00\x40" * 64, 16, 0, 8), 191),
        (lambda: grey_tiff(b"\x00\x40" * 64, 16, 1, 8), 64),
        (lambda: grey_tiff(b"\x40" * 64, 8, 0, 8), 191),
        (lambda: encoded("PNG", Image.new("1", (9, 9), 1)), 255),
        (lambda: encoded("PNG", Image.fromarray(np.full((48, 48), 0x80FF, np.uint16))), 0x80),
        (lambda: encoded("TIFF", Image.fromarray(np.full((48, 48), 0x80FF, np.uint16))), 0x80),
        (
            lambda: encoded(
                "PNG", Image.fromarray(np.full((48, 48), 0x80FF, np.uint16)), transparency=0x80FF
            ),
            0x80,
        ),
        (lambda: encoded("JPEG", Image.new("CMYK", (48, 48), (0, 0, 0, 0))), 255),
        (lambda: encoded("PNG", Image.new("P", (48, 48), 3)), None),
        (lambda: encoded("PNG", Image.new("LA", (48, 48), (200, 0))), 0),
        (lambda: encoded("PNG", Image.new("RGBA", (48, 48), (9, 9, 9, 255))), 9),
        (
            lambda: encoded(
                "GIF",
                Image.new("L", (48, 48), 0),
                save_all=True,
                append_images=[Image.new("L", (48, 48), 200)],
            ),
            0,
        ),
        (
            lambda: encoded(
                "PNG",
                Image.new("L", (48, 48), 5),
                save_all=True,
                append_images=[Image.new("L", (48, 48), 200)],
            ),
            5,
        ),
        (
            lambda: encoded(
                "WEBP",
                Image.new("RGB", (48, 48), 0),
                save_all=True,
                append_images=[Image.new("RGB", (48, 48), "white")],
            ),
            0,
        ),
        (
            lambda: encoded(
                "TIFF",
                Image.new("L", (48, 48), 5),
                save_all=True,
                append_images=[Image.new("L", (48, 48), 200)],
            ),
            5,
        ),
        (lambda: encoded("JPEG", Image.new("L", (48, 48), 128), exif=b"Exif\0\0MM\0*\0\0\0\x08"), 128),
        (lambda: encoded("PNG") + b"trailing bytes", None),
        (lambda: encoded("JPEG"), None),
    ],
    ids=[
        "1x1",
        "12-bit tiff",
        "12-bit grey tiff",
        "16-bit tiff with white as zero",
        "16-bit grey tiff with white as zero",
        "16-bit grey tiff",
        "8-bit grey tiff with white as zero",
        "bits",
        "16-bit png",
        "16-bit tiff",
        "16-bit transparent",
        "cmyk",
        "palette",
        "grey alpha",
        "rgba",
        "gif",
        "apng",
        "webp",
        "tiff pages",
        "cut exif",
        "tail",
        "jpeg as png",
    ],
)
def test_unusual_but_valid_pictures_are_read(
    tmp_path: Path, make: Callable[[], bytes], pixel: int | None
) -> None:
    write_images(tmp_path, "happy/a.png", data=make())
    faces = read_all(tmp_path)
    assert isinstance(faces, FaceSet), faces
    assert faces.face(0).dtype == np.uint8
    if pixel is not None:
        assert faces.face(0)[0, 0].tolist() == [pixel] * 3


@given(
    st.sampled_from(["PNG", "JPEG", "GIF", "TIFF", "BMP", "WEBP", "PPM"]), st.floats(0, 1, exclude_max=True)
)
@settings(max_examples=120, deadline=None)
def test_a_picture_that_was_cut_anywhere_is_refused_or_complete(kind: str, where: float) -> None:
    content = {"PNG": PNG, "JPEG": JPEG, "GIF": GIF, "TIFF": TIFF, "BMP": BMP, "WEBP": WEBP, "PPM": PPM}[kind]
    result = outcome(lambda: images.decode(content[: int(where * len(content))], "x"))
    assert isinstance(result, str) or np.array_equal(result, images.decode(content, "x"))


@given(
    st.sampled_from([PNG, JPEG, GIF, TIFF, BMP, WEBP, PPM]),
    st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), max_size=8),
)
@settings(max_examples=120, deadline=None)
def test_a_picture_with_other_bytes_is_a_picture_or_refused(
    content: bytes, changes: list[tuple[float, int]]
) -> None:
    data = bytearray(content)
    for where, value in changes:
        data[int(where * len(data))] = value
    result = outcome(lambda: images.decode(bytes(data), "x"))
    assert isinstance(result, str) or (result.dtype == np.uint8 and result.ndim == 3 and result.shape[2] == 3)


# -- special files with the name of a picture --------------------------------------------------


def pipe(path: Path) -> None:
    os.mkfifo(path)


def listening(path: Path) -> None:
    server = socket.socket(socket.AF_UNIX)
    here = os.getcwd()
    os.chdir(path.parent)  # the address of a socket has at most 107 bytes
    try:
        server.bind(path.name)
    finally:
        os.chdir(here)
        server.close()


def linked(target: str) -> Callable[[Path], None]:
    return lambda path: path.symlink_to(target)


def linked_pipe(path: Path) -> None:
    os.mkfifo(path.parent.parent / "pipe")
    path.symlink_to(path.parent.parent / "pipe")


def large(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(images.LARGEST_FILE + 1)


def locked(path: Path) -> None:
    path.write_bytes(encoded())
    path.chmod(0)


def circle(path: Path) -> None:
    path.symlink_to("other.png")
    (path.parent / "other.png").symlink_to(path.name)


SPECIAL: dict[str, tuple[Callable[[Path], None], str]] = {
    "a link to /dev/zero": (linked("/dev/zero"), "bad.png is a device, not a regular file"),
    "a link to /dev/random": (linked("/dev/random"), "bad.png is a device, not a regular file"),
    "a link to /dev/null": (linked("/dev/null"), "bad.png is a device, not a regular file"),
    "a link to /dev/tty": (linked("/dev/tty"), "bad.png is a device, not a regular file"),
    "a pipe": (pipe, "bad.png is a pipe, not a regular file"),
    "a link to a pipe": (linked_pipe, "bad.png is a pipe, not a regular file"),
    "a socket": (listening, "bad.png is a socket, not a regular file"),
    "a broken link": (linked("gone"), r"bad.png cannot be opened \(No such file"),
    "a link to itself": (linked("bad.png"), r"bad.png cannot be opened \(Too many levels"),
    "links in a circle": (circle, r"bad.png cannot be opened \(Too many levels"),
    "a link to a name that is too long": (
        linked("x" * 300),
        r"bad.png cannot be opened \(File name too long",
    ),
    "a file of the system without an end": (linked("/proc/self/mem"), "bad.png (is empty|cannot be opened)"),
    "a file that is too large": (
        large,
        "bad.png has 268,435,457 bytes; the largest file allowed has 268,435,456",
    ),
    "a file without permission": (locked, r"bad.png cannot be opened \(Permission denied"),
}


@pytest.mark.skipif(os.name != "posix", reason="links, pipes and devices of POSIX")
@pytest.mark.parametrize("kind", SPECIAL)
def test_only_regular_files_are_opened(tmp_path: Path, kind: str) -> None:
    if kind == "a file without permission" and ROOT:
        pytest.skip("root may read every file")
    make, expected = SPECIAL[kind]
    write_images(tmp_path, "happy/a.png")
    make(tmp_path / "happy" / "bad.png")
    message = read_all(tmp_path)
    assert isinstance(message, str)
    assert re.search(expected, message), message


@pytest.mark.skipif(os.name != "posix", reason="links of POSIX")
def test_links_to_files_and_folders_elsewhere_are_followed(tmp_path: Path) -> None:
    write_images(tmp_path / "elsewhere", "a.png", "more/b.png")
    write_images(tmp_path / "set", "sad/c.png")
    (tmp_path / "set" / "happy").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "set" / "sad" / "d.png").symlink_to(tmp_path / "elsewhere" / "a.png")
    faces = read_all(tmp_path / "set")
    assert isinstance(faces, FaceSet), faces
    assert faces.sources == ["happy/a.png", "happy/more/b.png", "sad/c.png", "sad/d.png"]


@pytest.mark.skipif(os.name != "posix", reason="links of POSIX")
def test_folders_that_link_to_each_other_are_read_once(tmp_path: Path) -> None:
    """Twelve folders with links to all twelve, so there are 12! paths."""
    for i in range(12):
        write_images(tmp_path, f"happy/{i:02}/a.png")
        for j in range(12):
            (tmp_path / "happy" / f"{i:02}" / f"to-{j:02}").symlink_to(tmp_path / "happy" / f"{j:02}")
    (tmp_path / "happy" / "self").symlink_to(tmp_path)
    faces = read_all(tmp_path)
    assert isinstance(faces, FaceSet), faces
    assert len(faces) == 12


def test_a_folder_with_the_name_of_a_picture_is_a_folder(tmp_path: Path) -> None:
    write_images(tmp_path, "happy/a.png", "happy/b.png/c.png")
    faces = read_all(tmp_path)
    assert isinstance(faces, FaceSet), faces
    assert faces.sources == ["happy/a.png", "happy/b.png/c.png"]


@pytest.mark.skipif(ROOT or os.name != "posix", reason="root may list every folder")
@pytest.mark.parametrize("mode", [0o000, 0o400, 0o100], ids=oct)
def test_a_class_folder_without_permission_is_refused(tmp_path: Path, mode: int) -> None:
    write_images(tmp_path, "happy/a.png", "sad/b.png")
    (tmp_path / "happy").chmod(mode)
    try:
        assert "happy" in str(outcome(lambda: datasets.load(str(tmp_path)).hashes))
    finally:
        (tmp_path / "happy").chmod(0o700)


# -- names ---------------------------------------------------------------------------------------------


@on_posix
@pytest.mark.parametrize("kind", NAMES)
def test_a_picture_may_have_any_name(tmp_path: Path, kind: str) -> None:
    named(tmp_path, "happy", NAMES[kind], encoded())
    faces = read_all(tmp_path)
    assert isinstance(faces, FaceSet), faces
    assert len(faces) == 1
    assert faces.sources[0].isprintable()


@on_posix
@pytest.mark.parametrize("kind", NAMES)
def test_an_unreadable_picture_of_any_name_is_named_on_one_line(tmp_path: Path, kind: str) -> None:
    named(tmp_path, "happy", NAMES[kind], b"")
    message = read_all(tmp_path)
    assert isinstance(message, str)
    assert "1 of 1 pictures cannot be read: happy/" in message


@on_posix
@pytest.mark.parametrize("kind", NAMES)
def test_a_dataset_may_have_any_name(tmp_path: Path, kind: str) -> None:
    root = Path(os.fsdecode(os.path.join(os.fsencode(tmp_path), NAMES[kind])))
    write_images(root, "happy/a.png")
    faces = read_all(root)
    assert isinstance(faces, FaceSet), faces
    assert faces.name.isprintable()


def test_the_first_ten_unreadable_pictures_are_named_and_all_are_counted(tmp_path: Path) -> None:
    write_images(tmp_path, "sad/good.png")
    write_images(tmp_path, *(f"happy/{i:02}.png" for i in range(13)), data=b"")
    message = read_all(tmp_path)
    assert isinstance(message, str)
    listing = ", ".join(f"happy/{i:02}.png" for i in range(10))
    assert f"13 of 14 pictures cannot be read: {listing}, … and 3 more. " in message
    assert "happy/10.png" not in message


def test_a_folder_of_nothing_but_unreadable_pictures_is_audited(tmp_path: Path) -> None:
    write_images(tmp_path, "happy/a.png", "sad/b.png", data=b"")
    assert "2 of 2 pictures cannot be read" in str(read_all(tmp_path))
