"""FER-2013 in every form it travels in: the two csv files, the Kaggle challenge's, class folders, and the
Hub's parquet files.

`load` looks at what lies under the root and takes the first of these forms, in `root` itself, then in
`root/fer2013` and `root/data`:

1. `fer2013.csv` (`emotion,pixels,Usage`), 2. `icml_face_data.csv` (`emotion, Usage, pixels`, rows in another
order), 3. `SPLIT-*.parquet` (the Hub's layout), 4. class folders (`train/CLASS/Training_N.jpg`,
`test/CLASS/{PublicTest,PrivateTest}_N.jpg`), 5. `train.csv` and `test.csv` (the Kaggle challenge's; its test
file has no labels).

A root that is itself a csv or parquet file is read as that. The faces and their fingerprint do not depend on
the form, except that the class folders hold JPEG copies, whose pixels differ slightly; a note says so.

The votes of FER+ (`fer2013new.csv`, see `ferplus`) are joined to the faces where they lie beside them and the
form keeps the rows of `fer2013.csv`: that file itself, and parquet files with a column `row`.
"""

from __future__ import annotations

import csv
import os
import re
import shlex
from collections.abc import Callable, Iterator
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
    Rows,
    concatenate,
    list_visible,
    to_grey48,
)
from fer_models.emotions import EMOTIONS, FER2013, LABELS, Emotion, parse_label
from fer_models.errors import DatasetError, ImageError, UnknownNameError, UnreadableFacesError, printable

_USAGES = {"Training": "train", "PublicTest": "public_test", "PrivateTest": "private_test"}

_LOOKED_FOR = (
    "fer2013.csv, icml_face_data.csv, {train,public_test,private_test}-*.parquet, class folders train/CLASS/Training_N.jpg and "
    "test/CLASS/{PublicTest,PrivateTest}_N.jpg, or train.csv"
)
_PIXEL = {str(value): value for value in range(256)}
_LABEL = {str(int(emotion)): int(emotion) for emotion in EMOTIONS}
_FILE_NAME = re.compile(r"(Training|PublicTest|PrivateTest)_(\d+)\.(jpe?g|png)", re.IGNORECASE)
Reader = Callable[[Path, str], Rows]


def load(split: str, root: Path) -> FaceSet:
    """The faces of one split, grey (48, 48), in the order of `fer2013.csv` where the form keeps it.

    Args:
        split: `train` (28,709), `public_test` (3,589), `private_test` (3,589), or `test`: both of these, in
            this order (7,178).
        root: a folder that holds FER-2013 in one of its forms, or one csv or parquet file.

    Returns:
        The faces, with the votes of FER+ where these can be joined. Class counts that deviate from the
        official ones are no error, and neither
        are votes that belong to other rows: both stand in `notes`.

    Raises:
        UnknownNameError: no such split.
        DatasetError: nothing is found, the form does not hold this split with its labels, or a row or file is
            broken (that of the votes too).
    """
    if split not in SPLITS:
        raise UnknownNameError("split of fer2013", split, SPLITS)
    read, path = _find(root)
    rows = read(path, split)
    if not rows.labels:
        raise DatasetError(
            f"{path} holds no face of fer2013/{split}. It is another part of FER-2013, or incomplete. {DATA_ROOT_HINT}"
        )
    pixels = np.frombuffer(bytes(rows.pixels), dtype=np.uint8).reshape(
        -1, SIZE, SIZE
    )  # read-only, as it stands on bytes
    labels = np.array(rows.labels, dtype=np.int64)
    votes, why_not = _votes(root, rows, split)
    return FaceSet(
        "fer2013",
        split,
        pixels,
        labels,
        rows.sources,
        (*rows.notes, *_deviations(split, rows.labels), *why_not),
        votes,
    )


def _votes(root: Path, rows: Rows, split: str) -> tuple[NDArray[np.int64] | None, tuple[str, ...]]:
    """The votes of FER+ for `rows`, or a note why the votes that are there were not joined."""
    path = ferplus.find(root)
    if path is None:
        return None, ()
    if not rows.has_csv_numbers:
        return None, ("FER+ votes are there but not joined: this form does not keep the rows of fer2013.csv",)
    table = ferplus.read(path)
    numbers = np.array(rows.numbers, dtype=np.int64)
    if rows.n_csv_rows not in (
        None,
        len(table.votes),
    ):  # rows left out of a csv file move all that follow, perhaps within their split
        reason = f"the csv file has {rows.n_csv_rows} rows and the votes {len(table.votes)}, so a row's number does not say which face it is"
    else:
        reason = table.mismatch(numbers, split)
    return (
        (None, (f"FER+ votes are there but not joined: {reason}",)) if reason else (table.votes[numbers], ())
    )


def _deviations(split: str, labels: list[int]) -> Iterator[str]:
    """One note when the class counts are not the official ones."""
    official = OFFICIAL[split]
    counts = np.bincount(labels, minlength=len(EMOTIONS)).tolist()
    if tuple(counts) != official:
        differing = ", ".join(
            f"{name} {got} instead of {want}"
            for name, got, want in zip(LABELS, counts, official, strict=True)
            if got != want
        )
        yield f"not the official fer2013/{split}: {sum(counts)} faces, officially {sum(official)} ({differing})"


def _find(root: Path) -> tuple[Reader, Path]:
    """The reader of the first form found under `root`, and what it is to read."""
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
        if any(os.path.isdir(child) for part in ("train", "test") for child in list_visible(folder / part)):
            return _read_folders, folder
        if any(os.path.isfile(folder / name) for name in ("train.csv", "test.csv")):
            return _read_kaggle, folder
    raise DatasetError(f"{root} holds FER-2013 in no known form. Looked for {_LOOKED_FOR}. {DATA_ROOT_HINT}")


# -- csv ----------------------------------------------------------------------------------------------


def _read_csv(path: Path, split: str) -> Rows:
    """The rows of `split`. Every row's columns, label and Usage are checked, the pixels of the wanted rows
    only.
    """
    lines = _csv_lines(path)
    columns = next(lines)[1]
    names = [column.strip().lower() for column in columns]
    if names == ["pixels"]:
        raise DatasetError(
            f"{path} has no labels (its only column is pixels), so fer2013/{split} cannot be scored from it. {LABELLED_HINT}"
        )
    if sorted(names) not in (["emotion", "pixels", "usage"], ["emotion", "pixels"]):
        raise DatasetError(
            f"{path} starts with the header {','.join(columns)[:80]!r}, not with emotion,pixels,Usage (fer2013.csv), "
            "'emotion, Usage, pixels' (icml_face_data.csv) or emotion,pixels (train.csv). Give an unchanged copy."
        )
    emotion_at, pixels_at = names.index("emotion"), names.index("pixels")
    usage_at = names.index("usage") if "usage" in names else None
    parts = {part: Rows() for part in PARTS[split]}
    row = -1
    for row, (line, fields) in enumerate(lines):
        if len(fields) != len(names):
            raise DatasetError(
                f"{_at(path, row, line)} has {len(fields)} columns instead of {len(names)}: the file was cut or edited. {NEW_COPY_HINT}"
            )
        part = _part(fields[usage_at], _at(path, row, line)) if usage_at is not None else "train"
        label = _LABEL.get(fields[emotion_at].strip())
        if label is None:
            raise DatasetError(
                f"{_at(path, row, line)} has the label {fields[emotion_at][:20]!r}; FER-2013 knows 0..6 ({FER2013.describe()})."
            )
        if part in parts:
            parts[part].add(_pixels(fields[pixels_at], path, row, line), label, f"row {row}", row)
    rows = concatenate(parts.values())
    rows.has_csv_numbers, rows.n_csv_rows = (
        names == ["emotion", "pixels", "usage"],
        row + 1,
    )  # icml_face_data.csv has other columns, and another order
    return rows


def _at(path: Path, row: int, line: int) -> str:
    return f"{path} row {row} (line {line})"


def _csv_lines(path: Path) -> Iterator[tuple[int, list[str]]]:
    """The line number and fields of each row, the header first.

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


def _part(usage: str, where: str) -> str:
    part = _USAGES.get(usage.strip())
    if part is None:
        raise DatasetError(
            f"{where} has the Usage {usage[:20]!r}; FER-2013 knows {', '.join(_USAGES)}. If it was cut or edited, get the file anew."
        )
    return part


def _pixels(text: str, path: Path, row: int, line: int) -> bytes:
    """A row's pixels; the table's look-up parses and checks at once, and is faster than numpy on strings this
    short.
    """
    words = text.split()
    if len(words) != SIZE * SIZE:
        raise DatasetError(
            f"{_at(path, row, line)} has {len(words)} pixels instead of {SIZE * SIZE} (48 x 48). {NEW_COPY_HINT}"
        )
    try:
        return bytes(map(_PIXEL.__getitem__, words))
    except KeyError:
        at, word = next((i, word) for i, word in enumerate(words) if word not in _PIXEL)
        raise DatasetError(
            f"{_at(path, row, line)}: pixel {at} is {word[:20]!r}, not an integer of 0..255. {NEW_COPY_HINT}"
        ) from None


def _read_kaggle(folder: Path, split: str) -> Rows:
    """`train.csv` of the Kaggle challenge; its `test.csv` exists without labels only."""
    if split != "train":
        raise DatasetError(
            f"{folder / 'test.csv'} of the Kaggle challenge has no labels, so fer2013/{split} cannot be scored from it. {LABELLED_HINT}"
        )
    if not os.path.isfile(folder / "train.csv"):
        raise DatasetError(
            f"{folder} holds test.csv but no train.csv, so there is no fer2013/train in it. {DATA_ROOT_HINT}"
        )
    return _read_csv(folder / "train.csv", split)


def _read_folders(folder: Path, split: str) -> Rows:
    """Faces by class folder: the emotion from the folder's *name*, the official split from the file's,
    ordered by its number.
    """
    parts: dict[str, list[tuple[int, Path, Emotion]]] = {part: [] for part in PARTS[split]}
    for path, emotion in _classified(folder):
        match = _FILE_NAME.fullmatch(path.name)
        if match is None:
            raise DatasetError(
                f"{path} is not named Training_N, PublicTest_N or PrivateTest_N, so its official split is unknown. "
                f"Remove it, or evaluate the folder as it is: --dataset {folder}"
            )
        part = next(part for usage, part in _USAGES.items() if usage.lower() == match[1].lower())
        if part in parts:
            parts[part].append((int(match[2]), path, emotion))
    rows = Rows()
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
        options = (
            f"--dataset {shlex.quote(str(folder))}"  # read as any other class folders, it can be audited
        )
        raise UnreadableFacesError(f"fer2013/{split}", total, unreadable, options)
    if any(not source.lower().endswith(".png") for source in rows.sources):
        rows.notes.append(
            "read from JPEG copies, whose pixels differ slightly from fer2013.csv: another fingerprint, the same faces"
        )
    return rows


def _classified(folder: Path) -> Iterator[tuple[Path, Emotion]]:
    for classes in (folder / "train", folder / "test"):
        for named in sorted(list_visible(classes)):
            try:
                emotion = parse_label(named.name) if os.path.isdir(named) else None
            except DatasetError as error:
                raise DatasetError(
                    f"{named} is not a class folder of FER-2013: {error} Remove or rename it."
                ) from error
            if emotion is None:
                raise DatasetError(
                    f"{named} is not a class folder of FER-2013 ({', '.join(LABELS)}). Remove or rename it."
                )
            yield from ((path, emotion) for path in list_visible(named))
