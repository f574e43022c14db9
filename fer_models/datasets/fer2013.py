"""FER-2013 in every form it travels in: the two csv files, the Kaggle challenge's, class folders, and the Hub's parquet files.

`load` looks at what lies under the root and takes the first of these forms, in `root` itself, then in `root/fer2013` and `root/data`:

1. `fer2013.csv` (`emotion,pixels,Usage`), 2. `icml_face_data.csv` (`emotion, Usage, pixels`, rows in another order),
3. `SPLIT-*.parquet` (the Hub's layout), 4. class folders (`train/CLASS/Training_N.jpg`, `test/CLASS/{PublicTest,PrivateTest}_N.jpg`),
5. `train.csv` and `test.csv` (the Kaggle challenge's; its test file has no labels).

A root that is itself a csv or parquet file is read as that. The faces and their fingerprint do not depend on the form, except that the
class folders hold JPEG copies, whose pixels differ slightly; a note says so.

The votes of FER+ (`fer2013new.csv`, see `ferplus`) are joined to the faces where they lie beside them and the form keeps the rows of
`fer2013.csv`: that file itself, and parquet files with a column `row`.
"""

from __future__ import annotations

import csv
import json
import os
import re
import shlex
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fer_models import images
from fer_models.datasets import ferplus
from fer_models.datasets.base import FaceSet
from fer_models.emotions import EMOTIONS, FER2013, LABELS, Emotion, LabelSpace, parse_label
from fer_models.errors import DatasetError, ImageError, UnknownNameError, UnreadableFacesError, printable

SIZE = 48

#: The official number of faces of each emotion, in `Emotion` order (angry, disgust, fear, happy, sad, surprise, neutral).
OFFICIAL: dict[str, tuple[int, ...]] = {
    "train": (3995, 436, 4097, 7215, 4830, 3171, 4965),
    "public_test": (467, 56, 496, 895, 653, 415, 607),
    "private_test": (491, 55, 528, 879, 594, 416, 626),
    "test": (958, 111, 1024, 1774, 1247, 831, 1233),
}
SPLITS: tuple[str, ...] = tuple(OFFICIAL)

#: The official splits that each split consists of, in order.
_PARTS = {"train": ("train",), "public_test": ("public_test",), "private_test": ("private_test",), "test": ("public_test", "private_test")}
_USAGES = {"Training": "train", "PublicTest": "public_test", "PrivateTest": "private_test"}

_WAYS_OUT = "Give the folder with --data-root FOLDER, or let --download fetch it from the Hugging Face Hub."
_LOOKED_FOR = (
    "fer2013.csv, icml_face_data.csv, {train,public_test,private_test}-*.parquet, class folders train/CLASS/Training_N.jpg and "
    "test/CLASS/{PublicTest,PrivateTest}_N.jpg, or train.csv"
)
#: A parquet file that claims more rows is broken, or made to fill the memory.
_MOST_ROWS = 1_000_000
_PIXEL = {str(value): value for value in range(256)}
_LABEL = {str(int(emotion)): int(emotion) for emotion in EMOTIONS}
_FILE_NAME = re.compile(r"(Training|PublicTest|PrivateTest)_(\d+)\.(jpe?g|png)", re.IGNORECASE)
_SHARD = re.compile(r"-\d{5}-of-\d{5}(-[0-9a-f]+)?$")


@dataclass
class _Rows:
    """What a reader gathers: one entry per face in each list, 48 * 48 grey bytes per face in `pixels`."""

    pixels: bytearray = field(default_factory=bytearray)
    labels: list[int] = field(default_factory=list)
    sources: list[str] = field(default_factory=list)
    numbers: list[int] = field(default_factory=list)  # where the face stood in fer2013.csv, as far as its form knows
    notes: list[str] = field(default_factory=list)
    numbered: bool = False  # whether `numbers` are the rows of fer2013.csv
    whole: int | None = None  # how many rows the file has, all splits together, where a row's number is its place in the file

    def add(self, pixels: bytes, label: int, source: str, number: int) -> None:
        self.pixels += pixels
        self.labels.append(label)
        self.sources.append(source)
        self.numbers.append(number)

    def extend(self, other: _Rows) -> None:
        self.pixels += other.pixels
        self.labels += other.labels
        self.sources += other.sources
        self.numbers += other.numbers
        self.notes += other.notes


Reader = Callable[[Path, str], _Rows]


def load(split: str, root: Path) -> FaceSet:
    """The faces of one split, grey (48, 48), in the order of `fer2013.csv` where the form keeps it.

    Args:
        split: `train` (28,709), `public_test` (3,589), `private_test` (3,589), or `test`: both of these, in this order (7,178).
        root: a folder that holds FER-2013 in one of its forms, or one csv or parquet file.

    Returns:
        The faces, with the votes of FER+ where these can be joined. Class counts that deviate from the official ones are no error, and neither
        are votes that belong to other rows: both stand in `notes`.

    Raises:
        UnknownNameError: no such split.
        DatasetError: nothing is found, the form does not hold this split with its labels, or a row or file is broken (that of the votes too).
    """
    if split not in SPLITS:
        raise UnknownNameError("split of fer2013", split, SPLITS)
    read, path = _find(root)
    rows = read(path, split)
    if not rows.labels:
        raise DatasetError(f"{path} holds no face of fer2013/{split}. It is another part of FER-2013, or incomplete. {_WAYS_OUT}")
    pixels = np.frombuffer(bytes(rows.pixels), dtype=np.uint8).reshape(-1, SIZE, SIZE)  # read-only, as it stands on bytes
    labels = np.array(rows.labels, dtype=np.int64)
    votes, why_not = _votes(root, rows, split)
    return FaceSet("fer2013", split, pixels, labels, rows.sources, (*rows.notes, *_deviations(split, rows.labels), *why_not), votes)


def _votes(root: Path, rows: _Rows, split: str) -> tuple[NDArray[np.int64] | None, tuple[str, ...]]:
    """The votes of FER+ for `rows`, or a note why the votes that are there were not joined."""
    path = ferplus.find(root)
    if path is None:
        return None, ()
    if not rows.numbered:
        return None, ("FER+ votes are there but not joined: this form does not keep the rows of fer2013.csv",)
    table = ferplus.read(path)
    numbers = np.array(rows.numbers, dtype=np.int64)
    if rows.whole not in (None, len(table.votes)):  # rows left out of a csv file move all that follow, perhaps within their split
        reason = f"the csv file has {rows.whole} rows and the votes {len(table.votes)}, so a row's number does not say which face it is"
    else:
        reason = table.misfit(numbers, split)
    return (None, (f"FER+ votes are there but not joined: {reason}",)) if reason else (table.votes[numbers], ())


def _deviations(split: str, labels: list[int]) -> Iterator[str]:
    """One note when the class counts are not the official ones."""
    official = OFFICIAL[split]
    counts = np.bincount(labels, minlength=len(EMOTIONS)).tolist()
    if tuple(counts) != official:
        differing = ", ".join(f"{name} {got} instead of {want}" for name, got, want in zip(LABELS, counts, official, strict=True) if got != want)
        yield f"not the official fer2013/{split}: {sum(counts)} faces, officially {sum(official)} ({differing})"


def _find(root: Path) -> tuple[Reader, Path]:
    """The reader of the first form found under `root`, and what it is to read."""
    if os.path.isfile(root):
        readers = {".csv": _read_csv, ".parquet": _read_parquet}
        if root.suffix.lower() not in readers:
            raise DatasetError(f"{root} is neither a .csv nor a .parquet file. {_WAYS_OUT}")
        return readers[root.suffix.lower()], root
    if not os.path.isdir(root):
        raise DatasetError(f"{root} does not exist, so FER-2013 cannot be read from it. {_WAYS_OUT}")
    for folder in (root, root / "fer2013", root / "data"):
        for name in ("fer2013.csv", "icml_face_data.csv"):
            if os.path.isfile(folder / name):
                return _read_csv, folder / name
        if _parquet_files(folder):
            return _read_parquet, folder
        if any(os.path.isdir(child) for part in ("train", "test") for child in _visible(folder / part)):
            return _read_folders, folder
        if any(os.path.isfile(folder / name) for name in ("train.csv", "test.csv")):
            return _read_kaggle, folder
    raise DatasetError(f"{root} holds FER-2013 in no known form. Looked for {_LOOKED_FOR}. {_WAYS_OUT}")


# -- csv ----------------------------------------------------------------------------------------------


def _read_csv(path: Path, split: str) -> _Rows:
    """The rows of `split`. Every row's columns, label and Usage are checked, the pixels of the wanted rows only."""
    lines = _csv_lines(path)
    columns = next(lines)[1]
    names = [column.strip().lower() for column in columns]
    if names == ["pixels"]:
        raise DatasetError(f"{path} has no labels (its only column is pixels), so fer2013/{split} cannot be scored from it. {_SCORABLE}")
    if sorted(names) not in (["emotion", "pixels", "usage"], ["emotion", "pixels"]):
        raise DatasetError(
            f"{path} starts with the header {','.join(columns)[:80]!r}, not with emotion,pixels,Usage (fer2013.csv), "
            "'emotion, Usage, pixels' (icml_face_data.csv) or emotion,pixels (train.csv). Give an unchanged copy."
        )
    emotion_at, pixels_at = names.index("emotion"), names.index("pixels")
    usage_at = names.index("usage") if "usage" in names else None
    parts = {part: _Rows() for part in _PARTS[split]}
    row = -1
    for row, (line, fields) in enumerate(lines):
        if len(fields) != len(names):
            raise DatasetError(f"{_at(path, row, line)} has {len(fields)} columns instead of {len(names)}: the file was cut or edited. {_ANEW}")
        part = _part(fields[usage_at], _at(path, row, line)) if usage_at is not None else "train"
        label = _LABEL.get(fields[emotion_at].strip())
        if label is None:
            raise DatasetError(f"{_at(path, row, line)} has the label {fields[emotion_at][:20]!r}; FER-2013 knows 0..6 ({FER2013.spell()}).")
        if part in parts:
            parts[part].add(_pixels(fields[pixels_at], path, row, line), label, f"row {row}", row)
    rows = _joined(parts.values())
    rows.numbered, rows.whole = names == ["emotion", "pixels", "usage"], row + 1  # icml_face_data.csv has other columns, and another order
    return rows


_ANEW = "Get the file anew."
_SCORABLE = "Use fer2013.csv or icml_face_data.csv, which hold all labels, or --download."


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
        raise DatasetError(f"{path} cannot be read as csv after line {line} ({error}). {_ANEW}") from error
    except OSError as error:
        raise DatasetError(f"{path} cannot be opened ({error.strerror}).") from error
    if line == 0:
        raise DatasetError(f"{path} is empty (0 bytes), not FER-2013's csv file. {_ANEW}")


def _part(usage: str, where: str) -> str:
    part = _USAGES.get(usage.strip())
    if part is None:
        raise DatasetError(f"{where} has the Usage {usage[:20]!r}; FER-2013 knows {', '.join(_USAGES)}. If it was cut or edited, get the file anew.")
    return part


def _pixels(text: str, path: Path, row: int, line: int) -> bytes:
    """A row's pixels; the table's look-up parses and checks at once, and is faster than numpy on strings this short."""
    words = text.split()
    if len(words) != SIZE * SIZE:
        raise DatasetError(f"{_at(path, row, line)} has {len(words)} pixels instead of {SIZE * SIZE} (48 x 48). {_ANEW}")
    try:
        return bytes(map(_PIXEL.__getitem__, words))
    except KeyError:
        at, word = next((i, word) for i, word in enumerate(words) if word not in _PIXEL)
        raise DatasetError(f"{_at(path, row, line)}: pixel {at} is {word[:20]!r}, not an integer of 0..255. {_ANEW}") from None


def _read_kaggle(folder: Path, split: str) -> _Rows:
    """`train.csv` of the Kaggle challenge; its `test.csv` exists without labels only."""
    if split != "train":
        raise DatasetError(f"{folder / 'test.csv'} of the Kaggle challenge has no labels, so fer2013/{split} cannot be scored from it. {_SCORABLE}")
    if not os.path.isfile(folder / "train.csv"):
        raise DatasetError(f"{folder} holds test.csv but no train.csv, so there is no fer2013/train in it. {_WAYS_OUT}")
    return _read_csv(folder / "train.csv", split)


def _joined(parts: Iterable[_Rows]) -> _Rows:
    joined = _Rows()
    for part in parts:
        joined.extend(part)
    return joined


# -- class folders ------------------------------------------------------------------------------------


def _read_folders(folder: Path, split: str) -> _Rows:
    """Faces by class folder: the emotion from the folder's *name*, the official split from the file's, ordered by its number."""
    parts: dict[str, list[tuple[int, Path, Emotion]]] = {part: [] for part in _PARTS[split]}
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
    rows = _Rows()
    unreadable: list[tuple[str, str]] = []
    for members in parts.values():
        for number, path, emotion in sorted(members):
            source = path.relative_to(folder).as_posix()
            try:
                rows.add(_grey48(images.read(path), str(path)), int(emotion), source, number)
            except ImageError as error:
                unreadable.append((printable(source), str(error)))
    if unreadable:
        total = len(rows.labels) + len(unreadable)
        options = f"--dataset {shlex.quote(str(folder))}"  # read as any other class folders, it can be audited
        raise UnreadableFacesError(f"fer2013/{split}", total, unreadable, options)
    if any(not source.lower().endswith(".png") for source in rows.sources):
        rows.notes.append("read from JPEG copies, whose pixels differ slightly from fer2013.csv: another fingerprint, the same faces")
    return rows


def _classified(folder: Path) -> Iterator[tuple[Path, Emotion]]:
    for classes in (folder / "train", folder / "test"):
        for named in sorted(_visible(classes)):
            try:
                emotion = parse_label(named.name) if os.path.isdir(named) else None
            except DatasetError as error:
                raise DatasetError(
                    f"{named} is not a class folder of FER-2013: {error} Remove or rename it."
                ) from error
            if emotion is None:
                raise DatasetError(f"{named} is not a class folder of FER-2013 ({', '.join(LABELS)}). Remove or rename it.")
            yield from ((path, emotion) for path in _visible(named))


def _visible(folder: Path) -> list[Path]:
    try:
        children = list(folder.iterdir()) if os.path.isdir(folder) else []
    except OSError as error:
        raise DatasetError(f"{folder} cannot be listed ({error.strerror}).") from error
    return [child for child in children if not child.name.startswith(".")]


def _grey48(face: images.Face, name: str) -> bytes:
    if face.shape[:2] != (SIZE, SIZE):
        raise DatasetError(f"{name} is {face.shape[1]}x{face.shape[0]} pixels; FER-2013's faces are 48x48. Give an unresized copy.")
    return images.grey(face).tobytes()


# -- parquet ------------------------------------------------------------------------------------------


def _read_parquet(path: Path, split: str) -> _Rows:
    """The split's shards, in the order of their `row` column where they have one."""
    shards = _shards([path] if os.path.isfile(path) else _parquet_files(path))
    parts = [part for part in ((split,) if split in shards else _PARTS[split]) if part in shards]
    if not parts:
        together = "; its PublicTest and PrivateTest cannot be told apart: use --split test" if "test" in shards else ""
        raise DatasetError(f"{path} holds no {split} split, only {', '.join(sorted(shards))}{together}. {_WAYS_OUT}")
    rows = _joined(_by_number(_joined(_read_shard(shard) for shard in shards[part])) for part in parts)
    rows.numbered = -1 not in rows.numbers
    return rows


def _parquet_files(folder: Path) -> list[Path]:
    return sorted(path for path in _visible(folder) if path.suffix == ".parquet")


def _shards(paths: list[Path]) -> dict[str, list[Path]]:
    """The files of each split, by the names the Hub writes: `train-00000-of-00004.parquet`, `publicTest-…`, `validation-…`.

    A validation split is FER-2013's PublicTest. A lone `test` is PublicTest and PrivateTest together (7,178 faces in the copies on the Hub);
    beside another of these two it is PrivateTest.

    Raises:
        DatasetError: a name that says no split, or two names that say the same.
    """
    named: dict[str, list[Path]] = {}
    for path in paths:
        named.setdefault(re.sub("[^a-z]", "", _SHARD.sub("", path.stem).lower()), []).append(path)
    known = {"train": "train", "training": "train", "publictest": "public_test", "privatetest": "private_test", "test": "test"}
    known |= dict.fromkeys(("validation", "valid", "val", "dev"), "public_test")
    splits: dict[str, list[Path]] = {}
    for name, files in named.items():
        if name not in known:
            raise DatasetError(
                f"{files[0]}: its name says no split. Name the files train-*.parquet, public_test-*.parquet and private_test-*.parquet."
            )
        if known[name] in splits:
            raise DatasetError(f"{files[0]} and {splits[known[name]][0].name} both claim to be {known[name]}. Keep one of them.")
        splits[known[name]] = files
    if "test" in splits and "public_test" in splits and "private_test" not in splits:
        splits["private_test"] = splits.pop("test")
    return splits


def _by_number(rows: _Rows) -> _Rows:
    """`rows` in the order of `fer2013.csv`; those of a file that does not know it stay as they are, since their numbers are all -1."""
    order = sorted(range(len(rows.labels)), key=rows.numbers.__getitem__)
    face = SIZE * SIZE
    ordered = _Rows(notes=rows.notes)
    for i in order:
        ordered.add(bytes(rows.pixels[i * face : (i + 1) * face]), rows.labels[i], rows.sources[i], rows.numbers[i])
    return ordered


def _read_shard(path: Path) -> _Rows:
    """One parquet file: `image` (encoded bytes, or the Hub's struct of bytes and path), `label` and, where there is one, `row`."""
    columns, names = _table(path)
    emotions = _emotions(columns["label"], path, names)
    numbers = columns.get("row", [-1] * len(emotions))
    if "row" in columns and not all(type(number) is int and number >= 0 for number in numbers):
        raise DatasetError(
            f"{path}: its column 'row' must hold integers from 0, the rows of fer2013.csv. {_ANEW}"
        )
    rows, dropped = _Rows(), 0
    for i, (image, emotion) in enumerate(zip(columns["image"], emotions, strict=True)):
        data = image.get("bytes") if isinstance(image, dict) else image
        if not isinstance(data, bytes):
            raise DatasetError(f"{path} row {i} holds no image bytes. {_ANEW}")
        if emotion is None:
            dropped += 1
            continue
        source = f"row {numbers[i]}" if numbers[i] != -1 else f"{path.name} row {i}"
        rows.add(_grey48(images.decode(data, f"{path} row {i}"), f"{path} row {i}"), int(emotion), source, numbers[i])
    if dropped:
        rows.notes.append(f"dropped {dropped} faces of {path.name} whose label is outside the seven emotions")
    return rows


def _table(path: Path) -> tuple[dict[str, list[Any]], list[str]]:
    """The columns `image`, `label` and, where there is one, `row`; the names of the classes, if the file has them.

    Raises:
        DatasetError: pyarrow is missing, or the file is no sound parquet file with these columns.
    """
    try:
        import pyarrow.parquet as pq
    except ImportError as error:
        raise DatasetError(f"{path} cannot be read without pyarrow ({error}). Install it: pip install pyarrow") from error
    if not os.path.isfile(path):
        raise DatasetError(f"{path} is no regular file. Move it away.")
    try:
        with path.open("rb") as data, pq.ParquetFile(data) as file:  # pyarrow opens no path that is not UTF-8
            if file.metadata.num_rows > _MOST_ROWS:
                raise DatasetError(
                    f"{path} claims {file.metadata.num_rows:,} rows; FER-2013 has 35,887. {_ANEW}"
                )
            schema = file.schema_arrow
            columns = {
                "image": _column(schema, path, ("image", "img")),
                "label": _column(schema, path, ("label", "labels", "emotion")),
            }
            if "row" in schema.names:
                columns["row"] = _column(schema, path, ("row",))
            table = file.read(columns=list(columns.values()))
            values = {name: table.column(at).to_pylist() for name, at in columns.items()}
            return values, _class_names(schema, columns["label"])
    except DatasetError:
        raise
    except Exception as error:  # a damaged file makes pyarrow raise almost anything, such as UnicodeDecodeError
        reason = str(error).splitlines()[0][:160] if str(error) else type(error).__name__
        raise DatasetError(
            f"{path} ({path.stat().st_size} bytes) cannot be read as parquet ({reason}). It is cut or no parquet file: get it anew."
        ) from error


def _column(schema: Any, path: Path, names: tuple[str, ...]) -> str:
    """The first of `names` that the file has, once."""
    for name in names:
        if schema.names.count(name) > 1:
            raise DatasetError(f"{path} has the column {name} {schema.names.count(name)} times. {_ANEW}")
        if name in schema.names:
            return name
    there = ", ".join(schema.names) or "none"
    raise DatasetError(f"{path} has no column {' or '.join(names)}, only {there}. {_ANEW}")


def _emotions(labels: list[Any], path: Path, names: list[str]) -> list[Emotion | None]:
    """The labels by *name* where the file names them (text, or `names` of a ClassLabel), else in csv order."""
    try:
        space = LabelSpace.from_names(path.name, names) if names else FER2013
    except DatasetError as error:
        raise DatasetError(f"{path}: {error}") from error
    emotions: list[Emotion | None] = []
    for i, label in enumerate(labels):
        try:
            if type(label) not in (int, str):  # True is an int too, and no class
                raise DatasetError(
                    f"a label must be a class number or an emotion's name, got {repr(label)[:60]}."
                )
            emotions.append(parse_label(label) if isinstance(label, str) else space.emotion(label))
        except DatasetError as error:
            raise DatasetError(f"{path} row {i}: {error}") from error
    return emotions


def _class_names(schema: Any, column: str) -> list[str]:
    """The names of a ClassLabel in the schema's `huggingface` metadata, or none."""
    try:
        features = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))["info"]["features"]
        names = features[column]["names"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return []
    return [str(name) for name in names] if isinstance(names, list) else []
