"""The store of answers: Parquet shards, one row per face. The watershed between what needs torch and what
needs only numbers.

A subject has a folder. Its faces stand in canonical order (sorted by pixel hash, then label), cut into shards
of `SHARD` rows, each written to a temporary file and renamed: a killed run loses at most the shard in flight,
and the next one goes on with the same cuts and ends with the same answers. A lock per folder lets several
processes share the store: whoever comes second finds the answers there. The name of each file holds its
checksum (see `folder`): a damaged shard counts as missing, and its faces are predicted again.
"""

from __future__ import annotations

import json
import math
import re
from abc import ABC, abstractmethod
from collections.abc import Mapping
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
    from_parquet,
    locked_directory,
    read,
    reason,
    to_parquet,
    write,
)
from fer_models.classifiers.base import ANSWERED, Predictions
from fer_models.datasets.base import compute_fingerprint
from fer_models.emotions import EMOTIONS, LABELS
from fer_models.errors import PredictionError, StoreError
from fer_models.store.subject import Subject

#: Faces per shard: what a killed run can lose.
SHARD = 256
SCHEMA_VERSION = 2
_WHAT = "Answers"
#: The metadata field of a shard's Parquet file that holds what is not a column.
_METADATA = b"fer-models"
#: The name of a shard on disk: its number, and the checksum that `folder` adds.
_SHARD_NAME = re.compile(r"part-(\d{5,})(?:-[0-9a-f]{16})?\.parquet")
_SECONDS = "seconds.json"
_SCHEMA = pa.schema(
    [("face", pa.string()), ("index", pa.int32()), ("truth", pa.string()), ("answer", pa.string())]
    + [(f"p_{label}", pa.float32()) for label in LABELS]
    + [("status", pa.string()), ("text", pa.string())]
)


@dataclass(frozen=True)
class PredictionTable:
    """What one subject answered, in canonical order.

    Attributes:
        faces: the sha256 of each face's pixels before restoration.
        index: int64 (n,), the row each face has in the whole split of its dataset.
        truth: int64 (n,), the labels.
        answer: int64 (n,), -1 for no answer.
        probabilities: float64 (n, 7), NaN rows for no answer; each value is a float32.
        status: `ok`, or why there is no answer.
        text: what a language model wrote.
        has_probabilities: as in `Predictions`: False where `probabilities` only code the emotions that were
            written.
    """

    faces: tuple[str, ...]
    index: NDArray[np.int64]
    truth: NDArray[np.int64]
    answer: NDArray[np.int64]
    probabilities: NDArray[np.float64]
    status: tuple[str, ...]
    text: tuple[str, ...]
    has_probabilities: bool = True

    def __len__(self) -> int:
        return len(self.faces)

    @property
    def correct(self) -> NDArray[np.bool_]:
        """Which faces were answered as labelled."""
        return np.equal(self.truth, self.answer)

    @property
    def p_true(self) -> NDArray[np.float64]:
        """The probability given to the labelled emotion, 0 where there is no answer; float64 (n,)."""
        p: NDArray[np.float64] = np.nan_to_num(self.probabilities[np.arange(len(self)), self.truth], nan=0.0)
        return p

    @property
    def fingerprint(self) -> str:
        """Of these faces and labels: a whole split's is its `FaceSet.fingerprint`."""
        return compute_fingerprint(self.faces, self.truth)

    def select(self, places: NDArray[np.int64]) -> PredictionTable:
        """The rows at `places`, in that order."""
        text, status = tuple(self.text[i] for i in places), tuple(self.status[i] for i in places)
        faces = tuple(self.faces[i] for i in places)
        columns = (self.index[places], self.truth[places], self.answer[places], self.probabilities[places])
        return PredictionTable(faces, *columns, status, text, self.has_probabilities)

    @classmethod
    def concatenate(cls, parts: list[PredictionTable]) -> PredictionTable:
        """Several shards as one."""
        return cls(
            tuple(f for p in parts for f in p.faces),
            np.concatenate([p.index for p in parts]),
            np.concatenate([p.truth for p in parts]),
            np.concatenate([p.answer for p in parts]),
            np.concatenate([p.probabilities for p in parts]),
            tuple(s for p in parts for s in p.status),
            tuple(t for p in parts for t in p.text),
            all(p.has_probabilities for p in parts),
        )

    def predictions(self, rows: slice = slice(None)) -> Predictions:
        """The answers to some of the faces, as a classifier gives them."""
        return Predictions(
            self.probabilities[rows], self.status[rows], self.text[rows], LABELS, self.has_probabilities
        )


def canonical_order(hashes: tuple[str, ...], labels: NDArray[np.int64]) -> NDArray[np.int64]:
    """The rows of a face set in canonical order: by pixel hash, then label, then row; int64 (n,)."""
    return np.array(sorted(range(len(hashes)), key=lambda i: (hashes[i], int(labels[i]), i)), dtype=np.int64)


class Store:
    """A folder of subjects."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def partition(
        self,
        subject: Subject,
        key: str,
        faces: tuple[str, ...],
        truth: NDArray[np.int64],
        index: NDArray[np.int64],
    ) -> Partition:
        """The place of one subject's answers.

        Args:
            key: `Subject.key` of everything that decides the answers.
            faces, truth, index: the hash and label of each face in canonical order, and its row in the whole
                split.
        """
        return Partition(self.root / subject.folder(key), key, faces, subject, truth, index)


_Shard = TypeVar("_Shard")


@dataclass(frozen=True)
class ShardedFolder(ABC, Generic[_Shard]):
    """A folder of files with `SHARD` faces each, each written atomically, one process at a time.

    A file is read and checked once: what it held then is what this object gives, whatever becomes of the
    file.

    Attributes:
        folder: made when it is first locked.
        key: the content of everything that decides what is in the files.
        faces: the pixel hash of each face, in canonical order.
    """

    folder: Path
    key: str
    faces: tuple[str, ...]
    _valid: dict[int, _Shard] = field(default_factory=dict, init=False, repr=False, compare=False)

    @property
    def shards(self) -> int:
        """How many shards make the folder complete."""
        return -(-len(self.faces) // SHARD)

    def rows(self, shard: int) -> slice:
        """The canonical rows in `shard`."""
        return slice(shard * SHARD, min((shard + 1) * SHARD, len(self.faces)))

    def missing(self, *, remove_damaged: bool = False) -> list[int]:
        """The shards that are not written yet, or are damaged.

        Args:
            remove_damaged: remove what is damaged, with a warning, because the caller writes these shards
                anew. Only under `locked`.
        """
        for shard in range(self.shards):
            if shard not in self._valid:
                content = find(
                    self.folder, self._name(shard), partial(self._parse, shard), remove_damaged=remove_damaged
                )
                if content is not None:
                    self._valid[shard] = content
        return [shard for shard in range(self.shards) if shard not in self._valid]

    def locked(self) -> AbstractContextManager[None]:
        """Hold this folder: one process fills it, the others wait and then read. Raises as
        `folder.locked`.
        """
        return locked_directory(self.folder, _WHAT)

    def _contents(self) -> list[_Shard]:
        """All shards.

        Raises:
            StoreError: one is missing or damaged.
        """
        if missing := self.missing():
            names = ", ".join(self._name(shard) for shard in missing[:5])
            raise StoreError(
                f"{self.folder}: {len(missing)} of {self.shards} files are missing or damaged ({names}). Run again: it computes them anew."
            )
        return [self._valid[shard] for shard in range(self.shards)]

    @abstractmethod
    def _parse(self, shard: int, content: bytes) -> _Shard:
        """What is in the bytes of a file. Raises one of `folder.INVALID` unless it is that shard of this
        folder.
        """

    def _name(self, shard: int) -> str:
        return f"part-{shard:05d}.parquet"

    def _write(self, shard: int, table: pa.Table) -> None:
        """Write one shard. Raises as `folder.write`."""
        write(self.folder, self._name(shard), to_parquet(table), _WHAT)


@dataclass(frozen=True)
class Partition(ShardedFolder[tuple[PredictionTable, Mapping[str, Any]]]):
    """One subject's answers; `truth` are the faces' labels, `index` their rows in the whole split."""

    subject: Subject
    truth: NDArray[np.int64]
    index: NDArray[np.int64]

    def write(
        self, shard: int, answers: PredictionTable, provenance: Mapping[str, Any], seconds: float
    ) -> None:
        """Write one shard, whole or not at all. Call it under `locked`.

        The file holds nothing that differs between two runs with the same answers; the time it took stands
        beside it.

        Raises:
            PredictionError: an answer is not the most probable emotion, or has no probabilities.
            StoreError: the shard cannot be written.
        """
        stored_as = answers.probabilities.astype(np.float32)
        try:
            _check(replace(answers, probabilities=stored_as.astype(np.float64)))
        except ValueError as error:
            raise PredictionError(
                f"Model {self.subject.model!r} gave predictions that cannot be stored: {error}."
            ) from error
        columns: dict[str, Any] = {
            "face": list(answers.faces),
            "index": answers.index,
            "truth": [LABELS[t] for t in answers.truth],
            "answer": [LABELS[a] if a >= 0 else None for a in answers.answer],
            "status": list(answers.status),
            "text": list(answers.text),
        }
        for emotion in EMOTIONS:
            p = stored_as[:, emotion]
            columns[f"p_{emotion.label}"] = pa.array(p, mask=np.isnan(p))
        metadata = {
            "schema": SCHEMA_VERSION,
            "subject": self.subject.as_json(),
            "key": self.key,
            "shard": shard,
            "n": len(self.faces),
            "has_probabilities": answers.has_probabilities,
            "provenance": dict(provenance),
        }
        schema = _SCHEMA.with_metadata({_METADATA: json.dumps(metadata, sort_keys=True)})
        # The time first: a run that is killed between the two files computes this shard again, and its time
        # with it.
        self._write_seconds(self._seconds() | {str(shard): round(seconds, 3)})
        self._write(shard, pa.table({f.name: columns[f.name] for f in _SCHEMA}, schema=schema))

    def read(self) -> PredictionTable:
        """All answers of a complete subject, in canonical order, with the rows that the faces have in the
        split now.

        Raises:
            StoreError: a shard is missing or damaged.
        """
        return replace(
            PredictionTable.concatenate([answers for answers, _ in self._contents()]), index=self.index
        )

    def provenance(self) -> dict[str, Any]:
        """What was written with the first shard's predictions: identity, device, versions.

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
        """How long inference took, in all, when these shards were written; None where that is not known of
        each.
        """
        seconds = self._seconds()
        known = all(str(shard) in seconds for shard in range(self.shards))
        return float(sum(seconds[str(shard)] for shard in range(self.shards))) if known else None

    def _parse(self, shard: int, content: bytes) -> tuple[PredictionTable, Mapping[str, Any]]:
        answers, metadata = _parse(content)
        rows = self.rows(shard)
        if (metadata["shard"], metadata["n"]) != (shard, len(self.faces)):
            raise ValueError("it is another shard")
        if (
            metadata["key"] != self.key
            or answers.faces != self.faces[rows]
            or not np.array_equal(answers.truth, self.truth[rows])
        ):
            raise ValueError("it holds the answers of another subject, or to other faces")
        return answers, metadata

    def _seconds(self) -> dict[str, float]:
        return find(self.folder, _SECONDS, _parse_seconds) or {}

    def _write_seconds(self, seconds: Mapping[str, float]) -> None:
        with suppress(StoreError):  # only a convenience: its loss costs no answer
            write(self.folder, _SECONDS, json.dumps(seconds).encode(), _WHAT)


def read_shard(path: Path) -> tuple[PredictionTable, dict[str, Any]]:
    """One shard from anywhere, and its metadata (subject, key, provenance).

    Raises:
        StoreError: it is not a valid shard of this project.
    """
    try:
        return _parse(read(path))
    except INVALID as error:
        raise StoreError(
            f"{path} is damaged: {reason(error)}. Run `pytest evals` again: it predicts only these {SHARD} faces anew."
        ) from error


def load_partition(folder: Path) -> tuple[PredictionTable, Subject]:
    """All answers in one subject's folder, and whose they are.

    Raises:
        StoreError: the folder holds no shards, lacks some in between, holds a damaged one, or mixes subjects.
    """
    paths = sorted(folder.glob("part-*.parquet"))
    if not paths:
        raise StoreError(
            f"{folder} holds no stored answers. Give a folder under .evals/store (or your --store)."
        )
    parts = [read_shard(path) for path in paths]
    numbers = [match and int(match[1]) for match in (_SHARD_NAME.fullmatch(path.name) for path in paths)]
    if numbers != list(range(len(paths))):
        raise StoreError(
            f"{folder} lacks a shard, or holds one twice: the run was not finished. Run it again; it goes on where it stopped."
        )
    if len({metadata["key"] for _, metadata in parts}) != 1 or numbers != [
        metadata["shard"] for _, metadata in parts
    ]:
        raise StoreError(
            f"{folder} mixes the answers of several subjects, or their order. Run `pytest evals` again: it computes them anew."
        )
    answers, metadata = PredictionTable.concatenate([a for a, _ in parts]), parts[0][1]
    if len(answers) != metadata["n"]:
        raise StoreError(
            f"{folder} holds {len(answers)} answers of {metadata['n']} faces. Run it again; it goes on from there."
        )
    return answers, Subject.from_json(metadata["subject"])


def _parse(content: bytes) -> tuple[PredictionTable, dict[str, Any]]:
    """The answers in the bytes of a shard, and its metadata. Raises one of `folder.INVALID`."""
    table = from_parquet(content)
    metadata = _parse_metadata((table.schema.metadata or {}).get(_METADATA))
    if table.schema.remove_metadata() != _SCHEMA:
        raise ValueError("it has other columns than this version of fer-models writes")
    columns = {name: table.column(name) for name in table.column_names}
    truth = np.array([LABELS.index(t) for t in columns["truth"].to_pylist()], dtype=np.int64)
    answer = np.array(
        [-1 if a is None else LABELS.index(a) for a in columns["answer"].to_pylist()], dtype=np.int64
    )
    p = np.stack([columns[f"p_{label}"].to_numpy().astype(np.float64) for label in LABELS], axis=1)
    face, status, text = (tuple(columns[name].to_pylist()) for name in ("face", "status", "text"))
    if None in face or None in status or None in text or columns["index"].null_count:
        raise ValueError("a face, its row, status or text is null")
    answers = PredictionTable(
        face,
        columns["index"].to_numpy().astype(np.int64),
        truth,
        answer,
        p,
        status,
        text,
        metadata["has_probabilities"],
    )
    _check(answers)
    return answers, metadata


def _check(answers: PredictionTable) -> None:
    """Raise ValueError unless every answer is the most probable emotion, and faces without an answer have no
    probabilities.
    """
    p = answers.probabilities
    answered = np.array([status == ANSWERED for status in answers.status], dtype=bool)
    if not np.array_equal(np.isnan(p), np.repeat(~answered[:, None], len(LABELS), axis=1)):
        raise ValueError("a face has an answer without probabilities, or probabilities without an answer")
    if ((p < 0) | (p > 1)).any():
        raise ValueError("a probability is outside 0..1")
    if not np.array_equal(answers.predictions().answer, answers.answer):
        raise ValueError("an answer is not the most probable emotion")


def _parse_metadata(text: bytes | None) -> dict[str, Any]:
    """The metadata of a shard. Raises ValueError where a field is missing or of another type."""
    if text is None:
        raise ValueError("it was not written by fer-models")
    metadata = json.loads(text)
    types = {
        "subject": dict,
        "key": str,
        "shard": int,
        "n": int,
        "has_probabilities": bool,
        "provenance": dict,
    }
    if not isinstance(metadata, dict) or metadata.get("schema") != SCHEMA_VERSION:
        raise ValueError("its metadata has another layout than this version of fer-models writes")
    if wrong := [name for name, kind in types.items() if type(metadata.get(name)) is not kind]:
        raise ValueError(f"its metadata has no valid {wrong[0]}")
    required, subject = ("dataset", "split", "restoration", "model"), metadata["subject"]
    if not all(isinstance(subject.get(name), str) for name in required):
        raise ValueError("its metadata does not name a subject")
    return metadata


def _parse_seconds(content: bytes) -> dict[str, float]:
    seconds = json.loads(content)
    if not isinstance(seconds, dict) or not all(
        type(s) in (int, float) and 0 <= s < math.inf for s in seconds.values()
    ):
        raise ValueError("it does not give seconds by shard")
    return seconds
