"""Regression gate: judges whether a model is worse than its baseline, face by face.

`compare` compares the predictions of one subject with its record; `judge` gives the verdicts of a full run,
with p-values adjusted for all its comparisons.

Accuracy counts only whether a prediction is correct. The probability of the true emotion detects smaller
changes: where its logarithm, the one proper score that needs nothing but this probability (Bernardo, Ann.
Statist. 7, 1979), falls by a significant and relevant amount, the verdict has the label DEGRADED.
`fer_models.gate.power` estimates the false-positive rate and the power of each.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fer_models.errors import BaselinesError, FacesDifferError, PredictionError
from fer_models.gate.baselines import BaselineRecord, quantize_probability
from fer_models.gate.metric_checks import (
    ALPHA,
    DEGRADED_MARGIN,
    MARGIN,
    OVERALL,
    Degradation,
    MetricCheck,
    adjust_for_multiplicity,
    log_score_test,
    paired_checks,
)
from fer_models.gate.slice_checks import slice_checks
from fer_models.scoring.detectable_changes import minimum_detectable_fall, minimum_discordant
from fer_models.scoring.metrics import Metrics
from fer_models.scoring.paired_tests import holm, mcnemar_exact
from fer_models.scoring.sample_size import required_sample_size
from fer_models.slices.columns import SliceColumns
from fer_models.store.predictions import PredictionTable
from fer_models.store.subject import Subject

#: By how much the share of faces without a prediction may rise.
UNANSWERED_RISE = 0.01
#: The probability that a run without a change fails by faces without a prediction.
UNANSWERED_ALPHA = 0.002

PASS, FAIL, INCONCLUSIVE, NEW = "PASS", "FAIL", "INCONCLUSIVE", "NEW"


@dataclass(frozen=True, eq=False)
class ComparedFaces:
    """The faces that a comparison is about.

    Attributes:
        fingerprint: of the full split, also when only a part of it was predicted.
        labels: of the full split, in canonical order.
        rows: the rows of the predicted faces in the canonical order of the full split; None for all.
        slices: of the predicted faces.
    """

    fingerprint: str
    labels: NDArray[np.int64]
    rows: NDArray[np.int64] | None = None
    slices: SliceColumns = field(default_factory=SliceColumns)


@dataclass(frozen=True)
class GateComparison:
    """Comparison of one subject with its record; without a record most fields are empty.

    Attributes:
        subject: what is evaluated.
        metrics: of the predictions.
        record: the baseline, or None.
        checks: of accuracy, macro-F1, recall, and accuracy in slices.
        negative_flips: number of faces that are correct in the record and wrong now.
        positive_flips: number of faces that are wrong in the record and correct now.
        recalls: by emotion, in the record and now.
        degradation: the change of the log score; None without probabilities.
        unanswered: number of these faces without a prediction in the record.
        lost_and_gained: number of faces that have a prediction in the record only, and now only.
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
    lost_and_gained: tuple[int, int] = (0, 0)


@dataclass(frozen=True)
class Verdict:
    """Verdict of the gate on one subject.

    Attributes:
        status: PASS, FAIL, INCONCLUSIVE or NEW.
        comparison: its comparison, with Holm-adjusted p-values.
        problems: a sentence on each other reason to fail: the floor, faces without a prediction.
        minimum_detectable_fall: the smallest fall of accuracy that is significant on this many faces in 80 %
            of runs, 0..1; None without a record, and where even a change of every face would not be.
        required_sample_size: the number of faces on which this fall of accuracy is significant in 80 % of
            runs, if as large a share of the faces changes; None where accuracy is not INCONCLUSIVE, or its
            fall not above the margin.
    """

    status: str
    comparison: GateComparison
    problems: tuple[str, ...] = ()
    minimum_detectable_fall: float | None = None
    required_sample_size: int | None = None

    @property
    def failed_checks(self) -> tuple[MetricCheck, ...]:
        """Checks that failed."""
        return tuple(c for c in self.comparison.checks if c.failed)

    @property
    def is_degraded(self) -> bool:
        """DEGRADED: the log score fell significantly, and the status is not FAIL already."""
        degradation = self.comparison.degradation
        return degradation is not None and degradation.is_significant and self.status != FAIL

    @property
    def label(self) -> str:
        """Status, with DEGRADED where it applies: `PASS, DEGRADED`."""
        return f"{self.status}, DEGRADED" if self.is_degraded else self.status

    def fails(self, strict: bool) -> bool:
        """Whether this ends a run with an error: always FAIL; `strict`: all but PASS, and DEGRADED."""
        return self.status == FAIL or (strict and (self.status != PASS or self.is_degraded))

    @property
    def worst_class(self) -> tuple[str, float, float] | None:
        """Emotion with the greatest fall of recall: name, baseline, now; None if no recall fell."""
        changes = [(now - old, label, old, now) for label, (old, now) in self.comparison.recalls.items()]
        falls = [change for change in changes if change[0] < 0]
        return min(falls)[1:] if falls else None

    def changes_json(self) -> dict[str, Any] | None:
        """Return the part `changes` of a result in evals.json."""
        if self.comparison.record is None:
            return None
        faces = {
            "negative_flips": self.comparison.negative_flips,
            "positive_flips": self.comparison.positive_flips,
            "minimum_detectable_fall": self.minimum_detectable_fall,
            "required_sample_size": self.required_sample_size,
        }
        checks = self.comparison.checks
        return {c.metric: {"change": c.change, "p": c.p, "failed": c.failed} for c in checks} | {
            "faces": faces
        }


def resamples_for(family: int) -> int:
    """The bootstrap resamples of a comparison that is judged with `family` comparisons in all.

    Holm's first step multiplies by their number: the bootstrap must resolve so small a p.
    """
    return max(9999, 400 * family)


def compare(
    subject: Subject,
    predictions: PredictionTable,
    measured: Metrics,
    record: BaselineRecord | None,
    faces: ComparedFaces,
    *,
    resamples: int = 9999,
) -> GateComparison:
    """Compare the predictions of `subject` with its record, on the same faces.

    Args:
        subject: what is evaluated.
        predictions: in canonical order.
        measured: the metrics of these predictions.
        record: the baseline, or None (NEW).
        faces: those of the record, and which of them were predicted.
        resamples: of the paired bootstrap.

    Raises:
        FacesDifferError: the record is computed over other faces.
        BaselinesError: the record contradicts itself.
        PredictionError: there are no predictions, or a metric is not a number.
    """
    if len(predictions) == 0:
        raise PredictionError(f"{subject.id}: no face was predicted, so there is nothing to judge.")
    if record is None:
        return GateComparison(subject, measured)
    _check_record(subject, record, faces.fingerprint, faces.labels)
    old, p_old = record.decode_predictions(), record.decode_p_true()
    if faces.rows is not None:
        old, p_old = old[faces.rows], p_old[faces.rows]
    truth, new = predictions.truth, predictions.answer
    checks = paired_checks(truth, old, new, measured, resamples)
    checks += slice_checks(truth, old, new, faces.slices)
    recalls = {
        c.metric.removeprefix("recall:"): (c.baseline, c.baseline + c.change) for c in checks if c.is_recall
    }
    degradation = None
    if predictions.has_probabilities and record.has_probabilities:  # a generated reply has no log score
        p_new = quantize_probability(predictions.p_true)
        before, now = (float(np.exp(np.log(p).mean())) for p in (p_old, p_new))
        degradation = Degradation(before, now, *log_score_test(p_old, p_new))
    was_correct = old == truth
    return GateComparison(
        subject,
        measured,
        record,
        checks,
        negative_flips=int((was_correct & ~predictions.correct).sum()),
        positive_flips=int((~was_correct & predictions.correct).sum()),
        recalls=recalls,
        degradation=degradation,
        unanswered=int((old < 0).sum()),
        lost_and_gained=(int(((old >= 0) & (new < 0)).sum()), int(((old < 0) & (new >= 0)).sum())),
    )


def _check_record(
    subject: Subject, record: BaselineRecord, fingerprint: str, labels: NDArray[np.int64]
) -> None:
    """Check that a record is of these faces, and that its predictions have the accuracy that it claims."""
    if record.dataset_fingerprint != fingerprint or record.n != len(labels):
        raise FacesDifferError(
            f"{subject.id}: its baseline is computed over {record.n} faces of "
            f"{record.dataset}/{record.split} with fingerprint {record.dataset_fingerprint[:12]}…, "
            f"this run over {len(labels)} with {fingerprint[:12]}…. "
            "Use the faces of the record, or record these: repeat the run with --update-baselines"
        )
    accuracy, claimed = float((record.decode_predictions() == labels).mean()), record.metrics["accuracy"]
    if abs(accuracy - claimed) > 1e-6:  # a record rounds to 6 decimals
        raise BaselinesError(
            f"The record of {subject.id} contradicts itself: its predictions have an accuracy of "
            f"{accuracy:.4f}, its metrics {claimed:.4f}. "
            "Restore baselines.json from git, or record again: fer-models eval --update-baselines"
        )


def judge(
    comparisons: Sequence[GateComparison], *, margin: float = MARGIN, alpha: float = ALPHA
) -> list[Verdict]:
    """Judge all comparisons of a run, in their order, with p-values adjusted together.

    Args:
        comparisons: of all subjects of the run.
        margin: the smallest relevant fall of accuracy or macro-F1, 0..1.
        alpha: a significant fall of accuracy, macro-F1 or the log score has an adjusted p under this.
    """
    adjusted = adjust_for_multiplicity([c.checks for c in comparisons], margin=margin, alpha=alpha)
    family = sum(check.family == OVERALL for c in comparisons for check in c.checks)
    p_values = iter(holm([c.degradation.p for c in comparisons if c.degradation is not None]))
    verdicts = []
    for comparison, checks in zip(comparisons, adjusted, strict=True):
        degradation = comparison.degradation
        if degradation is not None:
            p = next(p_values)
            is_significant = degradation.change <= -DEGRADED_MARGIN and p < alpha
            degradation = replace(degradation, p=p, is_significant=is_significant)
        judged = replace(comparison, checks=checks, degradation=degradation)
        verdicts.append(_verdict(judged, alpha, family, margin))
    return verdicts


def _verdict(comparison: GateComparison, alpha: float, family: int, margin: float) -> Verdict:
    record, checks = comparison.record, comparison.checks
    if record is None:
        return Verdict(NEW, comparison)
    problems = _problems(comparison, record, family)
    if problems or any(c.failed for c in checks):
        status = FAIL
    elif any(c.regressed for c in checks if c.family == OVERALL):
        status = INCONCLUSIVE
    else:
        status = PASS
    discordant = comparison.negative_flips + comparison.positive_flips
    # Holm's first step: the level for a single change in a run without others.
    detectable, required = None, None
    if comparison.metrics.n >= minimum_discordant(alpha / family):
        detectable = minimum_detectable_fall(comparison.metrics.n, discordant, alpha / family, margin=margin)
    if status == INCONCLUSIVE and any(c.regressed for c in checks if c.metric == "accuracy"):
        required = _required_sample_size(comparison, alpha, family, margin)
    return Verdict(status, comparison, problems, detectable, required)


def _required_sample_size(comparison: GateComparison, alpha: float, family: int, margin: float) -> int | None:
    negative, positive, n = comparison.negative_flips, comparison.positive_flips, comparison.metrics.n
    fall, discordant = (negative - positive) / n, (negative + positive) / n
    if fall <= margin:  # with any number of faces, half of all runs observe a smaller fall, which passes
        return None
    return required_sample_size(fall, discordant, alpha=alpha, family=family, margin=margin)


def _problems(comparison: GateComparison, record: BaselineRecord, family: int) -> tuple[str, ...]:
    problems = []
    accuracy = comparison.metrics.overall["accuracy"].value
    n, unanswered = comparison.metrics.n, comparison.metrics.unanswered
    # The floor is for all faces of the record: some of them can be more difficult, with nothing changed.
    if record.floor is not None and n == record.n and accuracy < record.floor:
        correct, needed = round(accuracy * n), math.ceil(record.floor * n - 1e-9)
        problems.append(
            f"accuracy {accuracy:.3f} is under the record's hard floor of {record.floor:.3f}: "
            f"{correct} of {n} faces are correct, and {needed} must be. --update-baselines keeps the floor; "
            'to accept this accuracy, change "floor" in baselines.json'
        )
    bound = comparison.unanswered + UNANSWERED_RISE * n
    # A model whose replies vary loses some by chance: on few faces one more is no evidence.
    if unanswered > bound and mcnemar_exact(*comparison.lost_and_gained) < UNANSWERED_ALPHA / family:
        problems.append(
            f"{unanswered} of {n} faces have no prediction; the bound is {math.floor(bound)} "
            f"({comparison.unanswered} in the record, and {UNANSWERED_RISE:.0%} of the faces more)"
        )
    return tuple(problems)
