"""Votes of FER+ are joined to the faces of FER-2013 with the same row numbers only."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fer2013_files import (
    TINY,
    USAGES,
    Row,
    pixels_of,
    refused,
    write_csv,
    write_folders,
    write_icml,
    write_kaggle,
    write_parquet,
    write_shard,
)

from fer_models.datasets import FaceSet, fer2013, fer2013_rows


def write_votes(root: Path, rows: list[Row]) -> None:
    """Write the votes of FER+: i raters vote happy for row i, the others contempt."""
    header = "Usage,Image name,neutral,happiness,surprise,sadness,anger,disgust,fear,contempt,unknown,NF"
    lines = [[USAGES[row.split], "", 0, i, 0, 0, 0, 0, 0, 10 - i, 0, 0] for i, row in enumerate(rows)]
    with (root / "fer2013new.csv").open("w", newline="") as file:
        csv.writer(file).writerows([header.split(","), *lines])


def happy_votes(faces: FaceSet) -> list[int]:
    """The votes for happy of each face, which are the row numbers of the votes."""
    assert faces.votes is not None
    assert faces.votes.shape == (len(faces), 10)
    return faces.votes[:, 3].tolist()


@pytest.mark.parametrize("write", [write_csv, write_parquet], ids=["csv", "parquet"])
@pytest.mark.parametrize("split", fer2013_rows.SPLITS)
def test_votes_are_joined_to_faces_with_row_numbers(
    tmp_path: Path, write: Callable[[Path, list[Row]], Any], split: str
) -> None:
    write(tmp_path, TINY)
    write_votes(tmp_path, TINY)
    faces = fer2013.load(split, tmp_path)
    assert happy_votes(faces) == pixels_of(faces)
    assert happy_votes(faces.select([1])) == pixels_of(faces)[1:2]
    assert not any("FER+" in note for note in faces.notes)


def test_without_a_votes_file_there_are_no_votes_and_no_note(tmp_path: Path) -> None:
    write_csv(tmp_path, TINY)
    faces = fer2013.load("train", tmp_path)
    assert faces.votes is None
    assert not any("FER+" in note for note in faces.notes)


def test_votes_are_found_in_the_folder_of_a_root_that_is_a_file(tmp_path: Path) -> None:
    root = write_csv(tmp_path, TINY)
    write_votes(tmp_path, TINY)
    assert happy_votes(fer2013.load("public_test", root)) == [2, 5]


@pytest.mark.parametrize(
    "write",
    [
        write_icml,
        write_folders,
        write_kaggle,
        lambda root, rows: write_shard(root / "train.parquet", [rows[0], rows[3]]),
    ],
    ids=["icml", "folders", "kaggle", "parquet without rows"],
)
def test_a_form_without_row_numbers_gets_no_votes_but_a_note(
    tmp_path: Path, write: Callable[[Path, list[Row]], Any]
) -> None:
    write(tmp_path, TINY)
    write_votes(tmp_path, TINY)
    faces = fer2013.load("train", tmp_path)
    assert faces.votes is None
    assert (
        faces.notes[-1]
        == "FER+ votes were found but not joined: this form does not have the row numbers of fer2013.csv"
    )


@pytest.mark.parametrize(
    ("remaining", "message"),
    [
        ([0, 1, 2, 3, 4], "the csv file has 5 rows and the votes 6"),
        ([0, 2, 3, 4, 5], "the csv file has 5 rows and the votes 6"),
        ([1, 0, 2, 3, 4, 5], "row 1 is a face of train here, and one of private_test among the votes"),
    ],
    ids=["cut", "thinned", "reordered"],
)
def test_a_csv_file_with_other_rows_gets_no_votes_but_a_note(
    tmp_path: Path, remaining: list[int], message: str
) -> None:
    write_csv(tmp_path, [TINY[i] for i in remaining])
    write_votes(tmp_path, TINY)
    faces = fer2013.load("train", tmp_path)
    assert faces.votes is None
    assert faces.notes[-1].startswith(f"FER+ votes were found but not joined: {message}")


@pytest.mark.parametrize(
    ("numbers", "message"),
    [
        ([0, 9], "a face has row number 9"),
        ([0, 1], "row 1 is a face of train here, and one of private_test"),
        ([0, 0], "the same row"),
    ],
)
def test_a_parquet_file_whose_rows_are_not_those_of_the_votes_gets_none_but_a_note(
    tmp_path: Path, numbers: list[int], message: str
) -> None:
    write_shard(tmp_path / "train.parquet", TINY[:2], numbers=numbers)
    write_votes(tmp_path, TINY)
    faces = fer2013.load("train", tmp_path)
    assert faces.votes is None
    assert message in faces.notes[-1]


def test_a_part_of_the_rows_in_a_parquet_file_keeps_its_votes(tmp_path: Path) -> None:
    write_shard(tmp_path / "train.parquet", [TINY[3]], numbers=[3])
    write_votes(tmp_path, TINY)
    assert happy_votes(fer2013.load("train", tmp_path)) == [3]


def test_a_broken_votes_file_is_an_error_not_a_note(tmp_path: Path) -> None:
    write_csv(tmp_path, TINY)
    write_votes(tmp_path, TINY)
    path = tmp_path / "fer2013new.csv"
    path.write_text(path.read_text().replace("contempt", "scorn"))
    refused("train", tmp_path, "fer2013new.csv starts with the header")
