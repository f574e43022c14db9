"""Slices from a file of the user: a CSV or Parquet table with one row per face.

One of its columns names the faces, by file name or by pixel hash; each other column is a property.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fer_models.datasets.base import FaceSet
from fer_models.errors import UsageError, one_line, printable
from fer_models.slices.columns import (
    LONGEST_NAME,
    SliceColumn,
    SliceColumns,
    categorical_column,
    numeric_column,
    quartiles_of,
)

if TYPE_CHECKING:
    import pyarrow

#: Names of the column that names the faces: by file, and by pixel hash (`images.face_hash`).
FILE_KEYS = ("file", "filename", "file_name", "path", "image", "source")
HASH_KEYS = ("hash", "pixel_hash", "face_hash")
#: The least share of the faces that must have a row.
MIN_JOINED_SHARE = 0.95
#: A column of numbers with more different values than this is cut into quarters.
MAX_DISTINCT_NUMBERS = 10
#: The largest file that is read, in bytes, and the most columns of properties.
LARGEST_FILE, MAX_COLUMNS = 2**30, 50
#: The most rows of a file: a Parquet file of some kilobytes can claim billions.
MAX_ROWS = 10_000_000
_ADVICE = "See docs/slices.md for the form of the file."


class _Join(NamedTuple):
    """The row of each face in the table, -1 for none, and the number of rows that belong to no face."""

    rows: NDArray[np.int64]
    unused: int


def read_metadata(
    path: Path, faces: FaceSet, cuts: Mapping[str, Sequence[float]] | None = None
) -> SliceColumns:
    """Read a file and join it to `faces`.

    Args:
        path: a file `.csv` or `.parquet`.
        faces: the faces of the full split.
        cuts: the cuts of numeric columns, by column; others are cut at the quartiles of these faces.

    Returns:
        columns in the order of the faces and of the file. Values are texts and never code: nothing of them is
        executed.

    Raises:
        UsageError: the file cannot be read, names no faces, names a face twice with different values, has too
            few rows for these faces, or lacks a column of `cuts`.
    """
    table = _read_table(path)
    key = _key_column(path, table)
    names = [name for name in table.column_names if name != key]
    for name in cuts or {}:
        if name not in names:
            found = ", ".join(printable(each) for each in names[:12]) or "no other column"
            raise UsageError(f"--slice-cuts: {printable(path)} has no column '{name}'. It has: {found}.")
    join = _join(path, table, key, names, faces)
    columns: list[SliceColumn] = []
    notes = []
    source = printable(path.name)
    for name in names:
        values = table.column(name).to_pylist()
        of_faces = [values[row] if row >= 0 else None for row in join.rows.tolist()]
        try:
            columns.append(_column(name, of_faces, source, (cuts or {}).get(name)))
        except UsageError as error:
            notes.append(str(error))
    n_joined = int((join.rows >= 0).sum())
    if n_joined < len(faces):
        notes.append(f"{source}: {len(faces) - n_joined} of {len(faces)} faces have no row, and no slice")
    if join.unused:
        notes.append(f"{source}: {join.unused} rows belong to no face of {faces.name}")
    return SliceColumns(tuple(columns), tuple(notes))


def _read_table(path: Path) -> pyarrow.Table:
    import pyarrow
    from pyarrow import csv, parquet

    shown = printable(path)
    if not path.is_file():
        raise UsageError(f"--slices {shown}: no such file. Check its name.")
    if (size := path.stat().st_size) > LARGEST_FILE:
        raise UsageError(
            f"--slices {shown} has {size:,} bytes; at most {LARGEST_FILE:,} are read. Keep one row per face."
        )
    try:
        if path.suffix.lower() == ".parquet":
            with parquet.ParquetFile(path) as file:
                if file.metadata.num_rows > MAX_ROWS:
                    raise UsageError(
                        f"--slices {shown} claims {file.metadata.num_rows:,} rows; at most {MAX_ROWS:,} are "
                        "read. Keep one row per face."
                    )
                table = file.read()
        elif path.suffix.lower() == ".csv":
            parsing = csv.ParseOptions(newlines_in_values=True)
            conversion = csv.ConvertOptions(strings_can_be_null=True)
            table = csv.read_csv(path, parse_options=parsing, convert_options=conversion)
        else:
            raise UsageError(f"--slices {shown}: this is neither a .csv nor a .parquet file. {_ADVICE}")
    except (pyarrow.ArrowException, OSError) as error:
        raise UsageError(
            f"--slices {shown} cannot be read: {one_line(str(error), 160)}. {_ADVICE}"
        ) from error
    twice = [name for name, times in Counter(table.column_names).items() if times > 1]
    if twice:
        raise UsageError(
            f"--slices {shown} has two columns named '{one_line(twice[0], LONGEST_NAME)}'. Rename one."
        )
    if table.num_columns > MAX_COLUMNS + 1:
        raise UsageError(
            f"--slices {shown} has {table.num_columns} columns; at most {MAX_COLUMNS} properties are read. "
            "Keep those that you want slices of."
        )
    return table


def _key_column(path: Path, table: pyarrow.Table) -> str:
    """The column that names the faces."""
    for key in (*HASH_KEYS, *FILE_KEYS):
        for name in table.column_names:
            if name.strip().lower() == key:
                return str(name)
    found = ", ".join(one_line(name, LONGEST_NAME) for name in table.column_names[:12]) or "none"
    raise UsageError(
        f"--slices {printable(path)} has no column that names the faces. Its columns: {found}. "
        f"Name one `{FILE_KEYS[0]}` (the file name of each face) or `{HASH_KEYS[0]}` (its pixel hash)."
    )


def _join(path: Path, table: pyarrow.Table, key: str, names: Sequence[str], faces: FaceSet) -> _Join:
    """The row of each face. The same row twice counts once."""
    is_hash = key.strip().lower() in HASH_KEYS
    keys = [str(value).strip() if value is not None else "" for value in table.column(key).to_pylist()]
    if not is_hash:
        keys = [str(PurePosixPath(value.replace("\\", "/"))) if value else "" for value in keys]
    row_of = {value: i for i, value in reversed(list(enumerate(keys))) if value}
    repeated = [i for i, value in enumerate(keys) if value and row_of[value] != i]
    if repeated:
        _require_equal_rows(path, table, names, keys, row_of, repeated)
    wanted = faces.hashes if is_hash else _file_keys(faces, row_of)
    rows = np.array([row_of.get(value, -1) for value in wanted], dtype=np.int64)
    n_joined = int((rows >= 0).sum())
    if n_joined < MIN_JOINED_SHARE * len(faces):
        example = one_line(wanted[int(np.flatnonzero(rows < 0)[0])], 80)
        first = f" (its first is '{one_line(keys[0], 80)}')" if keys else ""
        raise UsageError(
            f"--slices {printable(path)} has a row for {n_joined} of the {len(faces)} faces of {faces.name}; "
            f"at least {MIN_JOINED_SHARE:.0%} are needed. No row of its column "
            f"'{one_line(key, LONGEST_NAME)}'{first} is '{example}'. "
            "Correct the names in this column, or name the faces by pixel hash."
        )
    return _Join(rows, len(row_of) - len(np.unique(rows[rows >= 0])))


def _file_keys(faces: FaceSet, row_of: Mapping[str, int]) -> Sequence[str]:
    """The names by which the file may know the faces: paths in the dataset, else their last parts."""
    paths = [faces.source(i) for i in range(len(faces))]
    last = [PurePosixPath(path).name for path in paths]
    matches = (sum(name in row_of for name in names) for names in (paths, last))
    by_path, by_last = matches
    # Two faces with one file name in different folders must not share a row.
    return last if by_last > by_path and len(set(last)) == len(last) else paths


def _require_equal_rows(
    path: Path,
    table: pyarrow.Table,
    names: Sequence[str],
    keys: Sequence[str],
    row_of: Mapping[str, int],
    repeated: Sequence[int],
) -> None:
    columns = {name: table.column(name).to_pylist() for name in names}
    for i in repeated:
        first = row_of[keys[i]]
        for name, values in columns.items():
            old, new = str(values[first]), str(values[i])  # as texts: NaN is not equal to itself
            if old != new:
                raise UsageError(
                    f"--slices {printable(path)} names '{one_line(keys[i], 80)}' in row {first + 1} and "
                    f"in row {i + 1}, with different values of '{one_line(name, LONGEST_NAME)}' "
                    f"({one_line(old, 40)} and {one_line(new, 40)}). Keep one of them."
                )


def _column(name: str, values: Sequence[object], source: str, cuts: Sequence[float] | None) -> SliceColumn:
    """A column of slices: numbers by cuts or quartiles, anything else as it is."""
    numbers = _as_numbers(values)
    if cuts is not None:
        if numbers is None:
            raise UsageError(f"--slice-cuts: the column '{name}' does not hold numbers.")
        return numeric_column(name, numbers, source, cuts)
    if numbers is not None and len(np.unique(numbers[~np.isnan(numbers)])) > MAX_DISTINCT_NUMBERS:
        origin = f"{source}; cut at the quartiles of these faces"
        return numeric_column(name, numbers, origin, quartiles_of(numbers), quartiles=True)
    if numbers is not None:
        return categorical_column(name, _number_texts(numbers.tolist()), source)
    return categorical_column(name, ["" if value is None else str(value) for value in values], source)


def _number_texts(numbers: Sequence[float]) -> list[str]:
    """The numbers as texts, different ones for different numbers; empty for NaN."""
    distinct = {number for number in numbers if not math.isnan(number)}
    texts = {number: f"{number:g}" for number in distinct}
    if len(set(texts.values())) < len(texts):
        texts = {number: str(int(number)) if number.is_integer() else repr(number) for number in distinct}
    return [texts.get(number, "") for number in numbers]


def _as_numbers(values: Sequence[object]) -> NDArray[np.float64] | None:
    """The values as numbers, NaN for none; None where one of them is something else, or infinite."""
    if any(isinstance(value, bool) or not isinstance(value, int | float | None) for value in values):
        return None
    numbers = np.array([math.nan if value is None else float(value) for value in values])  # type: ignore[arg-type]
    return None if np.isinf(numbers).any() or np.isnan(numbers).all() else numbers
