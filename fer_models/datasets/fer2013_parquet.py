"""FER-2013 as Parquet files of the Hugging Face Hub."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

from fer_models import images
from fer_models.datasets.fer2013_rows import (
    DATA_ROOT_HINT,
    MAX_ROWS,
    NEW_COPY_HINT,
    PARTS,
    Rows,
    concatenate,
    list_visible,
    sort_by_number,
    to_grey48,
)
from fer_models.emotions import FER2013, Emotion, LabelSpace, parse_label
from fer_models.errors import DatasetError

_SHARD = re.compile(r"-\d{5}-of-\d{5}(-[0-9a-f]+)?$")


def read_parquet(path: Path, split: str) -> Rows:
    """The split's shards, in the order of their `row` column where they have one."""
    shards = _shards([path] if os.path.isfile(path) else parquet_files(path))
    parts = [part for part in ((split,) if split in shards else PARTS[split]) if part in shards]
    if not parts:
        together = (
            "; its PublicTest and PrivateTest cannot be told apart: use --split test"
            if "test" in shards
            else ""
        )
        raise DatasetError(
            f"{path} holds no {split} split, only {', '.join(sorted(shards))}{together}. {DATA_ROOT_HINT}"
        )
    rows = concatenate(
        sort_by_number(concatenate(_read_shard(shard) for shard in shards[part])) for part in parts
    )
    rows.has_csv_numbers = -1 not in rows.numbers
    return rows


def parquet_files(folder: Path) -> list[Path]:
    return sorted(path for path in list_visible(folder) if path.suffix == ".parquet")


def _shards(paths: list[Path]) -> dict[str, list[Path]]:
    """The files of each split, by the names the Hub writes: `train-00000-of-00004.parquet`, `publicTest-…`,
    `validation-…`.

    A validation split is FER-2013's PublicTest. A lone `test` is PublicTest and PrivateTest together (7,178
    faces in the copies on the Hub); beside another of these two it is PrivateTest.

    Raises:
        DatasetError: a name that says no split, or two names that say the same.
    """
    named: dict[str, list[Path]] = {}
    for path in paths:
        named.setdefault(re.sub("[^a-z]", "", _SHARD.sub("", path.stem).lower()), []).append(path)
    known = {
        "train": "train",
        "training": "train",
        "publictest": "public_test",
        "privatetest": "private_test",
        "test": "test",
    }
    known |= dict.fromkeys(("validation", "valid", "val", "dev"), "public_test")
    splits: dict[str, list[Path]] = {}
    for name, files in named.items():
        if name not in known:
            raise DatasetError(
                f"{files[0]}: its name says no split. Name the files train-*.parquet, public_test-*.parquet and private_test-*.parquet."
            )
        if known[name] in splits:
            raise DatasetError(
                f"{files[0]} and {splits[known[name]][0].name} both claim to be {known[name]}. Keep one of them."
            )
        splits[known[name]] = files
    if "test" in splits and "public_test" in splits and "private_test" not in splits:
        splits["private_test"] = splits.pop("test")
    return splits


def _read_shard(path: Path) -> Rows:
    """One parquet file: `image` (encoded bytes, or the Hub's struct of bytes and path), `label` and, where
    there is one, `row`.
    """
    columns, names = _table(path)
    emotions = _emotions(columns["label"], path, names)
    numbers = columns.get("row", [-1] * len(emotions))
    if "row" in columns and not all(type(number) is int and number >= 0 for number in numbers):
        raise DatasetError(
            f"{path}: its column 'row' must hold integers from 0, the rows of fer2013.csv. {NEW_COPY_HINT}"
        )
    rows, dropped = Rows(), 0
    for i, (image, emotion) in enumerate(zip(columns["image"], emotions, strict=True)):
        data = image.get("bytes") if isinstance(image, dict) else image
        if not isinstance(data, bytes):
            raise DatasetError(f"{path} row {i} holds no image bytes. {NEW_COPY_HINT}")
        if emotion is None:
            dropped += 1
            continue
        source = f"row {numbers[i]}" if numbers[i] != -1 else f"{path.name} row {i}"
        rows.add(
            to_grey48(images.decode(data, f"{path} row {i}"), f"{path} row {i}"),
            int(emotion),
            source,
            numbers[i],
        )
    if dropped:
        rows.notes.append(f"dropped {dropped} faces of {path.name} whose label is outside the seven emotions")
    return rows


def _table(path: Path) -> tuple[dict[str, list[Any]], list[str]]:
    """The columns `image`, `label` and, where there is one, `row`; the names of the classes, if the file has
    them.

    Raises:
        DatasetError: pyarrow is missing, or the file is no sound parquet file with these columns.
    """
    try:
        import pyarrow.parquet as pq
    except ImportError as error:
        raise DatasetError(
            f"{path} cannot be read without pyarrow ({error}). Install it: pip install pyarrow"
        ) from error
    if not os.path.isfile(path):
        raise DatasetError(f"{path} is no regular file. Move it away.")
    try:
        with path.open("rb") as data, pq.ParquetFile(data) as file:  # pyarrow opens no path that is not UTF-8
            if file.metadata.num_rows > MAX_ROWS:
                raise DatasetError(
                    f"{path} claims {file.metadata.num_rows:,} rows; FER-2013 has 35,887. {NEW_COPY_HINT}"
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
    except (
        Exception
    ) as error:  # a damaged file makes pyarrow raise almost anything, such as UnicodeDecodeError
        reason = str(error).splitlines()[0][:160] if str(error) else type(error).__name__
        raise DatasetError(
            f"{path} ({path.stat().st_size} bytes) cannot be read as parquet ({reason}). It is cut or no parquet file: get it anew."
        ) from error


def _column(schema: Any, path: Path, names: tuple[str, ...]) -> str:
    """The first of `names` that the file has, once."""
    for name in names:
        if schema.names.count(name) > 1:
            raise DatasetError(
                f"{path} has the column {name} {schema.names.count(name)} times. {NEW_COPY_HINT}"
            )
        if name in schema.names:
            return name
    there = ", ".join(schema.names) or "none"
    raise DatasetError(f"{path} has no column {' or '.join(names)}, only {there}. {NEW_COPY_HINT}")


def _emotions(labels: list[Any], path: Path, names: list[str]) -> list[Emotion | None]:
    """The labels by *name* where the file names them (text, or `names` of a ClassLabel), else in csv
    order.
    """
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
