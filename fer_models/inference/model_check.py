"""Detection of third-party models that changed although nothing that identifies them did.

A model from the user's file or from an installed package is identified by that file, its weights and its
settings. Its predictions may depend on more: a helper module, an environment variable, a file that `load`
reads. So each run predicts the same sample of faces anew and compares the result with the one of the run
before. Where they differ, nothing stored before is used: the token that `ModelCheck.token` returns is part of
every key, and a changed model gets another one.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from fer_models.artifacts.checksummed_files import find, locked_directory, write
from fer_models.artifacts.file_names import unique_name
from fer_models.artifacts.object_storage import StorePath
from fer_models.classifiers.base import Predictions

#: Faces in the sample.
SAMPLE = 64
#: The largest difference of a probability that counts as rounding: other batches and numbers of threads add
#: in another order.
TOLERANCE = {"float32": 1e-3, "bf16": 2e-2, "fp16": 5e-3}
_WHAT = "Predictions for the sample of faces"


class ModelCheck:
    """Stored predictions of one model after one restoration for a sample of faces."""

    def __init__(self, root: StorePath, name: str, identity: Mapping[str, Any]) -> None:
        """Name their file.

        Args:
            root: its folder.
            name: readable part of the file's name.
            identity: everything known that decides the predictions: model, restoration, code, and the faces
                of the sample; as JSON.
        """
        digest = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()
        self.folder = root
        self.file = f"{unique_name(name, digest)}.json"

    def token(self, predict: Callable[[], Predictions] | None, tolerance: float) -> tuple[str, int]:
        """The token of the model as it predicts now, and the number of predictions that changed.

        The change is that since the run before, on the sample.

        Args:
            predict: predicts the sample; None to use the token of the run before without a check (empty if
                there was none).
            tolerance: the largest difference of a probability that is rounding, 0..1.

        Raises:
            PredictionError, RestorationError: as `predict`.
            StoreError: the file cannot be written.
        """
        before = find(self.folder, self.file, _parse)
        if predict is None:
            return (before[0] if before else ""), 0
        rows = _rows(predict())
        if before and not _changed(before[1], rows, tolerance):  # without the lock: it may be read-only
            return before[0], 0
        with locked_directory(self.folder, _WHAT):
            before = find(self.folder, self.file, _parse, remove_damaged=True)
            changed = _changed(before[1], rows, tolerance) if before else 0
            if before and not changed:
                return before[0], 0
            token = hashlib.sha256(json.dumps(rows).encode()).hexdigest()[:16]
            write(self.folder, self.file, json.dumps({"token": token, "rows": rows}).encode(), _WHAT)
        return token, changed


def _parse(content: bytes) -> tuple[str, list[list[Any]]]:
    """The token and the rows in a file."""
    entry = json.loads(content)
    return str(entry["token"]), [
        [str(status), str(text), [float(v) for v in p]] for status, text, p in entry["rows"]
    ]


def _rows(predictions: Predictions) -> list[list[Any]]:
    """Status, text and probabilities of each face, as JSON; no probabilities where there is no prediction."""
    p = [
        [] if np.isnan(row).any() else [round(float(v), 5) for v in row] for row in predictions.probabilities
    ]
    return [list(row) for row in zip(predictions.status, predictions.text, p, strict=True)]


def _changed(before: Sequence[Sequence[Any]], now: Sequence[Sequence[Any]], tolerance: float) -> int:
    """How many faces have another prediction, or a probability that differs by more than `tolerance`."""
    if len(before) != len(now):
        return len(now)
    return sum(not _same(b, n, tolerance) for b, n in zip(before, now, strict=True))


def _same(before: Sequence[Any], now: Sequence[Any], tolerance: float) -> bool:
    (status_before, text_before, p_before), (status, text, p) = before, now
    if (status_before, text_before, len(p_before)) != (status, text, len(p)):
        return False
    return not p or (
        int(np.argmax(p_before)) == int(np.argmax(p))
        and bool(np.max(np.abs(np.subtract(p_before, p))) <= tolerance)
    )
