"""`baselines.json`: what was measured, face by face, and what others published.

A measured record keeps one character per face, faces in canonical order, for the emotion answered and for the
probability given to the labelled one, so that paired tests need nothing else. A published record is shown,
and never gates.
"""

from __future__ import annotations

import difflib
import json
import math
import os
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock
from numpy.typing import NDArray

from fer_models.artifacts.json_io import parse_json, read_text
from fer_models.corruptions import Corruption
from fer_models.emotions import EMOTIONS
from fer_models.errors import BaselinesError, UsageError
from fer_models.scoring.face_counts import FaceCounts
from fer_models.scoring.metrics import Metrics
from fer_models.store.predictions import PredictionTable
from fer_models.store.subject import Subject

SCHEMA_VERSION = 2
NO_ANSWER = "-"
#: 64 steps of probability, as characters: the alphabet of base64 for URLs (RFC 4648), in its order.
P_ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
#: How far under the measured accuracy a new record's hard floor is set.
FLOOR_MARGIN = 0.05


@dataclass(frozen=True)
class BaselineRecord:
    """One measured subject.

    Attributes:
        dataset … prompt: the subject's fields.
        dataset_fingerprint: of all faces of the split (`FaceSet.fingerprint`).
        n: number of faces.
        unanswered: how many of them had no answer.
        metrics: the point values when it was recorded.
        answers: n characters, the index of the emotion answered or `-`.
        p_truth: n characters, the probability given to the labelled emotion in 64 steps.
        face_counts: for each robustness figure in `metrics`, its counts per face (`FaceCounts.encode`).
        floor: the accuracy under which the gate fails whatever the statistics say, or None.
        recorded: date, version, device and library versions.
    """

    dataset: str
    split: str
    corruption: str | None
    restoration: str
    model: str
    prompt: str | None
    dataset_fingerprint: str
    n: int
    unanswered: int
    metrics: Mapping[str, float]
    answers: str
    p_true: str
    face_counts: Mapping[str, str] = field(default_factory=dict)
    floor: float | None = None
    recorded: Mapping[str, Any] = field(default_factory=dict)

    @property
    def subject(self) -> Subject:
        """Whose record this is."""
        return Subject(self.dataset, self.split, self.restoration, self.model, self.corruption, self.prompt)

    def decode_predictions(self) -> NDArray[np.int64]:
        """The answers as int64 (n,), -1 for none, faces in canonical order."""
        return np.array([-1 if c == NO_ANSWER else int(c) for c in self.answers], dtype=np.int64)

    def decode_p_true(self) -> NDArray[np.float64]:
        """The probabilities given to the labelled emotions, float64 (n,): the middle of each of 64 steps, as
        `in_steps` has it.
        """
        return (np.array([P_ALPHABET.index(c) for c in self.p_true], dtype=np.float64) + 0.5) / len(
            P_ALPHABET
        )


def quantize_probability(p_truth: NDArray[np.float64]) -> NDArray[np.float64]:
    """Probabilities as coarse as a record keeps them, so that they can be set beside a record's: the middles
    of 64 steps of 0..1.
    """
    return (_steps(p_truth) + 0.5) / len(P_ALPHABET)


def _steps(p_truth: NDArray[np.float64]) -> NDArray[np.int64]:
    return np.clip((p_truth * len(P_ALPHABET)).astype(np.int64), 0, len(P_ALPHABET) - 1)


def encode_predictions(answers: PredictionTable) -> tuple[str, str]:
    """The strings `answers` and `p_truth` of a record."""
    letters = "".join(NO_ANSWER if a < 0 else str(a) for a in answers.answer.tolist())
    return letters, "".join(P_ALPHABET[s] for s in _steps(answers.p_true))


@dataclass(frozen=True)
class Baselines:
    """The content of a baselines file."""

    measured: tuple[BaselineRecord, ...] = ()
    published: tuple[Mapping[str, Any], ...] = ()

    @cached_property
    def _by_subject(self) -> dict[Subject, BaselineRecord]:
        return {record.subject: record for record in self.measured}

    def find(self, subject: Subject) -> BaselineRecord | None:
        """The record of `subject`, or None."""
        return self._by_subject.get(subject)

    def updated(self, records: Iterable[BaselineRecord]) -> Baselines:
        """These baselines with `records` in place of their namesakes.

        A floor that somebody set stays; a record that measured the same as before stays as it was, date
        included, so that recording twice writes the same bytes.
        """
        by_subject = dict(self._by_subject)
        for new in records:
            old = by_subject.get(new.subject)
            if old is not None and old.floor is not None:
                new = replace(new, floor=old.floor)
            if old is not None:
                new = replace(
                    new,
                    metrics={**_beside(old.metrics), **new.metrics},
                    face_counts={**old.face_counts, **new.face_counts},
                )
            if old is None or replace(new, recorded=old.recorded) != old:
                by_subject[new.subject] = new
        return replace(
            self,
            measured=tuple(
                sorted(
                    by_subject.values(),
                    key=lambda r: (
                        r.dataset,
                        r.split,
                        r.model,
                        r.restoration,
                        str(r.corruption),
                        str(r.prompt),
                    ),
                )
            ),
        )

    def write(self, path: Path) -> None:
        """Write the file, whole or not at all."""
        text = json.dumps(
            {
                "schema": SCHEMA_VERSION,
                "measured": [asdict(r) for r in self.measured],
                "published": list(self.published),
            },
            indent=2,
            ensure_ascii=False,
        )
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f"{path.name}.{os.getpid()}.part")
        try:
            part.write_text(text + "\n", encoding="utf-8")
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)


def update(path: Path, records: Iterable[BaselineRecord], start: Baselines | None = None) -> None:
    """Add `records` to the file at `path`, and keep those that other processes added meanwhile.

    The file is read again under a lock (`.NAME.lock` in the same folder), so that of several runs at once
    none loses its records.

    Args:
        start: what a new file starts with, where there is none at `path` yet.

    Raises:
        BaselinesError: what stands there is no baselines file, or it cannot be written. It stays as it is.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(path.with_name(f".{path.name}.lock")):
            known = read(path) if path.exists() or start is None else start
            known.updated(records).write(path)
    except OSError as error:
        raise BaselinesError(
            f"The baselines cannot be written to {path} ({error.strerror}). What stood there is unchanged. "
            "Free some space or choose --baselines FILE, and run again: predictions are stored."
        ) from error


def _beside(metrics: Mapping[str, float]) -> dict[str, float]:
    """What a record holds beside the answers (`prompts: …`, `metamorphic: …`, `corruptions: …`); it stays
    where a run did not ask about it.
    """
    return {name: value for name, value in metrics.items() if ": " in name}


def record_of(
    subject: Subject,
    fingerprint: str,
    predictions: PredictionTable,
    metrics: Metrics,
    recorded: Mapping[str, Any],
) -> BaselineRecord:
    """A record of what was measured now. Its floor is `FLOOR_BELOW` under the accuracy, rounded down to a
    whole point.
    """
    letters, steps = encode_predictions(predictions)
    values = {name: round(m.value, 6) for name, m in metrics.overall.items()}
    return BaselineRecord(
        **{k: v for k, v in subject.as_json().items()},  # type: ignore[arg-type]
        dataset_fingerprint=fingerprint,
        n=len(predictions),
        unanswered=int((predictions.answer < 0).sum()),
        metrics=values,
        answers=letters,
        p_true=steps,
        floor=max(0.0, math.floor((values["accuracy"] - FLOOR_MARGIN) * 100) / 100),
        recorded=dict(recorded),
    )


def read(path: Path) -> Baselines:
    """The baselines in `path`; none at all where there is no file.

    Raises:
        BaselinesError: not JSON, another schema, an unknown or missing field, or values that contradict each
            other.
    """
    if not path.exists():
        return Baselines()
    try:
        return parse(read_text(path), str(path))
    except (OSError, ValueError) as error:
        raise BaselinesError(f"{path} cannot be read ({error}).") from error


def parse(text: str, name: str) -> Baselines:
    """The baselines in a JSON text; `name` is what messages call it. Raises as `read`."""
    data = _load(text, name)
    if not isinstance(data, dict) or type(data.get("schema")) is not int or data["schema"] != SCHEMA_VERSION:
        found = data.get("schema") if isinstance(data, dict) else type(data).__name__
        raise BaselinesError(
            f"{name} has schema {found!r:.60}, and this version reads schema {SCHEMA_VERSION}. "
            f"Rename or delete the file, and record the models again: pytest evals --update-baselines"
        )
    _only_known(data, {"schema", "measured", "published"}, name)
    measured = tuple(
        _record(r, f"{name}, measured record {i + 1}") for i, r in enumerate(_list(data, "measured", name))
    )
    for subject, times in Counter(r.subject for r in measured).items():
        if times > 1:
            raise BaselinesError(f"{name} holds {times} records of {subject.id}. Delete all but one.")
    published = _list(data, "published", name)
    if not all(
        isinstance(p, dict) and isinstance(p.get("model"), str) and isinstance(p.get("source"), str)
        for p in published
    ):
        raise BaselinesError(f"{name}: every published record needs at least a model and a source.")
    return Baselines(measured, tuple(published))


def _load(text: str, name: str) -> Any:
    try:
        data = parse_json(text)
        json.dumps(data, ensure_ascii=False).encode("utf-8")  # half a surrogate pair could not be printed
    except json.JSONDecodeError as error:
        hint = (
            " (a comma before a closing bracket?)"
            if "," in error.doc[max(0, error.pos - 20) : error.pos]
            else ""
        )
        raise BaselinesError(
            f"{name} is not JSON: {error.msg} at line {error.lineno}, column {error.colno}{hint}. Repair it, or restore it from git."
        ) from error
    except ValueError as error:
        raise BaselinesError(
            f"{name} is no sound JSON: {error}. Repair it, or restore it from git."
        ) from error
    return data


def _list(data: dict[str, Any], key: str, name: str) -> list[Any]:
    value = data.get(key, [])
    if not isinstance(value, list):
        raise BaselinesError(f"{name}: {key!r} must be a list, got {type(value).__name__}.")
    return value


def _only_known(data: Mapping[str, Any], known: set[str], where: str) -> None:
    for key in data:
        if key not in known:
            close = difflib.get_close_matches(key, known, n=1)
            raise BaselinesError(
                f"{where} has an unknown field {key!r}.{f' Did you mean {close[0]!r}?' if close else ''} Known: {', '.join(sorted(known))}."
            )


_TYPES: dict[str, tuple[type, ...]] = {
    "dataset": (str,), "split": (str,), "corruption": (str, type(None)), "restoration": (str,), "model": (str,), "prompt": (str, type(None)),
    "dataset_fingerprint": (str,), "n": (int,), "unanswered": (int,), "metrics": (dict,), "answers": (str,), "p_true": (str,),
    "face_counts": (dict,), "floor": (int, float, type(None)), "recorded": (dict,),
}  # fmt: skip


def _record(data: Any, where: str) -> BaselineRecord:
    if not isinstance(data, dict):
        raise BaselinesError(f"{where} must be an object, got {type(data).__name__}.")
    _only_known(data, {f.name for f in fields(BaselineRecord)}, where)
    for name, types in _TYPES.items():
        if name not in data and name not in ("face_counts", "floor", "recorded", "corruption", "prompt"):
            raise BaselinesError(
                f"{where} lacks the field {name!r}. Record it again: pytest evals --update-baselines"
            )
        if name in data and (not isinstance(data[name], types) or (isinstance(data[name], bool))):
            raise BaselinesError(
                f"{where}: {name} must be {' or '.join(t.__name__ for t in types)}, got {data[name]!r:.60}."
            )
    record = BaselineRecord(**{"corruption": None, "prompt": None, **data})
    if record.corruption is not None:
        try:
            Corruption.parse(record.corruption)
        except UsageError as error:
            raise BaselinesError(f"{where}: no run can use this record. {error}") from error
    for metric, value in record.metrics.items():
        if not isinstance(value, (int, float)) or isinstance(value, bool) or not math.isfinite(value):
            raise BaselinesError(f"{where}: metric {metric} is {value!r}, not a finite number.")
    for metric in ("accuracy", "macro_f1"):
        if metric not in record.metrics:
            raise BaselinesError(
                f"{where} lacks the metric {metric!r}. Record it again: pytest evals --update-baselines"
            )
    if record.n < 1 or len(record.answers) != record.n or len(record.p_true) != record.n:
        raise BaselinesError(
            f"{where}: n is {record.n}, but there are {len(record.answers)} answers and {len(record.p_true)} p_truth."
        )
    if set(record.answers) - {NO_ANSWER, *(str(int(e)) for e in EMOTIONS)} or set(record.p_true) - set(
        P_ALPHABET
    ):
        raise BaselinesError(
            f"{where}: answers or p_truth hold a character that means nothing. Restore the file from git."
        )
    if record.unanswered != record.answers.count(NO_ANSWER):
        raise BaselinesError(
            f"{where}: unanswered is {record.unanswered}, but {record.answers.count(NO_ANSWER)} of the answers are {NO_ANSWER!r}. "
            "Restore the file from git."
        )
    if record.floor is not None and not 0 <= record.floor <= 1:
        raise BaselinesError(
            f"{where}: floor is {record.floor}, not an accuracy between 0 and 1. Use null for no floor."
        )
    for figure, text in record.face_counts.items():
        _check_face_counts(f"{where}: face_counts of {figure!r:.60}", text, record.metrics.get(figure))
    return record


def _check_face_counts(where: str, text: Any, value: float | None) -> None:
    """Raises BaselinesError where counts per face cannot be read, or do not give the recorded figure."""
    again = "Restore the file from git, or record again: pytest evals --update-baselines"
    if not isinstance(text, str):
        raise BaselinesError(f"{where} must be str, got {text!r:.60}. {again}")
    try:
        counts, _ = FaceCounts.decode(text)
    except ValueError as error:
        raise BaselinesError(f"{where} cannot be used: {error}. {again}") from error
    if value is None or abs(counts.value - value) > 1e-6:
        claimed = "has no such figure" if value is None else f"claims {value:.6f}"
        raise BaselinesError(f"{where} give {counts.value:.6f}, but the record {claimed}. {again}")
