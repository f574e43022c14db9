"""Prediction cache for faces outside the dataset: perturbed, corrupted, blank ones.

A robustness check needs predictions for thousands of temporary images. The cache stores each of them under
the sha256 of its pixels, in a folder named by everything that decides the prediction, so that the next run
predicts nothing twice. A changed corruption or perturbation gives other pixels and therefore other entries:
no version number can be forgotten. `PromptCache` does the same for the prompt sets
of a zero-shot model.
"""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fer_models.artifacts.checksummed_files import find, from_parquet, locked_directory, to_parquet, write
from fer_models.artifacts.file_names import unique_name
from fer_models.classifiers.base import ANSWERED, Predictions
from fer_models.classifiers.prompts import PromptSet
from fer_models.emotions import EMOTIONS, LABELS
from fer_models.errors import PromptTooLongError
from fer_models.images import Face, face_hash

if TYPE_CHECKING:
    import pyarrow as pa

Predict = Callable[[Sequence[Face]], Predictions]
Classify = Callable[[PromptSet], NDArray[np.int64]]
#: One prediction: the seven probabilities, status, text, and `Predictions.has_probabilities`.
_Row = tuple[NDArray[np.float64], str, str, bool]
_WHAT = "Predictions"
#: The metadata field of each file that names the folder's key.
_KEY = b"fer-models-predictions"


class _CacheFolder(ABC):
    """Parquet files that are only ever added, in a folder named by an identity."""

    def __init__(self, root: Path, name: str, identity: Mapping[str, Any]) -> None:
        self.key, self._loaded = _digest(identity), False
        self.folder = root / unique_name(name, self.key)

    def _names(self) -> list[str]:
        """The files, valid or not, by the names that they have without their checksums."""
        parts = {
            path.name[: len("part-00000")]
            for path in self.folder.glob("part-[0-9][0-9][0-9][0-9][0-9]*.parquet")
        }
        return [f"{part}.parquet" for part in sorted(parts)]

    def _load(self) -> None:
        """Read the files, once.

        Damaged ones are removed with a warning: their content is computed again where it is needed.
        """
        if self._loaded:
            return
        self._loaded = True
        contents = {name: find(self.folder, name, self._parse) for name in self._names()}
        if damaged := [name for name, content in contents.items() if content is None]:
            with locked_directory(self.folder, _WHAT):
                contents |= {
                    name: find(self.folder, name, self._parse, remove_damaged=True) for name in damaged
                }
        for content in contents.values():
            if content is not None:
                self._add_rows(content)

    def _parse(self, content: bytes) -> pa.Table:
        table = from_parquet(content)
        if (table.schema.metadata or {}).get(_KEY) != self.key.encode():
            raise ValueError("it holds the predictions of another model")
        self._check_rows(table)
        return table

    @abstractmethod
    def _check_rows(self, table: pa.Table) -> None:
        """Raise one of `checksummed_files.INVALID` where the rows of one file are not valid."""

    @abstractmethod
    def _add_rows(self, table: pa.Table) -> None:
        """Use the rows of one valid file."""

    def _add_file(self, columns: Mapping[str, Any]) -> None:
        """Write one more file. Raises StoreError if that fails; the files written before stay."""
        import pyarrow as pa

        content = to_parquet(pa.table(columns).replace_schema_metadata({_KEY: self.key}))
        with locked_directory(self.folder, _WHAT):
            last = max(self._names(), default="")  # also where a damaged file was removed
            number = int(last[len("part-") : len("part-00000")]) + 1 if last else 0
            write(self.folder, f"part-{number:05d}.parquet", content, _WHAT)


class PredictionCache(_CacheFolder):
    """A predictor with a cache: `predict` computes what is missing, `save` writes what was computed."""

    def __init__(
        self, root: Path, name: str, identity: Mapping[str, Any], labels: Sequence[str], predict: Predict
    ) -> None:
        """Cache predictions in a folder.

        Args:
            root: its parent.
            name: readable part of the folder's name.
            identity: everything that decides a prediction besides the pixels (weights, settings, precision),
                as JSON.
            labels: the label order that the model declares.
            predict: predicts faces; called only for faces that are not cached.
        """
        super().__init__(root, name, identity)
        self.labels, self._predict = tuple(labels), predict
        self._rows: dict[str, _Row] = {}
        self._unsaved: list[str] = []

    def add(self, faces: Iterable[str], predictions: Predictions) -> None:
        """Use predictions that are stored elsewhere; they are not written again.

        Args:
            faces: the sha256 of each face's pixels, in the order of `predictions`.
            predictions: such as those for the dataset.
        """
        for face, row in zip(faces, _rows(predictions), strict=True):
            self._rows.setdefault(face, row)

    def predict(self, faces: Sequence[Face]) -> Predictions:
        """Predictions for `faces`, in their order; each image that is not cached is predicted once.

        Raises:
            PredictionError, RestorationError: the model or its restorer failed.
            StoreError: a damaged file cannot be removed.
        """
        self._load()
        hashes = [face_hash(face) for face in faces]
        missing = {h: face for h, face in zip(hashes, faces, strict=True) if h not in self._rows}
        if missing:
            self._rows |= zip(missing, _rows(self._predict(list(missing.values()))), strict=True)
            self._unsaved += missing
        rows = [self._rows[h] for h in hashes]
        probabilities = np.stack([row[0] for row in rows]) if rows else np.empty((0, len(EMOTIONS)))
        status, text = tuple(row[1] for row in rows), tuple(row[2] for row in rows)
        return Predictions(probabilities, status, text, self.labels, all(row[3] for row in rows))

    def save(self) -> None:
        """Write the predictions computed since the last call.

        Raises:
            StoreError: they cannot be written.
        """
        if self._unsaved:
            import pyarrow as pa

            rows = [self._rows[face] for face in self._unsaved]
            p = np.stack([row[0] for row in rows]).astype(np.float32)
            columns = {
                f"p_{label}": pa.array(p[:, i], mask=np.isnan(p[:, i])) for i, label in enumerate(LABELS)
            }
            status, text = (
                pa.array([r[1] for r in rows], pa.string()),
                pa.array([r[2] for r in rows], pa.string()),
            )
            has_probabilities = pa.array([r[3] for r in rows], pa.bool_())
            self._add_file(
                {
                    "face": self._unsaved,
                    **columns,
                    "status": status,
                    "text": text,
                    "has_probabilities": has_probabilities,
                }
            )
        self._unsaved = []

    def _check_rows(self, table: pa.Table) -> None:
        p = _probabilities(table)
        answered = np.array([status == ANSWERED for status in table.column("status").to_pylist()], dtype=bool)
        if not np.array_equal(np.isnan(p), np.repeat(~answered[:, None], len(LABELS), axis=1)):
            raise ValueError("a face has an answer without probabilities, or probabilities without an answer")
        if (p < 0).any() or (p > 1).any():
            raise ValueError("a probability is outside 0..1")
        if any(
            None in table.column(name).to_pylist() for name in ("face", "status", "text", "has_probabilities")
        ):
            raise ValueError("a face, its status or text is null")

    def _add_rows(self, table: pa.Table) -> None:
        faces, *columns = (
            table.column(name).to_pylist() for name in ("face", "status", "text", "has_probabilities")
        )
        for face, *row in zip(faces, _probabilities(table), *columns, strict=True):
            self._rows.setdefault(face, (row[0], row[1], row[2], row[3]))


def _probabilities(table: pa.Table) -> NDArray[np.float64]:
    """The probabilities in a file, float64 (n, 7), NaN rows where there is no prediction."""
    return np.stack([table.column(f"p_{label}").to_numpy().astype(np.float64) for label in LABELS], axis=1)


class PromptCache(_CacheFolder):
    """Predicted emotions by prompt set, for a fixed set of face embeddings.

    A search that runs again needs no text encoder.
    """

    def __init__(self, root: Path, name: str, identity: Mapping[str, Any], classify: Classify) -> None:
        """Cache in a folder.

        Args:
            root: its parent.
            name: readable part of the folder's name.
            identity: everything that decides a prediction besides the prompts: model, faces, restoration; as
                JSON.
            classify: the emotion of every face by a prompt set, int64 (n,), -1 for none; called only for new
                prompt sets. Its `PromptTooLongError` is cached too.
        """
        super().__init__(root, name, identity)
        self._classify = classify
        self._predicted: dict[str, NDArray[np.int64] | str] = {}
        self._unsaved: list[str] = []

    def classify(self, prompts: PromptSet) -> NDArray[np.int64]:
        """The predicted emotion of every face, int64 (n,), -1 for none.

        Raises:
            PromptTooLongError: a text has more tokens than the model reads.
            StoreError: a damaged file cannot be removed.
        """
        self._load()
        digest = _digest(prompts.as_json())
        if digest not in self._predicted:
            try:
                self._predicted[digest] = self._classify(prompts)
            except PromptTooLongError as error:
                self._predicted[digest] = str(error)
            self._unsaved.append(digest)
        entry = self._predicted[digest]
        if isinstance(entry, str):
            raise PromptTooLongError(entry)
        return entry

    def save(self) -> None:
        """Write what was computed since the last call. Raises as `PredictionCache.save`."""
        if self._unsaved:
            import pyarrow as pa

            entries = [self._predicted[digest] for digest in self._unsaved]
            emotions = [
                None if isinstance(entry, str) else entry.astype(np.int8).tobytes() for entry in entries
            ]
            errors = [entry if isinstance(entry, str) else None for entry in entries]
            columns = {"emotions": pa.array(emotions, pa.binary()), "error": pa.array(errors, pa.string())}
            self._add_file({"prompts": self._unsaved, **columns})
        self._unsaved = []

    def _check_rows(self, table: pa.Table) -> None:
        for digest, emotions, error in self._entries(table):
            codes = () if emotions is None else np.frombuffer(emotions, np.int8)
            if (
                not isinstance(digest, str)
                or (emotions is None) is (error is None)
                or not all(-1 <= code < len(EMOTIONS) for code in codes)
            ):
                raise ValueError("a prompt set has no valid predictions")

    def _entries(self, table: pa.Table) -> Iterable[tuple[Any, Any, Any]]:
        return zip(
            *(table.column(name).to_pylist() for name in ("prompts", "emotions", "error")), strict=True
        )

    def _add_rows(self, table: pa.Table) -> None:
        for digest, emotions, error in self._entries(table):
            self._predicted[digest] = (
                error if emotions is None else np.frombuffer(emotions, np.int8).astype(np.int64)
            )


def _rows(predictions: Predictions) -> Iterable[_Row]:
    """One row per face, with probabilities rounded to float32 as on disk: each run has the same numbers."""
    p = predictions.probabilities.astype(np.float32).astype(np.float64)
    return zip(p, predictions.status, predictions.text, [predictions.has_probabilities] * len(p), strict=True)


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
