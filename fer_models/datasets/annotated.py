"""RAF-DB and AffectNet in their published layouts: images in one folder, labels in separate files.

RAF-DB: `EmoLabel/list_patition_label.txt` (so spelt) with lines such as `train_00001.jpg 5`, and
`Image/aligned/train_00001_aligned.jpg`.
AffectNet: `images/ID.jpg` and `annotations/ID_exp.npy`, in `train_set` and `val_set` or in the folder itself.
"""

from __future__ import annotations

import io
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from fer_models.datasets.listing import list_visible
from fer_models.datasets.schemes import AFFECTNET, RAF_DB, LabelScheme
from fer_models.errors import DatasetError, printable
from fer_models.images import read_bytes

_RAF_DB_LIST = Path("EmoLabel", "list_patition_label.txt")
_RAF_DB_IMAGES = Path("Image", "aligned")
_RAF_DB_LINE = re.compile(r"((train|test)_[0-9]+)\.jpg\s+([0-9]{1,3})", re.ASCII)
_AFFECTNET_LABEL = "_exp.npy"
#: The largest files that are read, in bytes: RAF-DB's list (of 15,339 lines), one annotation of AffectNet.
_LARGEST_LIST, _LARGEST_ANNOTATION = 2**24, 2**16
#: RAF-DB's attributes of the person in a face: five landmarks, then gender, race and age group as numbers.
_RAF_DB_ATTRIBUTES = Path("Annotation", "manual")
_RAF_DB_VALUES: dict[str, tuple[str, ...]] = {
    "gender": ("male", "female", "unsure"),
    "race": ("Caucasian", "African-American", "Asian"),
    "age": ("0-3", "4-19", "20-39", "40-69", "70 and more"),
}


@dataclass(frozen=True)
class AnnotatedSplit:
    """The labelled images of one split.

    Attributes:
        scheme: the meaning of the class numbers.
        source: the origin of the labels, for notes.
        rows: each image with its class number, in the order of their paths. A missing image is a face that
            cannot be read.
        notes: remarks for readers of the results.
        attributes: what the dataset says of each image, by its path and by name.
    """

    scheme: LabelScheme
    source: str
    rows: tuple[tuple[Path, int], ...]
    notes: tuple[str, ...]
    attributes: Mapping[Path, Mapping[str, str]] = field(default_factory=dict)


def _raf_db_root(root: Path) -> Path | None:
    """The folder of RAF-DB: `root` or its folder `basic`; None where neither has the list."""
    return next((folder for folder in (root, root / "basic") if os.path.lexists(folder / _RAF_DB_LIST)), None)


def raf_db_splits(root: Path) -> tuple[str, ...]:
    """The splits in RAF-DB's list of labels; empty where `root` has no such list.

    Raises:
        DatasetError: the list is broken.
    """
    folder = _raf_db_root(root)
    return () if folder is None else tuple(sorted({split for _, split, _ in _raf_db_lines(folder)}))


def load_raf_db(root: Path, split: str) -> AnnotatedSplit:
    """List the labelled images of one split of RAF-DB.

    Raises:
        DatasetError: the list is broken, or there are no aligned images.
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
    unlisted = sum(path.name not in listed for path in list_visible(aligned))
    note = f"ignored {unlisted} files in {_RAF_DB_IMAGES.as_posix()} that have no label"
    source = f"RAF-DB's {_RAF_DB_LIST.name}"
    rows.sort()
    attributes, attribute_notes = _raf_db_attributes(folder, [path for path, _ in rows])
    notes = ((note,) if unlisted else ()) + attribute_notes
    return AnnotatedSplit(RAF_DB, source, tuple(rows), notes, attributes)


def _raf_db_attributes(
    folder: Path, images: list[Path]
) -> tuple[dict[Path, dict[str, str]], tuple[str, ...]]:
    """RAF-DB's gender, race and age of each image; none where the folder of annotations is missing."""
    annotations = folder / _RAF_DB_ATTRIBUTES
    if not os.path.isdir(annotations):
        return {}, ()
    attributes = {
        path: _raf_db_person(annotations / f"{path.stem.removesuffix('_aligned')}_manu_attri.txt")
        for path in images
    }
    n_missing = sum(not person for person in attributes.values())
    place = _RAF_DB_ATTRIBUTES.as_posix()
    return attributes, (f"{n_missing} faces have no readable attributes in {place}",) if n_missing else ()


def _raf_db_person(path: Path) -> dict[str, str]:
    """Gender, race and age in one file, its last three lines; none where they cannot be read."""
    try:
        lines = read_bytes(path, _LARGEST_ANNOTATION).decode("utf-8", errors="replace").splitlines()
    except DatasetError:
        return {}
    codes = [line.strip() for line in lines if line.strip()][-len(_RAF_DB_VALUES) :]
    if len(codes) < len(_RAF_DB_VALUES) or not all(re.fullmatch("[0-9]", code) for code in codes):
        return {}
    meanings = zip(_RAF_DB_VALUES.items(), map(int, codes), strict=True)
    return {name: values[code] for (name, values), code in meanings if code < len(values)}


def _raf_db_lines(folder: Path) -> list[tuple[str, str, int]]:
    """Parse the list: name, split and class number of each image."""
    path = folder / _RAF_DB_LIST
    text = read_bytes(path, _LARGEST_LIST).decode("utf-8-sig", errors="replace")
    lines: dict[str, tuple[str, str, int]] = {}
    for i, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        match = _RAF_DB_LINE.fullmatch(line.strip())
        if match is None or int(match[3]) not in RAF_DB.classes:
            raise DatasetError(
                f"{path} line {i} is {line[:60]!r}, not a picture and its class such as 'train_00001.jpg 5' "
                f"({RAF_DB.describe()})."
            )
        if match[1] in lines:
            raise DatasetError(f"{path} line {i} names {match[1]}.jpg a second time. Get a new copy.")
        lines[match[1]] = (match[1], match[2], int(match[3]))
    if not lines:
        raise DatasetError(f"{path} lists no picture. Get a new copy.")
    return list(lines.values())


def is_affectnet(folder: Path) -> bool:
    """Whether a split's folder holds AffectNet's `images` and `annotations`."""
    return all(os.path.isdir(folder / name) for name in ("images", "annotations"))


def load_affectnet(folder: Path) -> AnnotatedSplit:
    """List the labelled images of one split of AffectNet.

    Raises:
        DatasetError: a folder cannot be listed, or an annotation is broken.
    """
    names = [path.name for path in list_visible(folder / "annotations")]
    labels = [name for name in names if name.endswith(_AFFECTNET_LABEL)]
    by_stem: dict[str, str] = {}
    for name in (path.name for path in list_visible(folder / "images")):
        other = by_stem.setdefault(Path(name).stem, name)
        if other != name:
            raise DatasetError(
                f"{folder / 'images' / name} and {other} have one annotation between them. Remove one."
            )
    rows = []
    for label in labels:
        stem = label.removesuffix(_AFFECTNET_LABEL)
        image = folder / "images" / by_stem.pop(stem, f"{stem}.jpg")
        rows.append((image, _read_annotation(folder / "annotations" / label)))
    notes = (f"ignored {len(by_stem)} files in images that have no annotation",) if by_stem else ()
    source = f"AffectNet's annotations/*{_AFFECTNET_LABEL}"
    return AnnotatedSplit(AFFECTNET, source, tuple(sorted(rows)), notes)


def _read_annotation(path: Path) -> int:
    """Read the class number in one annotation: an array with one element, an integer or its digits."""
    data = read_bytes(path, _LARGEST_ANNOTATION)
    try:
        array = np.load(io.BytesIO(data), allow_pickle=False)
        value = array.item() if isinstance(array, np.ndarray) and array.dtype.kind in "iufUS" else None
        text = value.decode() if isinstance(value, bytes) else str(value)
        number = int(text) if re.fullmatch("[0-9]{1,3}", text) else -1
    except Exception as error:  # a damaged header makes numpy raise almost anything
        reason = printable(error)[:160] or type(error).__name__
        raise DatasetError(
            f"{path} cannot be read as an annotation of AffectNet ({reason}). Get a new copy."
        ) from error
    if number not in AFFECTNET.classes:
        classes = AFFECTNET.describe()
        raise DatasetError(f"{path} holds {text[:20]!r}, not one class number of 0..10 ({classes}).")
    return number
