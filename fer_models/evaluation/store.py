"""The store of answers: Parquet shards, one row per face. The watershed between what needs torch and what needs only numbers.

A subject has a folder. Its faces stand in canonical order (sorted by pixel hash, then label), cut into shards of `SHARD` rows, each
written to a temporary file and renamed: a killed run loses at most the shard in flight, and the next one goes on with the same cuts and
ends with the same answers. A lock per folder lets several processes share the store: whoever comes second finds the answers there.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from fer_models.datasets.base import fingerprint
from fer_models.emotions import EMOTIONS, LABELS
from fer_models.errors import StoreError
from fer_models.evaluation.folder import locked, put
from fer_models.evaluation.subject import Subject

#: Faces per shard: what a killed run can lose.
SHARD = 256
SCHEMA_VERSION = 1
_WHAT = "Answers"
_SCHEMA = pa.schema(
    [("face", pa.string()), ("index", pa.int32()), ("truth", pa.string()), ("answer", pa.string())]
    + [(f"p_{label}", pa.float32()) for label in LABELS]
    + [("status", pa.string()), ("text", pa.string())]
)


@dataclass(frozen=True)
class Answers:
    """What one subject answered, in canonical order.

    Attributes:
        faces: the sha256 of each face's pixels before restoration.
        index: int64 (n,), the row each face had in its dataset.
        truth: int64 (n,), the labels.
        answer: int64 (n,), -1 for no answer.
        probabilities: float64 (n, 7), NaN rows for no answer; each value is a float32.
        status: `ok`, or why there is no answer.
        text: what a language model wrote.
    """

    faces: tuple[str, ...]
    index: NDArray[np.int64]
    truth: NDArray[np.int64]
    answer: NDArray[np.int64]
    probabilities: NDArray[np.float64]
    status: tuple[str, ...]
    text: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.faces)

    @property
    def right(self) -> NDArray[np.bool_]:
        """Which faces were answered as labelled."""
        return np.equal(self.truth, self.answer)

    @property
    def p_truth(self) -> NDArray[np.float64]:
        """The probability given to the labelled emotion, 0 where there is no answer; float64 (n,)."""
        p: NDArray[np.float64] = np.nan_to_num(self.probabilities[np.arange(len(self)), self.truth], nan=0.0)
        return p

    @property
    def fingerprint(self) -> str:
        """Of these faces and labels: a whole split's is its `FaceSet.fingerprint`."""
        return fingerprint(self.faces, self.truth)

    def take(self, places: NDArray[np.int64]) -> Answers:
        """The rows at `places`, in that order."""
        text, status = tuple(self.text[i] for i in places), tuple(self.status[i] for i in places)
        faces = tuple(self.faces[i] for i in places)
        columns = (self.index[places], self.truth[places], self.answer[places], self.probabilities[places])
        return Answers(faces, *columns, status, text)

    @classmethod
    def concatenate(cls, parts: list[Answers]) -> Answers:
        """Several shards as one."""
        return cls(
            tuple(f for p in parts for f in p.faces),
            np.concatenate([p.index for p in parts]),
            np.concatenate([p.truth for p in parts]),
            np.concatenate([p.answer for p in parts]),
            np.concatenate([p.probabilities for p in parts]),
            tuple(s for p in parts for s in p.status),
            tuple(t for p in parts for t in p.text),
        )


def canonical_order(hashes: tuple[str, ...], labels: NDArray[np.int64]) -> NDArray[np.int64]:
    """The rows of a face set in canonical order: by pixel hash, then label, then row; int64 (n,)."""
    return np.array(sorted(range(len(hashes)), key=lambda i: (hashes[i], int(labels[i]), i)), dtype=np.int64)


class Store:
    """A folder of subjects."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def shelf(self, subject: Subject, key: str, faces: tuple[str, ...], truth: NDArray[np.int64]) -> Shelf:
        """The place of one subject's answers.

        Args:
            key: `Subject.key` of everything that decides the answers.
            faces, truth: the hash and label of each face in canonical order.
        """
        return Shelf(self.root / subject.folder(key), key, faces, subject, truth)


@dataclass(frozen=True)
class Shards:
    """A folder of files with `SHARD` faces each, written whole, one process at a time.

    Attributes:
        folder: made when it is first locked.
        key: the content of everything that decides what is in the files.
        faces: the pixel hash of each face, in canonical order.
    """

    folder: Path
    key: str
    faces: tuple[str, ...]

    @property
    def shards(self) -> int:
        """How many shards make the folder complete."""
        return -(-len(self.faces) // SHARD)

    def rows(self, shard: int) -> slice:
        """The canonical rows in `shard`."""
        return slice(shard * SHARD, min((shard + 1) * SHARD, len(self.faces)))

    def missing(self) -> list[int]:
        """The shards that are not written yet."""
        return [s for s in range(self.shards) if not self._path(s).exists()]

    def locked(self) -> AbstractContextManager[None]:
        """Hold this folder: one process fills it, the others wait and then read. Raises as `folder.locked`."""
        return locked(self.folder, _WHAT)

    def _path(self, shard: int) -> Path:
        return self.folder / f"part-{shard:05d}.parquet"

    def _put(self, shard: int, table: pa.Table) -> None:
        """Write one shard. Raises as `folder.put`."""
        put(self.folder, self._path(shard).name, lambda part: pq.write_table(table, part, compression="zstd"), _WHAT)


@dataclass(frozen=True)
class Shelf(Shards):
    """One subject's answers; `truth` are the faces' labels."""

    subject: Subject
    truth: NDArray[np.int64]

    def write(self, shard: int, answers: Answers, provenance: Mapping[str, Any], seconds: float) -> None:
        """Write one shard, whole or not at all. Call it under `locked`.

        The file holds nothing that differs between two runs with the same answers; the time it took stands beside it.
        """
        columns: dict[str, Any] = {
            "face": list(answers.faces),
            "index": answers.index,
            "truth": [LABELS[t] for t in answers.truth],
            "answer": [LABELS[a] if a >= 0 else None for a in answers.answer],
            "status": list(answers.status),
            "text": list(answers.text),
        }
        for emotion in EMOTIONS:
            p = answers.probabilities[:, emotion].astype(np.float32)
            columns[f"p_{emotion.label}"] = pa.array(p, mask=np.isnan(p))
        said = {
            "schema": SCHEMA_VERSION,
            "subject": self.subject.as_json(),
            "key": self.key,
            "shard": shard,
            "n": len(self.faces),
            "provenance": dict(provenance),
        }
        table = pa.table({f.name: columns[f.name] for f in _SCHEMA}, schema=_SCHEMA.with_metadata({"fer-models": json.dumps(said, sort_keys=True)}))
        self._put(shard, table)
        self._time(shard, seconds)

    def read(self) -> Answers:
        """All answers of a complete subject, in canonical order.

        Raises:
            StoreError: a shard is missing, corrupt, or not this subject's.
        """
        return Answers.concatenate([self.read_shard(s) for s in range(self.shards)])

    def read_shard(self, shard: int) -> Answers:
        """The answers of one shard, checked against the faces it must hold.

        Raises:
            StoreError: see `read`.
        """
        path = self._path(shard)
        try:
            answers, said = read_shard(path)
        except FileNotFoundError:
            raise StoreError(f"{path} is missing. Run again to answer these faces.") from None
        rows = self.rows(shard)
        if said.get("key") != self.key or answers.faces != self.faces[rows] or not np.array_equal(answers.truth, self.truth[rows]):
            raise StoreError(f"{path} holds the answers of another subject ({said.get('key', 'no key')[:12]}…). Delete it and run again.")
        return answers

    def provenance(self) -> dict[str, Any]:
        """What was written down beside the first shard's answers: identity, device, versions."""
        return dict(read_shard(self._path(0))[1].get("provenance", {}))

    def seconds(self) -> float:
        """How long inference took, in all, when these shards were written."""
        return float(sum(self._timings().values()))

    def _timings(self) -> dict[str, float]:
        try:
            return dict(json.loads((self.folder / "seconds.json").read_text()))
        except (OSError, ValueError):  # only a convenience: its loss costs no answer
            return {}

    def _time(self, shard: int, seconds: float) -> None:
        timings = self._timings() | {str(shard): round(seconds, 3)}
        with suppress(StoreError):  # as above
            put(self.folder, "seconds.json", lambda part: part.write_text(json.dumps(timings)), _WHAT)


def read_shard(path: Path) -> tuple[Answers, dict[str, Any]]:
    """One shard from anywhere, and what its metadata says (subject, key, provenance).

    Raises:
        FileNotFoundError: there is none.
        StoreError: it is not a sound shard of this project.
    """
    try:
        table = pq.read_table(path)
        said = json.loads((table.schema.metadata or {})[b"fer-models"])
    except FileNotFoundError:
        raise
    except KeyError:
        raise StoreError(f"{path} was not written by fer-models. Remove it from the store.") from None
    except (OSError, ValueError, pa.ArrowException) as error:
        reason = str(error).splitlines()[0]
        raise StoreError(f"{path} is corrupt ({reason}). Delete it and run again: only its {SHARD} faces are asked anew.") from error
    if table.schema.remove_metadata() != _SCHEMA or said.get("schema") != SCHEMA_VERSION:
        raise StoreError(f"{path} has another layout than this version of fer-models writes. Delete it and run again.")
    return _answers(table, path), said


def stored(folder: Path) -> tuple[Answers, Subject]:
    """All answers in one subject's folder, and whose they are.

    Raises:
        StoreError: the folder holds no shards, lacks some in between, or mixes subjects.
    """
    paths = sorted(folder.glob("part-*.parquet"))
    if not paths:
        raise StoreError(f"{folder} holds no stored answers. Give a folder under .evals/store (or your --store).")
    if [int(p.stem.removeprefix("part-")) for p in paths] != list(range(len(paths))):
        raise StoreError(f"{folder} lacks a shard: the run was not finished. Run it again; it goes on where it stopped.")
    parts = [read_shard(p) for p in paths]
    if len({said.get("key") for _, said in parts}) != 1:
        raise StoreError(f"{folder} mixes the answers of several subjects. Delete it and run again.")
    answers = Answers.concatenate([a for a, _ in parts])
    if len(answers) != parts[0][1].get("n"):
        raise StoreError(
            f"{folder} holds {len(answers)} answers of {parts[0][1].get('n', 'unknown many')} faces. Run it again; it goes on from there."
        )
    return answers, Subject.from_json(parts[0][1]["subject"])


def _answers(table: pa.Table, path: Path) -> Answers:
    columns = {name: table.column(name) for name in table.column_names}
    try:
        truth = np.array([LABELS.index(t) for t in columns["truth"].to_pylist()], dtype=np.int64)
        answer = np.array([-1 if a is None else LABELS.index(a) for a in columns["answer"].to_pylist()], dtype=np.int64)
    except ValueError as error:
        raise StoreError(f"{path} names an emotion that does not exist ({error}). Delete it and run again.") from error
    p = np.stack([columns[f"p_{label}"].to_numpy().astype(np.float64) for label in LABELS], axis=1)
    if ((p < 0) | (p > 1)).any() or np.isnan(p[answer >= 0]).any():
        raise StoreError(f"{path} holds probabilities outside 0..1. Delete it and run again.")
    index = columns["index"].to_numpy().astype(np.int64)
    return Answers(
        tuple(columns["face"].to_pylist()), index, truth, answer, p, tuple(columns["status"].to_pylist()), tuple(columns["text"].to_pylist())
    )
