"""Paired checks of metrics: accuracy, macro-F1, recall and log score, against the baseline.

The predictions of the baseline and of the candidate are for the same faces. `adjust_for_multiplicity`
corrects the p-values for all comparisons of a run: the more a run makes, the smaller each p-value must be
(Holm 1979). Accuracy and macro-F1 of all subjects are one family, the recalls of all emotions another, and
accuracy in the slices of the faces a third.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fer_models.emotions import EMOTIONS
from fer_models.scoring import metrics as scores
from fer_models.scoring.intervals import Measurement
from fer_models.scoring.metrics import Metrics
from fer_models.scoring.paired_tests import (
    PairedChange,
    holm,
    mcnemar_exact,
    paired_score_test,
    paired_t_test,
)

IntArray = NDArray[np.int64]

#: The smallest relevant fall of accuracy or macro-F1, and of the recall of one emotion, which is computed
#: over a seventh of the faces.
MARGIN = 0.005
RECALL_MARGIN = 0.02
#: The smallest relevant fall of accuracy in a slice, which has fewer faces too.
SLICE_MARGIN = 0.02
#: The smallest fall of the mean log score that counts as DEGRADED, in nats. A fall of one point of accuracy
#: changes it several times as much (`fer-models gate power` shows both).
DEGRADED_MARGIN = 0.005
#: The probability that a run without a change fails by accuracy or macro-F1, and by the recall of an emotion.
#: `fer-models gate power` estimates the rates of all reasons together.
ALPHA = 0.01
RECALL_ALPHA = 0.002
#: The probability that a run without a change fails by a slice.
SLICE_ALPHA = 0.002

#: The families of checks that are adjusted together, each by itself.
OVERALL, RECALL, SLICE = "overall", "recall", "slice"


@dataclass(frozen=True)
class MetricCheck:
    """One metric of the candidate and of the baseline, on the same faces.

    Attributes:
        metric: `accuracy`, `macro_f1`, `recall:EMOTION` or, for accuracy in a slice, `slice:COLUMN=SLICE`.
        now: the value of the candidate.
        baseline: the value of the baseline.
        change: candidate minus baseline.
        p: one-sided p-value of a fall: exact McNemar for accuracy and recall, paired bootstrap and
            randomization for macro-F1. After `adjust_for_multiplicity`: Holm's.
        margin: the smallest relevant fall.
        failed: the fall is at least the margin, and significant.
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
        """The fall is at least the margin, significant or not."""
        return self.change <= -self.margin + 1e-12

    @property
    def family(self) -> str:
        """What it is adjusted with: `OVERALL`, `RECALL` or `SLICE`."""
        prefix, separator, _ = self.metric.partition(":")
        return prefix if separator else OVERALL

    @property
    def is_recall(self) -> bool:
        """The metric is the recall of an emotion."""
        return self.family == RECALL


@dataclass(frozen=True)
class Degradation:
    """Change of the mean log score: the logarithm of the probability of the true emotion.

    Attributes:
        before: the geometric mean of the probability of the true emotion in the baseline, 0..1: its logarithm
            is the mean log score, so that both change in the same direction.
        now: the same of the candidate.
        change: of the mean log score, candidate minus baseline, in nats; negative is worse. Probabilities are
            rounded as in a record.
        low: lower end of the 95 % interval of the change.
        high: upper end of that interval.
        p: one-sided p-value of a fall, by the paired t-test. After `judge`: Holm's.
        is_significant: the fall is at least the margin, and significant.
    """

    before: float
    now: float
    change: float
    low: float
    high: float
    p: float
    is_significant: bool = False

    def as_json(self) -> dict[str, Any]:
        """Return the part `log_loss` of a result in evals.json."""
        numbers = {name: getattr(self, name) for name in ("before", "now", "change", "low", "high", "p")}
        return {**numbers, "found": self.is_significant}


def paired_checks(
    truth: IntArray,
    baseline: IntArray,
    candidate: IntArray,
    measured: Metrics | None = None,
    resamples: int = 9999,
) -> tuple[MetricCheck, ...]:
    """Check accuracy, macro-F1 and the recall of each emotion that occurs.

    Args:
        truth: (n,) labels.
        baseline: (n,) predictions of the baseline, -1 for none.
        candidate: (n,) predictions of the candidate, -1 for none.
        measured: the metrics of the candidate, with intervals; None gives intervals without width, which
            change no p-value.
        resamples: of the paired bootstrap of macro-F1; with 0 its p is 1, so that it cannot fail.
    """
    was_correct, is_correct = baseline == truth, candidate == truth
    flips = was_correct.astype(np.int64) - is_correct  # 1: negative flip, -1: positive flip

    def check(
        metric: str, rows: NDArray[np.bool_], measurement: Measurement | None, margin: float
    ) -> MetricCheck:
        old, new = float(was_correct[rows].mean()), float(is_correct[rows].mean())
        p = mcnemar_exact(int((flips[rows] > 0).sum()), int((flips[rows] < 0).sum()))
        now = measurement or Measurement(new, new, new, int(rows.sum()))
        return MetricCheck(metric, now, old, new - old, p, margin)

    accuracy = measured.overall["accuracy"] if measured else None
    checks = [
        check("accuracy", np.ones(len(truth), dtype=bool), accuracy, MARGIN),
        _macro_f1(truth, baseline, candidate, measured, resamples),
    ]
    for emotion in EMOTIONS:
        rows = truth == emotion
        if rows.any():
            recall = measured.per_class[emotion.label].recall if measured else None
            checks.append(check(f"recall:{emotion.label}", rows, recall, RECALL_MARGIN))
    return tuple(checks)


def _macro_f1(
    truth: IntArray, baseline: IntArray, candidate: IntArray, measured: Metrics | None, resamples: int
) -> MetricCheck:
    test = paired_score_test(truth, baseline, candidate, scores.macro_f1, resamples=max(1, resamples))
    if measured is not None:
        now = measured.overall["macro_f1"]
    else:
        f1 = float(scores.macro_f1(scores.confusion(truth, candidate)))
        now = Measurement(f1, f1, f1, len(truth))
    return MetricCheck(
        "macro_f1", now, now.value - test.change, test.change, test.p if resamples else 1.0, MARGIN
    )


def log_score_test(baseline: NDArray[np.float64], candidate: NDArray[np.float64]) -> PairedChange:
    """Test the change of the mean log score: the logarithm of the probability of the true emotion, in nats.

    Args:
        baseline: (n,) probabilities, rounded as in a record, above 0.
        candidate: (n,) probabilities for the same faces.
    """
    return paired_t_test(np.log(baseline), np.log(candidate))


def adjust_for_multiplicity(
    run: Sequence[Sequence[MetricCheck]], *, margin: float = MARGIN, alpha: float = ALPHA
) -> list[tuple[MetricCheck, ...]]:
    """Adjust the p-values of all checks of a run (Holm), and set which checks failed.

    Args:
        run: the checks of each subject.
        margin: the smallest relevant fall of accuracy or macro-F1, 0..1.
        alpha: a significant fall of accuracy or macro-F1 has an adjusted p under this.
    """
    p_values: dict[tuple[int, str], float] = {}
    levels = {OVERALL: alpha, RECALL: RECALL_ALPHA, SLICE: SLICE_ALPHA}
    for name in levels:
        family = [(i, c) for i, checks in enumerate(run) for c in checks if c.family == name]
        for (i, c), p in zip(family, holm([c.p for _, c in family]), strict=True):
            p_values[i, c.metric] = p

    def adjust(check: MetricCheck, p: float) -> MetricCheck:
        check = replace(check, p=p, margin=margin if check.family == OVERALL else check.margin)
        return replace(check, failed=check.regressed and p < levels[check.family])

    return [tuple(adjust(c, p_values[i, c.metric]) for c in checks) for i, checks in enumerate(run)]
