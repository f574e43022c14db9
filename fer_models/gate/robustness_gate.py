"""Regression gate of robustness metrics, on the same faces, face by face.

`compare` compares one metric with its record; `judge` decides over all robustness metrics of a run, which are
one family: their p-values are adjusted together (Holm 1979), apart from those of accuracy. The level is so
small that the false-positive rate of a full run is at most 1.9 %: 1 % by accuracy and macro-F1, 0.2 % each
by recall, by slices and by faces without a prediction, and 0.3 % by robustness.
`fer_models.studies.run_power` estimates it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fer_models.errors import BaselinesError, FacesDifferError
from fer_models.gate.baselines import BaselineRecord
from fer_models.gate.gate import FAIL, INCONCLUSIVE, NEW, PASS
from fer_models.scoring.detectable_changes import (
    minimum_detectable_mean_change,
    minimum_detectable_rise,
    minimum_discordant,
    sample_deviation,
)
from fer_models.scoring.face_counts import FINGERPRINT_DIGITS, FaceCounts, IntArray, higher_is_better
from fer_models.scoring.intervals import jackknife_interval
from fer_models.scoring.paired_tests import holm, permutation_test, sign_flip_test

#: The smallest relevant change for the worse, of a metric from 0 to 1.
ROBUSTNESS_MARGIN = 0.02
#: The probability that a run without a change fails by any robustness metric.
ROBUSTNESS_ALPHA = 0.003


@dataclass(frozen=True)
class RobustnessFigure:
    """One robustness metric, now and in the record, on the same faces.

    Attributes:
        name: as in the record's `metrics`.
        faces: the number of faces that it is computed over.
        now: its value, 0..1.
        baseline: its recorded value; None without a record.
        change: now minus baseline; None without a record.
        low: lower end of the 95 % interval of the change, clustered by face.
        high: upper end of that interval.
        p: one-sided p-value of a change for the worse. After `judge`: Holm's.
        status: PASS, FAIL, INCONCLUSIVE or NEW; set by `judge`.
        minimum_detectable_change: the smallest change for the worse that is significant on this many faces
            in 80 % of runs, where as many of them change as did now; None where they are too few for any,
            and without a record. Set by `judge`.
        needed: the number of faces that must change before anything is significant in this run. Set by
            `judge`.
    """

    name: str
    faces: int
    now: float
    baseline: float | None = None
    change: float | None = None
    low: float | None = None
    high: float | None = None
    p: float | None = None
    status: str = NEW
    minimum_detectable_change: float | None = None
    needed: int | None = None
    _before: FaceCounts | None = field(default=None, repr=False, compare=False)
    _now: FaceCounts | None = field(default=None, repr=False, compare=False)

    @property
    def worsened(self) -> float:
        """Change for the worse; negative where it got better, 0 without a record."""
        return worsened(self.name, self.change or 0.0)

    def fails(self, strict: bool) -> bool:
        """Whether this ends a run with an error: FAIL does; INCONCLUSIVE and NEW do so under `strict`."""
        return self.status == FAIL or (strict and self.status != PASS)

    def as_json(self) -> dict[str, Any]:
        """Return an entry of `figures` in evals.json."""
        values = ("faces", "now", "baseline", "change", "low", "high", "p")
        names = (*values, "minimum_detectable_change", "needed")
        return {"name": self.name, **{name: getattr(self, name) for name in names}, "verdict": self.status}


def compare(
    subject: str,
    name: str,
    now: FaceCounts,
    fingerprint: str,
    record: BaselineRecord | None,
    *,
    limited: bool = False,
    resamples: int = 99_999,
) -> RobustnessFigure:
    """Compare one metric with its record, on the same faces.

    Args:
        subject: the subject's id, for messages.
        name: as in the record's `metrics`.
        now: its counts, faces in canonical order.
        fingerprint: of these faces.
        record: of the subject, or None.
        limited: the run evaluates some faces of its split only: other faces than the record's are NEW, and
            no error.
        resamples: of a test that is not exact.

    Raises:
        BaselinesError: the record has the metric without its counts per face.
        FacesDifferError: the record's counts are of other faces.
    """
    figure = RobustnessFigure(name, now.n, now.value, _now=now)
    if record is None or name not in record.metrics:
        return figure
    if name not in record.face_counts:
        raise BaselinesError(
            f"{subject}: the baseline of {name!r} has no counts per face, so it cannot be compared face by "
            "face. Record it again: repeat the run with --update-baselines"
        )
    before, faces = FaceCounts.decode(record.face_counts[name])
    digits = fingerprint[:FINGERPRINT_DIGITS]
    same_sizes = (before.counts.shape, before.denominator) == (now.counts.shape, now.denominator)
    if faces != digits or not same_sizes:
        if limited:
            return figure
        raise FacesDifferError(
            f"{subject}: the baseline of {name!r} is computed over {before.denominator} predictions for each "
            f"of {before.n} faces with fingerprint {faces}…, this run over {now.denominator} for each of "
            f"{now.n} with {digits}…. "
            "Use the faces and sizes of the record, or record these: "
            "repeat the run with --update-baselines"
        )
    change, p = now.value - before.value, p_worse(name, before, now, resamples)
    low, high = jackknife_interval(change, _without_each(before, now))
    return replace(figure, baseline=before.value, change=change, low=low, high=high, p=p, _before=before)


def resamples_for(family: int) -> int:
    """The resamples of a test that is judged with `family` tests in all.

    Holm's first step multiplies by their number: the test must resolve so small a p.
    """
    return max(99_999, math.ceil(4 * family / ROBUSTNESS_ALPHA))


def _without_each(before: FaceCounts, now: FaceCounts) -> NDArray[np.float64]:
    """Change without each face; (1,) for a single face."""

    def score(counts: FaceCounts) -> NDArray[np.float64]:
        return counts.score(counts.counts.sum(axis=0) - counts.counts, max(1, counts.n - 1))

    return score(now) - score(before)


def _worsening(name: str, before: FaceCounts, now: FaceCounts) -> IntArray:
    """Change of each face's count, positive for the worse."""
    return before.counts - now.counts if higher_is_better(name) else now.counts - before.counts


def p_worse(name: str, before: FaceCounts, now: FaceCounts, resamples: int = 99_999) -> float:
    """One-sided p-value of a change for the worse.

    It is exact, except for the position bias of many faces (`permutation_test`).
    """
    if now.counts.ndim == 1:
        return sign_flip_test(_worsening(name, before, now))
    return permutation_test(before.counts, now.counts, lambda totals: now.score(totals, now.n), resamples)


def worsened(name: str, change: float) -> float:
    """Change for the worse of a metric that changed by `change`; negative where it got better."""
    return -change if higher_is_better(name) else change


def is_worse(worsened: float, margin: float = ROBUSTNESS_MARGIN) -> bool:
    """Whether a change for the worse is relevant, significant or not."""
    return worsened >= margin - 1e-9


def judge(
    figures: Sequence[RobustnessFigure], *, margin: float = ROBUSTNESS_MARGIN, alpha: float = ROBUSTNESS_ALPHA
) -> list[RobustnessFigure]:
    """Judge the robustness metrics of one run, in their order, with p adjusted over all of them.

    Args:
        figures: all robustness metrics of the run.
        margin: the smallest relevant change for the worse, 0..1.
        alpha: a significant change has an adjusted p under this.
    """
    p_values = [figure.p for figure in figures if figure.p is not None]
    adjusted = iter(holm(p_values))
    return [
        figure if figure.p is None else _judge(figure, next(adjusted), margin, alpha, len(p_values))
        for figure in figures
    ]


def _judge(figure: RobustnessFigure, p: float, margin: float, alpha: float, family: int) -> RobustnessFigure:
    # Holm's first step: the level for a single change in a run without others.
    level = alpha / family
    worse = FAIL if p < alpha else INCONCLUSIVE
    status = worse if is_worse(figure.worsened, margin) else PASS
    return replace(
        figure,
        p=p,
        status=status,
        minimum_detectable_change=_minimum_detectable_change(figure, level),
        needed=minimum_discordant(level),
    )


def _minimum_detectable_change(figure: RobustnessFigure, level: float) -> float | None:
    before, now = figure._before, figure._now
    assert before is not None  # `compare` set both, or p is None
    assert now is not None
    if now.counts.ndim == 1:
        rise = minimum_detectable_rise(_worsening(figure.name, before, now), level)
        return None if rise is None else min(1.0, rise / (now.n * now.denominator))
    if now.n < minimum_discordant(level):
        return None
    influences = now.n * (figure.change or 0.0) - (now.n - 1) * _without_each(before, now)
    return min(1.0, minimum_detectable_mean_change(len(influences), sample_deviation(influences), 2 * level))
