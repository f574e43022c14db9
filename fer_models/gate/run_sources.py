"""Sources of runs to compare: predictions in a store, or baseline records on disk or at a git revision."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Generic, TypeVar

from fer_models.artifacts.object_storage import SCHEME, StorePath, modified_ns, store_path
from fer_models.errors import BaselinesError, StoreError, UsageError, one_line
from fer_models.gate import baselines
from fer_models.gate.baselines import BaselineRecord, by_name
from fer_models.store.partition import StoredPredictions, load_partition, read_partition
from fer_models.store.predictions import PredictionTable
from fer_models.store.subject import Subject

#: The baselines file of a revision, unless the argument names another.
BASELINES = "baselines.json"

Predicted = TypeVar("Predicted", covariant=True)


@dataclass(frozen=True)
class RunSource(Generic[Predicted]):
    """Content of one side of a comparison.

    Attributes:
        name: as the user gave it, for messages.
        subjects: the predictions or the record of each subject.
        is_single: it is the folder of one subject, not a collection.
        notes: a sentence on each part that was left out.
        older: further predictions of a subject, newest first: for other faces, or with earlier weights.
    """

    name: str
    subjects: Mapping[Subject, Predicted]
    is_single: bool = False
    notes: tuple[str, ...] = ()
    older: Mapping[Subject, tuple[Predicted, ...]] = field(default_factory=dict)

    def candidates(self, subject: Subject) -> Iterator[Predicted]:
        """Iterate over all predictions of a subject, newest first."""
        yield self.subjects[subject]
        yield from self.older.get(subject, ())

    def describe(self, limit: int = 8) -> str:
        """Describe the subjects in one sentence, with at most `limit` names."""
        names = [subject.id for subject in sorted(self.subjects, key=by_name)]
        more = f", … ({len(names)} in all)" if len(names) > limit else ""
        return f"{self.name} has: {', '.join(names[:limit])}{more}."


def load_baseline(location: str) -> RunSource[PredictionTable | BaselineRecord]:
    """Load the first side of a comparison.

    Args:
        location: one subject's folder in a store, a store (also in object storage), a baselines file, or a
            git revision such as `main`, `HEAD~1` or `REV:path/to/baselines.json`; a path that exists is a
            path.

    Raises:
        UsageError: it is none of these, or git is missing.
        BaselinesError: the file does not follow its schema.
        StoreError: the subject's folder is incomplete or damaged.
    """
    if location.startswith(f"{SCHEME}://"):
        return load_candidate(store_path(location))
    if os.path.isdir(location):
        return _load_folder(Path(location))
    if os.path.exists(location):
        return _records(location, baselines.read(Path(location)))
    return _records(location, _read_revision(location))


def load_candidate(folder: StorePath) -> RunSource[PredictionTable]:
    """Load the second side of a comparison: one subject's folder in a store, or a store.

    Raises:
        UsageError: there is no such folder, or it has no predictions.
        StoreError: the subject's folder is incomplete or damaged.
    """
    if not folder.is_dir():
        raise UsageError(
            f"{folder} is no folder of stored predictions. "
            "Run `pytest evals` first, or give a folder that it wrote with --store."
        )
    return _load_folder(folder)


def _load_folder(folder: StorePath) -> RunSource[PredictionTable]:
    if _shards(folder):
        predictions, subject = load_partition(folder)
        return RunSource(str(folder), {subject: predictions}, is_single=True)
    stored, damaged = read_store(folder)
    notes = [f"{name} was left out: {reason}" for name, reason in damaged.items()]
    if not stored:
        reasons = f" {' '.join(notes)}" if notes else ""
        raise UsageError(
            f"{folder} has no complete stored predictions.{reasons} "
            "Run `pytest evals` first, or give a folder that it wrote with --store."
        )
    return source_of(str(folder), stored, notes)


def read_store(folder: StorePath) -> tuple[list[StoredPredictions], dict[str, str]]:
    """Read all partitions of a store, newest first, and the reasons why others cannot be read, by folder."""
    partitions = [f for f in folder.iterdir() if f.is_dir() and _shards(f)]
    stored, damaged = [], {}
    for partition in sorted(partitions, key=lambda f: (_modified(f), f.name), reverse=True):
        try:
            stored.append(read_partition(partition))
        except StoreError as error:
            damaged[partition.name] = str(error)
    return stored, damaged


def source_of(
    name: str, stored: Iterable[StoredPredictions], notes: Iterable[str] = ()
) -> RunSource[PredictionTable]:
    """Make a side of a comparison from stored predictions, which are given newest first."""
    by_subject: dict[Subject, list[PredictionTable]] = {}
    for one in stored:
        by_subject.setdefault(one.subject, []).append(one.predictions)
    newest = {subject: tables[0] for subject, tables in by_subject.items()}
    older = {subject: tuple(tables[1:]) for subject, tables in by_subject.items()}
    return RunSource(name, newest, notes=tuple(notes), older=older)


def _shards(folder: StorePath) -> list[StorePath]:
    return list(folder.glob("part-*.parquet"))


def _modified(folder: StorePath) -> int:
    return max(modified_ns(shard) for shard in _shards(folder))


def _records(name: str, content: baselines.Baselines) -> RunSource[BaselineRecord]:
    if not content.measured:
        raise BaselinesError(
            f"{name} has no measured record. Record some: fer-models eval --update-baselines"
        )
    return RunSource(name, {record.subject: record for record in content.measured})


def _read_revision(location: str) -> baselines.Baselines:
    """Read the baselines at `REV` or `REV:PATH`."""
    prefix = f"{location!r} is no file or folder here"
    revision, _, path = location.partition(":")
    path = path or BASELINES
    if not revision or revision.startswith("-"):
        raise UsageError(
            f"{prefix}, and no name of a git revision. "
            "Give a store, a baselines file, or a revision such as main or HEAD~1."
        )
    repository = _git("rev-parse", "--git-dir")
    if repository.returncode:
        reason = one_line(repository.stderr.decode(errors="replace"), 200)
        raise UsageError(
            f"{prefix}, and git reads no revisions here ({reason}). "
            "Check the path, or run this inside the repository."
        )
    if _git("rev-parse", "--verify", "--quiet", f"{revision}^{{commit}}").returncode:
        raise UsageError(
            f"{prefix}, and git knows no revision {revision!r}. "
            "Check the path; `git branch -a` lists the branches, `git fetch` gets more."
        )
    blob = _git("cat-file", "blob", f"{revision}:{path}")
    if blob.returncode:
        raise UsageError(
            f"The revision {revision!r} has no file {path}. "
            f"Name one that it has: {revision}:path/to/{BASELINES}"
        )
    try:
        return baselines.parse(blob.stdout.decode("utf-8"), f"{revision}:{path}")
    except UnicodeDecodeError as error:
        raise BaselinesError(
            f"{revision}:{path} is no text in UTF-8 ({error.reason}). Name a {BASELINES}."
        ) from error


def _git(*arguments: str) -> subprocess.CompletedProcess[bytes]:
    try:
        return subprocess.run(["git", *arguments], capture_output=True, stdin=subprocess.DEVNULL, check=False)
    except OSError as error:
        raise UsageError(
            f"git cannot be run ({error.strerror}), so no revision can be read. "
            "Install it, or give a file or folder instead."
        ) from error
