"""Typed entries of evals.json about the history: the runs of each subject."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from fer_models.errors import UsageError, one_line
from fer_models.history.inputs import changes
from fer_models.history.records import Entry, SubjectRecord, series_of
from fer_models.report.json_fields import decode
from fer_models.report.measured_value import MeasuredValue
from fer_models.report.report_entries import VerdictName, face_set_name, subject_name
from fer_models.store.subject import Subject

#: The most runs of a subject that a trend has.
LONGEST = 30


@dataclass(frozen=True)
class TrendRun:
    """A subject in one run.

    Attributes:
        time: the end of the run, in UTC as ISO 8601.
        n: number of predicted faces.
        accuracy: None where it was not measured.
        verdict: None where the subject was predicted and not judged.
        from_store: no face was predicted in this run.
        cached_only: no model was loaded in this run: stored predictions were judged again.
        changed: phrases for what changed since the run before, such as `weights`, `data` or
            `torch 2.9.0 -> 2.9.1`; empty where nothing did, and for the first run of the history.
    """

    time: str
    n: int
    accuracy: MeasuredValue | None
    verdict: VerdictName | None
    from_store: bool
    cached_only: bool
    changed: tuple[str, ...]

    def __post_init__(self) -> None:
        try:
            datetime.fromisoformat(self.time)
        except ValueError as error:
            raise UsageError(
                f"The time of a run is {one_line(self.time, 60)}, which is not ISO 8601."
            ) from error

    @property
    def minute(self) -> str:
        """The time as tables show it, such as `2026-01-31 12:00`."""
        return datetime.fromisoformat(self.time).strftime("%Y-%m-%d %H:%M")

    @property
    def predictions(self) -> str:
        """Where the predictions come from: `new`, `stored`, or `cached-only` for stored ones judged again."""
        return "cached-only" if self.cached_only else "stored" if self.from_store else "new"


@dataclass(frozen=True)
class Trend:
    """The runs of one subject, the newest last.

    Runs on a part of the split are a trend of their own for each number of faces.

    Attributes:
        subject: what was evaluated.
        limit: number of faces of runs on a part of the split; None for the full split.
        runs: at least one.
    """

    subject: Subject
    limit: int | None
    runs: tuple[TrendRun, ...]

    def __post_init__(self) -> None:
        if not self.runs:
            raise UsageError(f"The trend of {self.subject.id} has no run.")

    @property
    def name(self) -> str:
        """`model-restoration`, with the prompt set if there is one."""
        return subject_name(self.subject)

    @property
    def face_set(self) -> str:
        """`dataset/split`, with the corruption, and the number of faces if not all were predicted."""
        part = "" if self.limit is None else f", {self.limit:,} faces"
        return f"{face_set_name(self.subject)}{part}"

    @property
    def accuracies(self) -> list[MeasuredValue]:
        """The accuracies of the runs that have one."""
        return [run.accuracy for run in self.runs if run.accuracy is not None]

    @property
    def steps(self) -> list[float | None]:
        """The difference of each run's accuracy from that of the run before; None where one is missing."""
        values = [None if run.accuracy is None else run.accuracy.value for run in self.runs]
        pairs = zip([None, *values], values, strict=False)
        return [None if old is None or new is None else new - old for old, new in pairs]


def trend(entries: Sequence[Entry], longest: int = LONGEST) -> Trend:
    """The trend of the entries of one series, of its last `longest` runs.

    Raises:
        UsageError: an entry has a verdict that does not exist.
    """
    befores: list[Entry | None] = [None, *entries[:-1]]
    runs = [
        _run(entry, () if before is None else changes(before, entry))
        for before, entry in zip(befores, entries, strict=True)
    ]
    subject, limit = series_of(entries[-1].scores)
    return Trend(subject, limit, tuple(runs[-longest:]))


def trends(entries: Sequence[Entry], longest: int = LONGEST) -> list[Trend]:
    """The trends of all series, in order of appearance. Raises as `trend`."""
    groups: dict[object, list[Entry]] = {}
    for entry in entries:
        groups.setdefault(series_of(entry.scores), []).append(entry)
    return [trend(group, longest) for group in groups.values()]


def _run(entry: Entry, changed: tuple[str, ...]) -> TrendRun:
    run, scores = entry
    verdict: VerdictName | None = decode(
        VerdictName | None, scores.verdict, f"verdict of {scores.subject.id} in the history"
    )
    accuracy = _accuracy(scores)
    return TrendRun(run.time, scores.n, accuracy, verdict, scores.from_store, run.cached_only, changed)


def _accuracy(scores: SubjectRecord) -> MeasuredValue | None:
    if scores.accuracy is None or scores.low is None or scores.high is None:
        return None
    return MeasuredValue(scores.accuracy, scores.low, scores.high)
