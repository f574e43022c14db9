"""FER-2013 in all its published forms: csv files, class folders, and the Hub's parquet files.

`load` reads the first of these forms that it finds in `root`, `root/fer2013` or `root/data`:

1. `fer2013.csv` (`emotion,pixels,Usage`), 2. `icml_face_data.csv` (`emotion, Usage, pixels`, rows in another
order), 3. `SPLIT-*.parquet` (the Hub's layout), 4. class folders (`train/CLASS/Training_N.jpg`,
`test/CLASS/{PublicTest,PrivateTest}_N.jpg`), 5. `train.csv` and `test.csv` (the Kaggle challenge's; its test
file has no labels).

The root may also be one csv or parquet file. The faces and their fingerprint do not depend on the form,
except that class folders hold JPEG copies, whose pixels differ slightly; the set then has a note.

The votes of FER+ (`fer2013new.csv`, see `ferplus`) are joined to the faces where that file is in the same
folder and the form has the row numbers of `fer2013.csv`: that file itself, and parquet files with a column
`row`.
"""

from __future__ import annotations

import csv
import os
import re
import shlex
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fer_models import images
from fer_models.datasets import ferplus
from fer_models.datasets.base import FaceSet
from fer_models.datasets.fer2013_parquet import parquet_files, read_parquet
from fer_models.datasets.fer2013_rows import (
    DATA_ROOT_HINT,
    LABELLED_HINT,
    NEW_COPY_HINT,
    OFFICIAL,
    PARTS,
    SIZE,
    SPLITS,
    USAGES,
    Rows,
    concatenate,
    new_pixels,
    to_grey48,
)
from fer_models.datasets.listing import list_visible
from fer_models.emotions import EMOTIONS, FER2013, FOLDERS, LABELS, Emotion, parse_label
from fer_models.errors import DatasetError, ImageError, UnknownNameError, UnreadableFacesError, printable

_FORMS = (
    "fer2013.csv, icml_face_data.csv, {train,public_test,private_test}-*.parquet, "
    "class folders train/CLASS/Training_N.jpg and test/CLASS/{PublicTest,PrivateTest}_N.jpg, or train.csv"
)
_PIXEL = {str(value): value for value in range(256)}
_LABEL = {str(int(emotion)): int(emotion) for emotion in EMOTIONS}
_FILE_NAME = re.compile(r"(Training|PublicTest|PrivateTest)_(\d{1,18})\.(jpe?g|png)", re.IGNORECASE)
Reader = Callable[[Path, str], Rows]


def load(split: str, root: Path) -> FaceSet:
    """Load the faces of one split, grey (48, 48), in the order of `fer2013.csv` where it is known.

    Args:
        split: `train` (28,709), `public_test` (3,589), `private_test` (3,589), or `test`: both of these, in
            this order (7,178).
        root: a folder that holds FER-2013 in one of its forms, or one csv or parquet file.

    Returns:
        The faces, with the votes of FER+ where these can be joined. Class counts that deviate from the
        official ones, and votes that belong to other rows, are no errors but notes.

    Raises:
        UnknownNameError: no such split.
        DatasetError: no form was found, it does not have this split with its labels, or a row or file is
            broken (also of the votes), or its class numbers are those of class folders.
    """
    if split not in SPLITS:
        raise UnknownNameError("split of fer2013", split, SPLITS)
    read, path = _find_form(root)
    rows = read(path, split)
    if not rows.labels:
        raise DatasetError(
            f"{path} holds no face of fer2013/{split}. It is another part of FER-2013, or incomplete. "
            f"{DATA_ROOT_HINT}"
        )
    labels = np.array(rows.labels, dtype=np.int64)
    _require_named_classes(path, split, labels)
    votes, vote_notes = _join_votes(root, rows, split)
    notes = (*rows.notes, *_count_notes(split, labels), *vote_notes)
    return FaceSet("fer2013", split, rows.images(), labels, rows.sources, notes, votes)


def _join_votes(root: Path, rows: Rows, split: str) -> tuple[NDArray[np.int64] | None, tuple[str, ...]]:
    """The votes of FER+ for `rows`, or a note with the reason why they were not joined."""
    path = ferplus.find(root)
    if path is None:
        return None, ()
    if not rows.has_csv_numbers:
        return None, (f"{_NOT_JOINED}this form does not have the row numbers of fer2013.csv",)
    table = ferplus.read(path)
    numbers = np.array(rows.numbers, dtype=np.int64)
    n_csv, n_votes = rows.n_csv_rows, len(table.votes)
    if n_csv not in (None, n_votes):  # a missing row shifts all later ones, perhaps within their split
        reason = (
            f"the csv file has {n_csv} rows and the votes {n_votes}, so row numbers do not identify faces"
        )
    else:
        reason = table.mismatch(numbers, split)
    return (None, (f"{_NOT_JOINED}{reason}",)) if reason else (table.votes[numbers], ())


_NOT_JOINED = "FER+ votes were found but not joined: "


def _require_named_classes(path: Path, split: str, labels: NDArray[np.int64]) -> None:
    """Refuse numbers of alphabetical classes, which the file's reader takes for those of fer2013.csv.

    Raises:
        DatasetError: the counts are official, but those of other emotions.
    """
    if is_alphabetical(labels, [split]):
        raise DatasetError(
            f"{path}: the counts of fer2013/{split} are those of alphabetical class numbers "
            f"({FOLDERS.describe()}), but the file does not name its classes. Store the labels as a "
            "ClassLabel with names, or as texts."
        )


def is_alphabetical(labels: NDArray[np.int64], splits: Iterable[str] = SPLITS) -> bool:
    """Whether the counts are those of a split of FER-2013 whose alphabetical class numbers were misread.

    Args:
        labels: of all faces of a split, read as numbers of `fer2013.csv`.
        splits: the official splits that it can be.
    """
    counts = np.bincount(labels, minlength=len(EMOTIONS)).tolist()
    for split in splits:
        official = OFFICIAL[split]
        if counts == [official[emotion] for emotion in FOLDERS.order if emotion is not None]:
            return True
    return False


def _count_notes(split: str, labels: NDArray[np.int64]) -> Iterator[str]:
    """One note when the class counts are not the official ones."""
    official = OFFICIAL[split]
    counts = np.bincount(labels, minlength=len(EMOTIONS)).tolist()
    if tuple(counts) != official:
        table = zip(LABELS, counts, official, strict=True)
        differing = ", ".join(f"{name} {n} instead of {other}" for name, n, other in table if n != other)
        total = f"{sum(counts)} faces, officially {sum(official)}"
        yield f"not the official fer2013/{split}: {total} ({differing})"


def _find_form(root: Path) -> tuple[Reader, Path]:
    """Find the first form under `root`: its reader, and the file or folder to read."""
    if os.path.isfile(root):
        readers = {".csv": _read_csv, ".parquet": read_parquet}
        if root.suffix.lower() not in readers:
            raise DatasetError(f"{root} is neither a .csv nor a .parquet file. {DATA_ROOT_HINT}")
        return readers[root.suffix.lower()], root
    if not os.path.isdir(root):
        raise DatasetError(f"{root} does not exist, so FER-2013 cannot be read from it. {DATA_ROOT_HINT}")
    for folder in (root, root / "fer2013", root / "data"):
        for name in ("fer2013.csv", "icml_face_data.csv"):
            if os.path.isfile(folder / name):
                return _read_csv, folder / name
        if parquet_files(folder):
            return read_parquet, folder
        parts = [folder / part for part in ("train", "test") if os.path.isdir(folder / part)]
        if any(os.path.isdir(child) for part in parts for child in list_visible(part)):
            return _read_folders, folder
        if any(os.path.isfile(folder / name) for name in ("train.csv", "test.csv")):
            return _read_kaggle, folder
    raise DatasetError(f"{root} holds FER-2013 in no known form. Looked for {_FORMS}. {DATA_ROOT_HINT}")


# -- csv ----------------------------------------------------------------------------------------------


def _read_csv(path: Path, split: str) -> Rows:
    """Read the rows of `split`.

    The columns, label and Usage of all rows are checked, but the pixels of the requested split only.
    """
    lines = _csv_lines(path)
    header = next(lines)[1]
    names = [column.strip().lower() for column in header]
    _check_header(path, header, names, split)
    label_column, pixels_column = names.index("emotion"), names.index("pixels")
    usage_column = names.index("usage") if "usage" in names else None
    pixels = new_pixels()
    parts = {part: Rows(pixels) for part in PARTS[split]}
    row = -1
    for row, (line, fields) in enumerate(lines):
        place = f"{path} row {row} (line {line})"
        if len(fields) != len(names):
            raise DatasetError(
                f"{place} has {len(fields)} columns instead of {len(names)}: the file was cut or edited. "
                f"{NEW_COPY_HINT}"
            )
        part = "train" if usage_column is None else _parse_usage(fields[usage_column], place)
        label = _LABEL.get(fields[label_column].strip())
        if label is None:
            text = fields[label_column][:20]
            raise DatasetError(
                f"{place} has the label {text!r}; FER-2013 has the labels 0..6 ({FER2013.describe()})."
            )
        if part in parts:
            parts[part].add(_parse_pixels(fields[pixels_column], place), label, f"row {row}", row)
    rows = concatenate(parts.values(), pixels)
    # icml_face_data.csv has other columns, and another order of rows.
    rows.has_csv_numbers, rows.n_csv_rows = names == ["emotion", "pixels", "usage"], row + 1
    return rows


def _check_header(path: Path, header: list[str], names: list[str], split: str) -> None:
    if names == ["pixels"]:
        raise DatasetError(
            f"{path} has no labels (its only column is pixels), "
            f"so fer2013/{split} cannot be evaluated with it. {LABELLED_HINT}"
        )
    if sorted(names) not in (["emotion", "pixels", "usage"], ["emotion", "pixels"]):
        raise DatasetError(
            f"{path} starts with the header {','.join(header)[:80]!r}, not with emotion,pixels,Usage "
            "(fer2013.csv), 'emotion, Usage, pixels' (icml_face_data.csv) or emotion,pixels (train.csv). "
            "Give an unchanged copy."
        )


def _csv_lines(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Iterate over the line number and fields of each row, the header first.

    Raises:
        DatasetError: an empty file, or one that is no csv text.
    """
    line = 0
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, strict=True)
            for fields in reader:
                line = reader.line_num
                yield line, fields
    except (UnicodeDecodeError, csv.Error) as error:
        raise DatasetError(
            f"{path} cannot be read as csv after line {line} ({error}). {NEW_COPY_HINT}"
        ) from error
    except OSError as error:
        raise DatasetError(f"{path} cannot be opened ({error.strerror}).") from error
    if line == 0:
        raise DatasetError(f"{path} is empty (0 bytes), not FER-2013's csv file. {NEW_COPY_HINT}")


def _parse_usage(usage: str, place: str) -> str:
    part = USAGES.get(usage.strip())
    if part is None:
        raise DatasetError(
            f"{place} has the Usage {usage[:20]!r}; FER-2013 has {', '.join(USAGES)}. "
            "If the file was cut or edited, get a new copy."
        )
    return part


def _parse_pixels(text: str, place: str) -> bytes:
    """Parse the pixels of a row by a table, which is faster than numpy for such short strings."""
    words = text.split()
    if len(words) != SIZE * SIZE:
        raise DatasetError(
            f"{place} has {len(words)} pixels instead of {SIZE * SIZE} (48 x 48). {NEW_COPY_HINT}"
        )
    try:
        return bytes(map(_PIXEL.__getitem__, words))
    except KeyError:
        i, word = next((i, word) for i, word in enumerate(words) if word not in _PIXEL)
        raise DatasetError(
            f"{place}: pixel {i} is {word[:20]!r}, not an integer of 0..255. {NEW_COPY_HINT}"
        ) from None


def _read_kaggle(folder: Path, split: str) -> Rows:
    """Read `train.csv` of the Kaggle challenge; its `test.csv` has no labels."""
    if split != "train":
        raise DatasetError(
            f"{folder / 'test.csv'} of the Kaggle challenge has no labels, "
            f"so fer2013/{split} cannot be evaluated with it. {LABELLED_HINT}"
        )
    if not os.path.isfile(folder / "train.csv"):
        raise DatasetError(
            f"{folder} holds test.csv but no train.csv, so there is no fer2013/train in it. {DATA_ROOT_HINT}"
        )
    return _read_csv(folder / "train.csv", split)


def _read_folders(folder: Path, split: str) -> Rows:
    """Read class folders: the emotion from the folder's *name*, split and order from the file's."""
    parts: dict[str, list[tuple[int, Path, Emotion]]] = {part: [] for part in PARTS[split]}
    for path, emotion in _labelled_files(folder):
        match = _FILE_NAME.fullmatch(path.name)
        if match is None:
            raise DatasetError(
                f"{path} is not named Training_N, PublicTest_N or PrivateTest_N, so its official split is "
                f"unknown. Remove it, or evaluate the folder as it is: --dataset {folder}"
            )
        part = next(split for usage, split in USAGES.items() if usage.lower() == match[1].lower())
        if part in parts:
            parts[part].append((int(match[2]), path, emotion))
    rows = Rows(new_pixels())
    unreadable: list[tuple[str, str]] = []
    for members in parts.values():
        for number, path, emotion in sorted(members):
            source = path.relative_to(folder).as_posix()
            try:
                rows.add(to_grey48(images.read(path), str(path)), int(emotion), source, number)
            except ImageError as error:
                unreadable.append((printable(source), str(error)))
    if unreadable:
        total = len(rows.labels) + len(unreadable)
        options = f"--dataset {shlex.quote(str(folder))}"  # the audit reads it as any other class folders
        raise UnreadableFacesError(f"fer2013/{split}", total, unreadable, options)
    if any(not source.lower().endswith(".png") for source in rows.sources):
        rows.notes.append(
            "read from JPEG copies, whose pixels differ slightly from fer2013.csv: "
            "another fingerprint, the same faces"
        )
    return rows


def _labelled_files(folder: Path) -> Iterator[tuple[Path, Emotion]]:
    parts = [folder / part for part in ("train", "test") if os.path.isdir(folder / part)]
    for classes in parts:
        for child in list_visible(classes):
            problem = f"{child} is not a class folder of FER-2013"
            try:
                emotion = parse_label(child.name) if os.path.isdir(child) else None
            except DatasetError as error:
                raise DatasetError(f"{problem}: {error} Remove or rename it.") from error
            if emotion is None:
                raise DatasetError(f"{problem} ({', '.join(LABELS)}). Remove or rename it.")
            yield from ((path, emotion) for path in list_visible(child))
