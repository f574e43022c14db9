"""Votes of FER+ are read by column name and joined by row number, or refused on one line."""

from __future__ import annotations

import csv
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fer_models.datasets import ferplus
from fer_models.emotions import LABELS
from fer_models.errors import DatasetError, UnknownNameError

HEADER = [
    *("Usage", "Image name", "neutral", "happiness", "surprise", "sadness"),
    *("anger", "disgust", "fear", "contempt", "unknown", "NF"),
]
#: The index in `COLUMNS` of each column of the file, without its first two.
PLACES = [6, 3, 5, 4, 0, 1, 2, 7, 8, 9]
USAGES = ["Training", "Training", "PublicTest", "PublicTest", "PrivateTest"]
VOTES = [
    [6, 0, 1, 1, 0, 0, 0, 0, 2, 0],
    [0, 10, 0, 0, 0, 0, 0, 0, 0, 0],
    [1, 2, 3, 4, 0, 0, 0, 0, 0, 0],
    [0] * 9 + [10],
    [0, 0, 0, 0, 4, 3, 2, 1, 0, 0],
]


def write(path: Path, usages: list[str], votes: list[list[int]], order: list[int] | None = None) -> Path:
    """Write the file with its columns in `order`; the official one by default."""
    order = order or list(range(len(HEADER)))
    rows = [
        HEADER,
        *(
            [usage, f"fer{i:07d}.png", *map(str, row)]
            for i, (usage, row) in enumerate(zip(usages, votes, strict=True))
        ),
    ]
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([row[i] for i in order] for row in rows)
    return path


@pytest.fixture
def votes(tmp_path: Path) -> Path:
    return write(tmp_path / "fer2013new.csv", USAGES, VOTES)


def rows(*numbers: int) -> np.ndarray:
    return np.array(numbers, dtype=np.int64)


# -- reading ------------------------------------------------------------------------------------------


def test_the_columns_are_the_seven_emotions_in_order_and_three_outside_them() -> None:
    assert [*ferplus.COLUMNS] == [*LABELS, "contempt", "unknown", "no face"]


@given(
    st.permutations(range(12)),
    st.lists(st.lists(st.integers(0, 10), min_size=10, max_size=10), min_size=1, max_size=6),
)
@settings(max_examples=40, deadline=None)
def test_columns_are_identified_by_name_in_any_order(order: list[int], cells: list[list[int]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = write(Path(folder) / "votes.csv", ["Training"] * len(cells), cells, order)
        joined = ferplus.read(path).votes
    assert (joined.shape, joined.dtype) == ((len(cells), 10), np.int64)
    for row, given_row in zip(joined.tolist(), cells, strict=True):
        assert [row[place] for place in PLACES] == given_row


def test_votes_are_in_the_order_of_the_file(votes: Path) -> None:
    joined = ferplus.read(votes).votes[[3, 2]]
    assert [dict(zip(ferplus.COLUMNS, row, strict=True)) for row in joined.tolist()] == [
        {**dict.fromkeys(ferplus.COLUMNS, 0), "no face": 10},
        {**dict.fromkeys(ferplus.COLUMNS, 0), "neutral": 1, "happy": 2, "surprise": 3, "sad": 4},
    ]


def test_the_test_split_is_public_and_private_test_together(votes: Path) -> None:
    assert ferplus.read(votes).mismatch(rows(2, 3, 4), "test") == ""


def test_a_byte_order_mark_and_windows_line_ends_do_not_matter(votes: Path) -> None:
    before = ferplus.read(votes).votes
    votes.write_bytes(b"\xef\xbb\xbf" + votes.read_bytes().replace(b"\r\n", b"\n").replace(b"\n", b"\r\n"))
    assert np.array_equal(ferplus.read(votes).votes, before)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "contempt",
            "scorn",
            "starts with the header 'Usage,Image name,neutral,.*, not with Usage,Image name,anger",
        ),
        (",NF", "", "starts with the header"),
        ("contempt", "fear", "starts with the header"),
        (
            "Training,fer0000001.png",
            "Validation,fer0000001.png",
            r"row 1 holds 'Validation'; its Usage must be Training, PublicTest, PrivateTest",
        ),
        ("6,0,1,1", "6.0,0,1,1", r"row 0 holds '6\.0'; .* votes 0\.\.10"),
        ("6,0,1,1", "-6,0,1,1", "row 0 holds '-6'"),
        ("6,0,1,1", "11,0,1,1", "row 0 holds '11'"),
        ("6,0,1,1", "six,0,1,1", "row 0 holds 'six'"),
        ("6,0,1,1", ",0,1,1", "row 0 holds ''"),
        ("0,0,10\r\n", "0,0\r\n", "row 3 has 11 columns instead of 12: the file was cut or edited"),
        ("Training,fer0000001", "\r\nTraining,fer0000001", "row 1 has 0 columns"),
        ("fer0000000", '"fer0000000', "cannot be read as csv"),
    ],
)
def test_a_broken_file_is_refused_with_the_row_and_the_next_step(
    votes: Path, old: str, new: str, message: str
) -> None:
    text = votes.read_bytes().decode()
    assert old in text
    votes.write_bytes(text.replace(old, new, 1).encode())
    with pytest.raises(DatasetError, match=message) as caught:
        ferplus.read(votes)
    assert str(votes) in str(caught.value)
    assert "https://github.com/microsoft/FERPlus" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "starts with the header ''"),
        (b"\xff\xfe\x00\x9f" * 9, "cannot be read as csv"),
        ((",".join(HEADER)).encode(), "holds no votes"),
    ],
    ids=["empty", "binary", "only the header"],
)
def test_a_file_without_votes_is_refused(tmp_path: Path, data: bytes, message: str) -> None:
    (tmp_path / "fer2013new.csv").write_bytes(data)
    with pytest.raises(DatasetError, match=message):
        ferplus.read(tmp_path / "fer2013new.csv")


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="cannot be opened"):
        ferplus.read(tmp_path / "fer2013new.csv")


# -- joining ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("numbers", "split", "message"),
    [
        ((0, 5), "train", "a face has row number 5, but the votes have rows 0 to 4"),
        ((-1, 0), "train", "a face has row number -1"),
        ((1, 1), "train", "several faces have the same row number"),
        ((0, 2), "train", "row 2 is a face of train here, and one of public_test among the votes"),
        ((2, 4), "private_test", "row 2 is a face of private_test here, and one of public_test"),
        ((1, 2), "test", "row 1 is a face of test here, and one of train"),
    ],
)
def test_rows_of_another_order_are_refused(
    votes: Path, numbers: tuple[int, ...], split: str, message: str
) -> None:
    assert message in ferplus.read(votes).mismatch(rows(*numbers), split)


def test_a_file_of_another_length_than_the_official_one_is_fine_while_the_rows_are_in_it(votes: Path) -> None:
    assert ferplus.read(votes).mismatch(rows(0), "train") == ""


def test_an_unknown_split_is_refused_with_a_suggestion(votes: Path) -> None:
    with pytest.raises(UnknownNameError, match="Did you mean 'train'"):
        ferplus.read(votes).mismatch(rows(0), "trian")


# -- finding ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("inner", ["", "fer2013", "data"])
def test_the_file_is_found_in_the_root_or_one_folder_deeper(tmp_path: Path, inner: str) -> None:
    assert ferplus.find(tmp_path) is None
    (tmp_path / inner).mkdir(exist_ok=True)
    (tmp_path / inner / "fer2013new.csv").touch()
    assert ferplus.find(tmp_path) == tmp_path / inner / "fer2013new.csv"


def test_the_file_is_found_in_the_folder_of_a_root_that_is_a_file(votes: Path) -> None:
    (votes.parent / "fer2013.csv").touch()
    assert ferplus.find(votes.parent / "fer2013.csv") == votes


def test_nothing_is_found_under_a_missing_root(tmp_path: Path) -> None:
    assert ferplus.find(tmp_path / "gone") is None
