"""Typed entries of evals.json: results of models, and what each metric, cost and face set holds.

The attributes are the JSON keys, in the order of the file. Unless noted, shares and probabilities are 0..1,
and `low` and `high` are a 95 % interval.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal

from fer_models.datasets.audit_results import Audit
from fer_models.emotions import LABELS
from fer_models.errors import UsageError, one_line
from fer_models.report.change_entries import ChangedFace, Changes, LogLoss
from fer_models.report.formatting import NOTHING, metric_name
from fer_models.report.json_fields import decode_fields, encode_fields, optional, require_json
from fer_models.report.measured_value import MeasuredValue
from fer_models.report.selective_entries import SelectivePrediction
from fer_models.report.slice_entries import SLICE_PREFIX, ColumnScores, slice_accuracy
from fer_models.store.subject import Subject

#: The closed list of verdicts. Each has a style in the terminal and on the page.
VerdictName = Literal["PASS", "FAIL", "ERROR", "INCONCLUSIVE", "NEW"]
TRAINING = "training"
#: The start of the name of an emotion's recall among the changes.
_RECALL = "recall:"


def subject_name(subject: Subject) -> str:
    """`model-restoration`, as in test ids, with the prompt set if there is one."""
    prompt = f" · {subject.prompt}" if subject.prompt else ""
    return f"{subject.model}-{subject.restoration}{prompt}"


def face_set_name(subject: Subject) -> str:
    """`dataset/split`, with the corruption if there is one."""
    corruption = f", {subject.corruption}" if subject.corruption else ""
    return f"{subject.dataset}/{subject.split}{corruption}"


@dataclass(frozen=True)
class ClassScores:
    """Precision, recall and F1 of one emotion, None where undefined, and its number of faces."""

    precision: float | None
    recall: float | None
    f1: float | None
    support: int
    intervals: Mapping[Literal["precision", "recall", "f1"], tuple[float, float] | None]


@dataclass(frozen=True)
class Leakage:
    """Accuracy on faces that are also in `train`, and how much it changes without them."""

    faces: int
    accuracy_on_leaks: MeasuredValue | None
    difference: MeasuredValue | None


@dataclass(frozen=True)
class Reply:
    """A reply of a generative model, and its number of faces."""

    text: str
    n: int


@dataclass(frozen=True)
class ReplyKind:
    """One way in which replies were parsed, or one reason why they were not (`answered` is false)."""

    kind: str
    answered: bool
    n: int
    replies: tuple[Reply, ...]


@dataclass(frozen=True)
class Responses:
    """The parsed and the unparseable replies of a generative model, in faces."""

    answered: int
    unanswered: int
    entries: tuple[ReplyKind, ...]


@dataclass(frozen=True)
class Votes:
    """Accuracy against human annotators; `strata` are groups of faces by how many annotators agree."""

    majority: MeasuredValue | None
    one_annotator: MeasuredValue | None
    strata: Mapping[str, MeasuredValue | None]


@dataclass(frozen=True)
class Baseline:
    """The recorded metrics of a subject, and when and where they were recorded."""

    metrics: Mapping[str, float]
    recorded: Mapping[str, Any]


@dataclass(frozen=True)
class ReliabilityBin:
    """One bin of the reliability diagram; see `scoring.reliability.ReliabilityBin`."""

    lower: float
    upper: float
    n: int
    confidence: float
    accuracy: MeasuredValue

    def __post_init__(self) -> None:
        if self.n < 1:
            raise UsageError(f"A bin of the reliability diagram has {self.n} faces. It needs one.")


@dataclass(frozen=True)
class Entry:
    """What is measured of one subject on `n` faces."""

    subject: Subject
    id: str
    n: int

    @property
    def name(self) -> str:
        """`model-restoration`, with the prompt set if there is one."""
        return subject_name(self.subject)

    @property
    def face_set(self) -> str:
        """`face_set_name` of the subject: results on the same faces are ranked."""
        return face_set_name(self.subject)


@dataclass(frozen=True)
class Result(Entry):
    """The scores and the verdict of one subject.

    Attributes:
        metrics: by name.
        per_class: by emotion.
        confusion: faces, shape (7, 7): true emotion by predicted emotion.
        no_answer: faces without a prediction, by true emotion.
        of: faces in the full split, of which `n` were predicted.
        verdict: None where the subject was predicted and not judged.
        fails: whether the verdict fails the run.
        message: the failure text, or empty.
        changes: None without a baseline.
        log_loss: None where probabilities cannot be compared.
        flips: the faces with the greatest changes, those that became wrong first; not all of them.
        slices: by column; empty where a store is reported.
        reliability: empty for a model without probabilities.
        selective: None for a model without probabilities, or without predictions.
        command: evaluates this subject again.
        key: of the partition in the store.
    """

    unanswered: int
    metrics: Mapping[str, MeasuredValue]
    per_class: Mapping[str, ClassScores]
    confusion: tuple[tuple[int, ...], ...]
    no_answer: tuple[int, ...]
    of: int
    leakage: Leakage | None
    responses: Responses | None
    votes: Votes | None
    verdict: VerdictName | None
    fails: bool
    message: str
    baseline: Baseline | None
    changes: Changes | None
    log_loss: LogLoss | None
    flips: tuple[ChangedFace, ...]
    slices: tuple[ColumnScores, ...]
    reliability: tuple[ReliabilityBin, ...]
    selective: SelectivePrediction | None
    command: str
    inference_seconds: float | None
    from_store: bool
    notes: tuple[str, ...]
    key: str

    def __post_init__(self) -> None:
        rows = (*self.confusion, self.no_answer)
        if len(self.confusion) != len(LABELS) or any(len(row) != len(LABELS) for row in rows):
            raise UsageError(
                f"The confusion matrix and the missing predictions of {one_line(self.subject.id, 120)} "
                f"must have {len(LABELS)} emotions."
            )

    @property
    def is_part(self) -> bool:
        """Whether only some faces of the split were predicted."""
        return self.n < self.of

    @property
    def is_degraded(self) -> bool:
        """Whether DEGRADED is shown with the verdict: FAIL and ERROR say more."""
        has_worse = self.verdict in ("FAIL", "ERROR")
        return self.log_loss is not None and self.log_loss.is_degraded and not has_worse

    @property
    def label(self) -> str:
        """The verdict, with DEGRADED where it is shown: `PASS, DEGRADED`; a dash for none."""
        verdict = self.verdict or NOTHING
        return f"{verdict}, DEGRADED" if self.is_degraded else verdict

    @property
    def face_set(self) -> str:
        """`dataset/split`, with the corruption, and the number of faces if not all were predicted."""
        part = f", {self.n:,} of {self.of:,} faces" if self.is_part else ""
        return f"{super().face_set}{part}"

    def value(self, metric: str) -> float | None:
        """The value of a metric, None if it was not measured.

        `recall:fear` is the recall of an emotion, `slice:COLUMN=SLICE` accuracy in a slice.
        """
        if metric.startswith(_RECALL):
            scores = self.per_class.get(metric.removeprefix(_RECALL))
            return None if scores is None else scores.recall
        if metric.startswith(SLICE_PREFIX):
            return slice_accuracy(self.slices, metric)
        measured = self.metrics.get(metric)
        return None if measured is None else measured.value

    def change(self, metric: str = "accuracy") -> float | None:
        """The change of a metric from its baseline: that of the gate, else the plain difference."""
        if self.changes is not None and metric in self.changes.metrics:
            return self.changes.metrics[metric].change
        now, before = self.value(metric), self._recorded(metric)
        return None if now is None or before is None else now - before

    def baseline_value(self, metric: str = "accuracy") -> float | None:
        """The baseline of a metric on the predicted faces, None where it is not known.

        A record is about the full split. The gate's change is about the predicted faces, so for a part of the
        split the baseline is the value minus this change.
        """
        now = self.value(metric)
        is_derived = self.is_part or ":" in metric  # a record has no recalls and no slices
        if is_derived and now is not None and self.changes is not None and metric in self.changes.metrics:
            return now - self.changes.metrics[metric].change
        return self._recorded(metric)

    def has_failed(self, metric: str) -> bool:
        """Whether the fall of a metric fails the gate."""
        change = None if self.changes is None else self.changes.metrics.get(metric)
        return change is not None and change.failed

    @property
    def failed_metrics(self) -> list[str]:
        """The metrics that fail the gate, in words."""
        changes = {} if self.changes is None else self.changes.metrics
        failed = [name for name, change in changes.items() if change.failed]
        return [metric_name(name) if ":" in name else name.replace("_", " ") for name in failed]

    def p(self, metric: str = "accuracy") -> float | None:
        """The adjusted p-value of a metric's fall, or None without a baseline."""
        change = None if self.changes is None else self.changes.metrics.get(metric)
        return None if change is None else change.p

    def _recorded(self, metric: str) -> float | None:
        """The value in the record; None where that is about other faces than these."""
        if self.baseline is None or self.is_part or self.verdict == "ERROR":
            return None
        return self.baseline.metrics.get(metric)


@dataclass(frozen=True)
class Cost:
    """The measured cost of one step, or of a recorded training.

    Suites append entries of their own. Fields that are unknown to this version are kept in `more`.

    Attributes:
        phase: such as `inference`, or `training` for what the weights record.
        batch: faces per step.
        seconds: the median of one step, or all of a training.
        peak_memory_mb: in MiB.
        joules: energy of one step, or of a training; None where the machine has no readable counter.
        seconds_low, seconds_high: a 95 % interval of `seconds`; None with fewer than six rounds.
        seconds_p95: the 95th percentile of the rounds; None for fewer than 20.
        relative: the duration as a multiple of the reference workload's, timed in turns with it.
        relative_low, relative_high: a 95 % interval of `relative`.
        precision: of the model's computation.
        weights_bytes: the size of the weights file or folder.
    """

    name: str
    phase: str
    model: str | None
    restoration: str | None
    batch: int | None = optional()
    seconds: float | None = optional()
    images_per_second: float | None = optional()
    parameters: int | None = optional()
    macs: int | None = optional()
    peak_memory_mb: float | None = optional()
    device: str | None = optional()
    epochs: int | None = optional()
    seconds_per_epoch: float | None = optional()
    joules: float | None = optional()
    seconds_low: float | None = optional()
    seconds_high: float | None = optional()
    seconds_p95: float | None = optional()
    relative: float | None = optional()
    relative_low: float | None = optional()
    relative_high: float | None = optional()
    precision: str | None = optional()
    weights_bytes: int | None = optional()
    more: Mapping[str, Any] | None = optional()

    @classmethod
    def from_fields(cls, value: Mapping[str, Any], path: str) -> Cost:
        """Decode the JSON object.

        Raises:
            UsageError: a field is missing or has a wrong type.
        """
        optional_names = {member.name for member in fields(cls) if member.metadata.get("optional")}
        names = {member.name for member in fields(cls)} - {"more"}
        more = {  # a null of the suite stays in the file
            key: inner
            for key, inner in value.items()
            if key not in names or (inner is None and key in optional_names)
        }
        named = {key: inner for key, inner in value.items() if key not in more}
        return cls(**decode_fields(cls, named, path), more=require_json(more, path) or None)

    def to_fields(self, path: str) -> dict[str, Any]:
        """Encode as a JSON object."""
        encoded = encode_fields(self, path)
        more = encoded.pop("more", {})
        return {**encoded, **more}

    @property
    def title(self) -> str:
        """`model-restoration`, or the name of the entry."""
        return "-".join(filter(None, (self.model, self.restoration))) or self.name


@dataclass(frozen=True)
class Reference:
    """The score of predictions without a model on some faces, for comparison; nothing judges it."""

    name: str
    n: int
    accuracy: MeasuredValue
    ties_at_random: float | None = optional()
    no_majority: Mapping[str, int] | None = optional()


@dataclass(frozen=True)
class FaceSetDescription:
    """The faces of a run: faces per emotion, notes, reference scores and the audit of the dataset."""

    n: int
    of: int
    fingerprint: str
    counts: Mapping[str, int]
    notes: tuple[str, ...]
    references: tuple[Reference, ...]
    audit: Audit | None


@dataclass(frozen=True)
class Skip:
    """A model that is not evaluated, the reason, and the command that changes it."""

    model: str
    reason: str
    command: str | None = optional()


@dataclass(frozen=True)
class ReportedError:
    """A subject that could not be judged, and the message."""

    subject: str
    message: str


@dataclass(frozen=True)
class DepthSummary:
    """The depth of a run, and phrases for what it left out."""

    name: str
    left_out: tuple[str, ...]
