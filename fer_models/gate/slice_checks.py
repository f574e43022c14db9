"""Paired checks of accuracy in the slices of the faces, against the baseline.

A fall on a few faces is invisible in the accuracy of all of them. Each slice with enough faces is checked by
itself, with the exact test of McNemar; the slices of all subjects of a run are one family (Holm).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binom

from fer_models.gate.metric_checks import SLICE, SLICE_MARGIN, MetricCheck
from fer_models.scoring.intervals import wilson_intervals
from fer_models.slices.columns import SliceColumns

IntArray = NDArray[np.int64]


def slice_checks(
    truth: IntArray, baseline: IntArray, candidate: IntArray, slices: SliceColumns
) -> tuple[MetricCheck, ...]:
    """Check accuracy in each slice of at least `slices.minimum` faces.

    Args:
        truth: (n,) labels.
        baseline: (n,) predictions of the baseline, -1 for none.
        candidate: (n,) predictions of the candidate, -1 for none.
        slices: of the same faces, in the same order.
    """
    was_correct, is_correct = baseline == truth, candidate == truth
    negative, positive = was_correct & ~is_correct, ~was_correct & is_correct
    checks = []
    for column in slices.columns:
        has_value = column.codes >= 0
        codes, size = column.codes[has_value], len(column.levels)
        n, before, now, worse, better = (
            np.bincount(codes, weights=values[has_value], minlength=size)
            for values in (np.ones(len(truth)), was_correct, is_correct, negative, positive)
        )
        p_values = binom.sf(worse - 1, worse + better, 0.5)  # `mcnemar_exact` of all slices at once
        judged = np.flatnonzero(n >= slices.minimum)
        hits, sizes = (values[judged].astype(np.int64).tolist() for values in (now, n))
        for level, measured in zip(judged.tolist(), wilson_intervals(hits, sizes), strict=True):
            old = float(before[level] / n[level])
            name, p = f"{SLICE}:{column.name}={column.levels[level]}", float(p_values[level])
            checks.append(MetricCheck(name, measured, old, measured.value - old, p, SLICE_MARGIN))
    return tuple(checks)
