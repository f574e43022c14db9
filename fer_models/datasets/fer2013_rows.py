"""Rows of FER-2013 as its readers collect them, and its official counts."""

from __future__ import annotations

from array import array
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import partial

import numpy as np

from fer_models import images
from fer_models.datasets.base import Images, Subset
from fer_models.datasets.pixel_file import PixelFile
from fer_models.errors import DatasetError

SIZE = 48

#: The official number of faces of each emotion, in `Emotion` order (angry, disgust, fear, happy, sad,
#: surprise, neutral).
OFFICIAL: dict[str, tuple[int, ...]] = {
    "train": (3995, 436, 4097, 7215, 4830, 3171, 4965),
    "public_test": (467, 56, 496, 895, 653, 415, 607),
    "private_test": (491, 55, 528, 879, 594, 416, 626),
    "test": (958, 111, 1024, 1774, 1247, 831, 1233),
}
SPLITS: tuple[str, ...] = tuple(OFFICIAL)

#: The column `Usage` of `fer2013.csv`, and the official split that each of its values means.
USAGES = {"Training": "train", "PublicTest": "public_test", "PrivateTest": "private_test"}
#: The official splits that each split consists of, in order.
PARTS = {
    "train": ("train",),
    "public_test": ("public_test",),
    "private_test": ("private_test",),
    "test": ("public_test", "private_test"),
}
DATA_ROOT_HINT = (
    "Give the folder with --data-root FOLDER, or let --download fetch it from the Hugging Face Hub."
)
NEW_COPY_HINT = "Get a new copy of the file."
LABELLED_HINT = "Use fer2013.csv or icml_face_data.csv, which have all labels, or --download."
#: A parquet file that claims more rows is broken, or made to fill the memory.
MAX_ROWS = 1_000_000
_integers = partial(array, "q")


@dataclass
class Rows:
    """Faces that a reader collects.

    Attributes:
        pixels: a file of 48 * 48 grey bytes per face. Rows of several parts share it.
        positions: the position of each face in `pixels`.
        labels: one `Emotion` value per face.
        sources: one name per face, for messages.
        numbers: the row of each face in `fer2013.csv`; another number or -1 where the form does not know it.
        notes: remarks for readers of the results.
        has_csv_numbers: whether `numbers` are the rows of `fer2013.csv`.
        n_csv_rows: the rows of the csv file, all splits together; None for other forms.
    """

    pixels: PixelFile
    positions: array[int] = field(default_factory=_integers)
    labels: array[int] = field(default_factory=_integers)
    sources: list[str] = field(default_factory=list)
    numbers: array[int] = field(default_factory=_integers)
    notes: list[str] = field(default_factory=list)
    has_csv_numbers: bool = False
    n_csv_rows: int | None = None

    def add(self, pixels: bytes, label: int, source: str, number: int) -> None:
        """Append one face."""
        self.positions.append(len(self.pixels))
        self.pixels.add(pixels)
        self.labels.append(label)
        self.sources.append(source)
        self.numbers.append(number)

    def extend(self, other: Rows) -> None:
        """Append all faces and notes of `other`, which has the same file of pixels."""
        self.positions += other.positions
        self.labels += other.labels
        self.sources += other.sources
        self.numbers += other.numbers
        self.notes += other.notes

    def images(self) -> Images:
        """The images of the faces, grey (48, 48), read on access."""
        return Subset(self.pixels, np.array(self.positions, dtype=np.int64))


def new_pixels() -> PixelFile:
    """Return an empty file of pixels. Raises as `PixelFile`."""
    return PixelFile(SIZE, SIZE)


def concatenate(parts: Iterable[Rows], pixels: PixelFile) -> Rows:
    """Concatenate rows whose pixels are in one file, in order."""
    rows = Rows(pixels)
    for part in parts:
        rows.extend(part)
    return rows


def to_grey48(face: images.Face, name: str) -> bytes:
    """Convert a face, called `name` in messages, to 48 * 48 grey bytes.

    Raises:
        DatasetError: it has another size.
    """
    if face.shape[:2] != (SIZE, SIZE):
        size = f"{face.shape[1]}x{face.shape[0]}"
        raise DatasetError(
            f"{name} is {size} pixels; FER-2013's faces are 48x48. Give a copy with the original size."
        )
    return images.grey(face).tobytes()


def sort_by_number(rows: Rows) -> Rows:
    """Sort rows by `numbers`; rows without numbers, which are all -1, stay in their order."""
    order = np.argsort(np.array(rows.numbers, dtype=np.int64), kind="stable").tolist()
    positions, labels, numbers = (
        array("q", [column[i] for i in order]) for column in (rows.positions, rows.labels, rows.numbers)
    )
    sources = [rows.sources[i] for i in order]
    return Rows(rows.pixels, positions, labels, sources, numbers, rows.notes)
