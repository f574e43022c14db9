"""FER-2013 has the same faces in all its forms."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fer2013_files import (
    FORMS,
    TINY,
    USAGES,
    Row,
    pixels_of,
    refused,
    rows_of,
    write_csv,
    write_folders,
    write_icml,
    write_kaggle,
    write_parquet,
    write_shard,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from fer_models.datasets import fer2013, fer2013_parquet, fer2013_rows
from fer_models.emotions import LABELS

# -- one dataset, many forms ----------------------------------------------------------------------------


@given(
    st.lists(st.tuples(st.integers(0, 6), st.sampled_from(sorted(USAGES))), min_size=1, max_size=8),
    st.sampled_from(fer2013_rows.SPLITS),
)
@settings(max_examples=25, deadline=None)
def test_every_form_gives_the_same_faces_and_fingerprint(
    labels_and_splits: list[tuple[int, str]], split: str
) -> None:
    rows = rows_of(labels_and_splits)
    wanted = [
        (i, row.label)
        for part in USAGES
        for i, row in enumerate(rows)
        if row.split == part and split in (part, "test" * (part != "train"))
    ]
    prints = set()
    for write in FORMS.values():
        with tempfile.TemporaryDirectory() as folder:
            write(Path(folder), rows)
            if not wanted:
                refused(split, Path(folder), "holds no")
                continue
            faces = fer2013.load(split, Path(folder))
            loaded = list(zip(pixels_of(faces), faces.labels.tolist(), strict=True))
            assert sorted(loaded) == sorted(wanted)
            assert loaded == wanted or write is write_icml  # its rows are in another order
            prints.add(faces.fingerprint)
    assert len(prints) == (1 if wanted else 0)


def test_the_test_split_is_public_test_then_private_test(tmp_path: Path) -> None:
    write_csv(tmp_path, TINY)
    assert pixels_of(fer2013.load("test", tmp_path)) == [2, 5, 1, 4]


def test_faces_are_grey_arrays_that_cannot_be_changed(tmp_path: Path) -> None:
    write_csv(tmp_path, TINY)
    faces = fer2013.load("train", tmp_path)
    assert len(faces.images) == 2
    assert (faces.images[1].shape, faces.images[1].dtype) == ((48, 48), np.uint8)
    assert np.array_equal(faces.images[1], TINY[3].pixels)
    assert not faces.images[1].flags.writeable


def test_a_parquet_file_is_read_some_rows_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fer2013_parquet, "_BATCH_ROWS", 2)
    write_parquet(tmp_path, TINY * 3)
    faces = fer2013.load("private_test", tmp_path)
    assert pixels_of(faces) == [1, 4] * 3
    assert faces.sources == [f"row {i}" for i in (1, 4, 7, 10, 13, 16)]


def test_the_source_of_a_row_is_its_number_in_fer2013_csv_or_its_file(tmp_path: Path) -> None:
    for form, write in FORMS.items():
        (tmp_path / form).mkdir()
        write(tmp_path / form, TINY)
    assert fer2013.load("private_test", tmp_path / "csv").sources == ["row 1", "row 4"]
    assert fer2013.load("private_test", tmp_path / "parquet").sources == ["row 1", "row 4"]
    assert fer2013.load("private_test", tmp_path / "folders").sources == [
        "test/sad/PrivateTest_1.png",
        "test/happy/PrivateTest_4.png",
    ]


def test_class_folders_are_ordered_by_number_not_by_text(tmp_path: Path) -> None:
    write_folders(tmp_path, rows_of([(0, "train")] * 11))
    assert pixels_of(fer2013.load("train", tmp_path)) == list(range(11))


def test_jpeg_copies_keep_the_split_of_their_names_and_are_noted(tmp_path: Path) -> None:
    write_folders(tmp_path, TINY, "jpg")
    faces = fer2013.load("public_test", tmp_path)
    assert faces.labels.tolist() == [5, 1]
    assert faces.notes[0].startswith("read from JPEG copies")
    assert np.abs(np.asarray(faces.images[0]).astype(int) - TINY[2].pixels).mean() < 10


def test_hidden_files_are_ignored(tmp_path: Path) -> None:
    write_folders(tmp_path, TINY)
    (tmp_path / "train" / ".DS_Store").write_bytes(b"x")
    (tmp_path / "train" / LABELS[0] / "._Training_0.png").write_bytes(b"x")
    (tmp_path / "._train-00000-of-00001.parquet").write_bytes(b"x")
    assert len(fer2013.load("train", tmp_path)) == 2


def test_the_kaggle_train_file_is_the_training_split(tmp_path: Path) -> None:
    write_kaggle(tmp_path, TINY)
    assert pixels_of(fer2013.load("train", tmp_path)) == [0, 3]


@pytest.mark.parametrize("split", ["public_test", "private_test", "test"])
def test_the_kaggle_test_file_is_refused_with_a_hint_at_labelled_files(tmp_path: Path, split: str) -> None:
    write_kaggle(tmp_path, TINY)
    for root in (tmp_path, tmp_path / "test.csv"):
        text = refused(split, root, f"test.csv .*has no labels.* so fer2013/{split} cannot be evaluated")
        assert "Use fer2013.csv or icml_face_data.csv" in text
        assert "--download" in text


def test_forms_side_by_side_are_picked_in_the_documented_order(tmp_path: Path) -> None:
    order: list[Callable[[Path, list[Row]], Any]] = [
        write_csv,
        write_icml,
        write_parquet,
        write_folders,
        write_kaggle,
    ]
    # each form has other faces, and each new one precedes the earlier ones
    for i, write in reversed(list(enumerate(order))):
        write(tmp_path, rows_of([(i, "train")]))
        assert fer2013.load("train", tmp_path).labels.tolist() == [i]


@pytest.mark.parametrize("inner", ["data", "fer2013"])
def test_the_data_may_be_one_folder_deeper_but_the_root_comes_first(tmp_path: Path, inner: str) -> None:
    (tmp_path / inner).mkdir()
    write_parquet(tmp_path / inner, TINY)
    assert len(fer2013.load("train", tmp_path)) == 2
    write_kaggle(tmp_path, TINY[:1])
    assert len(fer2013.load("train", tmp_path)) == 1


def test_a_root_may_be_one_file(tmp_path: Path) -> None:
    renamed = write_csv(tmp_path, TINY, "faces.csv")
    assert len(fer2013.load("test", renamed)) == 4
    shard = write_shard(tmp_path / "public_test-00000-of-00001.parquet", TINY)
    assert len(fer2013.load("public_test", shard)) == 6
    (tmp_path / "fer2013.zip").touch()
    refused("train", tmp_path / "fer2013.zip", "neither a .csv nor a .parquet file")


# -- parquet as the Hub names things ----------------------------------------------------------------------


def test_labels_are_mapped_by_name_where_the_file_names_them(tmp_path: Path) -> None:
    alphabetical = write_shard(tmp_path / "train.parquet", TINY, sorted(LABELS))
    assert pq.read_table(alphabetical).column("label").to_pylist() != [row.label for row in TINY]
    assert fer2013.load("train", alphabetical).labels.tolist() == [row.label for row in TINY]


def test_labels_without_names_count_in_csv_order_and_text_labels_are_names(tmp_path: Path) -> None:
    numbered = write_shard(tmp_path / "a" / "train.parquet", TINY)
    named = write_shard(
        tmp_path / "b" / "train.parquet", TINY, label=[LABELS[row.label].upper() for row in TINY]
    )
    for path in (numbered, named):
        assert fer2013.load("train", path).labels.tolist() == [row.label for row in TINY]


def test_a_class_outside_the_seven_is_dropped_and_noted(tmp_path: Path) -> None:
    shard = write_shard(tmp_path / "train.parquet", TINY[:2], label=["contempt", "sad"])
    faces = fer2013.load("train", shard)
    assert faces.labels.tolist() == [4]
    assert "dropped 1 faces of train.parquet whose label is outside the seven emotions" in faces.notes


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (("train", "publicTest", "privateTest"), {"train": 0, "public_test": 1, "private_test": 2}),
        (("train", "validation", "test"), {"train": 0, "public_test": 1, "private_test": 2}),
        (("training", "public_test", "test"), {"train": 0, "public_test": 1, "private_test": 2}),
        (("train", "test"), {"train": 0, "test": 1}),
    ],
)
def test_the_hubs_split_names_are_understood(
    tmp_path: Path, names: tuple[str, ...], expected: dict[str, int]
) -> None:
    for i, name in enumerate(names):
        write_shard(tmp_path / "data" / f"{name}-00000-of-00001-0a1b2c.parquet", [TINY[i]])
    assert {split: pixels_of(fer2013.load(split, tmp_path))[0] for split in expected} == expected


def test_the_shards_of_a_split_are_joined_in_the_order_of_their_rows(tmp_path: Path) -> None:
    write_shard(tmp_path / "train-00000-of-00002.parquet", [TINY[3], TINY[0]], numbers=[3, 0])
    write_shard(tmp_path / "train-00001-of-00002.parquet", [TINY[2], TINY[1]], numbers=[2, 1])
    assert pixels_of(fer2013.load("train", tmp_path)) == [0, 1, 2, 3]


def test_a_test_split_alone_cannot_be_separated_into_public_and_private(tmp_path: Path) -> None:
    write_shard(tmp_path / "test-00000-of-00001.parquet", TINY)
    reason = "its PublicTest and PrivateTest cannot be separated: use --split test"
    refused("private_test", tmp_path, f"holds no private_test split, only test; {reason}")


def test_two_names_for_one_split_are_refused(tmp_path: Path) -> None:
    for name in ("validation", "publicTest"):
        write_shard(tmp_path / f"{name}.parquet", TINY)
    refused("public_test", tmp_path, "both claim to be public_test")


@pytest.mark.parametrize(
    "names",
    [
        ("train-00000-of-00004",),
        ("train", "train (1)"),
        ("train-00000-of-00001", "train-00000-of-00002", "train-00001-of-00002"),
        ("train-00000-of-00002", "train-00000-of-00002-0a1b2c"),
    ],
)
def test_parts_of_a_split_that_are_no_complete_series_are_refused(
    tmp_path: Path, names: tuple[str, ...]
) -> None:
    for name in names:
        write_shard(tmp_path / f"{name}.parquet", TINY)
    refused("train", tmp_path, "no single complete series of a split: train")


# -- official counts --------------------------------------------------------------------------------------


def test_the_official_counts_add_up_to_35887_faces() -> None:
    totals = {split: sum(counts) for split, counts in fer2013_rows.OFFICIAL.items()}
    assert totals == {"train": 28709, "public_test": 3589, "private_test": 3589, "test": 7178}
    both = zip(fer2013_rows.OFFICIAL["public_test"], fer2013_rows.OFFICIAL["private_test"], strict=True)
    assert tuple(a + b for a, b in both) == fer2013_rows.OFFICIAL["test"]


def test_numbers_of_alphabetical_classes_are_not_taken_for_those_of_the_csv_file(tmp_path: Path) -> None:
    image = {"bytes": TINY[0].encoded(), "path": None}
    official = fer2013_rows.OFFICIAL["private_test"]
    labels = [
        sorted(LABELS).index(label) for label, n in zip(LABELS, official, strict=True) for _ in range(n)
    ]
    path = tmp_path / "private_test-00000-of-00001.parquet"
    pq.write_table(pa.table({"image": [image] * 3589, "label": labels}), path)
    refused("private_test", tmp_path, "are those of alphabetical class numbers")


@pytest.mark.slow
def test_official_counts_leave_no_note_and_one_face_less_does(tmp_path: Path) -> None:
    image = {"bytes": TINY[0].encoded(), "path": None}
    labels = [label for label, n in enumerate(fer2013_rows.OFFICIAL["private_test"]) for _ in range(n)]
    path = tmp_path / "private_test-00000-of-00001.parquet"
    pq.write_table(pa.table({"image": [image] * 3589, "label": labels}), path)
    assert fer2013.load("private_test", tmp_path).notes == ()
    pq.write_table(pa.table({"image": [image] * 3588, "label": labels[1:]}), path)
    assert fer2013.load("private_test", tmp_path).notes == (
        "not the official fer2013/private_test: 3588 faces, officially 3589 (angry 490 instead of 491)",
    )
