"""The two sides of a comparison: answers in a store, or the records of a baselines file, on disk or at a git
revision.

`before` and `after` read them, `pair` joins them by subject, `flips` lists the faces between right and wrong.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from fer_models.emotions import LABELS
from fer_models.errors import BaselinesError, FacesDifferError, StoreError, UsageError
from fer_models.gate import baselines
from fer_models.gate.baselines import BaselineRecord
from fer_models.scoring import metrics
from fer_models.store.partition import load_partition
from fer_models.store.predictions import PredictionTable
from fer_models.store.subject import Subject

#: Where a revision keeps its records, unless the argument says otherwise.
BASELINES = "baselines.json"

Predicted = TypeVar("Predicted", covariant=True)


@dataclass(frozen=True)
class RunSource(Generic[Predicted]):
    """What one side of a comparison holds.

    Attributes:
        name: what was asked for, as messages call it.
        subjects: the answers or the record of each subject.
        single: it is the folder of one subject, not a collection.
        notes: a sentence on each part that was left out.
        older: further predictions of a subject, newest first: on other faces, or with earlier weights.
    """

    name: str
    subjects: Mapping[Subject, Predicted]
    is_single: bool = False
    notes: tuple[str, ...] = ()
    older: Mapping[Subject, tuple[Predicted, ...]] = field(default_factory=dict)

    def candidates(self, subject: Subject) -> Iterator[Predicted]:
        """Everything that this side holds of a subject, newest first."""
        yield self.subjects[subject]
        yield from self.older.get(subject, ())


def load_baseline(argument: str) -> RunSource[PredictionTable | BaselineRecord]:
    """What an earlier side holds.

    Args:
        argument: one subject's folder in a store, a store, a baselines file, or a git revision such as
            `main`, `HEAD~1` or `REV:path/to/baselines.json`; what exists as a path is a path.

    Raises:
        UsageError: it is none of these, or there is no git to ask.
        BaselinesError: the file does not follow its schema.
        StoreError: the folder asked for is incomplete or corrupt.
    """
    if os.path.isdir(argument):
        return _folder(Path(argument))
    if os.path.exists(argument):
        return _records(argument, baselines.read(Path(argument)))
    return _records(argument, _at_revision(argument))


def load_candidate(folder: Path) -> RunSource[PredictionTable]:
    """What a later side holds: one subject's folder in a store, or a store with all complete answers in it.

    Raises:
        UsageError: there is no such folder, or nothing is stored in it.
        StoreError: the subject's folder asked for is incomplete or corrupt.
    """
    if not folder.is_dir():
        raise UsageError(
            f"{folder} is no folder of stored answers. Run `pytest evals` first, or give a folder that it wrote with --store."
        )
    return _folder(folder)


def _folder(folder: Path) -> RunSource[PredictionTable]:
    if _shards(folder):
        answers, subject = load_partition(folder)
        return RunSource(str(folder), {subject: answers}, is_single=True)
    newest_first = sorted(
        (f for f in folder.iterdir() if f.is_dir() and _shards(f)),
        key=lambda f: (_written(f), f.name),
        reverse=True,
    )
    stored_of: dict[Subject, list[PredictionTable]] = {}
    notes = []
    for one in newest_first:
        try:
            answers, subject = load_partition(one)
        except StoreError as error:
            notes.append(f"{one.name} was left out: {error}")
        else:
            stored_of.setdefault(subject, []).append(answers)
    if not stored_of:
        reasons = f" {' '.join(notes)}" if notes else ""
        raise UsageError(
            f"{folder} holds no complete stored answers.{reasons} Run `pytest evals` first, or give a folder that it wrote with --store."
        )
    newest = {subject: found[0] for subject, found in stored_of.items()}
    older = {subject: tuple(found[1:]) for subject, found in stored_of.items()}
    return RunSource(str(folder), newest, notes=tuple(notes), older=older)


def _shards(folder: Path) -> list[Path]:
    return list(folder.glob("part-*.parquet"))


def _written(folder: Path) -> int:
    return max(shard.stat().st_mtime_ns for shard in _shards(folder))


def _records(name: str, found: baselines.Baselines) -> RunSource[BaselineRecord]:
    if not found.measured:
        raise BaselinesError(f"{name} holds no measured record. Record some: pytest evals --update-baselines")
    return RunSource(name, {record.subject: record for record in found.measured})


def _at_revision(argument: str) -> baselines.Baselines:
    """The baselines at `REV` or `REV:PATH`."""
    what = f"{argument!r} is no file or folder here"
    revision, _, path = argument.partition(":")
    path = path or BASELINES
    if not revision or revision.startswith("-"):
        raise UsageError(
            f"{what}, and no name of a git revision. Give a store, a baselines file, or a revision such as main or HEAD~1."
        )
    if _git("rev-parse", "--git-dir").returncode:
        raise UsageError(
            f"{what}, and this is no git repository to look it up in as a revision. Check the path, or run this inside the repository."
        )
    if _git("rev-parse", "--verify", "--quiet", f"{revision}^{{commit}}").returncode:
        raise UsageError(
            f"{what}, and git knows no revision {revision!r}. Check the path; `git branch -a` lists the branches, `git fetch` gets more."
        )
    shown = _git("cat-file", "blob", f"{revision}:{path}")
    if shown.returncode:
        raise UsageError(
            f"The revision {revision!r} holds no file {path}. Name one that it holds: {revision}:path/to/{BASELINES}"
        )
    try:
        return baselines.parse(shown.stdout.decode("utf-8"), f"{revision}:{path}")
    except UnicodeDecodeError as error:
        raise BaselinesError(
            f"{revision}:{path} is no text in UTF-8 ({error.reason}). Name a {BASELINES}."
        ) from error


def _git(*arguments: str) -> subprocess.CompletedProcess[bytes]:
    try:
        return subprocess.run(["git", *arguments], capture_output=True, stdin=subprocess.DEVNULL, check=False)
    except OSError as error:
        raise UsageError(
            f"git cannot be run ({error.strerror}), so no revision can be read. Install it, or give a file or folder instead."
        ) from error


@dataclass(frozen=True)
class MatchedSubject:
    """Answers to the same faces, before and now.

    Attributes:
        earlier, subject: whose they are; they differ only where two folders of two subjects were named.
        record: before, as the gate compares; without a floor unless it is somebody's record.
        p_before: float64 (n,), the probability given to each labelled emotion before.
        answers: now, in canonical order, which is the record's.
    """

    baseline: Subject
    subject: Subject
    record: BaselineRecord
    p_baseline: NDArray[np.float64]
    predictions: PredictionTable


@dataclass(frozen=True)
class MatchedRuns:
    """Two sides joined.

    Attributes:
        pairs: what is on both sides, sorted by subject.
        only_before, only_after: the subjects on one side only, sorted.
        refused: a sentence on each subject whose faces differ between the sides.
    """

    pairs: tuple[MatchedSubject, ...]
    only_before: tuple[Subject, ...] = ()
    only_after: tuple[Subject, ...] = ()
    incomparable: tuple[str, ...] = ()


def match_subjects(
    earlier: RunSource[PredictionTable | BaselineRecord], later: RunSource[PredictionTable]
) -> MatchedRuns:
    """The subjects that both sides hold; if each is a single subject's folder, these two, also of two models.

    Of several stored folders of a subject the newest counts whose faces are the same on both sides.

    Raises:
        UsageError: the sides have no subject in common.
        FacesDifferError: nothing that they have in common stands on the same faces.
    """
    if earlier.is_single and later.is_single:
        both = [(next(iter(earlier.subjects)), next(iter(later.subjects)))]
    else:
        both = [
            (subject, subject)
            for subject in sorted(set(earlier.subjects) & set(later.subjects), key=_by_name)
        ]
    if not both:
        raise UsageError(
            f"{earlier.name} and {later.name} have no subject in common. {_contents(earlier)} {_contents(later)}"
        )
    pairs, refused = [], []
    for was, subject in both:
        held, answers = _same_faces(earlier, was, later, subject)
        if isinstance(held, BaselineRecord) and _faces(held) != _faces(answers):
            held = _part_of(held, later, answers) or held
        if (was.dataset, was.split, _faces(held)) == (subject.dataset, subject.split, _faces(answers)):
            pairs.append(_pair(was, subject, held, answers))
        else:
            refused.append(_refusal(earlier.name, was, held, later.name, subject, answers))
    if not pairs:
        raise FacesDifferError(" ".join(refused))
    return MatchedRuns(
        tuple(pairs),
        tuple(sorted(set(earlier.subjects) - {was for was, _ in both}, key=_by_name)),
        tuple(sorted(set(later.subjects) - {subject for _, subject in both}, key=_by_name)),
        tuple(refused),
    )


def _same_faces(
    earlier: RunSource[PredictionTable | BaselineRecord],
    was: Subject,
    later: RunSource[PredictionTable],
    subject: Subject,
) -> tuple[PredictionTable | BaselineRecord, PredictionTable]:
    """The newest of both sides on the same faces; the newest of each side where there are none."""
    for answers in later.candidates(subject):
        for held in earlier.candidates(was):
            if _faces(held) == _faces(answers):
                return held, answers
    return earlier.subjects[was], later.subjects[subject]


def _part_of(
    record: BaselineRecord, later: RunSource[PredictionTable], answers: PredictionTable
) -> BaselineRecord | None:
    """The record of some of its faces, those of `answers`, as a `pytest evals --depth standard` leaves them
    for restorations.

    A record names no face. Which of its characters belong to these faces, other predictions of the same run
    show: those on all faces of the record. None where there are none, or where `answers` has other faces.
    """
    sides = (predictions for subject in later.subjects for predictions in later.candidates(subject))
    whole = next(
        (p for p in sides if len(p) == record.n and p.fingerprint == record.dataset_fingerprint), None
    )
    if whole is None:
        return None
    places: dict[tuple[str, int], list[int]] = {}
    for place, face in enumerate(zip(whole.faces, whole.truth.tolist(), strict=True)):
        places.setdefault(face, []).append(place)
    try:
        rows = [places[face].pop(0) for face in zip(answers.faces, answers.truth.tolist(), strict=True)]
    except (KeyError, IndexError):
        return None
    letters, steps = ("".join(text[i] for i in rows) for text in (record.answers, record.p_true))
    part = replace(
        record,
        n=len(rows),
        dataset_fingerprint=answers.fingerprint,
        answers=letters,
        p_true=steps,
        floor=None,
    )
    emotions = part.decode_predictions()
    scores = metrics.measure(answers.truth, emotions, None, resamples=1).overall
    values = {name: scores[name].value for name in ("accuracy", "macro_f1")}
    return replace(part, unanswered=int((emotions < 0).sum()), metrics=values)


def _pair(
    was: Subject, subject: Subject, held: PredictionTable | BaselineRecord, answers: PredictionTable
) -> MatchedSubject:
    if isinstance(held, BaselineRecord):
        return MatchedSubject(was, subject, held, held.decode_p_true(), answers)
    measured = metrics.measure_predictions(held, resamples=1)  # a record keeps no intervals
    # A floor is somebody's decision about a record; nobody decided one about answers that merely lie in a
    # store.
    record = replace(baselines.record_of(was, held.fingerprint, held, measured, {}), floor=None)
    # Where one of two models gave no probabilities, nothing is judged by those of the other.
    both = answers.has_probabilities and held.has_probabilities
    return MatchedSubject(was, subject, record, held.p_true, replace(answers, has_probabilities=both))


def _by_name(subject: Subject) -> tuple[str, ...]:
    return (
        subject.dataset,
        subject.split,
        subject.model,
        subject.restoration,
        str(subject.corruption),
        str(subject.prompt),
    )


def _faces(held: PredictionTable | BaselineRecord) -> tuple[int, str]:
    """How many faces, and their fingerprint."""
    return (
        (held.n, held.dataset_fingerprint)
        if isinstance(held, BaselineRecord)
        else (len(held), held.fingerprint)
    )


def _refusal(
    name: str,
    was: Subject,
    held: PredictionTable | BaselineRecord,
    other: str,
    subject: Subject,
    answers: PredictionTable,
) -> str:
    (n, fingerprint), (m, now) = _faces(held), _faces(answers)
    return (
        f"{subject.id}: the two sides hold answers to different faces: {name} to {n} of {was.dataset}/{was.split} (fingerprint {fingerprint[:12]}…), "
        f"{other} to {m} of {subject.dataset}/{subject.split} (fingerprint {now[:12]}…). Accuracies on different splits or sizes cannot be compared; "
        "give two runs on the same faces."
    )


def _contents(side: RunSource[Any], most: int = 8) -> str:
    names = [subject.id for subject in sorted(side.subjects, key=_by_name)]
    more = f", … ({len(names)} in all)" if len(names) > most else ""
    return f"{side.name} holds: {', '.join(names[:most])}{more}."


@dataclass(frozen=True)
class PredictionFlip:
    """A face that went from right to wrong, or from wrong to right.

    Attributes:
        index: its row in its dataset.
        face: the sha256 of its pixels.
        truth: its label.
        before, now: the emotion answered, None for no answer.
        p_before, p_now: the probability given to its label, 0..1.
    """

    index: int
    face: str
    truth: str
    before: str | None
    now: str | None
    p_before: float
    p_now: float

    def as_json(self) -> dict[str, Any]:
        """The fields, with the first twelve characters of the hash."""
        return {
            "index": self.index,
            "face": self.face[:12],
            "truth": self.truth,
            "before": self.before,
            "now": self.now,
            "p_true": {"before": round(self.p_before, 4), "now": round(self.p_now, 4)},
        }


def flips(pair: MatchedSubject) -> tuple[tuple[PredictionFlip, ...], tuple[PredictionFlip, ...]]:
    """The faces right before and wrong now, the greatest loss of probability first; and the other way, the
    greatest gain first.
    """
    a, was = pair.predictions, pair.record.decode_predictions()
    moved = a.p_true - pair.p_baseline
    was_right = was == a.truth

    def listed(rows: NDArray[np.bool_], by: NDArray[np.float64]) -> tuple[PredictionFlip, ...]:
        chosen = sorted(np.flatnonzero(rows).tolist(), key=lambda i: (by[i], a.faces[i]))
        return tuple(
            PredictionFlip(
                int(a.index[i]),
                a.faces[i],
                LABELS[a.truth[i]],
                _label(was[i]),
                _label(a.answer[i]),
                float(pair.p_baseline[i]),
                float(a.p_true[i]),
            )
            for i in chosen
        )

    return listed(was_right & ~a.correct, moved), listed(~was_right & a.correct, -moved)


def _label(answer: int) -> str | None:
    return LABELS[answer] if answer >= 0 else None
