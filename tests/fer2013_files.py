"""A tiny FER-2013, written in all its published forms."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from fer_models.datasets import FaceSet, fer2013, synthetic_drawing
from fer_models.emotions import LABELS
from fer_models.errors import DatasetError, UsageError

USAGES = {"train": "Training", "public_test": "PublicTest", "private_test": "PrivateTest"}
FACES = [synthetic_drawing.draw("test", i) for i in range(14)]


@dataclass(frozen=True)
class Row:
    """One face of a tiny FER-2013: label, official split and pixels."""

    label: int
    split: str
    pixels: np.ndarray

    @property
    def text(self) -> str:
        return " ".join(map(str, self.pixels.ravel()))

    def encoded(self, kind: str = "PNG") -> bytes:
        data = io.BytesIO()
        Image.fromarray(self.pixels).save(data, kind)
        return data.getvalue()


def rows_of(labels_and_splits: list[tuple[int, str]]) -> list[Row]:
    """Rows with distinct synthetic faces; the top left pixel is the row number."""
    rows = []
    for i, (label, split) in enumerate(labels_and_splits):
        pixels = FACES[i % 14].copy()
        pixels[0, 0] = i
        rows.append(Row(label, split, pixels))
    return rows


TINY = rows_of(list(zip((0, 4, 5, 6, 3, 1), ("train", "private_test", "public_test") * 2, strict=True)))


# -- writers of the published forms ---------------------------------------------------


def write_csv(root: Path, rows: list[Row], name: str = "fer2013.csv") -> Path:
    with (root / name).open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["emotion", "pixels", "Usage"])
        writer.writerows([row.label, row.text, USAGES[row.split]] for row in rows)
    return root / name


def write_icml(root: Path, rows: list[Row]) -> None:
    with (root / "icml_face_data.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["emotion", " Usage", " pixels"])
        writer.writerows([row.label, USAGES[row.split], row.text] for row in reversed(rows))


def write_kaggle(root: Path, rows: list[Row]) -> None:
    for name, wanted in (
        ("train.csv", [row for row in rows if row.split == "train"]),
        ("test.csv", [row for row in rows if row.split != "train"]),
    ):
        with (root / name).open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["emotion", "pixels"] if name == "train.csv" else ["pixels"])
            writer.writerows([row.label, row.text] if name == "train.csv" else [row.text] for row in wanted)


def write_folders(root: Path, rows: list[Row], suffix: str = "png") -> None:
    for i, row in enumerate(rows):
        folder = root / ("train" if row.split == "train" else "test") / LABELS[row.label]
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{USAGES[row.split]}_{i}.{suffix}").write_bytes(
            row.encoded("PNG" if suffix == "png" else "JPEG")
        )


def write_shard(
    path: Path,
    rows: list[Row],
    names: list[str] | None = None,
    numbers: list[int] | None = None,
    **columns: Any,
) -> Path:
    """Write a parquet file as the Hub does; with `names` its label is a ClassLabel in their order."""
    path.parent.mkdir(parents=True, exist_ok=True)
    labels = [names.index(LABELS[row.label]) if names else row.label for row in rows]
    data: dict[str, Any] = {
        "image": [{"bytes": row.encoded(), "path": None} for row in rows],
        "label": labels,
        **columns,
    }
    if numbers is not None:
        data["row"] = numbers
    table = pa.table({name: column for name, column in data.items() if column is not None})
    if names:
        features = {"image": {"_type": "Image"}, "label": {"names": names, "_type": "ClassLabel"}}
        table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    pq.write_table(table, path)
    return path


def write_parquet(root: Path, rows: list[Row]) -> None:
    for split in USAGES:
        numbers = [i for i in reversed(range(len(rows))) if rows[i].split == split]
        if numbers:
            write_shard(
                root / f"{split}-00000-of-00001.parquet", [rows[i] for i in numbers], sorted(LABELS), numbers
            )


FORMS: dict[str, Callable[[Path, list[Row]], Any]] = {
    "csv": write_csv,
    "icml": write_icml,
    "parquet": write_parquet,
    "folders": write_folders,
}


def refused(split: str, root: Path, message: str) -> str:
    """Check that loading is refused on one line that matches `message`."""
    with pytest.raises(DatasetError, match=message) as caught:
        fer2013.load(split, root)
    assert "\n" not in str(caught.value)
    assert isinstance(caught.value, UsageError)
    return str(caught.value)


def pixels_of(faces: FaceSet) -> list[int]:
    """The row numbers of faces, which `rows_of` wrote into the top left pixels."""
    return [int(faces.images[i][0, 0]) for i in range(len(faces))]
