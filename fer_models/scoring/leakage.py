"""Accuracy with and without the faces that are exact duplicates of training images.

A model may have seen such a face in training, so it is no test of generalization: 8 % of FER-2013's
PrivateTest are pixel for pixel duplicates of training faces. Therefore every result is also given without
them, with the difference.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from fer_models.datasets import ferplus, folders, synthetic
from fer_models.errors import printable
from fer_models.scoring.intervals import Measurement, percentile_interval, wilson_interval
from fer_models.store.predictions import PredictionTable

#: The split that models train on.
TRAIN = "train"


@dataclass(frozen=True)
class LeakageScores:
    """Accuracy of one subject by whether a face is also in `train`.

    Attributes:
        faces: the number of leaked faces.
        without_leaked: accuracy on the other faces; None if there are none.
        on_leaked: accuracy on the leaked faces; None if there are none.
        difference: accuracy on all faces minus accuracy without the leaked ones, with the interval of a
            bootstrap that draws both from the same faces; None if `without_leaked` is.
    """

    faces: int
    without_leaked: Measurement | None
    on_leaked: Measurement | None
    difference: Measurement | None

    def as_json(self) -> dict[str, Any]:
        """Return the part `leakage` of a result; `without_leaked` is its metric `accuracy_without_leaks`."""
        measured = {"accuracy_on_leaks": self.on_leaked, "difference": self.difference}
        return {"faces": self.faces} | {
            name: None if m is None else {**m.as_json(), "n": m.n} for name, m in measured.items()
        }


def score(
    predictions: PredictionTable, train_hashes: Collection[str], *, resamples: int = 9999, seed: int = 0
) -> LeakageScores:
    """Score predictions with and without the faces whose pixel hash is in `train_hashes`."""
    leaked = predictions.faces.is_in(train_hashes)
    correct = predictions.correct
    # Faces by (leaked, correct): both accuracies are computed from these counts.
    groups = (correct & leaked, ~correct & leaked, correct & ~leaked, ~correct & ~leaked)
    cells = np.array([group.sum() for group in groups])
    n_leaked, n_others, n = int(cells[:2].sum()), int(cells[2:].sum()), len(predictions)
    on_leaked = wilson_interval(int(cells[0]), n_leaked) if n_leaked else None
    if not n_others:
        return LeakageScores(n_leaked, None, on_leaked, None)
    draws = np.random.default_rng(seed).multinomial(n, cells / n, size=resamples)
    # A resample of leaked faces only has no accuracy without them; it is left out, as such a dataset is.
    draws = draws[draws[:, 2:].sum(axis=1) > 0]
    difference = percentile_interval(float(_difference(cells)), _difference(draws), n)
    return LeakageScores(n_leaked, wilson_interval(int(cells[2]), n_others), on_leaked, difference)


def _difference(cells: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Accuracy on all faces minus accuracy without the leaked ones, of counts (..., 4)."""
    accuracy = (cells[..., 0] + cells[..., 2]) / cells.sum(axis=-1)
    return np.asarray(accuracy - cells[..., 2] / cells[..., 2:].sum(axis=-1))


def source_fingerprint(folder: Path | None) -> str:
    """Fingerprint of the source of faces: it changes whenever the faces may have changed.

    Args:
        folder: the names, sizes and times of its files count; None for the synthetic faces, whose code
        counts.
    """
    if folder is None:
        return "\n".join([synthetic.source_sha256(), *map(version, ("numpy", "pillow"))])
    votes = ferplus.find(folder) if folder.is_file() else None  # next to the file
    files = [folder, *filter(None, [votes])] if folder.is_file() else folders.list_files(folder)
    return "\n".join([printable(folder.resolve()), *map(_path_fingerprint, files)])


def _path_fingerprint(path: Path) -> str:
    """Name, size and time of one file; the name alone of a broken link."""
    try:
        status = path.stat()
    except OSError:
        return printable(path)
    return f"{printable(path)} {status.st_size} {status.st_mtime_ns}"
