"""RAF-DB and AffectNet as their authors publish them: pictures in one folder, labels in files of their own.

RAF-DB: `EmoLabel/list_patition_label.txt` (so spelt) with lines such as `train_00001.jpg 5`, and
`Image/aligned/train_00001_aligned.jpg`.
AffectNet: `images/ID.jpg` and `annotations/ID_exp.npy`, in `train_set` and `val_set` or in the folder itself.
"""

from __future__ import annotations

import io
import os
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fer_models.datasets.schemes import AFFECTNET, RAF_DB, LabelScheme
from fer_models.errors import DatasetError, printable
from fer_models.images import read_bytes

_RAF_DB_LIST = Path("EmoLabel", "list_patition_label.txt")
_RAF_DB_IMAGES = Path("Image", "aligned")
_RAF_DB_LINE = re.compile(r"((train|test)_[0-9]+)\.jpg\s+([0-9]{1,3})", re.ASCII)
_AFFECTNET_LABEL = "_exp.npy"
#: The largest files that are read, in bytes: RAF-DB's list (of 15,339 lines), one annotation of AffectNet.
_LARGEST_LIST, _LARGEST_ANNOTATION = 2**24, 2**16


@dataclass(frozen=True)
class AnnotatedSplit:
    """The labelled pictures of one split.

    Attributes:
        scheme: what the numbers mean.
        source: where the labels come from, for notes.
        rows: each picture with its class number, in the order of their paths. A picture that is not there is
            a face that cannot be read.
        notes: what a reader of results must know.
    """

    scheme: LabelScheme
    source: str
    rows: tuple[tuple[Path, int], ...]
    notes: tuple[str, ...]


def _raf_db_root(root: Path) -> Path | None:
    """`root`, or the folder `basic` in it that RAF-DB's archive makes; None where neither has the list."""
    return next((folder for folder in (root, root / "basic") if os.path.lexists(folder / _RAF_DB_LIST)), None)


def raf_db_splits(root: Path) -> tuple[str, ...]:
    """The splits in RAF-DB's list of labels; none where `root` has no such list.

    Raises:
        DatasetError: the list is broken.
    """
    folder = _raf_db_root(root)
    return () if folder is None else tuple(sorted({split for _, split, _ in _raf_db_lines(folder)}))


def load_raf_db(root: Path, split: str) -> AnnotatedSplit:
    """The pictures of one split of RAF-DB.

    Raises:
        DatasetError: the list is broken, or there are no aligned pictures.
    """
    folder = _raf_db_root(root)
    assert folder is not None
    aligned = folder / _RAF_DB_IMAGES
    if not os.path.isdir(aligned):
        raise DatasetError(
            f"{folder / _RAF_DB_LIST} is there, but no folder {aligned}. "
            "RAF-DB's faces are in it: unpack aligned.zip there."
        )
    lines = _raf_db_lines(folder)
    rows = [(aligned / f"{name}_aligned.jpg", number) for name, part, number in lines if part == split]
    listed = {f"{name}_aligned.jpg" for name, _, _ in lines}
    unlisted = sum(name not in listed for name in _names(aligned))
    notes = (
        (f"ignored {unlisted} files in {_RAF_DB_IMAGES.as_posix()} that have no label",) if unlisted else ()
    )
    return AnnotatedSplit(RAF_DB, f"RAF-DB's {_RAF_DB_LIST.name}", tuple(sorted(rows)), notes)


def _raf_db_lines(folder: Path) -> list[tuple[str, str, int]]:
    """Name, split and class number of each picture in the list."""
    path = folder / _RAF_DB_LIST
    lines: dict[str, tuple[str, str, int]] = {}
    for i, line in enumerate(
        read_bytes(path, _LARGEST_LIST).decode("utf-8-sig", errors="replace").splitlines(), start=1
    ):
        if not line.strip():
            continue
        match = _RAF_DB_LINE.fullmatch(line.strip())
        if match is None or int(match[3]) not in RAF_DB.classes:
            raise DatasetError(
                f"{path} line {i} is {line[:60]!r}, not a picture and its class such as 'train_00001.jpg 5' "
                f"({RAF_DB.describe()})."
            )
        if match[1] in lines:
            raise DatasetError(f"{path} line {i} names {match[1]}.jpg a second time. Get the list anew.")
        lines[match[1]] = (match[1], match[2], int(match[3]))
    if not lines:
        raise DatasetError(f"{path} lists no picture. Get it anew.")
    return list(lines.values())


def is_affectnet(folder: Path) -> bool:
    """Whether a split's folder holds AffectNet's `images` and `annotations`."""
    return all(os.path.isdir(folder / name) for name in ("images", "annotations"))


def load_affectnet(folder: Path) -> AnnotatedSplit:
    """The pictures of one split of AffectNet.

    Raises:
        DatasetError: a folder cannot be listed, or an annotation is broken.
    """
    labels = [name for name in _names(folder / "annotations") if name.endswith(_AFFECTNET_LABEL)]
    by_stem: dict[str, str] = {}
    for name in _names(folder / "images"):
        other = by_stem.setdefault(Path(name).stem, name)
        if other != name:
            raise DatasetError(
                f"{folder / 'images' / name} and {other} have one annotation between them. Remove one."
            )
    rows = []
    for label in labels:
        stem = label.removesuffix(_AFFECTNET_LABEL)
        picture = by_stem.pop(stem, f"{stem}.jpg")
        rows.append((folder / "images" / picture, _annotation(folder / "annotations" / label)))
    notes = (f"ignored {len(by_stem)} files in images that have no annotation",) if by_stem else ()
    return AnnotatedSplit(
        AFFECTNET, f"AffectNet's annotations/*{_AFFECTNET_LABEL}", tuple(sorted(rows)), notes
    )


def _names(folder: Path) -> list[str]:
    """The names of the visible files in a folder, in order."""
    try:
        return sorted(name for name in os.listdir(folder) if not name.startswith("."))
    except OSError as error:
        raise DatasetError(f"{folder} cannot be listed ({error.strerror}).") from error


def _annotation(path: Path) -> int:
    """The class number in one annotation: an array with one element, a whole number or its digits."""
    data = read_bytes(path, _LARGEST_ANNOTATION)
    try:
        array = np.load(io.BytesIO(data), allow_pickle=False)
        value = array.item() if isinstance(array, np.ndarray) and array.dtype.kind in "iufUS" else None
        text = value.decode() if isinstance(value, bytes) else str(value)
        number = int(text) if re.fullmatch("[0-9]{1,3}", text) else -1
    except Exception as error:  # a damaged header makes numpy raise almost anything
        reason = printable(error)[:160] or type(error).__name__
        raise DatasetError(
            f"{path} cannot be read as an annotation of AffectNet ({reason}). Get it anew."
        ) from error
    if number not in AFFECTNET.classes:
        raise DatasetError(
            f"{path} holds {text[:20]!r}, not one class number of 0..10 ({AFFECTNET.describe()})."
        )
    return number
