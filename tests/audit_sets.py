"""Small face sets for tests of the audit."""

from __future__ import annotations

import numpy as np
from fakes import toy_faces

from fer_models.datasets import FaceSet
from fer_models.datasets.audit_results import Audit

FACES = np.asarray(toy_faces(28).images)


def face_set(
    split: str,
    images: list[np.ndarray],
    labels: list[int],
    votes: list[list[int]] | None = None,
    dataset: str = "synthetic",
) -> FaceSet:
    sources = [f"{split} {i}" for i in range(len(images))]
    marks = None if votes is None else np.array(votes, np.int64)
    return FaceSet(dataset, split, images, np.array(labels, np.int64), sources, votes=marks)  # type: ignore[arg-type]


def one(split: str, *numbers: int, labels: list[int] | None = None) -> FaceSet:
    """Synthetic faces by number, with their labels unless others are given."""
    return face_set(split, [FACES[i] for i in numbers], labels or [i % 7 for i in numbers])


def split_of(result: Audit, name: str):
    return next(split for split in result.splits if split.split == name)


def overlap_of(result: Audit, earlier: str, later: str):
    return next(
        overlap for overlap in result.overlaps if (overlap.earlier, overlap.later) == (earlier, later)
    )


def brighter(face: np.ndarray) -> np.ndarray:
    return np.clip(face * 1.1 + 8, 0, 255).astype(np.uint8)


def shifted(face: np.ndarray) -> np.ndarray:
    return np.roll(face, 1, axis=1)
