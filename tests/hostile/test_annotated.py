"""Untrusted copies of RAF-DB and AffectNet are read by their labels, or refused."""

from __future__ import annotations

import io
import os
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from image_folders import JPEG, read_all, write_images

from fer_models import datasets
from fer_models.datasets import FaceSet
from fer_models.datasets.schemes import SCHEMES
from fer_models.emotions import LABELS


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
