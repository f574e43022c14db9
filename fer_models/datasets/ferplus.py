"""FER+: the votes of ten raters for each face of FER-2013.

The file is `fer2013new.csv` (Microsoft, MIT licence; Barsoum et al. 2016, arXiv:1608.01041). It has one line
per row of `fer2013.csv`, in the same order, with the columns `Usage, Image name, neutral, happiness,
surprise, sadness, anger, disgust, fear, contempt, unknown, NF`. Only the row number connects a line with a
face (`Image name` counts the faces that FER+ uses, not the rows), so votes are joined by row number, and only
where the splits of both files agree.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Iterator
from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fer_models.datasets.fer2013_rows import PARTS, USAGES
from fer_models.emotions import LABELS
from fer_models.errors import DatasetError, UnknownNameError

#: The choices of the raters: the seven emotions in `Emotion` order, then those outside them.
COLUMNS: tuple[str, ...] = (*LABELS, "contempt", "unknown", "no face")

#: The result of `majority` where no column has more votes than every other.
TIE = -1

#: How many of ten annotators gave the most frequent vote, (from, to) inclusive: nearly all, most, or no
#: clear majority.
AGREEMENT: dict[str, tuple[int, int]] = {"9-10": (9, 10), "6-8": (6, 8), "0-5": (0, 5)}

FILE_NAME = "fer2013new.csv"

#: `COLUMNS` as the file spells them.
_FILE_COLUMNS = (
    *("anger", "disgust", "fear", "happiness", "sadness", "surprise", "neutral"),
    *("contempt", "unknown", "NF"),
)
_HEADER = ("Usage", "Image name", *_FILE_COLUMNS)
#: Ten people voted on each face. The table parses and checks a cell at once.
_COUNTS = {str(votes): votes for votes in range(11)}
_NEW_COPY_HINT = (
    "Get a new copy from https://github.com/microsoft/FERPlus, or move it away to run without votes."
)


@dataclass(frozen=True)
class VoteTable:
    """Votes of all rows of the file.

    Attributes:
        splits: the split of each row, shape (rows,).
        votes: the votes of each row, int64, shape (rows, 10), columns `COLUMNS`.
    """

    splits: NDArray[np.str_]
    votes: NDArray[np.int64]

    def mismatch(self, rows: NDArray[np.int64], split: str) -> str:
        """The reason why the faces of `split` cannot be `rows` of `fer2013.csv`; empty when they can.

        Raises:
            UnknownNameError: no such split.
        """
        if split not in PARTS:
            raise UnknownNameError("split of fer2013", split, PARTS)
        outside = rows[(rows < 0) | (rows >= len(self.votes))]
        if len(outside):
            return f"a face has row number {outside[0]}, but the votes have rows 0 to {len(self.votes) - 1}"
        if len(np.unique(rows)) != len(rows):
            return "several faces have the same row number"
        others = rows[~np.isin(self.splits[rows], PARTS[split])]
        if not len(others):
            return ""
        row, split_of_votes = others[0], self.splits[others[0]]
        return f"row {row} is a face of {split} here, and one of {split_of_votes} among the votes"


def find(root: Path) -> Path | None:
    """Find the votes file in `root`, `root/fer2013` or `root/data`; None where there is none.

    If `root` is a file, its folder is searched.
    """
    folder = root.parent if os.path.isfile(root) else root
    places = (folder / part / FILE_NAME for part in ("", "fer2013", "data"))
    return next((path for path in places if os.path.isfile(path)), None)


def read(path: Path) -> VoteTable:
    """Read the votes of all rows; columns are identified by name.

    Raises:
        DatasetError: it cannot be opened, is no csv text, lacks a column, or a line has another length, an
            unknown Usage or a cell that is not 0..10.
    """
    lines = _lines(path)
    header = next(lines, [])
    if sorted(header) != sorted(_HEADER):
        raise DatasetError(
            f"{path} starts with the header {','.join(header)[:120]!r}, not with {','.join(_HEADER)}. "
            f"{_NEW_COPY_HINT}"
        )
    cells, usage_at = itemgetter(*map(header.index, _FILE_COLUMNS)), header.index("Usage")
    splits: list[str] = []
    votes: list[int] = []
    for row, fields in enumerate(lines):
        if len(fields) != len(header):
            raise DatasetError(
                f"{path} row {row} has {len(fields)} columns instead of {len(header)}: "
                f"the file was cut or edited. {_NEW_COPY_HINT}"
            )
        try:
            splits.append(USAGES[fields[usage_at]])
            votes.extend(map(_COUNTS.__getitem__, cells(fields)))
        except KeyError as error:
            raise DatasetError(
                f"{path} row {row} holds {error.args[0][:20]!r}; its Usage must be {', '.join(USAGES)} "
                f"and its votes 0..10. {_NEW_COPY_HINT}"
            ) from None
    if not splits:
        raise DatasetError(f"{path} holds no votes, only the header. {_NEW_COPY_HINT}")
    return VoteTable(np.array(splits), np.array(votes, dtype=np.int64).reshape(len(splits), len(COLUMNS)))


def _lines(path: Path) -> Iterator[list[str]]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            yield from csv.reader(file, strict=True)
    except (UnicodeDecodeError, csv.Error) as error:
        raise DatasetError(f"{path} cannot be read as csv ({error}). {_NEW_COPY_HINT}") from error
    except OSError as error:
        raise DatasetError(f"{path} cannot be opened ({error.strerror}). {_NEW_COPY_HINT}") from error


def majority(votes: NDArray[np.int64]) -> NDArray[np.int64]:
    """The majority of votes (n, 10): the column with more votes than every other, or `TIE`; int64 (n,).

    A face without votes is a tie.
    """
    is_unique = np.sum(votes == votes.max(axis=1, keepdims=True), axis=1) == 1
    return np.where(is_unique, votes.argmax(axis=1), TIE)
