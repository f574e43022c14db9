"""FER+: what ten people each saw in every face of FER-2013 (`fer2013new.csv`, Microsoft, MIT licence; Barsoum
et al. 2016, arXiv:1608.01041).

The file has one line per row of `fer2013.csv`, in the same order, with the columns `Usage, Image name,
neutral, happiness, surprise, sadness, anger, disgust, fear, contempt, unknown, NF`. Nothing but the row
number ties a line to a face (`Image name` counts the faces that FER+ kept, not the rows), so votes are joined
by row number, and only where the splits of the two agree.
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

from fer_models.emotions import LABELS
from fer_models.errors import DatasetError, UnknownNameError

#: What the raters could vote for: the seven emotions in `Emotion` order, then what is outside them.
COLUMNS: tuple[str, ...] = (*LABELS, "contempt", "unknown", "no face")

#: What `majority` says where no column has more votes than every other.
TIE = -1

FILE_NAME = "fer2013new.csv"

#: How the file spells `COLUMNS`.
_SPELT = (
    "anger",
    "disgust",
    "fear",
    "happiness",
    "sadness",
    "surprise",
    "neutral",
    "contempt",
    "unknown",
    "NF",
)
_HEADER = ("Usage", "Image name", *_SPELT)
_SPLITS = {"Training": "train", "PublicTest": "public_test", "PrivateTest": "private_test"}
_PARTS = {**{split: (split,) for split in _SPLITS.values()}, "test": ("public_test", "private_test")}
#: Ten people voted on each face. The table parses and checks a cell at once.
_COUNTS = {str(votes): votes for votes in range(11)}
_ANEW = "Get it anew from https://github.com/microsoft/FERPlus, or move it away to go on without votes."


@dataclass(frozen=True)
class VoteTable:
    """The whole file.

    Attributes:
        splits: the split of each row, shape (rows,).
        votes: the votes of each row, int64, shape (rows, 10), columns `COLUMNS`.
    """

    splits: NDArray[np.str_]
    votes: NDArray[np.int64]

    def mismatch(self, rows: NDArray[np.int64], split: str) -> str:
        """Why the faces of `split` cannot stand at `rows` of `fer2013.csv`, as half a sentence; empty when
        they can.

        Raises:
            UnknownNameError: no such split.
        """
        if split not in _PARTS:
            raise UnknownNameError("split of fer2013", split, _PARTS)
        outside = rows[(rows < 0) | (rows >= len(self.votes))]
        if len(outside):
            return f"a face says it is row {outside[0]}, but the votes have rows 0 to {len(self.votes) - 1}"
        if len(np.unique(rows)) != len(rows):
            return "several faces say they are the same row"
        strangers = rows[~np.isin(self.splits[rows], _PARTS[split])]
        if len(strangers):
            return f"row {strangers[0]} is a face of {split} here, and one of {self.splits[strangers[0]]} among the votes"
        return ""


def find(root: Path) -> Path | None:
    """The votes file in `root`, `root/fer2013` or `root/data`, or beside `root` when that is a file; None
    where there is none.
    """
    folder = root.parent if os.path.isfile(root) else root
    places = (folder / part / FILE_NAME for part in ("", "fer2013", "data"))
    return next((path for path in places if os.path.isfile(path)), None)


def load(path: Path, rows: NDArray[np.int64], split: str) -> NDArray[np.int64]:
    """The votes of the faces of one split.

    Args:
        path: `fer2013new.csv`.
        rows: where each face stands in `fer2013.csv`, counted from 0, shape (n,).
        split: the split that all these faces belong to; `test` is public_test and private_test.

    Returns:
        Votes, int64, shape (n, 10), columns `COLUMNS`.

    Raises:
        UnknownNameError: no such split.
        DatasetError: the file is broken, or the rows are not those of this file: out of range, repeated, or
            of another split.
    """
    table = read(path)
    if reason := table.mismatch(rows, split):
        raise DatasetError(
            f"{path} does not belong to these faces: {reason}. Join votes only to faces that keep the rows of fer2013.csv."
        )
    return table.votes[rows]


def read(path: Path) -> VoteTable:
    """The whole file, its columns found by name.

    Raises:
        DatasetError: it cannot be opened, is no csv text, lacks a column, or a line has another length, an
            unknown Usage or a cell that is not 0..10.
    """
    lines = _lines(path)
    header = next(lines, [])
    if sorted(header) != sorted(_HEADER):
        raise DatasetError(
            f"{path} starts with the header {','.join(header)[:120]!r}, not with {','.join(_HEADER)}. {_ANEW}"
        )
    cells, usage_at = itemgetter(*map(header.index, _SPELT)), header.index("Usage")
    splits: list[str] = []
    votes: list[int] = []
    for row, fields in enumerate(lines):
        if len(fields) != len(header):
            raise DatasetError(
                f"{path} row {row} has {len(fields)} columns instead of {len(header)}: the file was cut or edited. {_ANEW}"
            )
        try:
            splits.append(_SPLITS[fields[usage_at]])
            votes.extend(map(_COUNTS.__getitem__, cells(fields)))
        except KeyError as error:
            raise DatasetError(
                f"{path} row {row} holds {error.args[0][:20]!r}; its Usage must be {', '.join(_SPLITS)} and its votes 0..10. {_ANEW}"
            ) from None
    if not splits:
        raise DatasetError(f"{path} holds no votes, only the header. {_ANEW}")
    return VoteTable(np.array(splits), np.array(votes, dtype=np.int64).reshape(len(splits), len(COLUMNS)))


def _lines(path: Path) -> Iterator[list[str]]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            yield from csv.reader(file, strict=True)
    except (UnicodeDecodeError, csv.Error) as error:
        raise DatasetError(f"{path} cannot be read as csv ({error}). {_ANEW}") from error
    except OSError as error:
        raise DatasetError(f"{path} cannot be opened ({error.strerror}). {_ANEW}") from error


def majority(votes: NDArray[np.int64]) -> NDArray[np.int64]:
    """The column of `COLUMNS` with more votes than every other, or `TIE`, for votes (n, 10); int64 (n,). No
    vote at all is a tie.
    """
    single = np.sum(votes == votes.max(axis=1, keepdims=True), axis=1) == 1
    return np.where(single, votes.argmax(axis=1), TIE)
