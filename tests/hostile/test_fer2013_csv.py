"""Untrusted csv files and class folders of FER-2013 are refused by line or name."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from fer2013_tables import PICTURE, TEXT, load
from guards import no_hang
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fer_models import cli
from fer_models.emotions import LABELS

HEADER = "emotion,pixels,Usage"
GOOD = f"3,{TEXT},Training"
BAD_CSV: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "is empty (0 bytes)"),
    "a line end": (b"\n", "starts with the header ''"),
    "only the header": (HEADER.encode(), "holds no face of fer2013/train"),
    "no header": (GOOD.encode(), "starts with the header '3,"),
    "another header": (f"label,pixels,split\n{GOOD}".encode(), "starts with the header 'label,pixels,split'"),
    "a column twice": (f"emotion,pixels,pixels\n{GOOD}".encode(), "starts with the header"),
    "semicolons": (f"{HEADER}\n{GOOD}".replace(",", ";").encode(), "starts with the header"),
    "only pixels": (f"pixels\n{TEXT}".encode(), "has no labels"),
    "utf-16": (f"{HEADER}\n{GOOD}".encode("utf-16"), "cannot be read as csv"),
    "null characters": (f"{HEADER}\n3,\0{TEXT},Training".encode(), "row 0 (line 2)"),
    "no utf-8": (f"{HEADER}\n".encode() + b"\xff" + GOOD.encode(), "cannot be read as csv"),
    "gzip": (b"\x1f\x8b\x08" + b"\0" * 40, "cannot be read as csv"),
    "an open quote": (f'{HEADER}\n3,"{TEXT},Training'.encode(), "cannot be read as csv"),
    "a cut row": (f"{HEADER}\n{GOOD[:4000]}".encode(), "row 0 (line 2) has 2 columns"),
    "a cut usage": (f"{HEADER}\n{GOOD[:-3]}".encode(), "has the Usage 'Train'"),
    "an empty row": (f"{HEADER}\n\n{GOOD}".encode(), "row 0 (line 2) has 0 columns"),
    "four columns": (f"{HEADER}\n{GOOD},x".encode(), "row 0 (line 2) has 4 columns"),
    "label seven": (f"{HEADER}\n7{GOOD[1:]}".encode(), "has the label '7'"),
    "label -1": (f"{HEADER}\n-1{GOOD[1:]}".encode(), "has the label '-1'"),
    "label 3.0": (f"{HEADER}\n3.0{GOOD[1:]}".encode(), "has the label '3.0'"),
    "label True": (f"{HEADER}\nTrue{GOOD[1:]}".encode(), "has the label 'True'"),
    "no label": (f"{HEADER}\n{GOOD[1:]}".encode(), "has the label ''"),
    "label nan": (f"{HEADER}\nnan{GOOD[1:]}".encode(), "has the label 'nan'"),
    "label 03": (f"{HEADER}\n03{GOOD[1:]}".encode(), "has the label '03'"),
    "label in other digits": (f"{HEADER}\n\u0663{GOOD[1:]}".encode(), "has the label '\u0663'"),
    "a name": (f"{HEADER}\nhappy{GOOD[1:]}".encode(), "has the label 'happy'"),
    "html": (f"{HEADER}\n<script>{GOOD[1:]}".encode(), "has the label '<script>'"),
    "an escape sequence": (f"{HEADER}\n\x1b[2J{GOOD[1:]}".encode(), "has the label '\\x1b[2J'"),
    "a pixel less": (f"{HEADER}\n3,{TEXT.rsplit(' ', 1)[0]},Training".encode(), "has 2303 pixels"),
    "a pixel more": (f"{HEADER}\n3,{TEXT} 0,Training".encode(), "has 2305 pixels"),
    "no pixels": (f"{HEADER}\n3,,Training".encode(), "has 0 pixels"),
    "pixel 256": (f"{HEADER}\n3,256 {TEXT[2:]},Training".encode(), "pixel 0 is '256'"),
    "pixel -1": (f"{HEADER}\n3,-1 {TEXT[2:]},Training".encode(), "pixel 0 is '-1'"),
    "pixel 1.0": (f"{HEADER}\n3,1.0 {TEXT[2:]},Training".encode(), "pixel 0 is '1.0'"),
    "pixel 1e2": (f"{HEADER}\n3,1e2 {TEXT[2:]},Training".encode(), "pixel 0 is '1e2'"),
    "pixel 0x1": (f"{HEADER}\n3,0x1 {TEXT[2:]},Training".encode(), "pixel 0 is '0x1'"),
    "pixel nan": (f"{HEADER}\n3,nan {TEXT[2:]},Training".encode(), "pixel 0 is 'nan'"),
    "pixels with commas in quotes": (
        f'{HEADER}\n3,"{TEXT.replace(" ", ",")}",Training'.encode(),
        "has 1 pixels",
    ),
    "a field without an end": (f"{HEADER}\n3,{'1 ' * 200_000},Training".encode(), "cannot be read as csv"),
    "another usage": (f"{HEADER}\n3,{TEXT},Validation".encode(), "has the Usage 'Validation'"),
    "usage in capitals": (f"{HEADER}\n3,{TEXT},TRAINING".encode(), "has the Usage 'TRAINING'"),
    "no usage": (f"{HEADER}\n3,{TEXT},".encode(), "has the Usage ''"),
    "another split": (f"{HEADER}\n3,{TEXT},PublicTest".encode(), "holds no face of fer2013/train"),
    "a late break": (f"{HEADER}\n{GOOD}\n{GOOD}\n{GOOD[:90]}".encode(), "row 2 (line 4)"),
}


@pytest.mark.parametrize("kind", BAD_CSV)
def test_a_broken_csv_file_is_refused_by_line(tmp_path: Path, kind: str) -> None:
    data, expected = BAD_CSV[kind]
    (tmp_path / "fer2013.csv").write_bytes(data)
    result = load(tmp_path)
    assert isinstance(result, str), f"read as {result.labels.tolist()}"
    assert expected in result, result


@given(
    st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), min_size=1, max_size=4),
    st.floats(0, 1),
)
@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_csv_file_with_other_bytes_is_refused_or_holds_faces(
    tmp_path_factory: pytest.TempPathFactory, changes: list[tuple[float, int]], length: float
) -> None:
    data = bytearray(f"{HEADER}\n{GOOD}\n{GOOD}\n".encode())
    for where, value in changes:
        data[int(where * len(data))] = value
    folder = tmp_path_factory.mktemp("csv")
    (folder / "fer2013.csv").write_bytes(data[: int(length * len(data))])
    result = load(folder)
    assert isinstance(result, str) or set(result.labels.tolist()) <= set(range(7))


@pytest.mark.skipif(os.name != "posix", reason="pipes and devices of POSIX")
@pytest.mark.parametrize("name", ["fer2013.csv", "icml_face_data.csv", "train.csv", "fer2013new.csv"])
@pytest.mark.parametrize("kind", ["pipe", "device"])
def test_a_csv_file_that_is_a_pipe_or_a_device_does_not_hang(tmp_path: Path, name: str, kind: str) -> None:
    if kind == "pipe":
        os.mkfifo(tmp_path / name)
    else:
        (tmp_path / name).symlink_to("/dev/zero")
    assert "holds FER-2013 in no known form" in str(load(tmp_path))


# -- FER-2013's class folders --------------------------------------------------------------------------


def class_folders(root: Path, *names: str, data: bytes = PICTURE) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)
    return root


def test_unreadable_pictures_of_class_folders_are_named_together(tmp_path: Path) -> None:
    class_folders(tmp_path, *(f"train/{label}/Training_{i}.png" for i, label in enumerate(LABELS)))
    class_folders(tmp_path, *(f"train/happy/Training_{i}.jpg" for i in range(20, 33)), data=b"")
    result = load(tmp_path)
    assert isinstance(result, str)
    listing = ", ".join(f"train/happy/Training_{i}.jpg" for i in range(20, 30))
    assert f"fer2013/train: 13 of 20 pictures cannot be read: {listing}, … and 3 more. " in result
    assert f"fer-models data audit --dataset {tmp_path} --format json" in result
    with no_hang():
        assert cli.main(["data", "audit", "--dataset", str(tmp_path), "--format", "json"]) == 0


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("train/3/Training_0.png", "3 is not a class folder of FER-2013"),
        ("train/contempt/Training_0.png", "contempt is not a class folder of FER-2013"),
        ("train/hapy/Training_0.png", "hapy is not a class folder of FER-2013"),
        ("train/happy/0.png", "its official split is unknown"),
        ("train/happy/Training_x.png", "its official split is unknown"),
        ("train/happy/Training_1.png/Training_2.png", "cannot be read: train/happy/Training_1.png"),
        ("train/readme.txt", "is not a class folder of FER-2013"),
    ],
)
def test_an_invalid_class_folder_of_fer2013_is_refused(tmp_path: Path, name: str, expected: str) -> None:
    class_folders(tmp_path, "train/sad/Training_7.png", name)
    assert expected in str(load(tmp_path))
