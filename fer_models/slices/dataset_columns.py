"""Slices from what a dataset says of its faces: attributes of the person, and agreement of annotators."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fer_models.datasets.base import FaceSet
from fer_models.datasets.ferplus import AGREEMENT
from fer_models.slices.columns import NO_VALUE, SliceColumn, categorical_column


def dataset_columns(faces: FaceSet) -> list[SliceColumn]:
    """The columns that the dataset brings: its attributes, and `agreement` where faces have votes."""
    columns = [
        categorical_column(name, values, f"{faces.dataset}'s own annotation")
        for name, values in faces.attributes.items()
    ]
    return columns if faces.votes is None else [*columns, _agreement(faces.votes)]


def _agreement(votes: NDArray[np.int64]) -> SliceColumn:
    most = votes.max(axis=1)
    codes = np.full(len(votes), NO_VALUE, dtype=np.int64)
    for level, (low, high) in enumerate(AGREEMENT.values()):
        codes[(low <= most) & (most <= high)] = level
    levels = tuple(f"{name} of 10 agree" for name in AGREEMENT)
    return SliceColumn("agreement", levels, codes, "annotators of FER+ who gave the most frequent vote")
