"""A broken copy of FER-2013 is refused with the row in the message."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fer2013_files import TINY, Row, refused, write_folders, write_shard

from fer_models.datasets import fer2013
from fer_models.errors import UnknownNameError

GOOD = f"3,{TINY[0].text},Training"
HEADER = "emotion,pixels,Usage"


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (
            [HEADER, GOOD, GOOD[:4000]],
            r"fer2013.csv row 1 \(line 3\) has 2 columns instead of 3: the file was cut",
        ),
        (
            [HEADER, GOOD, GOOD[:-4]],
            r"row 1 \(line 3\) has the Usage 'Trai'; FER-2013 has Training, PublicTest, PrivateTest",
        ),
        (
            [HEADER, f"3,{TINY[0].text.rsplit(' ', 1)[0]},Training"],
            r"row 0 \(line 2\) has 2303 pixels instead of 2304",
        ),
        ([HEADER, f"3,{TINY[0].text} 7,Training"], "row 0 .* has 2305 pixels instead of 2304"),
        ([HEADER, "3,,Training"], "row 0 .* has 0 pixels instead of 2304"),
        (
            [HEADER, GOOD.replace("3", "9", 1)],
            r"row 0 \(line 2\) has the label '9'; FER-2013 has the labels 0..6 \(angry, disgust",
        ),
        ([HEADER, GOOD.replace("3", "-1", 1)], "row 0 .* has the label '-1'"),
        ([HEADER, GOOD.replace("3", "happy", 1)], "row 0 .* has the label 'happy'"),
        (
            [HEADER, f"3,{'300 ' + TINY[0].text.split(' ', 1)[1]},Training"],
            r"row 0 \(line 2\): pixel 0 is '300', not an integer of 0..255",
        ),
        (
            [HEADER, f"3,{TINY[0].text.rsplit(' ', 1)[0]} 1.5,Training"],
            "row 0 .*: pixel 2303 is '1.5', not an integer",
        ),
        ([HEADER, f"3,{TINY[0].text.rsplit(' ', 1)[0]} -1,Training"], "pixel 2303 is '-1'"),
        ([HEADER, f"3,{TINY[0].text.rsplit(' ', 1)[0]} x,Training"], "pixel 2303 is 'x'"),
        ([HEADER, GOOD.replace("Training", "Validation")], "row 0 .* has the Usage 'Validation'"),
        ([HEADER, "", GOOD], r"row 0 \(line 2\) has 0 columns"),
        (
            ["label,pixels,split", GOOD],
            "fer2013.csv starts with the header 'label,pixels,split', not with emotion,pixels,Usage",
        ),
        ([GOOD], "fer2013.csv starts with the header '3,"),
        ([HEADER], "fer2013.csv holds no face of fer2013/train"),
        ([HEADER, f'3,"{TINY[0].text},Training'], "cannot be read as csv after line 1"),
        ([HEADER, "3," + "1 " * 200_000 + ",Training"], "cannot be read as csv after line 1 .*field larger"),
    ],
    ids=lambda value: value[:40] if isinstance(value, str) else "",
)
def test_a_broken_csv_is_refused_by_row_and_line(tmp_path: Path, lines: list[str], message: str) -> None:
    (tmp_path / "fer2013.csv").write_text("\n".join(lines))
    refused("train", tmp_path, message)


@pytest.mark.parametrize(
    ("data", "message"),
    [(b"", r"is empty \(0 bytes\)"), (b"\xff\xfe\x00\x9f" * 99, "cannot be read as csv")],
    ids=["empty", "binary"],
)
def test_a_csv_that_is_no_text_is_refused(tmp_path: Path, data: bytes, message: str) -> None:
    (tmp_path / "fer2013.csv").write_bytes(data)
    refused("train", tmp_path, message)


def test_a_byte_order_mark_and_windows_line_ends_do_not_matter(tmp_path: Path) -> None:
    (tmp_path / "fer2013.csv").write_bytes(b"\xef\xbb\xbf" + f"{HEADER}\r\n{GOOD}\r\n".encode())
    assert fer2013.load("train", tmp_path).labels.tolist() == [3]


def test_a_row_of_another_split_is_checked_except_for_its_pixels(tmp_path: Path) -> None:
    path = tmp_path / "fer2013.csv"
    path.write_text("\n".join([HEADER, GOOD, "3,1 2 3,PublicTest"]))
    assert len(fer2013.load("train", tmp_path)) == 1
    refused("public_test", tmp_path, "row 1 .* has 3 pixels")
    path.write_text("\n".join([HEADER, GOOD, "8,1 2 3,PublicTest"]))
    refused("train", tmp_path, "row 1 .* has the label '8'")


def test_a_cut_or_empty_parquet_file_is_refused(tmp_path: Path) -> None:
    path = write_shard(tmp_path / "train-00000-of-00001.parquet", TINY)
    content = path.read_bytes()
    for cut in (b"", content[: len(content) // 2], content[:-1], b"PAR1" + content):
        path.write_bytes(cut)
        refused(
            "train", tmp_path, rf"train-00000-of-00001.parquet \({len(cut)} bytes\) cannot be read as parquet"
        )


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"label": None}, "has no column label or labels or emotion, only image"),
        ({"image": None}, "has no column image or img, only label"),
        ({"image": [b"not a picture", b"x"]}, "train.parquet row 0 cannot be read as an image"),
        ({"image": [None, None]}, "train.parquet row 0 holds no image bytes"),
        ({"image": [{"bytes": None, "path": "a.png"}] * 2}, "row 0 holds no image bytes"),
        ({"label": [0, 7]}, "train.parquet row 1: .* has 7 classes"),
        ({"label": [0, -1]}, "train.parquet row 1: .* got -1"),
        ({"label": [0, None]}, "train.parquet row 1: a label must be .* got None"),
        ({"label": ["sad", "hapy"]}, "train.parquet row 1: 'hapy' is not the name of an emotion"),
        ({"row": ["a", "b"]}, "column 'row' must hold integers"),
    ],
    ids=lambda value: value[:40] if isinstance(value, str) else "",
)
def test_a_parquet_file_with_wrong_contents_is_refused_by_row(
    tmp_path: Path, columns: dict[str, Any], message: str
) -> None:
    write_shard(tmp_path / "train.parquet", TINY[:2], **columns)
    refused("train", tmp_path, message)


def test_a_parquet_file_without_a_split_in_its_name_is_refused(tmp_path: Path) -> None:
    write_shard(tmp_path / "faces.parquet", TINY)
    refused("train", tmp_path, "its name contains no split. Name the files train-")


def test_faces_of_another_size_are_refused(tmp_path: Path) -> None:
    write_shard(tmp_path / "train.parquet", [Row(0, "train", np.zeros((64, 60), np.uint8))])
    refused("train", tmp_path, "train.parquet row 0 is 60x64 pixels; FER-2013's faces are 48x48")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("train/happy/me.png", "me.png is not named Training_N, PublicTest_N or PrivateTest_N"),
        ("train/contempt/Training_9.png", "contempt is not a class folder of FER-2013"),
        ("train/hapy/Training_9.png", "'hapy' is not the name of an emotion"),
        ("train/readme.txt", "readme.txt is not a class folder"),
        ("train/happy/Training_9.png", "Training_9.png cannot be read as an image"),
    ],
)
def test_an_invalid_file_in_the_class_folders_is_refused_by_name(
    tmp_path: Path, name: str, message: str
) -> None:
    write_folders(tmp_path, TINY)
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / name).write_bytes(b"not a picture")
    refused("train", tmp_path, message)


def test_a_missing_root_and_an_empty_folder_are_refused_with_the_options(tmp_path: Path) -> None:
    for root, message in (
        (tmp_path / "gone", "gone does not exist"),
        (tmp_path, "Looked for fer2013.csv, icml_face_data.csv, .*parquet, class folders"),
    ):
        text = refused("train", root, message)
        assert "--data-root FOLDER" in text
        assert "--download" in text


def test_an_unknown_split_is_refused_with_a_suggestion(tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match="Did you mean 'public_test'"):
        fer2013.load("PublicTest", tmp_path)
