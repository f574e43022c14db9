"""FER-2013 has the same faces in all its forms, and a broken copy is refused with the row in the message."""

from __future__ import annotations

import csv
import io
import json
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from fer_models.datasets import FaceSet, fer2013, fer2013_rows, synthetic_drawing
from fer_models.emotions import LABELS
from fer_models.errors import DatasetError, UnknownNameError, UsageError

USAGES = {"train": "Training", "public_test": "PublicTest", "private_test": "PrivateTest"}
FACES = [synthetic_drawing.draw("test", i) for i in range(14)]


@dataclass(frozen=True)
class Row:
    """One face of a tiny FER-2013: label, official split and pixels."""

    label: int
    split: str
    pixels: np.ndarray

    @property
    def text(self) -> str:
        return " ".join(map(str, self.pixels.ravel()))

    def encoded(self, kind: str = "PNG") -> bytes:
        data = io.BytesIO()
        Image.fromarray(self.pixels).save(data, kind)
        return data.getvalue()


def rows_of(labels_and_splits: list[tuple[int, str]]) -> list[Row]:
    """Rows with distinct synthetic faces; the top left pixel is the row number."""
    rows = []
    for i, (label, split) in enumerate(labels_and_splits):
        pixels = FACES[i % 14].copy()
        pixels[0, 0] = i
        rows.append(Row(label, split, pixels))
    return rows


TINY = rows_of(list(zip((0, 4, 5, 6, 3, 1), ("train", "private_test", "public_test") * 2, strict=True)))


# -- writers of the published forms ---------------------------------------------------


def write_csv(root: Path, rows: list[Row], name: str = "fer2013.csv") -> Path:
    with (root / name).open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["emotion", "pixels", "Usage"])
        writer.writerows([row.label, row.text, USAGES[row.split]] for row in rows)
    return root / name


def write_icml(root: Path, rows: list[Row]) -> None:
    with (root / "icml_face_data.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["emotion", " Usage", " pixels"])
        writer.writerows([row.label, USAGES[row.split], row.text] for row in reversed(rows))


def write_kaggle(root: Path, rows: list[Row]) -> None:
    for name, wanted in (
        ("train.csv", [row for row in rows if row.split == "train"]),
        ("test.csv", [row for row in rows if row.split != "train"]),
    ):
        with (root / name).open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["emotion", "pixels"] if name == "train.csv" else ["pixels"])
            writer.writerows([row.label, row.text] if name == "train.csv" else [row.text] for row in wanted)


def write_folders(root: Path, rows: list[Row], suffix: str = "png") -> None:
    for i, row in enumerate(rows):
        folder = root / ("train" if row.split == "train" else "test") / LABELS[row.label]
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{USAGES[row.split]}_{i}.{suffix}").write_bytes(
            row.encoded("PNG" if suffix == "png" else "JPEG")
        )


def write_shard(
    path: Path,
    rows: list[Row],
    names: list[str] | None = None,
    numbers: list[int] | None = None,
    **columns: Any,
) -> Path:
    """Write a parquet file as the Hub does; with `names` its label is a ClassLabel in their order."""
    path.parent.mkdir(parents=True, exist_ok=True)
    labels = [names.index(LABELS[row.label]) if names else row.label for row in rows]
    data: dict[str, Any] = {
        "image": [{"bytes": row.encoded(), "path": None} for row in rows],
        "label": labels,
        **columns,
    }
    if numbers is not None:
        data["row"] = numbers
    table = pa.table({name: column for name, column in data.items() if column is not None})
    if names:
        features = {"image": {"_type": "Image"}, "label": {"names": names, "_type": "ClassLabel"}}
        table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    pq.write_table(table, path)
    return path


def write_parquet(root: Path, rows: list[Row]) -> None:
    for split in USAGES:
        numbers = [i for i in reversed(range(len(rows))) if rows[i].split == split]
        if numbers:
            write_shard(
                root / f"{split}-00000-of-00001.parquet", [rows[i] for i in numbers], sorted(LABELS), numbers
            )


FORMS: dict[str, Callable[[Path, list[Row]], Any]] = {
    "csv": write_csv,
    "icml": write_icml,
    "parquet": write_parquet,
    "folders": write_folders,
}


def refused(split: str, root: Path, message: str) -> str:
    """Check that loading is refused on one line that matches `message`."""
    with pytest.raises(DatasetError, match=message) as caught:
        fer2013.load(split, root)
    assert "\n" not in str(caught.value)
    assert isinstance(caught.value, UsageError)
    return str(caught.value)


def pixels_of(faces: FaceSet) -> list[int]:
    """The row numbers of faces, which `rows_of` wrote into the top left pixels."""
    return [int(faces.images[i][0, 0]) for i in range(len(faces))]


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


def test_faces_are_one_grey_array_that_cannot_be_changed(tmp_path: Path) -> None:
    write_csv(tmp_path, TINY)
    faces = fer2013.load("train", tmp_path)
    assert isinstance(faces.images, np.ndarray)
    assert (faces.images.shape, faces.images.dtype) == ((2, 48, 48), np.uint8)
    assert np.array_equal(faces.images[1], TINY[3].pixels)
    assert not faces.images.flags.writeable


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


# -- the votes of FER+ --------------------------------------------------------------------------------------


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


# -- official counts --------------------------------------------------------------------------------------


def test_the_official_counts_add_up_to_35887_faces() -> None:
    totals = {split: sum(counts) for split, counts in fer2013_rows.OFFICIAL.items()}
    assert totals == {"train": 28709, "public_test": 3589, "private_test": 3589, "test": 7178}
    both = zip(fer2013_rows.OFFICIAL["public_test"], fer2013_rows.OFFICIAL["private_test"], strict=True)
    assert tuple(a + b for a, b in both) == fer2013_rows.OFFICIAL["test"]


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


# -- broken copies, one by one ------------------------------------------------------------------------------

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
