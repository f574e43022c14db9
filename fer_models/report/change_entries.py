"""Typed entries of evals.json on the change of a result from its baseline.

The attributes are the JSON keys, in the order of the file. Unless noted, shares and probabilities are 0..1,
and `low` and `high` are a 95 % interval.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from fer_models.report.json_fields import decode, encode


@dataclass(frozen=True)
class MetricChange:
    """The change of a metric from its baseline, its adjusted p-value, and whether it fails the gate."""

    change: float
    p: float
    failed: bool


@dataclass(frozen=True)
class FlipCounts:
    """Faces that became wrong or correct, and what this many faces can establish.

    Attributes:
        negative_flips, positive_flips: faces that became wrong, and correct.
        minimum_detectable_fall: see `gate.gate.Verdict`.
        required_sample_size: the number of faces that would establish an INCONCLUSIVE fall, else None.
    """

    negative_flips: int
    positive_flips: int
    minimum_detectable_fall: float | None
    required_sample_size: int | None


@dataclass(frozen=True)
class Changes:
    """The changes of a result from its baseline: JSON has `faces` among the names of metrics."""

    metrics: Mapping[str, MetricChange]
    faces: FlipCounts

    @classmethod
    def from_fields(cls, value: Mapping[str, Any], path: str) -> Changes:
        """Decode the JSON object.

        Raises:
            UsageError: a field is missing or has a wrong type.
        """
        metrics = {name: inner for name, inner in value.items() if name != "faces"}
        return cls(
            decode(Mapping[str, MetricChange], metrics, path),
            decode(FlipCounts, value.get("faces"), f"{path}.faces"),
        )

    def to_fields(self, path: str) -> dict[str, Any]:
        """Encode as a JSON object."""
        return {**encode(self.metrics, path), "faces": encode(self.faces, f"{path}.faces")}


@dataclass(frozen=True)
class TrueProbability:
    """The probability of the true emotion before and now; None for a model without probabilities."""

    before: float | None
    now: float | None


@dataclass(frozen=True)
class ChangedFace:
    """A face whose prediction changed between correct and wrong since the baseline.

    Attributes:
        index: its row in the full split.
        face: the first characters of its pixel hash.
        truth: its label.
        before, now: the predicted emotions, None for no prediction.
        p_true: the probability of its label; None in both for a model without probabilities.
        probabilities: of each emotion now; None for a model without probabilities.
        picture: a data URL, or None.
    """

    index: int
    face: str
    truth: str
    before: str | None
    now: str | None
    p_true: TrueProbability
    probabilities: Mapping[str, float] | None
    picture: str | None

    @property
    def is_negative(self) -> bool:
        """Whether the prediction was correct and is wrong now."""
        return self.before == self.truth

    @property
    def pictures(self) -> tuple[str, ...]:
        """The picture, if there is one."""
        return () if self.picture is None else (self.picture,)


@dataclass(frozen=True)
class LogLoss:
    """The change of the mean log score in nats, and the geometric mean of the true emotion's probability.

    Attributes:
        is_degraded: the fall is at least the margin, and established.
    """

    JSON_KEYS: ClassVar = {"is_degraded": "found"}

    before: float
    now: float
    change: float
    low: float
    high: float
    p: float
    is_degraded: bool
