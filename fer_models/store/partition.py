"""Partitions of the store: a folder of Parquet shards for each subject.

Faces are in canonical order (sorted by pixel hash, then label), cut into shards of `SHARD` rows. Each shard
is written to a temporary file and renamed: a killed run loses at most the shard that it computes, and the
next run resumes with the same cuts and ends with the same predictions. A lock per folder lets several
processes share the store: the second one finds the predictions there. The name of each file holds its
checksum (see `checksummed_files`): a damaged shard counts as missing, and its faces are predicted again.

A store can also be in object storage (`object_storage`), with the same files. It has no locks: processes that
predict the same shard write the same file.
"""

from __future__ import annotations

import json
import math
import os
import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from fer_models.artifacts.checksummed_files import (
    INVALID,
    find,
    first_valid,
    locked_directory,
    read,
    reason,
    to_parquet,
    versions_by_name,
    write,
)
from fer_models.artifacts.object_storage import StorePath
from fer_models.errors import PredictionError, StoreError
from fer_models.store.predictions import PredictionTable
from fer_models.store.shard_format import decode, encode
from fer_models.store.subject import Subject
from fer_models.text_column import TextColumn

#: Faces per shard: what a killed run can lose.
SHARD = 256
#: What messages call the content of the store.
_CONTENT = "Predictions"
#: The name of a shard on disk: its number, and the checksum that `checksummed_files` adds.
_SHARD_NAME = re.compile(r"part-(\d{5,})(?:-[0-9a-f]{16})?\.parquet")
_SECONDS = "seconds.json"


class Store:
    """A folder with one partition per subject."""

    def __init__(self, root: StorePath) -> None:
        self.root = root

    def partition(
        self,
        subject: Subject,
        key: str,
        faces: Sequence[str],
        truth: NDArray[np.int64],
        index: NDArray[np.int64],
    ) -> Partition:
        """Return the partition of one subject; nothing is read or written yet.

        Args:
            subject: what is evaluated.
            key: `Subject.key` of everything that the predictions depend on.
            faces: the pixel hash of each face, in canonical order.
            truth: the labels of the faces.
            index: the row of each face in the full split.
        """
        return Partition(self.root / subject.folder(key), key, TextColumn.of(faces), subject, truth, index)


_Shard = TypeVar("_Shard")


@dataclass(eq=False)
class ShardedFolder(ABC, Generic[_Shard]):
    """A folder of files with `SHARD` faces each, written atomically by one process at a time.

    A file is read and validated once. This object then keeps its content, also if the file changes later.
    No attribute changes after construction.

    Attributes:
        folder: made when it is first locked.
        key: the content of everything that the files depend on.
        faces: the pixel hash of each face, in canonical order.
    """

    folder: StorePath
    key: str
    faces: TextColumn
    _valid: dict[int, _Shard] = field(default_factory=dict, init=False, repr=False)

    @property
    def shards(self) -> int:
        """Number of shards of a complete folder."""
        return -(-len(self.faces) // SHARD)

    def rows(self, shard: int) -> slice:
        """Canonical rows of a shard."""
        return slice(shard * SHARD, min((shard + 1) * SHARD, len(self.faces)))

    def missing(self, *, remove_damaged: bool = False) -> list[int]:
        """List the shards that are not written yet, or are damaged.

        Args:
            remove_damaged: remove damaged files, with a warning, because the caller writes these shards
                again. Only under `locked`.
        """
        unknown = [shard for shard in range(self.shards) if shard not in self._valid]
        paths = versions_by_name(self.folder) if unknown else {}
        for shard in unknown:
            parse = partial(self._parse, shard)
            content = first_valid(paths.get(self._name(shard), ()), parse, remove_damaged=remove_damaged)
            if content is not None:
                self._valid[shard] = content
        return [shard for shard in unknown if shard not in self._valid]

    def is_written(self, shard: int) -> bool:
        """Whether a shard is written and valid at this moment; its content is not kept."""
        return find(self.folder, self._name(shard), partial(self._parse, shard)) is not None

    def locked(self) -> AbstractContextManager[None]:
        """Lock this folder: one process fills it, the others wait. Raises as `locked_directory`."""
        return locked_directory(self.folder, _CONTENT)

    def _contents(self) -> list[_Shard]:
        """Return all shards.

        Raises:
            StoreError: one is missing or damaged.
        """
        if missing := self.missing():
            names = ", ".join(self._name(shard) for shard in missing[:5])
            raise StoreError(
                f"{self.folder}: {len(missing)} of {self.shards} files are missing or damaged ({names}). "
                "Run again: they are computed anew."
            )
        return [self._valid[shard] for shard in range(self.shards)]

    @abstractmethod
    def _parse(self, shard: int, content: bytes) -> _Shard:
        """Parse the bytes of a file. Raises one of `INVALID` unless it is that shard of this folder."""

    def _name(self, shard: int) -> str:
        return f"part-{shard:05d}.parquet"

    def _write(self, shard: int, table: pa.Table) -> None:
        """Write one shard. Raises as `checksummed_files.write`."""
        write(self.folder, self._name(shard), to_parquet(table), _CONTENT)


@dataclass(eq=False)
class Partition(ShardedFolder[tuple[PredictionTable, Mapping[str, Any]]]):
    """Predictions of one subject on disk.

    Attributes:
        subject: what is evaluated.
        truth: int64 (n,), the labels of the faces.
        index: int64 (n,), their rows in the full split.
    """

    subject: Subject
    truth: NDArray[np.int64]
    index: NDArray[np.int64]

    def write(
        self, shard: int, predictions: PredictionTable, provenance: Mapping[str, Any], seconds: float
    ) -> None:
        """Write one shard atomically, and its inference time in another file. Call it under `locked`.

        Raises as `write_predictions`.
        """
        table = self._encode(shard, predictions, provenance)
        # The time first: a run that is killed between the two files computes this shard again, and its time
        # with it.
        self.write_seconds({shard: seconds})
        self._write(shard, table)

    def write_predictions(
        self, shard: int, predictions: PredictionTable, provenance: Mapping[str, Any]
    ) -> None:
        """Write one shard atomically, without its time. Several processes may write different shards.

        Two runs with the same predictions write the same bytes.

        Raises:
            PredictionError: a prediction is not the most probable emotion, or has no probabilities.
            StoreError: the shard cannot be written.
        """
        self._write(shard, self._encode(shard, predictions, provenance))

    def write_seconds(self, seconds: Mapping[int, float]) -> None:
        """Add the inference time of shards to the stored ones. Call it under `locked`."""
        total = self._seconds() | {str(shard): round(time, 3) for shard, time in seconds.items()}
        with suppress(StoreError):  # the time is only shown: without it no prediction is lost
            write(self.folder, _SECONDS, json.dumps(total).encode(), _CONTENT)

    def _encode(self, shard: int, predictions: PredictionTable, provenance: Mapping[str, Any]) -> pa.Table:
        metadata = {
            "subject": self.subject.as_json(),
            "key": self.key,
            "shard": shard,
            "n": len(self.faces),
            "provenance": dict(provenance),
        }
        try:
            return encode(predictions, metadata)
        except ValueError as error:
            raise PredictionError(
                f"Model {self.subject.model!r} gave predictions that cannot be stored: {error}."
            ) from error

    def read(self) -> PredictionTable:
        """Read all predictions, in canonical order, with the current rows of the faces in the split.

        Raises:
            StoreError: a shard is missing or damaged.
        """
        tables = [predictions for predictions, _ in self._contents()]
        self._mark_as_used()
        return replace(PredictionTable.concatenate(tables), index=self.index)

    def _mark_as_used(self) -> None:
        """Make these the newest predictions of their subject, for commands that read the store.

        A run whose weights were evaluated before reads these predictions, and writes nothing. Where files
        have no time that can be set (in object storage, on a read-only disk), the last written count.
        """
        for path in versions_by_name(self.folder).get(self._name(0), ())[:1]:
            if isinstance(path, Path):
                with suppress(OSError):
                    os.utime(path)

    def provenance(self) -> dict[str, Any]:
        """Read the provenance in the first shard: identity, device, versions.

        Raises:
            StoreError: that shard is missing or damaged.
        """
        first = find(self.folder, self._name(0), partial(self._parse, 0))
        if first is None:
            raise StoreError(
                f"{self.folder}: the first file is missing or damaged. Run again: it is computed anew."
            )
        return dict(first[1]["provenance"])

    def seconds(self) -> float | None:
        """Total inference time of these shards, in seconds; None where the time of one is unknown."""
        return _total_seconds(self._seconds(), self.shards)

    def _parse(self, shard: int, content: bytes) -> tuple[PredictionTable, Mapping[str, Any]]:
        predictions, metadata = decode(content)
        rows = self.rows(shard)
        if (metadata["shard"], metadata["n"]) != (shard, len(self.faces)):
            raise ValueError("it is another shard")
        same_faces = predictions.faces == self.faces[rows]
        same_labels = np.array_equal(predictions.truth, self.truth[rows])
        if metadata["key"] != self.key or not same_faces or not same_labels:
            raise ValueError("it holds predictions of another subject, or of other faces")
        return predictions, metadata

    def _seconds(self) -> dict[str, float]:
        return find(self.folder, _SECONDS, _parse_seconds) or {}


def read_shard(path: StorePath) -> tuple[PredictionTable, dict[str, Any]]:
    """Read one shard from any folder, with its metadata (subject, key, provenance).

    Raises:
        StoreError: it is not a valid shard of this project.
    """
    try:
        return decode(read(path))
    except INVALID as error:
        raise StoreError(
            f"{path} is damaged: {reason(error)}. "
            f"Run `pytest evals` again: it predicts only these {SHARD} faces anew."
        ) from error


@dataclass(frozen=True)
class StoredPredictions:
    """All predictions in one subject's folder.

    Attributes:
        predictions: in canonical order.
        subject: what was evaluated.
        key: the content of everything that the predictions depend on.
        provenance: identity, device and versions, of the first shard.
        seconds: total inference time; None where the time of a shard is unknown.
    """

    predictions: PredictionTable
    subject: Subject
    key: str
    provenance: Mapping[str, Any]
    seconds: float | None


def load_partition(folder: StorePath) -> tuple[PredictionTable, Subject]:
    """Load all predictions in one subject's folder, and the subject. Raises as `read_partition`."""
    stored = read_partition(folder)
    return stored.predictions, stored.subject


def read_partition(folder: StorePath) -> StoredPredictions:
    """Read all predictions in one subject's folder, without the faces or the model.

    Raises:
        StoreError: the folder has no shards, lacks some in between, has a damaged one, or mixes subjects.
    """
    found: Iterable[StorePath] = folder.glob("part-*.parquet")
    by_number: dict[object, StorePath] = {}
    # By number, so a name with more digits later; two writers may have left two valid versions.
    for path in sorted(found, key=lambda path: (len(path.name), path.name)):
        match = _SHARD_NAME.fullmatch(path.name)
        by_number.setdefault(match[1] if match else path.name, path)
    paths = list(by_number.values())
    if not paths:
        raise StoreError(
            f"{folder} has no stored predictions. Give a folder under .evals/store (or your --store)."
        )
    shards = [read_shard(path) for path in paths]
    numbers = [match and int(match[1]) for match in (_SHARD_NAME.fullmatch(path.name) for path in paths)]
    if numbers != list(range(len(paths))):
        raise StoreError(
            f"{folder} lacks a shard, or has one twice: the run was not finished. "
            "Run it again: it resumes where it stopped."
        )
    metadata = [fields for _, fields in shards]
    if len({m["key"] for m in metadata}) != 1 or numbers != [m["shard"] for m in metadata]:
        raise StoreError(
            f"{folder} mixes the shards of several subjects, or their order. "
            "Run `pytest evals` again: it computes them anew."
        )
    predictions, n = PredictionTable.concatenate([table for table, _ in shards]), metadata[0]["n"]
    if len(predictions) != n:
        raise StoreError(
            f"{folder} has predictions for {len(predictions)} of {n} faces. "
            "Run it again: it resumes where it stopped."
        )
    first = metadata[0]
    seconds = _total_seconds(find(folder, _SECONDS, _parse_seconds) or {}, len(paths))
    return StoredPredictions(
        predictions, Subject.from_json(first["subject"]), first["key"], first["provenance"], seconds
    )


def _total_seconds(seconds: Mapping[str, float], shards: int) -> float | None:
    """The sum over all shards; None where the time of one is unknown."""
    if not all(str(shard) in seconds for shard in range(shards)):
        return None
    return float(sum(seconds[str(shard)] for shard in range(shards)))


def _parse_seconds(content: bytes) -> dict[str, float]:
    seconds = json.loads(content)
    if not isinstance(seconds, dict) or not all(
        type(s) in (int, float) and 0 <= s < math.inf for s in seconds.values()
    ):
        raise ValueError("it does not give seconds by shard")
    return seconds
