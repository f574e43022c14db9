"""Rows of FER-2013 as its readers collect them, and its official counts."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from fer_models import images
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


@dataclass
class Rows:
    """Faces that a reader collects.

    Attributes:
        pixels: 48 * 48 grey bytes per face.
        labels: one `Emotion` value per face.
        sources: one name per face, for messages.
        numbers: the row of each face in `fer2013.csv`; another number or -1 where the form does not know it.
        notes: remarks for readers of the results.
        has_csv_numbers: whether `numbers` are the rows of `fer2013.csv`.
        n_csv_rows: the rows of the csv file, all splits together; None for other forms.
    """

    pixels: bytearray = field(default_factory=bytearray)
    labels: list[int] = field(default_factory=list)
    sources: list[str] = field(default_factory=list)
    numbers: list[int] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    has_csv_numbers: bool = False
    n_csv_rows: int | None = None

    def add(self, pixels: bytes, label: int, source: str, number: int) -> None:
        """Append one face."""
        self.pixels += pixels
        self.labels.append(label)
        self.sources.append(source)
        self.numbers.append(number)

    def extend(self, other: Rows) -> None:
        """Append all faces and notes of `other`."""
        self.pixels += other.pixels
        self.labels += other.labels
        self.sources += other.sources
        self.numbers += other.numbers
        self.notes += other.notes


def concatenate(parts: Iterable[Rows]) -> Rows:
    """Concatenate rows, in order."""
    rows = Rows()
    for part in parts:
        rows.extend(part)
    return rows


def list_visible(folder: Path) -> list[Path]:
    """List the visible files and folders in a folder; nothing where it is none.

    Raises:
        DatasetError: it cannot be listed.
    """
    try:
        children = list(folder.iterdir()) if os.path.isdir(folder) else []
    except OSError as error:
        raise DatasetError(f"{folder} cannot be listed ({error.strerror}).") from error
    return [child for child in children if not child.name.startswith(".")]


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
    n = SIZE * SIZE
    ordered = Rows(notes=rows.notes)
    for i in sorted(range(len(rows.labels)), key=rows.numbers.__getitem__):
        pixels = bytes(rows.pixels[i * n : (i + 1) * n])
        ordered.add(pixels, rows.labels[i], rows.sources[i], rows.numbers[i])
    return ordered
