"""The gate: is a model worse than it was? Face by face, with the chance of being wrong stated.

`compare` sets one subject's answers beside its record's, face by face; `judge` decides over the whole run,
since the more comparisons a run makes, the stronger each must be (Holm 1979). Accuracy and macro-F1 of all
subjects are one family, the per-class recalls another, and the probabilities given to the true emotions a
third.

Right or wrong is all that accuracy knows of a face. The probability given to the true emotion tells more, and
sees smaller changes: where its logarithm, the one proper score that needs nothing but this probability
(Bernardo, Ann. Statist. 7, 1979), falls by an established and relevant amount, the verdict carries DEGRADED.
`fer_models.gate.power` measures how often each of them is right.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fer_models.emotions import EMOTIONS
from fer_models.errors import BaselinesError, FacesDifferError, PredictionError
from fer_models.gate.baselines import BaselineRecord, quantize_probability
from fer_models.scoring import metrics as scores
from fer_models.scoring.detectable_changes import minimum_detectable_fall
from fer_models.scoring.intervals import Measurement
from fer_models.scoring.metrics import Metrics
from fer_models.scoring.paired_tests import (
    PairedChange,
    holm,
    mcnemar_exact,
    paired_score_test,
    paired_t_test,
)
from fer_models.store.predictions import PredictionTable
from fer_models.store.subject import Subject

#: The smallest fall of accuracy or macro-F1 that matters, and of the recall of one emotion, which stands on a
#: seventh of the faces.
MARGIN = 0.005
RECALL_MARGIN = 0.02
#: The smallest fall of the mean log score that counts as DEGRADED, in nats. A point of accuracy costs several
#: times as much (see the self-test).
DEGRADED_MARGIN = 0.005
#: The chance that a run in which nothing changed fails by accuracy or macro-F1, and by the recall of an
#: emotion. The latter is small, so that both together stay at one run in a hundred: the self-test measures
#: it.
ALPHA = 0.01
RECALL_ALPHA = 0.002
#: By how much the share of unanswered faces may rise.
UNANSWERED_RISE = 0.01

PASS, FAIL, INCONCLUSIVE, NEW = "PASS", "FAIL", "INCONCLUSIVE", "NEW"


@dataclass(frozen=True)
class MetricCheck:
    """One metric, now and in the record, on the same faces.

    Attributes:
        metric: `accuracy`, `macro_f1` or `recall:EMOTION`.
        change: now minus baseline.
        p: one-sided p-value of a fall: exact McNemar for accuracy and recall, paired bootstrap and
            randomization for macro-F1. After `judge`: Holm's.
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
    def regressed(self) -> bool:
        """The fall is at least the margin, established or not."""
        return self.change <= -self.margin + 1e-12


@dataclass(frozen=True)
class Degradation:
    """How the mean log score (the logarithm of the probability given to the true emotion) moved, on the same
    faces.

    Attributes:
        before, now: the mean probability given to the true emotion, 0..1.
        change: of the mean log score, now minus baseline, in nats; negative is worse. Scores are as coarse as
            a record keeps them.
        low, high: the 95 % interval of the change.
        p: one-sided p-value of a fall, by the paired t-test. After `judge`: Holm's.
        found: the fall is at least the margin, and established.
    """

    before: float
    now: float
    change: float
    low: float
    high: float
    p: float
    is_significant: bool = False

    def as_json(self) -> dict[str, Any]:
        """The part `drift` of a result in evals.json."""
        return {
            "before": self.before,
            "now": self.now,
            "change": self.change,
            "low": self.low,
            "high": self.high,
            "p": self.p,
            "found": self.is_significant,
        }


@dataclass(frozen=True)
class GateComparison:
    """One subject compared with its record; `record`, `checks` and `drift` are empty where there is none.

    Attributes:
        unanswered: how many of these faces had no answer in the record.
    """

    subject: Subject
    metrics: Metrics
    record: BaselineRecord | None = None
    checks: tuple[MetricCheck, ...] = ()
    negative_flips: int = 0
    positive_flips: int = 0
    recalls: dict[str, tuple[float, float]] = field(default_factory=dict)
    degradation: Degradation | None = None
    unanswered: int = 0


@dataclass(frozen=True)
class Verdict:
    """What the gate says of one subject.

    Attributes:
        status: PASS, FAIL, INCONCLUSIVE or NEW.
        comparison: what it stands on, with Holm-adjusted p-values.
        problems: sentences on what failed beside the checks: the floor, the unanswered.
        minimum_detectable_fall: the smallest fall of accuracy that this many faces establish four times in five, 0..1;
            None without a record.
    """

    status: str
    comparison: GateComparison
    problems: tuple[str, ...] = ()
    minimum_detectable_fall: float | None = None

    @property
    def failed_checks(self) -> tuple[MetricCheck, ...]:
        """The checks that failed."""
        return tuple(c for c in self.comparison.checks if c.failed)

    @property
    def is_degraded(self) -> bool:
        """DEGRADED: the probabilities given to the true emotions fell, and nothing else failed that would say
        so already.
        """
        return (
            self.comparison.degradation is not None
            and self.comparison.degradation.is_significant
            and self.status != FAIL
        )

    @property
    def label(self) -> str:
        """The status, and DEGRADED where it stands beside it: `PASS, DEGRADED`."""
        return f"{self.status}, DEGRADED" if self.is_degraded else self.status

    def fails(self, strict: bool) -> bool:
        """Whether this ends a run with an error: FAIL does; INCONCLUSIVE, NEW and DEGRADED do so under
        `strict`.
        """
        return self.status == FAIL or (strict and (self.status != PASS or self.is_degraded))

    @property
    def worst_class(self) -> tuple[str, float, float] | None:
        """The emotion whose recall fell most: name, before, now; None if none fell."""
        falls = [
            (now - before, label, before, now)
            for label, (before, now) in self.comparison.recalls.items()
            if now < before
        ]
        return min(falls)[1:] if falls else None

    def changes_json(self) -> dict[str, Any] | None:
        """The part `changes` of a result in evals.json."""
        if self.comparison.record is None:
            return None
        c = self.comparison
        return {
            check.metric: {"change": check.change, "p": check.p, "failed": check.failed} for check in c.checks
        } | {
            "faces": {
                "negative_flips": c.negative_flips,
                "positive_flips": c.positive_flips,
                "minimum_detectable_fall": self.minimum_detectable_fall,
            }
        }


def compare(
    subject: Subject,
    predictions: PredictionTable,
    measured: Metrics,
    record: BaselineRecord | None,
    *,
    fingerprint: str,
    labels: NDArray[np.int64],
    rows: NDArray[np.int64] | None = None,
    resamples: int = 9999,
) -> GateComparison:
    """Set the answers of `subject` beside its record's, on the same faces.

    Args:
        answers, measured: now, in canonical order.
        record: the baseline, or None (NEW).
        fingerprint, labels: of the whole split in canonical order, also when only a part of it was predicted.
        kept: where the asked faces stand in the canonical order of the whole split; all of them if None.
        resamples: of the paired bootstrap.

    Raises:
        FacesDifferError: the record stands on other faces.
        BaselinesError: the record contradicts itself.
        PredictionError: there is nothing to compare, or a metric is not a number.
    """
    if len(predictions) == 0:
        raise PredictionError(f"{subject.id}: no face was asked, so there is nothing to judge.")
    if record is None:
        return GateComparison(subject, measured)
    if record.dataset_fingerprint != fingerprint or record.n != len(labels):
        raise FacesDifferError(
            f"{subject.id}: its baseline stands on {record.n} faces of {record.dataset}/{record.split} with fingerprint "
            f"{record.dataset_fingerprint[:12]}…, this run on {len(labels)} with {fingerprint[:12]}…. "
            "Use the faces of the record, or record these: pytest evals --update-baselines"
        )
    before, p_before = record.decode_predictions(), record.decode_p_true()
    if (
        abs((accuracy := float((before == labels).mean())) - record.metrics["accuracy"]) > 1e-6
    ):  # as rounded there
        raise BaselinesError(
            f"The record of {subject.id} contradicts itself: its answers score {accuracy:.4f}, it claims {record.metrics['accuracy']:.4f}. "
            "Restore baselines.json from git, or record again: pytest evals --update-baselines"
        )
    if rows is not None:
        before, p_before = before[rows], p_before[rows]
    truth, now = predictions.truth, predictions.answer
    was_right, is_right = before == truth, now == truth
    checks = paired_checks(truth, before, now, measured, resamples)
    recalls = {
        c.metric.removeprefix("recall:"): (c.baseline, c.baseline + c.change) for c in checks if _is_recall(c)
    }
    fell, rose = int((was_right & ~is_right).sum()), int((~was_right & is_right).sum())
    p_now = quantize_probability(predictions.p_true)
    # Written answers have no probabilities, and so no log score.
    drift = (
        Degradation(float(p_before.mean()), float(p_now.mean()), *log_score_test(p_before, p_now))
        if predictions.has_probabilities
        else None
    )
    return GateComparison(
        subject, measured, record, checks, fell, rose, recalls, drift, int((before < 0).sum())
    )


def paired_checks(
    truth: NDArray[np.int64],
    before: NDArray[np.int64],
    now: NDArray[np.int64],
    measured: Metrics | None = None,
    resamples: int = 9999,
) -> tuple[MetricCheck, ...]:
    """Accuracy, macro-F1 and the recall of each emotion that occurs, before and now.

    Args:
        truth, before, now: (n,) the labels and the two answers to each face, -1 for none.
        measured: what `now` measures, for its intervals; None leaves them without width, which decides
            nothing.
        resamples: of the paired bootstrap of macro-F1; with 0 its p is 1, so that it cannot fail.
    """
    was_right, is_right = before == truth, now == truth

    def check(
        metric: str, rows: NDArray[np.bool_], measurement: Measurement | None, margin: float
    ) -> MetricCheck:
        b, n = float(was_right[rows].mean()), float(is_right[rows].mean())
        p = mcnemar_exact(
            int((was_right & ~is_right & rows).sum()), int((~was_right & is_right & rows).sum())
        )
        return MetricCheck(metric, measurement or Measurement(n, n, n, int(rows.sum())), b, n - b, p, margin)

    checks = [
        check(
            "accuracy",
            np.ones(len(truth), dtype=bool),
            measured.overall["accuracy"] if measured else None,
            MARGIN,
        )
    ]
    checks.append(_macro_f1(truth, before, now, measured, resamples))
    for emotion in EMOTIONS:
        own = truth == emotion
        if own.any():
            checks.append(
                check(
                    f"recall:{emotion.label}",
                    own,
                    measured.per_class[emotion.label].recall if measured else None,
                    RECALL_MARGIN,
                )
            )
    return tuple(checks)


def _macro_f1(
    truth: NDArray[np.int64],
    before: NDArray[np.int64],
    now: NDArray[np.int64],
    measured: Metrics | None,
    resamples: int,
) -> MetricCheck:
    change, _, _, p = paired_score_test(truth, before, now, scores.macro_f1, resamples=max(1, resamples))
    p = p if resamples else 1.0
    value = measured.overall["macro_f1"] if measured else None
    if value is None:
        f1 = float(
            scores.macro_f1(np.bincount(truth * 8 + now % 8, minlength=56).reshape(7, 8))
        )  # no answer last, as `scores.confusion`
        value = Measurement(f1, f1, f1, len(truth))
    return MetricCheck("macro_f1", value, value.value - change, change, p, MARGIN)


def log_score_test(before: NDArray[np.float64], now: NDArray[np.float64]) -> PairedChange:
    """The change of the mean logarithm of the probability given to the true emotion, in nats, with the
    p-value of a fall.

    Args:
        before, now: (n,) probabilities as a record keeps them, above 0.
    """
    return paired_t_test(np.log(before), np.log(now))


def judge(
    comparisons: Sequence[GateComparison], *, margin: float = MARGIN, alpha: float = ALPHA
) -> list[Verdict]:
    """One verdict per comparison, in their order, with the p-values of the whole run adjusted together.

    Args:
        margin: the smallest fall of accuracy or macro-F1 that matters, 0..1.
        alpha: an established fall of accuracy, macro-F1 or the log score has an adjusted p under this.
    """
    checks = adjust_for_multiplicity([c.checks for c in comparisons], margin=margin, alpha=alpha)
    drifts = iter(holm([c.degradation.p for c in comparisons if c.degradation is not None]))
    verdicts = []
    for one, settled in zip(comparisons, checks, strict=True):
        if one.degradation is not None:
            p = next(drifts)
            one = replace(
                one,
                degradation=replace(
                    one.degradation,
                    p=p,
                    is_significant=one.degradation.change <= -DEGRADED_MARGIN and p < alpha,
                ),
            )
        verdicts.append(_verdict(replace(one, checks=settled), alpha))
    return verdicts


def adjust_for_multiplicity(
    run: Sequence[Sequence[MetricCheck]], *, margin: float = MARGIN, alpha: float = ALPHA
) -> list[tuple[MetricCheck, ...]]:
    """The checks of each subject of a run, with Holm's p-values over the run and the word on which of them
    failed. Arguments as `judge`.
    """
    adjusted: dict[tuple[int, str], float] = {}
    for family in (False, True):
        where = [
            (i, c.metric, c.p) for i, checks in enumerate(run) for c in checks if _is_recall(c) is family
        ]
        for (i, metric, _), p in zip(where, holm([p for _, _, p in where]), strict=True):
            adjusted[i, metric] = p
    settled = []
    for i, checks in enumerate(run):
        own = [
            replace(c, p=adjusted[i, c.metric], margin=c.margin if _is_recall(c) else margin) for c in checks
        ]
        settled.append(
            tuple(
                replace(c, failed=c.regressed and c.p < (RECALL_ALPHA if _is_recall(c) else alpha))
                for c in own
            )
        )
    return settled


def _is_recall(check: MetricCheck) -> bool:
    return check.metric.startswith("recall:")


def _verdict(comparison: GateComparison, alpha: float) -> Verdict:
    record, checks = comparison.record, comparison.checks
    if record is None:
        return Verdict(NEW, comparison)
    problems = []
    accuracy = comparison.metrics.overall["accuracy"].value
    n, unanswered = comparison.metrics.n, comparison.metrics.unanswered
    # The floor is about all faces of the record: some of them can be more difficult, with nothing changed.
    if record.floor is not None and n == record.n and accuracy < record.floor:
        problems.append(f"accuracy {accuracy:.3f} is under the record's hard floor of {record.floor:.3f}")
    bound = comparison.unanswered + UNANSWERED_RISE * n
    if unanswered > bound:
        problems.append(
            f"{unanswered} of {n} faces have no answer; the bound is {bound:.0f} "
            f"({comparison.unanswered} in the record, and {UNANSWERED_RISE:.0%} of the faces more)"
        )
    gating = [c for c in checks if not _is_recall(c)]
    if problems or any(c.failed for c in checks):
        status = FAIL
    elif any(c.regressed for c in gating):
        status = INCONCLUSIVE
    else:
        status = PASS
    establishes = minimum_detectable_fall(n, comparison.negative_flips + comparison.positive_flips, alpha)
    return Verdict(status, comparison, tuple(problems), establishes)
