"""Untrusted Parquet files of FER-2013: invalid labels, pixels and pictures are refused."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fer2013_tables import GREY, PICTURE, TEXT, load, picture
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fer_models.datasets import FaceSet

HUB = {"bytes": PICTURE, "path": None}


def write(
    folder: Path,
    columns: dict[str, Any] | pa.Table,
    name: str = "train.parquet",
    metadata: dict[str, str] | None = None,
) -> Path:
    table = columns if isinstance(columns, pa.Table) else pa.table(columns)
    pq.write_table(table.replace_schema_metadata(metadata) if metadata else table, folder / name)
    return folder


def refused(root: Path, expected: str) -> None:
    result = load(root)
    assert isinstance(result, str), f"read as {result.labels.tolist()}"
    assert "train.parquet" in result
    assert expected in result, result


# -- labels --------------------------------------------------------------------------------------------

BAD_LABELS: dict[str, tuple[pa.Array, str]] = {
    "booleans": (
        pa.array([False, True]),
        "row 0: a label must be a class number or an emotion's name, got False",
    ),
    "a boolean and null": (pa.array([None, True]), "row 0: a label must be"),
    "whole floats": (
        pa.array([0.0, 3.0]),
        "row 0: a label must be a class number or an emotion's name, got 0.0",
    ),
    "fractions": (pa.array([0.5, 3.0]), "row 0: a label must be"),
    "nan": (pa.array([float("nan"), 3.0]), "row 0: a label must be"),
    "infinity": (pa.array([float("inf"), 3.0]), "row 0: a label must be"),
    "half floats": (pa.array([np.float16(0), np.float16(3)]), "row 0: a label must be"),
    "null": (pa.array([0, None]), "row 1: a label must be a class number or an emotion's name, got None"),
    "nothing but null": (pa.array([None, None]), "row 0: a label must be"),
    "a name and null": (pa.array(["happy", None]), "row 1: a label must be"),
    "negative": (pa.array([0, -1]), "row 1: Label space"),
    "seven": (pa.array([0, 7]), "row 1: Label space"),
    "256": (pa.array([0, 256]), "row 1: Label space"),
    "2^63": (pa.array([0, 2**63], pa.uint64()), "row 1: Label space"),
    "decimals": (pa.array([0, 3], pa.decimal128(5, 2)), "row 0: a label must be"),
    "dates": (pa.array([0, 3], pa.date32()), "row 0: a label must be"),
    "times": (pa.array([0, 3], pa.timestamp("s")), "row 0: a label must be"),
    "times that python cannot hold": (pa.array([2**60, 3], pa.timestamp("ms")), "cannot be read as parquet"),
    "durations": (pa.array([0, 3], pa.duration("s")), "row 0: a label must be"),
    "bytes": (pa.array([b"happy", b"sad"]), "row 0: a label must be"),
    "lists": (pa.array([[0], [3]]), "row 0: a label must be"),
    "lists of names": (pa.array([["happy"], ["sad"]]), "row 0: a label must be"),
    "structs": (pa.array([{"label": 0}, {"label": 3}]), "row 0: a label must be"),
    "maps": (pa.array([[("a", 0)], [("b", 3)]], pa.map_(pa.string(), pa.int64())), "row 0: a label must be"),
    "one-hot rows": (pa.array([[1, 0, 0, 0, 0, 0, 0]] * 2), "row 0: a label must be"),
    "digits as text": (pa.array(["0", "3"]), "row 0: '0' is not the name of an emotion"),
    "an unknown name": (pa.array(["happy", "hapy"]), "row 1: 'hapy' is not the name of an emotion"),
    "an empty name": (pa.array(["happy", ""]), "row 1: '' is not the name"),
    "names with line breaks": (pa.array(["happy", "sad\nmore"]), "row 1: 'sad\\nmore' is not"),
    "names with controls": (pa.array(["\x1b[2J", "sad"]), "row 0: '\\x1b[2J' is not"),
    "html": (pa.array(["<script>alert(1)</script>", "sad"]), "row 0: '<script>"),
    "a very long name": (pa.array(["x" * 50, "sad"]), "row 0: 'xxx"),
    "text that is no utf-8": (
        pa.StringArray.from_buffers(
            2, pa.py_buffer(np.array([0, 2, 4], np.int32).tobytes()), pa.py_buffer(b"\xff\xfe\xff\xfe")
        ),
        "cannot be read as parquet",
    ),
}


@pytest.mark.parametrize("kind", BAD_LABELS)
def test_an_invalid_label_is_refused_by_row(tmp_path: Path, kind: str) -> None:
    labels, expected = BAD_LABELS[kind]
    refused(write(tmp_path, {"image": [HUB, HUB], "label": labels}), expected)


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        (pa.array([0, 3], pa.int8()), [0, 3]),
        (pa.array([0, 3], pa.uint8()), [0, 3]),
        (pa.array([0, 3], pa.int64()), [0, 3]),
        (pa.array([0, 3], pa.uint64()), [0, 3]),
        (pa.array(["Angry", " HAPPY "]), [0, 3]),
        (pa.array(["anger", "joy"], pa.large_string()), [0, 3]),
        (pa.array(["angry", "happy"]).dictionary_encode(), [0, 3]),
        (pa.array(["contempt", "happy"]), [3]),
        (pa.chunked_array([pa.array([0]), pa.array([3])]), [0, 3]),
    ],
    ids=["int8", "uint8", "int64", "uint64", "names", "large names", "categories", "contempt", "chunks"],
)
def test_sound_labels_of_any_column_type_are_read(
    tmp_path: Path, labels: pa.Array, expected: list[int]
) -> None:
    result = load(write(tmp_path, {"image": [HUB, HUB], "label": labels}))
    assert isinstance(result, FaceSet), result
    assert result.labels.tolist() == expected


@pytest.mark.slow
@given(
    st.lists(
        st.one_of(
            st.integers(), st.booleans(), st.none(), st.floats(), st.text(max_size=5), st.binary(max_size=5)
        ),
        min_size=1,
        max_size=3,
    )
)
@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_column_of_labels_has_integers_of_0_to_6_or_is_refused(
    tmp_path_factory: pytest.TempPathFactory, labels: list[Any]
) -> None:
    try:
        column = pa.array(labels)
    except (pa.ArrowException, OverflowError, UnicodeEncodeError):
        return  # no column has such values
    result = load(write(tmp_path_factory.mktemp("labels"), {"image": [HUB] * len(labels), "label": column}))
    sound = all(type(label) is int and 0 <= label <= 6 for label in labels)
    assert isinstance(result, FaceSet) == sound, result
    if sound:
        assert result.labels.tolist() == labels


# -- the names of a ClassLabel -------------------------------------------------------------------------


def class_label(names: Any) -> dict[str, str]:
    return {
        "huggingface": json.dumps({"info": {"features": {"label": {"names": names, "_type": "ClassLabel"}}}})
    }


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["angry", "hapy"], "'hapy' is not the name of an emotion"),
        (["angry", "anger"], "names an emotion twice"),
        ([], "read"),
        (["happy"], "row 1: Label space"),
        ([0, 1, 2, 3], "'0' is not the name"),
        ([None, "happy"], "read"),
        ("angry", "read"),
        ({"0": "angry"}, "read"),
        (7, "read"),
        (None, "read"),
        ([["angry"]], "is not the name"),
    ],
    ids=str,
)
def test_names_of_classes_are_emotions_or_refused(tmp_path: Path, names: Any, expected: str) -> None:
    root = write(tmp_path, {"image": [HUB, HUB], "label": [0, 1]}, metadata=class_label(names))
    if expected == "read":  # names that are no list are ignored; the numbers are those of fer2013.csv
        assert isinstance(load(root), FaceSet)
    else:
        refused(root, expected)


@pytest.mark.parametrize(
    "metadata",
    ["", "{", "null", "[]", '{"info": []}', '{"info": {"features": []}}', "[" * 50_000, "x"],
    ids=lambda text: text[:9],
)
def test_metadata_that_names_nothing_leaves_the_numbers_of_the_csv_file(
    tmp_path: Path, metadata: str
) -> None:
    result = load(write(tmp_path, {"image": [HUB, HUB], "label": [0, 3]}, metadata={"huggingface": metadata}))
    assert isinstance(result, FaceSet), result
    assert result.labels.tolist() == [0, 3]


# -- pictures ------------------------------------------------------------------------------------------

BAD_IMAGES: dict[str, tuple[Any, str]] = {
    "text as bytes": ([PICTURE, b"not a picture"], "row 1 cannot be read as an image"),
    "empty bytes": ([PICTURE, b""], "row 1 is empty (0 bytes)"),
    "a cut picture": ([PICTURE, PICTURE[:100]], "row 1 cannot be read as an image"),
    "null": ([PICTURE, None], "row 1 holds no image bytes"),
    "nothing but null": ([None, None], "row 0 holds no image bytes"),
    "a struct without bytes": ([{"path": "a.png"}] * 2, "row 0 holds no image bytes"),
    "a struct with null": ([{"bytes": None, "path": "a.png"}] * 2, "row 0 holds no image bytes"),
    "a struct with text": ([{"bytes": "x", "path": None}] * 2, "row 0 holds no image bytes"),
    "a path": (["/etc/passwd", "/dev/zero"], "row 0 holds no image bytes"),
    "numbers": ([1, 2], "row 0 holds no image bytes"),
    "lists of pixels": ([GREY.ravel().tolist()] * 2, "row 0 holds no image bytes"),
    "a larger picture": ([PICTURE, picture(size=64)], "row 1 is 64x64 pixels; FER-2013's faces are 48x48"),
    "a bomb": (
        [PICTURE, b"P6\n99999 99999\n255\n"],
        "row 1 cannot be read as an image (Image size (9999800001 pixels)",
    ),
    "a program's picture": ([PICTURE, b"%!PS-Adobe-3.0 EPSF-3.0\n"], "row 1 cannot be read as an image"),
    "csv pixels": ([TEXT, TEXT], "row 0 holds no image bytes"),
}


@pytest.mark.parametrize("kind", BAD_IMAGES)
def test_an_invalid_picture_is_refused_by_row(tmp_path: Path, kind: str) -> None:
    images, expected = BAD_IMAGES[kind]
    refused(write(tmp_path, {"image": images, "label": [0, 3]}), expected)


# -- columns and rows ----------------------------------------------------------------------------------

BAD_TABLES: dict[str, tuple[Callable[[], Any], str]] = {
    "no image": (lambda: {"label": [0]}, "has no column image or img, only label"),
    "no label": (lambda: {"image": [HUB]}, "has no column label or labels or emotion, only image"),
    "another case": (lambda: {"Image": [HUB], "Label": [0]}, "has no column image or img, only Image, Label"),
    "no column": (lambda: pa.table({}), "has no column image or img, only none"),
    "two labels": (
        lambda: pa.Table.from_arrays(
            [pa.array([HUB]), pa.array([0]), pa.array([3])], ["image", "label", "label"]
        ),
        "column label 2 times",
    ),
    "two images": (
        lambda: pa.Table.from_arrays(
            [pa.array([HUB]), pa.array([HUB]), pa.array([3])], ["image", "image", "label"]
        ),
        "image 2 times",
    ),
    "two rows": (
        lambda: pa.Table.from_arrays(
            [pa.array([v]) for v in (HUB, 0, 1, 2)], ["image", "label", "row", "row"]
        ),
        "column row 2 times",
    ),
    "nested": (lambda: {"data": [{"image": PICTURE, "label": 0}]}, "has no column image or img, only data"),
    "zero rows": (
        lambda: pa.table({"image": pa.array([], pa.binary()), "label": pa.array([], pa.int64())}),
        "holds no face of fer2013/train",
    ),
    "only contempt": (lambda: {"image": [HUB], "label": ["contempt"]}, "holds no face of fer2013/train"),
    "boolean rows": (
        lambda: {"image": [HUB], "label": [0], "row": [True]},
        "column 'row' must hold integers from 0",
    ),
    "float rows": (
        lambda: {"image": [HUB], "label": [0], "row": [1.0]},
        "column 'row' must hold integers from 0",
    ),
    "null rows": (
        lambda: {"image": [HUB, HUB], "label": [0, 0], "row": [1, None]},
        "column 'row' must hold integers from 0",
    ),
    "text rows": (
        lambda: {"image": [HUB], "label": [0], "row": ["1"]},
        "column 'row' must hold integers from 0",
    ),
    "negative rows": (
        lambda: {"image": [HUB, HUB], "label": [0, 0], "row": [1, -1]},
        "column 'row' must hold integers from 0",
    ),
    "html as a column": (lambda: {"<script>\n": [0]}, "only <script>\\n"),
    "more rows than there are faces": (
        lambda: pa.table(
            {"image": pa.nulls(1_000_001, pa.binary()), "label": pa.nulls(1_000_001, pa.int8())}
        ),
        "claims 1,000,001 rows",
    ),
}


@pytest.mark.parametrize("kind", BAD_TABLES)
def test_a_table_without_the_columns_it_needs_is_refused(tmp_path: Path, kind: str) -> None:
    make, expected = BAD_TABLES[kind]
    result = load(write(tmp_path, make()))
    assert isinstance(result, str)
    assert expected in result, result


# -- files ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    folder = write(
        tmp_path_factory.mktemp("sound"), {"image": [HUB] * 4, "label": [0, 3, 5, 6], "row": [3, 2, 1, 0]}
    )
    return (folder / "train.parquet").read_bytes()


@pytest.mark.parametrize("length", [0, 1, 3, 4, 8, 100, 0.25, 0.5, 0.75, 0.9, -8, -4, -1], ids=str)
def test_a_parquet_file_that_was_cut_is_refused(tmp_path: Path, sound: bytes, length: float) -> None:
    cut = sound[: int(length * len(sound)) if isinstance(length, float) else length]
    (tmp_path / "train.parquet").write_bytes(cut)
    refused(tmp_path, f"({len(cut)} bytes) cannot be read as parquet")


@pytest.mark.parametrize(
    "data",
    [
        b"PAR1",
        b"PAR1PAR1",
        b"PAR1" + b"\0" * 8 + b"PAR1",
        b"PAR1" + b"\xff" * 8 + b"PAR1",
        b"PARE" * 9,
        b"version https://git-lfs\n",
        b"\0" * 99,
    ],
    ids=["magic", "twice", "zeros", "ones", "encrypted", "pointer", "empty"],
)
def test_a_file_of_another_format_is_refused(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "train.parquet").write_bytes(data)
    refused(tmp_path, "cannot be read as parquet")


@given(st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), min_size=1, max_size=6))
@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_parquet_file_with_other_bytes_is_refused_or_holds_faces(
    tmp_path_factory: pytest.TempPathFactory, sound: bytes, changes: list[tuple[float, int]]
) -> None:
    data = bytearray(sound)
    for where, value in changes:
        data[int(where * len(data))] = value
    folder = tmp_path_factory.mktemp("changed")
    (folder / "train.parquet").write_bytes(data)
    result = load(folder)
    assert isinstance(result, str) or set(result.labels.tolist()) <= set(range(7))


@pytest.mark.parametrize(
    "name",
    [
        "faces.parquet",
        "0.parquet",
        "train_test.parquet",
        "trains.parquet",
        "\u00fc.parquet",
        "a\nb.parquet",
        "<b>.parquet",
    ],
    ids=ascii,
)
def test_a_file_without_a_split_in_its_name_is_refused(tmp_path: Path, name: str) -> None:
    result = load(write(tmp_path, {"image": [HUB], "label": [0]}, name))
    assert isinstance(result, str)
    assert "its name contains no split" in result


@pytest.mark.skipif(os.name != "posix", reason="pipes, devices and names of POSIX")
@pytest.mark.parametrize("kind", ["pipe", "device", "broken link", "folder", "no utf-8"])
def test_a_special_file_with_the_name_of_a_parquet_file_does_not_hang(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "train.parquet"
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    elif kind == "no utf-8":
        write(tmp_path, {"image": [HUB], "label": [0]}, "x.parquet").joinpath("x.parquet").rename(
            tmp_path / "train-\udcff.parquet"
        )
    else:
        path.symlink_to("/dev/zero" if kind == "device" else "gone")
    result = load(tmp_path)
    if kind == "no utf-8":
        assert isinstance(result, FaceSet)
        assert result.sources[0].isprintable()
    else:
        assert "is no regular file" in str(result)
