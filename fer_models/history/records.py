"""What the history records of a run and of each of its subjects."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from fer_models.store.subject import Subject


@dataclass(frozen=True)
class RunRecord:
    """One run.

    Attributes:
        time: its end, in UTC as ISO 8601: `2026-01-31T12:00:00+00:00`.
        version: of fer-models.
        command: the command line.
        depth: the name of its depth.
        cached_only: no model was loaded: stored predictions were judged again.
        exit_code: of pytest.
        verdicts: number of subjects by verdict; without those that were not judged.
        versions: of Python and the packages that predictions or scores depend on, by name.
        machine: operating system and processor.
    """

    time: str
    version: str
    command: str
    depth: str
    cached_only: bool
    exit_code: int
    verdicts: Mapping[str, int]
    versions: Mapping[str, str]
    machine: str


@dataclass(frozen=True)
class SubjectRecord:
    """The scores and the verdict of one subject in one run.

    Attributes:
        subject: what was evaluated.
        n: number of predicted faces.
        of: number of faces in the full split.
        accuracy, low, high: accuracy with its 95 % interval, 0..1; None where it was not measured.
        macro_f1: 0..1, or None.
        verdict: None where the subject was predicted and not judged.
        change: of the accuracy from the baseline; None without one.
        from_store: no face was predicted in this run.
        device: on which the predictions were computed; None where the store does not tell.
        key: the content hash of the subject (faces, weights, settings, code, versions of libraries).
        fingerprint: of the full split.
        inputs: digests of the parts of the key, by name (see `inputs`); empty where the store does not tell.
    """

    subject: Subject
    n: int
    of: int
    accuracy: float | None
    low: float | None
    high: float | None
    macro_f1: float | None
    verdict: str | None
    change: float | None
    from_store: bool
    device: str | None
    key: str
    fingerprint: str
    inputs: Mapping[str, str]


class Entry(NamedTuple):
    """A subject in one run."""

    run: RunRecord
    scores: SubjectRecord


class Series(NamedTuple):
    """Runs whose accuracies can be compared: of one subject, on as many faces.

    Runs on the full split form one series: a full split with another number of faces is marked as changed
    data. Runs on a part of the split (`--limit`) form one series for each number of faces.

    Attributes:
        subject: what was evaluated.
        limit: number of faces of runs on a part of the split; None for the full split.
    """

    subject: Subject
    limit: int | None


def series_of(scores: SubjectRecord) -> Series:
    """The series that a record belongs to."""
    return Series(scores.subject, scores.n if scores.n < scores.of else None)
