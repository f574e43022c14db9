"""The gate: is a model worse than it was? Face by face, with the chance of being wrong stated.

`compare` sets one subject's answers beside its record's, face by face; `judge` decides over the whole run, since the more comparisons
a run makes, the stronger each must be (Holm 1979). Accuracy and macro-F1 of all subjects are one family, the per-class recalls another.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fer_models.emotions import EMOTIONS
from fer_models.errors import BaselinesError, FacesDifferError, PredictionError
from fer_models.evaluation import metrics as scores
from fer_models.evaluation.baselines import Record
from fer_models.evaluation.metrics import Metrics
from fer_models.evaluation.statistics import Measurement, holm, mcnemar_fall, paired_fall, smallest_fall
from fer_models.evaluation.store import Answers
from fer_models.evaluation.subject import Subject

#: The smallest fall of accuracy or macro-F1 that matters, and of the recall of one emotion, which stands on a seventh of the faces.
MARGIN = 0.005
RECALL_MARGIN = 0.02
#: The chance that a run in which nothing changed fails, per family of comparisons.
ALPHA = 0.01
#: By how much the share of unanswered faces may rise.
UNANSWERED_RISE = 0.01

PASS, FAIL, INCONCLUSIVE, NEW = "PASS", "FAIL", "INCONCLUSIVE", "NEW"


@dataclass(frozen=True)
class Check:
    """One metric, now and in the record, on the same faces.

    Attributes:
        metric: `accuracy`, `macro_f1` or `recall:EMOTION`.
        change: now minus baseline.
        p: one-sided p-value of a fall: exact McNemar for accuracy and recall, paired bootstrap for macro-F1. After `judge`: Holm's.
        margin: the smallest fall that matters.
        failed: the fall is at least the margin, and established.
    """

    metric: str
    now: Measurement
    baseline: float
    change: float
    p: float
    margin: float
    failed: bool = False

    @property
    def fell(self) -> bool:
        """The fall is at least the margin, established or not."""
        return self.change <= -self.margin + 1e-12


@dataclass(frozen=True)
class Comparison:
    """One subject beside its record; `record` and `checks` are empty where there is none."""

    subject: Subject
    metrics: Metrics
    record: Record | None = None
    checks: tuple[Check, ...] = ()
    fell: int = 0
    rose: int = 0
    recalls: dict[str, tuple[float, float]] = field(default_factory=dict)


@dataclass(frozen=True)
class Verdict:
    """What the gate says of one subject.

    Attributes:
        status: PASS, FAIL, INCONCLUSIVE or NEW.
        comparison: what it stands on, with Holm-adjusted p-values.
        problems: sentences on what failed beside the checks: the floor, the unanswered.
        establishes: the smallest fall of accuracy that this many faces establish four times in five, 0..1; None without a record.
    """

    status: str
    comparison: Comparison
    problems: tuple[str, ...] = ()
    establishes: float | None = None

    @property
    def failed_checks(self) -> tuple[Check, ...]:
        """The checks that failed."""
        return tuple(c for c in self.comparison.checks if c.failed)

    @property
    def worst_class(self) -> tuple[str, float, float] | None:
        """The emotion whose recall fell most: name, before, now; None if none fell."""
        falls = [(now - before, label, before, now) for label, (before, now) in self.comparison.recalls.items() if now < before]
        return min(falls)[1:] if falls else None

    def changes_json(self) -> dict[str, Any] | None:
        """The part `changes` of a result in evals.json."""
        if self.comparison.record is None:
            return None
        c = self.comparison
        return {check.metric: {"change": check.change, "p": check.p, "failed": check.failed} for check in c.checks} | {
            "faces": {"fell": c.fell, "rose": c.rose, "establishes": self.establishes}
        }


def compare(
    subject: Subject,
    answers: Answers,
    measured: Metrics,
    record: Record | None,
    *,
    fingerprint: str,
    total: int,
    kept: NDArray[np.int64] | None = None,
    resamples: int = 9999,
) -> Comparison:
    """Set the answers of `subject` beside its record's, on the same faces.

    Args:
        answers, measured: now, in canonical order.
        record: the baseline, or None (NEW).
        fingerprint, total: of the whole split, also when only a part of it was asked.
        kept: where the asked faces stand in the canonical order of the whole split; all of them if None.
        resamples: of the paired bootstrap.

    Raises:
        FacesDifferError: the record stands on other faces.
        BaselinesError: the record contradicts itself.
        PredictionError: there is nothing to compare, or a metric is not a number.
    """
    if len(answers) == 0:
        raise PredictionError(f"{subject.id}: no face was asked, so there is nothing to judge.")
    if record is None:
        return Comparison(subject, measured)
    if record.dataset_fingerprint != fingerprint or record.n != total:
        raise FacesDifferError(
            f"{subject.id}: its baseline stands on {record.n} faces of {record.dataset}/{record.split} with fingerprint "
            f"{record.dataset_fingerprint[:12]}…, this run on {total} with {fingerprint[:12]}…. "
            "Use the faces of the record, or record these: pytest evals --update-baselines"
        )
    before = record.decoded() if kept is None else record.decoded()[kept]
    truth, now = answers.truth, answers.answer
    was_right, is_right = before == truth, now == truth
    if kept is None and abs(was_right.mean() - record.metrics["accuracy"]) > 5e-4:
        raise BaselinesError(
            f"The record of {subject.id} contradicts itself: its answers score {was_right.mean():.4f}, it claims {record.metrics['accuracy']:.4f}. "
            "Restore baselines.json from git, or record again: pytest evals --update-baselines"
        )
    fell, rose = int((was_right & ~is_right).sum()), int((~was_right & is_right).sum())
    accuracy = Check(
        "accuracy", measured.overall["accuracy"], float(was_right.mean()), float(is_right.mean() - was_right.mean()), mcnemar_fall(fell, rose), MARGIN
    )
    change, _, _, p = paired_fall(truth, before, now, scores.macro_f1, resamples=resamples)
    # Where few faces changed, the bootstrap is surer than it may be: k changed faces can fall one way by chance in one of 2^k cases.
    p = max(p, 0.5 ** int((before != now).sum()))
    f1 = measured.overall["macro_f1"]
    checks = [accuracy, Check("macro_f1", f1, f1.value - change, change, p, MARGIN)]
    recalls = {}
    for emotion in EMOTIONS:
        own = truth == emotion
        recall = measured.per_class[emotion.label].recall
        if not own.any() or recall is None:
            continue
        b, n = float(was_right[own].mean()), float(is_right[own].mean())
        recalls[emotion.label] = (b, n)
        p = mcnemar_fall(int((was_right & ~is_right & own).sum()), int((~was_right & is_right & own).sum()))
        checks.append(Check(f"recall:{emotion.label}", recall, b, n - b, p, RECALL_MARGIN))
    return Comparison(subject, measured, record, tuple(checks), fell, rose, recalls)


def judge(comparisons: Sequence[Comparison], *, margin: float = MARGIN, alpha: float = ALPHA) -> list[Verdict]:
    """One verdict per comparison, in their order, with the p-values of the whole run adjusted together.

    Args:
        margin: the smallest fall of accuracy or macro-F1 that matters, 0..1.
        alpha: an established fall has an adjusted p under this.
    """
    adjusted: dict[tuple[int, str], float] = {}
    for family in (False, True):
        where = [(i, c.metric, c.p) for i, one in enumerate(comparisons) for c in one.checks if c.metric.startswith("recall:") is family]
        for (i, metric, _), p in zip(where, holm([p for _, _, p in where]), strict=True):
            adjusted[i, metric] = p
    return [_verdict(one, {m: p for (j, m), p in adjusted.items() if j == i}, margin, alpha) for i, one in enumerate(comparisons)]


def _verdict(comparison: Comparison, p_values: dict[str, float], margin: float, alpha: float) -> Verdict:
    record = comparison.record
    if record is None:
        return Verdict(NEW, comparison)
    checks = []
    for check in comparison.checks:
        check = replace(check, p=p_values[check.metric], margin=check.margin if check.metric.startswith("recall:") else margin)
        checks.append(replace(check, failed=check.fell and check.p < alpha))
    problems = []
    accuracy = comparison.metrics.overall["accuracy"].value
    if record.floor is not None and accuracy < record.floor:
        problems.append(f"accuracy {accuracy:.3f} is under the record's hard floor of {record.floor:.3f}")
    n, unanswered = comparison.metrics.n, comparison.metrics.unanswered
    bound = record.unanswered / record.n + UNANSWERED_RISE
    if unanswered / n > bound:
        problems.append(
            f"{unanswered} of {n} faces have no answer; the bound is {bound * n:.0f} "
            f"(the record's {record.unanswered} of {record.n}, and {UNANSWERED_RISE:.0%} more)"
        )
    gating = [c for c in checks if not c.metric.startswith("recall:")]
    if problems or any(c.failed for c in checks):
        status = FAIL
    elif any(c.fell for c in gating):
        status = INCONCLUSIVE
    else:
        status = PASS
    establishes = smallest_fall(n, comparison.fell + comparison.rose, alpha)
    return Verdict(status, replace(comparison, checks=tuple(checks)), tuple(problems), establishes)
