"""Rows of FER-2013 as its readers collect them, and the official counts."""

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
#: A parquet file that claims more rows is broken, or made to fill the memory.
MAX_ROWS = 1_000_000


@dataclass
class Rows:
    """What a reader gathers: one entry per face in each list, 48 * 48 grey bytes per face in `pixels`."""

    pixels: bytearray = field(default_factory=bytearray)
    labels: list[int] = field(default_factory=list)
    sources: list[str] = field(default_factory=list)
    numbers: list[int] = field(
        default_factory=list
    )  # where the face stood in fer2013.csv, as far as its form knows
    notes: list[str] = field(default_factory=list)
    has_csv_numbers: bool = False  # whether `numbers` are the rows of fer2013.csv
    n_csv_rows: int | None = (
        None  # how many rows the file has, all splits together, where a row's number is its place in the file
    )

    def add(self, pixels: bytes, label: int, source: str, number: int) -> None:
        self.pixels += pixels
        self.labels.append(label)
        self.sources.append(source)
        self.numbers.append(number)

    def extend(self, other: Rows) -> None:
        self.pixels += other.pixels
        self.labels += other.labels
        self.sources += other.sources
        self.numbers += other.numbers
        self.notes += other.notes


NEW_COPY_HINT = "Get the file anew."
LABELLED_HINT = "Use fer2013.csv or icml_face_data.csv, which hold all labels, or --download."


def concatenate(parts: Iterable[Rows]) -> Rows:
    joined = Rows()
    for part in parts:
        joined.extend(part)
    return joined


# -- class folders ------------------------------------------------------------------------------------


def list_visible(folder: Path) -> list[Path]:
    try:
        children = list(folder.iterdir()) if os.path.isdir(folder) else []
    except OSError as error:
        raise DatasetError(f"{folder} cannot be listed ({error.strerror}).") from error
    return [child for child in children if not child.name.startswith(".")]


def to_grey48(face: images.Face, name: str) -> bytes:
    if face.shape[:2] != (SIZE, SIZE):
        raise DatasetError(
            f"{name} is {face.shape[1]}x{face.shape[0]} pixels; FER-2013's faces are 48x48. Give an unresized copy."
        )
    return images.grey(face).tobytes()


# -- parquet ------------------------------------------------------------------------------------------


def sort_by_number(rows: Rows) -> Rows:
    """`rows` in the order of `fer2013.csv`; those of a file that does not know it stay as they are, since
    their numbers are all -1.
    """
    order = sorted(range(len(rows.labels)), key=rows.numbers.__getitem__)
    face = SIZE * SIZE
    ordered = Rows(notes=rows.notes)
    for i in order:
        ordered.add(
            bytes(rows.pixels[i * face : (i + 1) * face]), rows.labels[i], rows.sources[i], rows.numbers[i]
        )
    return ordered
