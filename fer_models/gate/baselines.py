"""Baseline records of measured and published results: reads and writes `baselines.json`.

A measured record has one character per face, faces in canonical order, for the predicted emotion and for the
probability of the labelled one: paired tests need nothing else. A published record is shown, and never gates.
"""

from __future__ import annotations

import difflib
import json
import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock
from numpy.typing import NDArray

from fer_models.artifacts.atomic_write import atomic_write
from fer_models.artifacts.json_io import parse_json, read_text
from fer_models.corruptions import Corruption
from fer_models.cost.ratio import CostRatio
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
#: The smallest relevant slowdown, relative to a recorded cost ratio.
SLOWDOWN_MARGIN = 0.10

_RECORD_AGAIN = "Record it again: fer-models eval --update-baselines"
_RESTORE = "Restore the file from git."


@dataclass(frozen=True)
class BaselineRecord:
    """Baseline of one measured subject.

    Attributes:
        dataset … prompt: the subject's fields.
        dataset_fingerprint: of all faces of the split (`FaceSet.fingerprint`).
        n: number of faces.
        unanswered: number of faces without a prediction.
        metrics: the point values when it was recorded.
        answers: n characters, the index of the predicted emotion or `-`.
        p_true: n characters, the probability of the labelled emotion in 64 steps.
        face_counts: for each robustness metric in `metrics`, its counts per face (`FaceCounts.encode`).
        cost_ratio: the time of the model relative to the reference workload, or None.
        floor: the accuracy under which the gate fails whatever the tests result in, or None.
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
    cost_ratio: CostRatio | None = None
    floor: float | None = None
    recorded: Mapping[str, Any] = field(default_factory=dict)

    @property
    def subject(self) -> Subject:
        """Subject of this record."""
        return Subject(self.dataset, self.split, self.restoration, self.model, self.corruption, self.prompt)

    @property
    def has_probabilities(self) -> bool:
        """Whether `p_true` has probabilities of a model, not 1 for what it predicts and 0 else."""
        return "nll" in self.metrics

    def decode_predictions(self) -> NDArray[np.int64]:
        """Decode the predicted emotions: int64 (n,), -1 for none, faces in canonical order."""
        return np.array([-1 if c == NO_ANSWER else int(c) for c in self.answers], dtype=np.int64)

    def decode_p_true(self) -> NDArray[np.float64]:
        """Decode the probabilities of the labels: float64 (n,), as `quantize_probability` rounds them."""
        steps = np.array([P_ALPHABET.index(c) for c in self.p_true], dtype=np.float64)
        return (steps + 0.5) / len(P_ALPHABET)


def quantize_probability(p_true: NDArray[np.float64]) -> NDArray[np.float64]:
    """Round probabilities as a record does, to compare them with a record's: the middles of 64 steps."""
    return (_steps(p_true) + 0.5) / len(P_ALPHABET)


def _steps(p_true: NDArray[np.float64]) -> NDArray[np.int64]:
    return np.clip((p_true * len(P_ALPHABET)).astype(np.int64), 0, len(P_ALPHABET) - 1)


def encode_predictions(predictions: PredictionTable) -> tuple[str, str]:
    """Encode predictions as the strings `answers` and `p_true` of a record."""
    digits = "".join(NO_ANSWER if a < 0 else str(a) for a in predictions.answer.tolist())
    return digits, "".join(P_ALPHABET[s] for s in _steps(predictions.p_true))


@dataclass(frozen=True)
class Baselines:
    """Content of a baselines file."""

    measured: tuple[BaselineRecord, ...] = ()
    published: tuple[Mapping[str, Any], ...] = ()
    _by_subject: Mapping[Subject, BaselineRecord] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_by_subject", {record.subject: record for record in self.measured})

    def find(self, subject: Subject) -> BaselineRecord | None:
        """Find the record of `subject`, or None."""
        return self._by_subject.get(subject)

    def updated(self, records: Iterable[BaselineRecord]) -> Baselines:
        """Replace the records of the same subjects by `records`, and add the others.

        A floor that somebody set stays. A record with the same measurements stays as it was, date included,
        so that recording twice writes the same bytes.
        """
        by_subject = dict(self._by_subject)
        for new in records:
            old = by_subject.get(new.subject)
            merged = new if old is None else _merge(old, new)
            if old is None or replace(merged, recorded=old.recorded) != old:
                by_subject[new.subject] = merged
        return replace(self, measured=tuple(sorted(by_subject.values(), key=lambda r: by_name(r.subject))))

    def write(self, path: Path) -> None:
        """Write the file atomically."""
        data = {
            "schema": SCHEMA_VERSION,
            "measured": [as_json(r) for r in self.measured],
            "published": list(self.published),
        }
        text = json.dumps(data, indent=2, ensure_ascii=False)
        with atomic_write(path) as part:
            part.write_text(f"{text}\n", encoding="utf-8", newline="\n")


def as_json(record: BaselineRecord) -> dict[str, Any]:
    """Convert a record to JSON."""
    ratio = record.cost_ratio
    fields_of_record = asdict(replace(record, cost_ratio=None))
    del fields_of_record["cost_ratio"]
    return fields_of_record if ratio is None else {**fields_of_record, "cost_ratio": ratio.as_json()}


def by_name(subject: Subject) -> tuple[str, ...]:
    """Sort key of subjects: dataset, split, model, restoration, corruption, prompt."""
    s = subject
    return (s.dataset, s.split, s.model, s.restoration, str(s.corruption), str(s.prompt))


def _merge(old: BaselineRecord, new: BaselineRecord) -> BaselineRecord:
    """Keep the floor of `old` (or that it has none), and what the run did not measure: robustness, the cost.

    A cost ratio also stays where the new one confirms it: recording again does not let it creep upwards. Of
    other faces, only the cost is kept, and that there is no floor.
    """
    cost_ratio = _merge_cost_ratios(old.cost_ratio, new.cost_ratio)
    if old.dataset_fingerprint != new.dataset_fingerprint:
        return replace(new, floor=None if old.floor is None else new.floor, cost_ratio=cost_ratio)
    robustness = {name: value for name, value in old.metrics.items() if ": " in name}
    return replace(
        new,
        floor=old.floor,
        metrics={**robustness, **new.metrics},
        face_counts={**old.face_counts, **new.face_counts},
        cost_ratio=cost_ratio,
    )


def _merge_cost_ratios(old: CostRatio | None, new: CostRatio | None) -> CostRatio | None:
    if old is None or new is None:
        return new or old
    is_confirmed = not new.different_conditions(old) and abs(new.median / old.median - 1) <= SLOWDOWN_MARGIN
    return old if is_confirmed else new


def update(path: Path, records: Iterable[BaselineRecord], start: Baselines | None = None) -> None:
    """Add `records` to the file at `path`, and keep those that other processes added.

    The file is read again under a lock (`.NAME.lock` in the same folder), so that simultaneous runs lose no
    records.

    Args:
        path: the baselines file.
        records: they replace the records of the same subjects.
        start: the first content of a new file, where there is none at `path` yet.

    Raises:
        BaselinesError: the file is no baselines file, or it cannot be written. It stays as it is.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(path.with_name(f".{path.name}.lock")):
            current = read(path) if path.exists() or start is None else start
            current.updated(records).write(path)
    except OSError as error:
        raise BaselinesError(
            f"The baselines cannot be written to {path} ({error.strerror}). The file is unchanged. "
            "Free some space or choose --baselines FILE, and run again: predictions are stored."
        ) from error


def record_of(
    subject: Subject,
    fingerprint: str,
    predictions: PredictionTable,
    metrics: Metrics,
    recorded: Mapping[str, Any],
) -> BaselineRecord:
    """Record measured metrics; the floor is `FLOOR_MARGIN` under the accuracy, in full points.

    Args:
        subject: what was evaluated.
        fingerprint: of all faces of the split.
        predictions: of all faces of the split, in canonical order.
        metrics: of these predictions.
        recorded: date, version, device and library versions.
    """
    answers, p_true = encode_predictions(predictions)
    values = {name: round(m.value, 6) for name, m in metrics.overall.items()}
    return BaselineRecord(
        **{k: v for k, v in subject.as_json().items()},  # type: ignore[arg-type]
        dataset_fingerprint=fingerprint,
        n=len(predictions),
        unanswered=int((predictions.answer < 0).sum()),
        metrics=values,
        answers=answers,
        p_true=p_true,
        # Rounded first: 0.70 - 0.05 is a little less than 0.65.
        floor=max(0.0, math.floor(round((values["accuracy"] - FLOOR_MARGIN) * 100, 6)) / 100),
        recorded=dict(recorded),
    )


def read(path: Path) -> Baselines:
    """Read the baselines in `path`; none where there is no file.

    Raises:
        BaselinesError: not JSON, another schema, an unknown or missing field, or values that contradict each
            other.
    """
    if not path.exists():
        return Baselines()
    try:
        return parse(read_text(path), str(path))
    except (OSError, ValueError) as error:
        raise BaselinesError(f"{path} cannot be read ({error}). {_RESTORE}") from error


def parse(text: str, name: str) -> Baselines:
    """Parse the baselines in a JSON text; `name` is its name in messages. Raises as `read`."""
    data = _load(text, name)
    if not isinstance(data, dict) or type(data.get("schema")) is not int or data["schema"] != SCHEMA_VERSION:
        schema = data.get("schema") if isinstance(data, dict) else type(data).__name__
        raise BaselinesError(
            f"{name} has schema {schema!r:.60}, and this version reads schema {SCHEMA_VERSION}. "
            f"Rename or delete the file, and record the models again: fer-models eval --update-baselines"
        )
    _check_names(data, {"schema", "measured", "published"}, name)
    records = _list(data, "measured", name)
    measured = tuple(_record(r, f"{name}, measured record {i}") for i, r in enumerate(records, 1))
    for subject, times in Counter(r.subject for r in measured).items():
        if times > 1:
            raise BaselinesError(f"{name} has {times} records of {subject.id}. Delete all but one.")
    published = _list(data, "published", name)
    for i, record in enumerate(published, 1):
        _check_published(record, f"{name}, published record {i}")
    return Baselines(measured, tuple(published))


def _check_published(record: Any, where: str) -> None:
    """Check the fields of a claim that evals and reports read; it may have others.

    Raises:
        BaselinesError: one has another type, or a claim that is reproduced lacks its faces.
    """
    if not isinstance(record, dict):
        raise BaselinesError(f"{where} must be an object, got {record!r:.60}. {_RESTORE}")
    for name in ("model", "source"):
        if not isinstance(record.get(name), str):
            raise BaselinesError(f"{where} needs at least a model and a source, as texts. Add its {name}.")
    is_reproduced = record.get("evaluated_as") is not None
    for name, types in _PUBLISHED_TYPES.items():
        value = record.get(name)
        if value is None and not (is_reproduced and name in ("dataset", "split", "n", "correct")):
            continue
        if not isinstance(value, types) or isinstance(value, bool):
            expected = " or ".join(t.__name__ for t in types)
            raise BaselinesError(f"{where}: {name} must be {expected}, got {value!r:.60}. Correct it.")
    accuracy = record.get("accuracy")
    is_share = isinstance(accuracy, (int, float)) and not isinstance(accuracy, bool) and 0 <= accuracy <= 1
    if accuracy is not None and not is_share:
        raise BaselinesError(f"{where}: accuracy must be a number in 0..1, got {accuracy!r:.60}. Correct it.")


def _load(text: str, name: str) -> Any:
    try:
        data = parse_json(text)
        json.dumps(data, ensure_ascii=False).encode("utf-8")  # half a surrogate pair could not be printed
    except json.JSONDecodeError as error:
        if re.search(r"^<{7} ", text, re.MULTILINE):
            raise BaselinesError(
                f"{name} has unresolved merge conflicts. Keep the records of both branches; evaluate a model "
                "that both recorded again, with --update-baselines."
            ) from error
        has_comma = "," in error.doc[max(0, error.pos - 20) : error.pos]
        hint = " (a comma before a closing bracket?)" if has_comma else ""
        raise BaselinesError(
            f"{name} is not JSON: {error.msg} at line {error.lineno}, column {error.colno}{hint}. "
            "Repair it, or restore it from git."
        ) from error
    except ValueError as error:
        raise BaselinesError(
            f"{name} is no valid JSON: {error}. Repair it, or restore it from git."
        ) from error
    return data


def _list(data: dict[str, Any], key: str, name: str) -> list[Any]:
    value = data.get(key, [])
    if not isinstance(value, list):
        raise BaselinesError(f"{name}: {key!r} must be a list, got {type(value).__name__}. {_RESTORE}")
    return value


def _check_names(data: Mapping[str, Any], names: set[str], where: str) -> None:
    for key in data:
        if key not in names:
            close = difflib.get_close_matches(key, names, n=1)
            hint = f" Did you mean {close[0]!r}?" if close else ""
            raise BaselinesError(
                f"{where} has an unknown field {key!r}.{hint} Known: {', '.join(sorted(names))}."
            )


# -- validation of a record -------------------------------------------------------------------------

_TYPES: dict[str, tuple[type, ...]] = {
    "dataset": (str,), "split": (str,), "corruption": (str, type(None)), "restoration": (str,),
    "model": (str,), "prompt": (str, type(None)), "dataset_fingerprint": (str,), "n": (int,),
    "unanswered": (int,), "metrics": (dict,), "answers": (str,), "p_true": (str,), "face_counts": (dict,),
    "cost_ratio": (dict, type(None)), "floor": (int, float, type(None)), "recorded": (dict,),
}  # fmt: skip
#: Fields of a published record that are read.
_PUBLISHED_TYPES: dict[str, tuple[type, ...]] = {
    "dataset": (str,), "split": (str,), "n": (int,), "correct": (int,), "accuracy": (int, float, dict),
    "protocol": (str,), "evaluated_as": (str,),
}  # fmt: skip
_OPTIONAL = {"face_counts", "cost_ratio", "floor", "recorded", "corruption", "prompt"}


def _record(data: Any, where: str) -> BaselineRecord:
    """Build a record from JSON. Raises BaselinesError unless it is valid."""
    if not isinstance(data, dict):
        raise BaselinesError(f"{where} must be an object, got {type(data).__name__}.")
    _check_fields(data, where)
    ratio = _cost_ratio(data.get("cost_ratio"), where)
    record = BaselineRecord(**{"corruption": None, "prompt": None, **data, "cost_ratio": ratio})
    if record.corruption is not None:
        try:
            Corruption.parse(record.corruption)
        except UsageError as error:
            raise BaselinesError(f"{where}: no run can use this record. {error}") from error
    _check_metrics(record, where)
    _check_predictions(record, where)
    if record.floor is not None and not 0 <= record.floor <= 1:
        raise BaselinesError(
            f"{where}: floor is {record.floor}, not an accuracy between 0 and 1. Use null for no floor."
        )
    for metric, text in record.face_counts.items():
        _check_face_counts(f"{where}: face_counts of {metric!r:.60}", text, record.metrics.get(metric))
    return record


def _cost_ratio(data: Any, where: str) -> CostRatio | None:
    if data is None:
        return None
    try:
        return CostRatio.from_json(data)
    except ValueError as error:
        raise BaselinesError(f"{where}: cost_ratio cannot be used: {error}. {_RESTORE}") from error


def _check_fields(data: dict[str, Any], where: str) -> None:
    _check_names(data, {f.name for f in fields(BaselineRecord)}, where)
    for name, types in _TYPES.items():
        if name not in data and name not in _OPTIONAL:
            raise BaselinesError(f"{where} lacks the field {name!r}. {_RECORD_AGAIN}")
        if name in data and (not isinstance(data[name], types) or isinstance(data[name], bool)):
            expected = " or ".join(t.__name__ for t in types)
            raise BaselinesError(f"{where}: {name} must be {expected}, got {data[name]!r:.60}. {_RESTORE}")


def _check_metrics(record: BaselineRecord, where: str) -> None:
    for metric, value in record.metrics.items():
        if not isinstance(value, (int, float)) or isinstance(value, bool) or not math.isfinite(value):
            raise BaselinesError(
                f"{where}: metric {metric} is {value!r:.60}, not a finite number. {_RESTORE}"
            )
    for metric in ("accuracy", "macro_f1"):
        if metric not in record.metrics:
            raise BaselinesError(f"{where} lacks the metric {metric!r}. {_RECORD_AGAIN}")
        if not 0 <= record.metrics[metric] <= 1:
            raise BaselinesError(
                f"{where}: metric {metric} is {record.metrics[metric]!r:.60}, not in 0..1. {_RESTORE}"
            )


def _check_predictions(record: BaselineRecord, where: str) -> None:
    answers, p_true = record.answers, record.p_true
    if record.n < 1 or len(answers) != record.n or len(p_true) != record.n:
        raise BaselinesError(
            f"{where}: n is {record.n}, but there are {len(answers)} answers and {len(p_true)} p_true. "
            f"{_RESTORE}"
        )
    if set(answers) - {NO_ANSWER, *(str(int(e)) for e in EMOTIONS)} or set(p_true) - set(P_ALPHABET):
        raise BaselinesError(f"{where}: answers or p_true have a character without a meaning. {_RESTORE}")
    if record.unanswered != answers.count(NO_ANSWER):
        raise BaselinesError(
            f"{where}: unanswered is {record.unanswered}, but {answers.count(NO_ANSWER)} of the answers are "
            f"{NO_ANSWER!r}. {_RESTORE}"
        )


def _check_face_counts(where: str, text: Any, value: float | None) -> None:
    """Raise BaselinesError where counts per face cannot be decoded, or contradict the recorded metric."""
    hint = "Restore the file from git, or record again: fer-models eval --update-baselines"
    if not isinstance(text, str):
        raise BaselinesError(f"{where} must be str, got {text!r:.60}. {hint}")
    try:
        counts, _ = FaceCounts.decode(text)
    except ValueError as error:
        raise BaselinesError(f"{where} cannot be used: {error}. {hint}") from error
    if value is None or abs(counts.value - value) > 1e-6:
        recorded = "has no such metric" if value is None else f"has {value:.6f}"
        raise BaselinesError(f"{where} give {counts.value:.6f}, but the record {recorded}. {hint}")
