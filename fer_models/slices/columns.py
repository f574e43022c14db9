"""Slice column: one property of each face, and the slices that it makes of a face set."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fer_models.errors import UsageError, printable

#: A slice with fewer faces is scored and never judged.
MIN_SLICE = 50
#: The most slices of a column that is made of values as they are.
MAX_LEVELS = 50
#: The longest name of a column or of a slice, in characters.
LONGEST_NAME = 60
#: The code of a face without a value.
NO_VALUE = -1
_QUARTERS = ("lowest quarter", "2nd quarter", "3rd quarter", "highest quarter")


@dataclass(frozen=True, eq=False)
class SliceColumn:
    """One property of the faces of a face set.

    Attributes:
        name: of the property, such as `brightness`.
        levels: the name of each slice, in the order of the values.
        codes: the slice of each face as its position in `levels`, int64 (n,); -1 for a face without a value.
        source: where the values come from, for readers.
        ranges: the values of each slice in words, such as `below 87.3`; none where the levels say it.
    """

    name: str
    levels: tuple[str, ...]
    codes: NDArray[np.int64]
    source: str
    ranges: tuple[str, ...] = ()

    def select(self, rows: NDArray[np.int64]) -> SliceColumn:
        """The column of the faces `rows`, with the same slices."""
        return replace(self, codes=self.codes[rows])

    def members(self, level: int) -> NDArray[np.bool_]:
        """Whether each face is in the slice `level`."""
        return np.asarray(self.codes == level)

    @property
    def n_without_value(self) -> int:
        """The number of faces that are in no slice."""
        return int((self.codes == NO_VALUE).sum())


@dataclass(frozen=True, eq=False)
class SliceColumns:
    """The columns of a face set.

    Attributes:
        columns: in the order of reports.
        notes: remarks for readers of the results.
        minimum: faces that a slice needs to be judged, at least 1.
    """

    columns: tuple[SliceColumn, ...] = ()
    notes: tuple[str, ...] = ()
    minimum: int = MIN_SLICE

    def select(self, rows: NDArray[np.int64]) -> SliceColumns:
        """The columns of the faces `rows`."""
        return replace(self, columns=tuple(column.select(rows) for column in self.columns))


def categorical_column(name: str, values: Sequence[str], source: str) -> SliceColumn:
    """A column with one slice per value, in sorted order; an empty text is no value.

    Args:
        name: of the property.
        values: one per face.
        source: where the values come from.

    Raises:
        UsageError: there are more than `MAX_LEVELS` different values, or some are equal once shortened.
    """
    texts = [shorten(value) for value in values]
    if len(set(texts)) < len({printable(" ".join(value.split())) for value in values}):
        raise UsageError(
            f"The column '{shorten(name)}' has different values with the same first {LONGEST_NAME - 1} "
            "characters. Shorten them so that they differ."
        )
    levels = sorted({text for text in texts if text}, key=_natural_order)
    if len(levels) > MAX_LEVELS:
        raise UsageError(
            f"The column '{shorten(name)}' has {len(levels)} different values; slices are made of at most "
            f"{MAX_LEVELS}. Leave it out, group its values, or give it as numbers."
        )
    places = {level: i for i, level in enumerate(levels)}
    codes = np.array([places.get(text, NO_VALUE) for text in texts], dtype=np.int64)
    return SliceColumn(shorten(name), tuple(levels), codes, source)


def numeric_column(
    name: str, values: ArrayLike, source: str, cuts: Sequence[float], *, quartiles: bool = False
) -> SliceColumn:
    """A column with one slice per range between `cuts`: [cut, next cut).

    Args:
        name: of the property.
        values: one per face; NaN is no value.
        source: where the values come from.
        cuts: finite, in any order; one that occurs twice counts once.
        quartiles: the cuts are the quartiles of a reference: its slices are named as quarters, where all
            three differ.
    """
    numbers = np.asarray(values, dtype=np.float64)
    edges = np.unique(np.asarray(cuts, dtype=np.float64))
    codes = np.where(np.isnan(numbers), NO_VALUE, np.searchsorted(edges, numbers, side="right"))
    texts = [f"{edge:.4g}" if quartiles else f"{edge:.12g}" for edge in edges]
    if len(set(texts)) < len(texts):
        texts = [repr(float(edge)) for edge in edges]
    ranges = [f"below {texts[0]}", *(f"{a} to {b}" for a, b in pairwise(texts))]
    ranges.append(f"{texts[-1]} and more")
    is_quarters = quartiles and len(edges) == len(_QUARTERS) - 1
    levels, details = (_QUARTERS, tuple(ranges)) if is_quarters else (tuple(ranges), ())
    return SliceColumn(shorten(name), levels, codes.astype(np.int64), source, details)


def quartiles_of(values: ArrayLike) -> tuple[float, ...]:
    """The quartiles of the values that are numbers; none where there is no number."""
    numbers = np.asarray(values, dtype=np.float64)
    numbers = numbers[~np.isnan(numbers)]
    return tuple(np.quantile(numbers, (0.25, 0.5, 0.75)).tolist()) if numbers.size else ()


def cross(first: SliceColumn, second: SliceColumn) -> SliceColumn:
    """A column with one slice per pair of slices of two columns that occurs."""
    pairs = first.codes * len(second.levels) + second.codes
    pairs = np.where((first.codes == NO_VALUE) | (second.codes == NO_VALUE), NO_VALUE, pairs)
    found = np.unique(pairs[pairs != NO_VALUE])
    codes = np.where(pairs == NO_VALUE, NO_VALUE, np.searchsorted(found, pairs))
    names = [divmod(int(pair), len(second.levels)) for pair in found]
    levels = tuple(f"{first.levels[i]} and {second.levels[j]}" for i, j in names)
    ranges = tuple(f"{_detail(first, i)} and {_detail(second, j)}" for i, j in names)
    has_ranges = bool(first.ranges or second.ranges)
    name = f"{first.name} x {second.name}"
    return SliceColumn(name, levels, codes, "two columns together", ranges if has_ranges else ())


def _detail(column: SliceColumn, level: int) -> str:
    return column.ranges[level] if column.ranges else column.levels[level]


def shorten(text: str) -> str:
    """A name from outside, printable, in one line and at most `LONGEST_NAME` characters long."""
    line = printable(" ".join(text.split()))
    return line if len(line) <= LONGEST_NAME else f"{line[: LONGEST_NAME - 1]}…"


def _natural_order(text: str) -> tuple[int, float, str]:
    """Numbers by value, before other texts."""
    try:
        number = float(text)
    except ValueError:
        return 1, 0.0, text
    return (1, 0.0, text) if math.isnan(number) else (0, number, text)
