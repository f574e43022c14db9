"""FER-2013 as Parquet files of the Hugging Face Hub."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Sequence
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
    new_pixels,
    sort_by_number,
    to_grey48,
)
from fer_models.datasets.listing import list_visible
from fer_models.datasets.pixel_file import PixelFile
from fer_models.emotions import FER2013, Emotion, LabelSpace, parse_label
from fer_models.errors import DatasetError

#: Rows and bytes of a column that are in memory at once.
_BATCH_ROWS, _BUFFER = 256, 2**20
_SHARD = re.compile(r"-(\d{5})-of-(\d{5})(-[0-9a-f]+)?$")
_SPLIT_NAMES = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("publictest", "validation", "valid", "val", "dev"), "public_test"),
    "privatetest": "private_test",
    "test": "test",
}


def read_parquet(path: Path, split: str) -> Rows:
    """Read the shards of a split, sorted by their column `row` where they have one."""
    shards = _shards([path] if os.path.isfile(path) else parquet_files(path))
    parts = [part for part in ((split,) if split in shards else PARTS[split]) if part in shards]
    if not parts:
        hint = "; its PublicTest and PrivateTest cannot be separated: use --split test"
        available = ", ".join(sorted(shards)) + (hint if "test" in shards else "")
        raise DatasetError(f"{path} holds no {split} split, only {available}. {DATA_ROOT_HINT}")
    pixels = new_pixels()
    rows = concatenate(
        (
            sort_by_number(concatenate((_read_shard(shard, pixels) for shard in shards[part]), pixels))
            for part in parts
        ),
        pixels,
    )
    rows.has_csv_numbers = -1 not in rows.numbers
    return rows


def parquet_files(folder: Path) -> list[Path]:
    """List the visible parquet files in a folder, sorted; none where there is no folder."""
    paths = list_visible(folder) if os.path.isdir(folder) else []
    return [path for path in paths if path.suffix == ".parquet"]


def _shards(paths: list[Path]) -> dict[str, list[Path]]:
    """Group files by split; names are those of the Hub, such as `train-00000-of-00004.parquet`.

    A `validation-…` is FER-2013's PublicTest. A `test` without the others is PublicTest and PrivateTest
    together (7,178 faces in the copies on the Hub); with a PublicTest it is PrivateTest.

    Raises:
        DatasetError: the name of no split, or two names of the same split.
    """
    by_name: dict[str, list[Path]] = {}
    for path in paths:
        by_name.setdefault(re.sub("[^a-z]", "", _SHARD.sub("", path.stem).lower()), []).append(path)
    splits: dict[str, list[Path]] = {}
    for name, files in by_name.items():
        _require_complete(files)
        if name not in _SPLIT_NAMES:
            raise DatasetError(
                f"{files[0]}: its name contains no split. Name the files train-*.parquet, "
                "public_test-*.parquet and private_test-*.parquet."
            )
        split = _SPLIT_NAMES[name]
        if split in splits:
            raise DatasetError(
                f"{files[0]} and {splits[split][0].name} both claim to be {split}. Keep one of them."
            )
        splits[split] = files
    if "test" in splits and "public_test" in splits and "private_test" not in splits:
        splits["private_test"] = splits.pop("test")
    return splits


def _require_complete(files: Sequence[Path]) -> None:
    """Check that the files of a split are one file, or one complete series.

    Raises:
        DatasetError: they are not.
    """
    series = [_SHARD.search(file.stem) for file in files]
    if len(files) == 1 and series == [None]:
        return
    places = {(int(match[1]), int(match[2])) for match in series if match}
    n = len(files)
    if None in series or places != {(i, n) for i in range(n)}:
        names = ", ".join([file.name for file in files[:4]] + ["…"] * (n > 4))
        raise DatasetError(
            f"{files[0].parent} holds no single complete series of a split: {names}. "
            "Keep one copy of each part, numbered as in train-00000-of-00004.parquet."
        )


def _read_shard(path: Path, pixels: PixelFile) -> Rows:
    """Read one parquet file, some rows at a time.

    Its columns are `image` (encoded bytes, or the Hub's struct of bytes and path), `label` and perhaps `row`.
    """
    rows, dropped, start = Rows(pixels), 0, 0
    for columns, space in _read_batches(path):
        for i, image in enumerate(columns["image"]):
            place, number = f"{path} row {start + i}", columns["row"][i] if "row" in columns else -1
            if "row" in columns and not (type(number) is int and 0 <= number < MAX_ROWS):
                raise DatasetError(
                    f"{path}: its column 'row' must hold integers from 0, the rows of fer2013.csv. "
                    f"{NEW_COPY_HINT}"
                )
            emotion = _parse_label(columns["label"][i], place, space)
            data = image.get("bytes") if isinstance(image, dict) else image
            if not isinstance(data, bytes):
                raise DatasetError(f"{place} holds no image bytes. {NEW_COPY_HINT}")
            if emotion is None:
                dropped += 1
                continue
            source = f"row {number}" if number != -1 else f"{path.name} row {start + i}"
            rows.add(to_grey48(images.decode(data, place), place), int(emotion), source, number)
        start += len(columns["image"])
    if dropped:
        rows.notes.append(f"dropped {dropped} faces of {path.name} whose label is outside the seven emotions")
    return rows


def _read_batches(path: Path) -> Iterator[tuple[dict[str, list[Any]], LabelSpace]]:
    """Read the columns `image`, `label` and perhaps `row`, some rows at a time, with the classes of labels.

    Raises:
        DatasetError: the file is no valid parquet file with these columns.
    """
    import pyarrow.parquet as pq

    if not os.path.isfile(path):
        raise DatasetError(f"{path} is no regular file. Move it away.")
    try:
        # pyarrow opens no path that is not UTF-8. These options keep it from reading a whole column at once.
        options = {"buffer_size": _BUFFER, "pre_buffer": False}
        with path.open("rb") as data, pq.ParquetFile(data, **options) as file:
            if file.metadata.num_rows > MAX_ROWS:
                raise DatasetError(
                    f"{path} claims {file.metadata.num_rows:,} rows; FER-2013 has 35,887. {NEW_COPY_HINT}"
                )
            schema = file.schema_arrow
            columns = {
                "image": _find_column(schema, path, ("image", "img")),
                "label": _find_column(schema, path, ("label", "labels", "emotion")),
            }
            if "row" in schema.names:
                columns["row"] = _find_column(schema, path, ("row",))
            space = _label_space(path, _class_names(schema, columns["label"]))
            names = list(columns.values())
            for batch in file.iter_batches(_BATCH_ROWS, columns=names, use_threads=False):
                yield {key: batch.column(name).to_pylist() for key, name in columns.items()}, space
    except DatasetError:
        raise
    except Exception as error:  # a damaged file makes pyarrow raise almost anything
        reason = str(error).splitlines()[0][:160] if str(error) else type(error).__name__
        raise DatasetError(
            f"{path} ({path.stat().st_size} bytes) cannot be read as parquet ({reason}). "
            "It is cut or no parquet file: get a new copy."
        ) from error


def _find_column(schema: Any, path: Path, names: tuple[str, ...]) -> str:
    """The first of `names` that is a column of the file, exactly once."""
    for name in names:
        if schema.names.count(name) > 1:
            raise DatasetError(
                f"{path} has the column {name} {schema.names.count(name)} times. {NEW_COPY_HINT}"
            )
        if name in schema.names:
            return name
    columns = ", ".join(schema.names) or "none"
    raise DatasetError(f"{path} has no column {' or '.join(names)}, only {columns}. {NEW_COPY_HINT}")


def _label_space(path: Path, names: list[str]) -> LabelSpace:
    """The classes of numbered labels: by name where the file has names (a ClassLabel), else in csv order."""
    try:
        return LabelSpace.from_names(path.name, names) if names else FER2013
    except DatasetError as error:
        raise DatasetError(f"{path}: {error}") from error


def _parse_label(label: Any, place: str, space: LabelSpace) -> Emotion | None:
    try:
        if type(label) not in (int, str):  # True is an int too, and no class
            text = repr(label)[:60]
            raise DatasetError(f"a label must be a class number or an emotion's name, got {text}.")
        return parse_label(label) if isinstance(label, str) else space.emotion(label)
    except DatasetError as error:
        raise DatasetError(f"{place}: {error}") from error


def _class_names(schema: Any, column: str) -> list[str]:
    """Class names of a ClassLabel in the schema's `huggingface` metadata, or none."""
    try:
        features = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))["info"]["features"]
        names = features[column]["names"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return []
    return [str(name) for name in names] if isinstance(names, list) else []
