"""Untrusted folders: invalid pictures are named, ambiguous labels are refused, nothing hangs."""

from __future__ import annotations

import io
import json
import os
import re
import socket
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from guards import no_hang, outcome, unchanged
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from processes import run_python

from fer_models import cli, datasets, images
from fer_models.datasets import FaceSet, synthetic_drawing
from fer_models.datasets.audit import audit
from fer_models.datasets.audit_text import format_audit
from fer_models.datasets.schemes import SCHEMES
from fer_models.emotions import LABELS
from fer_models.store.subject import Subject

FACE = synthetic_drawing.draw("test", 0)
ROOT = hasattr(os, "geteuid") and os.geteuid() == 0


def encoded(kind: str = "PNG", picture: Image.Image | None = None, **options: Any) -> bytes:
    data = io.BytesIO()
    (picture or Image.fromarray(FACE)).save(data, kind, **options)
    return data.getvalue()


def write_images(root: Path, *names: str, data: bytes | None = None) -> Path:
    """Write a valid picture, or `data`, at each of the paths under `root`."""
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(encoded() if data is None else data)
    return root


def read_all(root: Path, scheme: str | None = None) -> FaceSet | str:
    """Read all faces of a folder and audit it: the faces, or the sentence that refuses them."""

    def load() -> FaceSet:
        faces = datasets.load(str(root), label_scheme=scheme)
        with no_hang():
            assert format_audit(
                audit([faces], near=False)
            ).encode()  # unreadable pictures do not end an audit
        json.dumps([*faces.sources, *faces.notes, faces.name], ensure_ascii=False).encode()
        assert faces.hashes
        return faces

    with unchanged(root):
        return outcome(load)


# -- invalid pictures ----------------------------------------------------------------------------


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(width: int, height: int, *chunks: bytes, depth: int = 8, colour: int = 0) -> bytes:
    """A PNG with the size in its header, and a few bytes of pixels."""
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))
    return (
        b"\x89PNG\r\n\x1a\n"
        + head
        + b"".join(chunks)
        + chunk(b"IDAT", zlib.compress(b"\0" * 99))
        + chunk(b"IEND", b"")
    )


PNG, JPEG = encoded(), encoded("JPEG")
GIF, TIFF, BMP, WEBP, PPM = (encoded(kind) for kind in ("GIF", "TIFF", "BMP", "WEBP", "PPM"))
NO_PICTURES: dict[str, bytes] = {
    "empty": b"",
    "one byte": b"\x89",
    "text": b"emotion,pixels,Usage\n",
    "html": b"<html><script>alert(1)</script></html>",
    "svg": b'<svg xmlns="http://www.w3.org/2000/svg"/>',
    "json": b'{"a": 1}',
    "zip": b"PK\x03\x04" + b"\0" * 60,
    "pdf": b"%PDF-1.4\n",
    "elf": b"\x7fELF" + b"\0" * 60,
    "zeros": b"\0" * 1000,
    "ones": b"\xff" * 1000,
    "git-lfs pointer": b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12\n",
    "eps, which other programs read": encoded("EPS"),
    "ico": encoded("ICO"),
    "pcx": encoded("PCX"),
    "png signature only": PNG[:8],
    "png header only": PNG[:33],
    "png half": PNG[: len(PNG) // 2],
    "png without its checksum": PNG[:40] + b"\0\0\0\0" + PNG[44:],
    "png with fewer pixels than its header": png(48, 48),
    "png 0x0": png(0, 0),
    "png of unknown depth": png(4, 4, depth=7),
    "jpeg start": JPEG[:2],
    "jpeg tables only": JPEG[:300],
    "jpeg half": JPEG[: len(JPEG) // 2],
    "gif header": GIF[:13],
    "gif half": GIF[: len(GIF) // 2],
    "tiff header": TIFF[:8],
    "tiff half": TIFF[: len(TIFF) // 2],
    "bmp header": BMP[:54],
    "bmp half": BMP[: len(BMP) // 2],
    "webp half": WEBP[: len(WEBP) // 2],
    "ppm half": PPM[: len(PPM) // 2],
    "ppm without a size": b"P6\n-1 -1\n255\n",
    "bomb: png 30000x30000": png(30000, 30000),
    "bomb: png 2147483647 wide": png(2**31 - 1, 1),
    "bomb: png 8193x1": encoded("PNG", Image.new("L", (images.LARGEST_SIDE + 1, 1))),
    "bomb: text of 80 MB": png(4, 4, chunk(b"zTXt", b"a\0\0" + zlib.compress(b"\0" * 80_000_000, 9))),
    "bomb: gif 65535x65535": GIF[:6] + b"\xff\xff\xff\xff" + GIF[10:],
    "bomb: bmp 2000000 high": BMP[:22] + struct.pack("<i", 2_000_000) + BMP[26:],
    "bomb: ppm 99999x99999": b"P6\n99999 99999\n255\n",
    "32-bit integers": encoded("TIFF", Image.fromarray(np.full((48, 48), 70000, np.int32))),
    "32-bit floats": encoded("TIFF", Image.fromarray(np.full((48, 48), 0.5, np.float32))),
    "16-bit pgm": b"P5\n48 48\n65535\n" + b"\1\2" * 48 * 48,
}


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


@pytest.mark.parametrize(
    ("make", "pixel"),
    [
        (lambda: encoded("PNG", Image.new("L", (1, 1), 7)), 7),
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

NAMES: dict[str, bytes] = {
    "no utf-8": b"\xff\xfe",
    "latin-1": b"caf\xe9",
    "cut utf-8": b"\xe2\x82",
    "encoded surrogate": b"\xed\xa0\x80",
    "line break": b"a\nb",
    "carriage return": b"a\rERROR",
    "tab": b"a\tb",
    "escape sequence": b"\x1b[31mred\x1b[2J",
    "bell": b"\x07",
    "right to left": "evil\u202egnp".encode(),
    "arabic": "\u0648\u062c\u0647".encode(),
    "hebrew": "\u05e4\u05e0\u05d9\u05dd".encode(),
    "html": b"<script>alert(1)<",
    "html attribute": b"\" onerror='alert(1)' x=\"",
    "entity": b"&lt;b&gt;",
    "format": b"%s%n{0}{x}",
    "shell": b"$(touch x);`id`&",
    "dash": b"--help",
    "backslash": b"a\\b",
    "emoji": "\U0001f600\u200d".encode(),
    "combining": "e\u0301\u0308".encode(),
    "spaces": b"  a  ",
    "tilde": b"~root",
    "star": b"*?[a]",
    "quote": b"it's",
    "csv": b'a,"b"',
    "dots": b"a..b",
    "long": b"x" * 251,
    "long and many bytes": "\u00e9".encode() * 125,
}
on_posix = pytest.mark.skipif(os.name != "posix", reason="Windows has no such names")


def named(root: Path, folder: str, name: bytes, data: bytes) -> None:
    (root / folder).mkdir(parents=True, exist_ok=True)
    with open(os.path.join(os.fsencode(root / folder), name + b".png"), "wb") as file:
        file.write(data)


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


# -- layouts -------------------------------------------------------------------------------------------

LAYOUTS: dict[str, tuple[list[str], str | list[str]]] = {
    "nothing": ([], "holds no labelled image"),
    "a picture alone": (["a.png"], "holds no labelled image"),
    "a split without classes": (["train/a.png", "test/a.png"], "holds no labelled image"),
    "an unknown class": (["happy/a.png", "hapy/b.png"], "hapy is not a class folder"),
    "a class of another language": (["heureux/a.png"], "heureux is not a class folder"),
    "only contempt": (["contempt/a.png"], "holds no labelled image"),
    "only text": (["happy/a.txt"], "holds no labelled image"),
    "two folders for one split": (
        ["val/happy/a.png", "valid/happy/a.png"],
        "both claim to be the validation split",
    ),
    "three held-out splits": (
        ["train/sad/a.png", "val/sad/a.png", "public_test/sad/a.png"],
        "no test split. Choose with --split",
    ),
    "numbers": (["0/a.png", "1/a.png"], "Select their scheme: --label-scheme affectnet"),
    "a name and a number": (["happy/a.png", "3/a.png"], "3 is not a class folder"),
    "superscript digits": (["\u00b2/a.png"], "is not a class folder"),
    "arabic digits": (["\u0663/a.png"], "is not a class folder"),
    "a negative number": (["-1/a.png"], "-1 is not a class folder"),
    "a fraction": (["1.5/a.png"], "1.5 is not a class folder"),
    "a number of twenty digits": (["1" * 20 + "/a.png"], "is not a class folder"),
    "one class": (["happy/a.png"], ["happy/a.png"]),
    "mixed case": (["HAPPY/a.PNG", "Sad/b.JpG"], ["HAPPY/a.PNG", "Sad/b.JpG"]),
    "two spellings": (["happy/a.png", "happiness/b.png"], ["happiness/b.png", "happy/b.png"]),
    "nested": (["happy/x/y/z/a.png"], ["happy/x/y/z/a.png"]),
    "hidden": (["happy/a.png", "happy/.b.png", ".git/c.png", "__MACOSX/d.png"], ["happy/a.png"]),
    "an empty class": (["happy/a.png", "sad/.keep"], ["happy/a.png"]),
    "a split without a class": (["test/happy/a.png", "train/sad/b.png"], ["test/happy/a.png"]),
    "spaces around": ([" happy /a.png"], [" happy /a.png"]),
    "indexed names": (["0_angry/a.png", "3. happy/b.png"], ["0_angry/a.png", "3. happy/b.png"]),
    "other files": (["happy/a.png", "happy/b.db", "notes.txt"], ["happy/a.png"]),
    "empty annotations": (["annotations/.keep", "images/a.png"], "holds no labelled image"),
    "images without annotations": (["images/a.png"], "images is not a class folder"),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_layout_is_read_as_expected_or_refused(tmp_path: Path, layout: str) -> None:
    names, expected = LAYOUTS[layout]
    write_images(tmp_path, *names)
    result = read_all(tmp_path)
    if isinstance(expected, str):
        assert isinstance(result, str), result
        assert expected in result
    else:
        assert isinstance(result, FaceSet), result
        assert len(result) == len(expected)


@pytest.mark.parametrize(
    "name",
    [
        "",
        "x" * 5000,
        "~nobody-of-this-name/x",
        "a\0b",
        "/dev/zero",
        "synthetic/",
        "\udcff",
        "http://example.org/set",
    ],
    ids=ascii,
)
def test_a_dataset_that_is_no_folder_is_refused(name: str) -> None:
    for load in (
        lambda: datasets.load(name),
        lambda: datasets.load("x", root=Path(name or "gone")),
        lambda: datasets.load("fer2013", root=Path(name or "gone")),
    ):
        assert isinstance(outcome(load), str)


@given(st.lists(st.integers(0, 12), min_size=1, max_size=12, unique=True), st.sampled_from([None, *SCHEMES]))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_numbers_have_the_meaning_of_the_named_scheme_or_none(
    tmp_path_factory: pytest.TempPathFactory, numbers: list[int], scheme: str | None
) -> None:
    root = write_images(tmp_path_factory.mktemp("numbers"), *(f"{n}/a.png" for n in numbers))
    result = read_all(root, scheme)
    classes = SCHEMES[scheme].classes if scheme else {}
    if not set(numbers) <= set(classes) or not any(classes[n] in LABELS for n in numbers):
        assert isinstance(result, str)
    else:
        assert isinstance(result, FaceSet), result
        assert {
            source: LABELS[label] for source, label in zip(result.sources, result.labels, strict=True)
        } == {f"{n}/a.png": classes[n] for n in numbers if classes[n] in LABELS}


# -- schemes -------------------------------------------------------------------------------------------

NO_SCHEMES: dict[str, bytes] = {
    "empty": b"",
    "no json": b"happy",
    "cut": b'{"0": "happy"',
    "no utf-8": b'{"0": "\xff"}',
    "a list": b'["happy"]',
    "a number": b"3",
    "null": b"null",
    "an empty object": b"{}",
    "nothing but null": b'{"0": null}',
    "nothing but contempt": b'{"0": "contempt"}',
    "an unknown emotion": b'{"0": "hapy"}',
    "an emotion twice": b'{"0": "happy", "1": "joy"}',
    "a number twice": b'{"0": "happy", "0": "sad"}',
    "a number with zeros": b'{"00": "happy"}',
    "a negative number": b'{"-1": "happy"}',
    "a fraction": b'{"1.0": "happy"}',
    "a name as a number": b'{"happy": "0"}',
    "a number as a name": b'{"0": 3}',
    "true": b'{"0": true}',
    "NaN": b'{"0": NaN}',
    "a list as a name": b'{"0": ["happy"]}',
    "deep": b"[" * 20_000,
    "a large number": b'{"0": ' + b"9" * 5000 + b"}",
    "an empty name": b'{"0": ""}',
    "too large": b" " * 70_000 + b'{"0": "happy"}',
}


@pytest.mark.parametrize("kind", NO_SCHEMES)
def test_an_invalid_scheme_file_is_refused(tmp_path: Path, kind: str) -> None:
    write_images(tmp_path / "set", "0/a.png")
    (tmp_path / "scheme.json").write_bytes(NO_SCHEMES[kind])
    message = read_all(tmp_path / "set", str(tmp_path / "scheme.json"))
    assert isinstance(message, str)
    assert "scheme.json" in message


def test_a_scheme_file_gives_numbers_their_meaning(tmp_path: Path) -> None:
    write_images(tmp_path / "set", "0/a.png", "7/b.png", "8/c.png", "9/d.png")
    (tmp_path / "scheme.json").write_text('{"0": "joy", "7": "contempt", "8": null, "9": "Sadness"}')
    faces = read_all(tmp_path / "set", str(tmp_path / "scheme.json"))
    assert isinstance(faces, FaceSet), faces
    assert dict(zip(faces.sources, [LABELS[i] for i in faces.labels], strict=True)) == {
        "0/a.png": "happy",
        "9/d.png": "sad",
    }
    assert (
        faces.notes[0] == f"numbered folders read by the label scheme {tmp_path}/scheme.json: "
        "0 joy, 7 contempt (dropped), 8 other (dropped), 9 Sadness"
    )
    assert faces.notes[1] == "dropped 2 faces outside the seven emotions: 7 contempt 1, 8 other 1"


@pytest.mark.parametrize(
    "given_scheme",
    ["", "AffectNet8", "raf db", "/dev/zero", "/", "gone.json", "x" * 5000, "\udcff", "a\0b"],
    ids=ascii,
)
def test_an_unknown_scheme_is_refused(tmp_path: Path, given_scheme: str) -> None:
    write_images(tmp_path, "1/a.png")
    assert isinstance(read_all(tmp_path, given_scheme), str)


@pytest.mark.parametrize("name", datasets.DATASETS)
def test_a_scheme_for_a_dataset_of_known_labels_is_refused(tmp_path: Path, name: str) -> None:
    message = outcome(lambda: datasets.load(name, root=tmp_path, label_scheme="raf-db"))
    assert f"the labels of {name} are known. Leave it out" in message


@pytest.mark.parametrize(
    "command",
    ["data", "data audit", "train vgg19", "probe clip-nano", "fuse vgg19 resnet50", "study protocols"],
)
def test_every_command_that_takes_a_dataset_takes_its_scheme(
    tmp_path: Path, command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    write_images(
        tmp_path, *(f"{split}/{n}/a.png" for split in ("train", "validation", "test") for n in range(8))
    )
    with no_hang():  # 0 is no class of RAF-DB
        assert cli.main([*command.split(), "--dataset", str(tmp_path), "--label-scheme", "raf-db"]) == 4
    assert "0 is not a class folder: the label scheme raf-db has no class 0" in capsys.readouterr().err


# -- RAF-DB and AffectNet as they are published --------------------------------------------------------


def raf_db(root: Path, *lines: str, missing: str = "", inner: str = "") -> Path:
    """RAF-DB with one picture for each line of its list."""
    root = root / inner
    (root / "EmoLabel").mkdir(parents=True)
    (root / "EmoLabel" / "list_patition_label.txt").write_text("\n".join(lines))
    for name in (line.split(".")[0] for line in lines):
        if name != missing:
            write_images(root, f"Image/aligned/{name}_aligned.jpg", data=JPEG)
    return root


RAF_LINES = [f"{split}_{i:05}.jpg {i}" for split in ("test", "train") for i in range(1, 8)]


@pytest.mark.parametrize("inner", ["", "basic"])
@pytest.mark.parametrize("split", ["train", "test"])
def test_raf_db_is_read_by_its_list(tmp_path: Path, inner: str, split: str) -> None:
    raf_db(tmp_path, *reversed(RAF_LINES), inner=inner)
    faces = datasets.load(str(tmp_path), split)
    assert " ".join(LABELS[i] for i in faces.labels) == "surprise fear disgust happy sad angry neutral"
    assert faces.sources[0] == (Path(inner) / f"Image/aligned/{split}_00001_aligned.jpg").as_posix()
    assert faces.notes == (
        "labels from RAF-DB's list_patition_label.txt: "
        "1 surprise, 2 fear, 3 disgust, 4 happy, 5 sad, 6 angry, 7 neutral",
    )
    assert datasets.splits(str(tmp_path)) == ("test", "train")
    assert len(faces.hashes) == 7


RAF_BROKEN: dict[str, tuple[list[str], str]] = {
    "nothing": ([""], "lists no picture"),
    "class 0": (["test_00001.jpg 0"], "line 1 is 'test_00001.jpg 0', not a picture and its class"),
    "class 8": (["test_00001.jpg 8"], "line 1 is"),
    "a name": (["test_00001.jpg happy"], "line 1 is"),
    "no class": (["test_00001.jpg"], "line 1 is"),
    "a fraction": (["test_00001.jpg 1.0"], "line 1 is"),
    "two classes": (["test_00001.jpg 1 2"], "line 1 is"),
    "another split": (["val_00001.jpg 1"], "line 1 is"),
    "a path": (["../../test_00001.jpg 1"], "line 1 is"),
    "a picture twice": (
        ["test_00001.jpg 1", "", "test_00001.jpg 2"],
        "line 3 names test_00001.jpg a second time",
    ),
    "binary": (["\0\1\2"], "line 1 is"),
}


@pytest.mark.parametrize("kind", RAF_BROKEN)
def test_a_broken_list_of_raf_db_is_refused_by_line(tmp_path: Path, kind: str) -> None:
    lines, expected = RAF_BROKEN[kind]
    (tmp_path / "EmoLabel").mkdir()
    (tmp_path / "EmoLabel" / "list_patition_label.txt").write_text("\n".join(lines))
    write_images(tmp_path, "Image/aligned/test_00001_aligned.jpg")
    assert expected in str(read_all(tmp_path))


def test_raf_db_with_a_missing_or_an_extra_picture_is_reported(tmp_path: Path) -> None:
    raf_db(tmp_path, *RAF_LINES, missing="test_00003")
    write_images(tmp_path, "Image/aligned/test_09999_aligned.jpg")
    assert "1 of 7 pictures cannot be read: Image/aligned/test_00003_aligned.jpg" in str(read_all(tmp_path))
    assert "ignored 1 files in Image/aligned that have no label" in datasets.load(str(tmp_path)).notes


def test_raf_db_without_its_aligned_faces_is_refused(tmp_path: Path) -> None:
    raf_db(tmp_path, *RAF_LINES)
    (tmp_path / "Image" / "aligned").rename(tmp_path / "Image" / "original")
    assert "unpack aligned.zip there" in str(read_all(tmp_path))


@pytest.mark.skipif(os.name != "posix", reason="pipes of POSIX")
def test_a_list_of_raf_db_that_is_a_pipe_is_refused(tmp_path: Path) -> None:
    (tmp_path / "EmoLabel").mkdir()
    os.mkfifo(tmp_path / "EmoLabel" / "list_patition_label.txt")
    assert "is a pipe, not a regular file" in str(read_all(tmp_path))


def affectnet(root: Path, labels: dict[str, Any]) -> Path:
    """AffectNet's `val_set` with a picture and an annotation for each label: an array, or bytes."""
    (root / "val_set" / "annotations").mkdir(parents=True)
    for stem, label in labels.items():
        write_images(root, f"val_set/images/{stem}.jpg", data=JPEG)
        data = io.BytesIO()
        if isinstance(label, bytes):
            data.write(label)
        else:
            np.save(data, label, allow_pickle=True)
        (root / "val_set" / "annotations" / f"{stem}_exp.npy").write_bytes(data.getvalue())
    return root


@pytest.mark.parametrize("kind", ["digits", "integers", "bytes", "one element"])
def test_affectnet_is_read_by_its_annotations(tmp_path: Path, kind: str) -> None:
    make = {"digits": str, "integers": int, "bytes": lambda n: str(n).encode(), "one element": lambda n: [n]}[
        kind
    ]
    affectnet(tmp_path, {f"{n:02}": np.array(make(n)) for n in range(11)})
    (tmp_path / "val_set" / "annotations" / "00_val.npy").write_bytes(b"not read")
    faces = read_all(tmp_path)
    assert isinstance(faces, FaceSet), faces
    assert faces.name == f"{tmp_path.name}/validation"
    assert " ".join(LABELS[i] for i in faces.labels) == "neutral happy sad surprise fear disgust angry"
    assert faces.notes[0].startswith("labels from AffectNet's annotations/*_exp.npy: 0 neutral, 1 happy")
    assert (
        faces.notes[1]
        == "dropped 4 faces outside the seven emotions: 10 no-face 1, 7 contempt 1, 8 none 1, 9 uncertain 1"
    )


def npy(header: bytes, body: bytes = b"") -> bytes:
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + body


BROKEN_ANNOTATIONS: dict[str, Any] = {
    "empty": b"",
    "text": b"3",
    "magic only": b"\x93NUMPY",
    "cut": npy(b"{'descr': '<i8', 'fortran_order': False, 'shape': ()}"),
    "10^18 elements": npy(b"{'descr': '<i8', 'fortran_order': False, 'shape': (10**18,)}"),
    "a large shape": npy(b"{'descr': '<i8', 'fortran_order': False, 'shape': (1000000000000,)}", b"\0" * 8),
    "code as a header": npy(b"__import__('os').system('true')"),
    "no dictionary": npy(b"[1, 2]"),
    "a pickle": b"\x80\x04K\x03.",
    "an object": np.array({"a": 1}, dtype=object),
    "an npz": b"PK\x03\x04" + b"\0" * 60,
    "true": np.array(True),
    "a fraction": np.array(2.5),
    "a whole float": np.array(2.0),
    "nan": np.array(np.nan),
    "negative": np.array(-1),
    "eleven": np.array(11),
    "two labels": np.array([1, 2]),
    "no label": np.array([], dtype=np.int64),
    "a name": np.array("happy"),
    "a record": np.array([(1, 2)], dtype=[("a", "i4"), ("b", "i4")]),
    "complex": np.array(1 + 0j),
    "no utf-8": np.array(b"\xff"),
    "too large": b"\x93NUMPY" + b" " * 70_000,
}


@pytest.mark.parametrize("kind", BROKEN_ANNOTATIONS)
def test_a_broken_annotation_of_affectnet_is_refused_by_name(tmp_path: Path, kind: str) -> None:
    affectnet(tmp_path, {"1": np.array("3"), "2": BROKEN_ANNOTATIONS[kind]})
    assert "2_exp.npy" in str(read_all(tmp_path))


def test_affectnet_with_a_missing_or_an_extra_picture_is_reported(tmp_path: Path) -> None:
    affectnet(tmp_path, {"1": np.array("3"), "2": np.array("4")})
    (tmp_path / "val_set" / "images" / "2.jpg").rename(tmp_path / "val_set" / "images" / "3.jpg")
    assert "1 of 2 pictures cannot be read: val_set/images/2.jpg" in str(read_all(tmp_path))
    assert "ignored 1 files in images that have no annotation" in datasets.load(str(tmp_path)).notes


def test_two_pictures_with_one_annotation_are_refused(tmp_path: Path) -> None:
    affectnet(tmp_path, {"1": np.array("3")})
    write_images(tmp_path, "val_set/images/1.png")
    assert "have one annotation between them" in str(read_all(tmp_path))


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_scheme_for_raf_db_or_affectnet_is_refused(tmp_path: Path, scheme: str) -> None:
    raf_db(tmp_path / "raf", *RAF_LINES)
    affectnet(tmp_path / "affectnet", {"1": np.array("3")})
    assert f"RAF-DB's own. Leave out --label-scheme {scheme}" in str(read_all(tmp_path / "raf", scheme))
    assert f"AffectNet's own. Leave out --label-scheme {scheme}" in str(
        read_all(tmp_path / "affectnet", scheme)
    )


# -- complete runs -------------------------------------------------------------------------------

SEVERAL = """
import sys, pytest
sys.stderr = sys.stdout
for command in {commands!r}:
    print("=-=-=", flush=True)
    print("code", int(pytest.main([*command, "-W", "ignore::pytest.PytestAssertRewriteWarning"])), flush=True)
"""


def evals(repository: Path, folder: Path, *commands: list[str]) -> list[str]:
    """The output of `pytest evals` for each of `commands`, in one process, with the exit code at its end."""
    common = ["evals", "-p", "no:cacheprovider", "--model", "vgg19", "--work-dir", str(folder)]
    (folder / "runs.py").write_text(SEVERAL.format(commands=[[*common, *command] for command in commands]))
    alone = {k: v for k, v in os.environ.items() if not k.startswith("PYTEST_")} | {
        "FER_MODELS_WEIGHTS": os.devnull
    }
    done = run_python([str(folder / "runs.py")], repository, alone, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.split("=-=-=")[1:]


@on_posix
def test_a_run_on_unreadable_pictures_ends_in_one_sentence_and_leaves_a_report(
    tmp_path: Path, repository: Path
) -> None:
    root = write_images(tmp_path / "set", *(f"{label}/{i}.png" for label in LABELS for i in range(2)))
    for i, (kind, data) in enumerate(NO_PICTURES.items()):
        write_images(root, f"happy/{i:02}-{kind.split(':')[0].replace(' ', '-')}.png", data=data)
    named(root, "happy", NAMES["html"], b"")
    named(root, "happy", NAMES["no utf-8"], b"")
    (root / "happy" / "device.png").symlink_to("/dev/zero")
    message = evals(repository, tmp_path, ["--dataset", str(root)], ["--dataset", str(root), "-n", "2"])
    n = len(NO_PICTURES) + 3
    for printed in message:
        assert printed.rstrip().endswith("code 4")
        assert "Traceback" not in printed
        assert "INTERNALERROR" not in printed
        assert printed.count("cannot be read: ") == 1
        assert f"set/all: {n} of {n + 14} pictures cannot be read: happy/00-empty.png, " in printed
        assert f"… and {n - 10} more" in printed
        assert f"fer-models data audit --dataset {root}" in printed
    report = json.loads((tmp_path / "reports" / "evals.json").read_text())
    assert [error["message"] for error in report["errors"]] == [
        message[0].split("ERROR: ")[1].splitlines()[0]
    ]
    assert report["results"] == []
    assert f"{n} of {n + 14} pictures cannot be read" in (tmp_path / "reports" / "evals.html").read_text()


@on_posix
def test_names_of_sound_pictures_are_escaped_on_the_page(tmp_path: Path, repository: Path) -> None:
    root = tmp_path / "set"
    for i in range(14):
        write_images(
            root,
            f"test/{LABELS[i % 7]}/{i}.png",
            data=encoded("PNG", Image.fromarray(synthetic_drawing.draw("test", i))),
        )
    # the report shows duplicates with the names of both
    copy = encoded("PNG", Image.fromarray(synthetic_drawing.draw("test", 3)))
    named(root, "train/happy", b"<script>alert(1)<\xff\n\xe2\x80\xaex", copy)
    named(root, "test/happy", b"<script>alert(2)<\xfe", encoded("PNG", Image.new("L", (3, 3), 9)))
    (message,) = evals(repository, tmp_path, ["--dataset", str(root), "-k", "test_data"])
    assert message.rstrip().endswith("code 1")  # one face is too small
    assert "INTERNALERROR" not in message
    page = (tmp_path / "reports" / "evals.html").read_bytes()
    assert b"&lt;script&gt;alert(1)&lt;\\udcff\\n\\u202ex.png" in page
    assert b"<script>alert(" not in page
    page.decode("utf-8")
    report = json.loads((tmp_path / "reports" / "evals.json").read_text())
    json.dumps(report, ensure_ascii=False).encode()
    audited = report["data"]["set/test"]["audit"]
    assert audited["splits"][1]["tiny"] == ["test/happy/<script>alert(2)<\\udcfe.png"]


def test_a_dataset_of_any_name_has_a_folder_in_the_store() -> None:
    folder = Subject("x" * 255, "all", "raw", "vgg19").folder("0" * 64)
    assert len(folder) < 150
    assert folder.endswith("x-all-raw-vgg19-0000000000000000")


@on_posix
def test_the_audit_of_unreadable_pictures_lists_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_images(tmp_path, "sad/good.png")
    for i, data in enumerate(NO_PICTURES.values()):
        write_images(tmp_path, f"happy/{i:02}.png", data=data)
    named(tmp_path, "happy", NAMES["no utf-8"], b"")
    with no_hang(), unchanged(tmp_path):
        assert cli.main(["data", "audit", "--dataset", str(tmp_path)]) == 0
        printed = capsys.readouterr().out
        assert cli.main(["data", "audit", "--dataset", str(tmp_path), "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)["splits"][0]["unreadable"]
    assert len(listed) == len(NO_PICTURES) + 1
    assert printed.count("all: unreadable: ") == 10
    assert f"and {len(listed) - 10} more that cannot be read" in printed
