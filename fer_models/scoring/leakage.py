"""What a score owes to faces that also stand in `train`.

A face that a model may have trained on says little about how it sees new ones: 8 % of FER-2013's PrivateTest
are pixel for pixel copies of training faces. So every result is also given without them, with the difference.
"""

from __future__ import annotations

import inspect
from collections.abc import Collection
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from fer_models.datasets import folders, synthetic, synthetic_camera, synthetic_drawing
from fer_models.errors import printable
from fer_models.scoring.intervals import Measurement, percentile_interval, wilson_interval
from fer_models.store.predictions import PredictionTable

#: The split that models train on.
TRAIN = "train"


@dataclass(frozen=True)
class LeakageScores:
    """One subject's accuracy by whether a face stands in `train`.

    Attributes:
        faces: how many do.
        without: accuracy on the others; None if there are no others.
        on: accuracy on those; None if there are none.
        difference: accuracy on all faces minus accuracy without the leaked ones, with the interval of a
            bootstrap that draws both from the same faces; None if `without` is.
    """

    faces: int
    without_leaked: Measurement | None
    on_leaked: Measurement | None
    difference: Measurement | None

    def as_json(self) -> dict[str, Any]:
        """The part `leaks` of a result in evals.json."""
        measured = {"accuracy_on_leaks": self.on_leaked, "difference": self.difference}
        return {"faces": self.faces} | {
            name: None if m is None else {**m.as_json(), "n": m.n} for name, m in measured.items()
        }


def score(
    predictions: PredictionTable, train_hashes: Collection[str], *, resamples: int = 9999, seed: int = 0
) -> LeakageScores:
    """Accuracy with and without the faces whose pixel hash is among `known`."""
    leaked = np.array([face in train_hashes for face in predictions.faces])
    right = predictions.correct
    # Faces by (leaked, right): all that either accuracy depends on.
    cells = np.array(
        [(right & leaked).sum(), (~right & leaked).sum(), (right & ~leaked).sum(), (~right & ~leaked).sum()]
    )
    leaks, others, n = int(cells[:2].sum()), int(cells[2:].sum()), len(predictions)
    on = wilson_interval(int(cells[0]), leaks) if leaks else None
    if not others:
        return LeakageScores(leaks, None, on, None)
    draws = np.random.default_rng(seed).multinomial(n, cells / n, size=resamples)
    # A resample of leaked faces only has no accuracy without them; it is left out, as are such data sets.
    draws = draws[draws[:, 2:].sum(axis=1) > 0]
    value, drawn = (float(_difference(cells)), _difference(draws))
    return LeakageScores(
        leaks, wilson_interval(int(cells[2]), others), on, percentile_interval(value, drawn, n)
    )


def _difference(cells: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Accuracy on all minus accuracy without the leaked, of counts (..., 4)."""
    everything = (cells[..., 0] + cells[..., 2]) / cells.sum(axis=-1)
    return np.asarray(everything - cells[..., 2] / cells[..., 2:].sum(axis=-1))


def source_fingerprint(folder: Path | None) -> str:
    """What changes when faces may have: the names, sizes and times of the files in `folder`; of drawn faces
    (None), the code that draws them.
    """
    if folder is None:
        return "\n".join(
            [
                *map(inspect.getsource, (synthetic, synthetic_drawing, synthetic_camera)),
                *(version(p) for p in ("numpy", "pillow")),
            ]
        )
    files = [folder] if folder.is_file() else folders.files(folder)
    return "\n".join([printable(folder.resolve()), *map(_path_fingerprint, files)])


def _path_fingerprint(path: Path) -> str:
    """The name, size and time of one file; the name alone of a broken link."""
    try:
        found = path.stat()
    except OSError:
        return printable(path)
    return f"{printable(path)} {found.st_size} {found.st_mtime_ns}"
