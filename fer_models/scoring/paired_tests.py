"""Uncertainty: intervals around what was measured, and tests of whether it fell.

Everything here counts faces. A *confusion* is an integer array of shape (7, 8): the row is the true emotion,
the column the answer in `Emotion` order, and the last column counts faces without an answer. Functions that
score confusions take any number of leading axes, (..., 7, 8), so that thousands of resamples are scored in
one call.

The bootstrap is stratified by the true emotion: how many faces of each emotion a data set has is a choice of
those who made it, not luck. Drawing faces with replacement within one emotion and counting their answers is a
multinomial draw on that emotion's row of counts, so no face is ever drawn one by one (Efron & Tibshirani, An
Introduction to the Bootstrap, 1993, ch. 6 and 13).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.stats import binom, binomtest, ttest_1samp

from fer_models.errors import PredictionError
from fer_models.scoring.intervals import (
    CONFIDENCE,
    N_ANSWERS,
    N_CLASSES,
    NO_ANSWER,
    FloatArray,
    IntArray,
    emotion_codes,
    interval_of_draws,
    require_resamples,
    require_same_length,
    resample_rows,
)

#: A score of confusions: (..., 7, 8) counts -> (...) values.
Score = Callable[[IntArray], FloatArray]


_PERMUTATIONS = 4096  # tried at a time: a megabyte or two

# Two scores that are equal on paper may differ in their last bits; such a difference is no fall.
ROUNDING = 1e-12


class PairedChange(NamedTuple):
    """How a score changed between two sets of answers about the same faces.

    Attributes:
        change: score now - score before; negative is a fall.
        low: lower end of the change's 95 % interval.
        high: upper end of the change's 95 % interval.
        p: one-sided p-value of "the score did not fall", in (0, 1].
    """

    change: float
    low: float
    high: float
    p: float


def mcnemar_exact(negative_flips: int, positive_flips: int) -> float:
    """The p-value of "accuracy did not fall": the exact, one-sided test of McNemar (Psychometrika 12, 1947).

    Only faces whose correctness changed say anything; were there no fall, each would be as likely to have
    changed either way.

    Args:
        fell: faces answered right before and wrong now.
        rose: faces answered wrong before and right now.

    Returns:
        a p-value in (0, 1]; 1.0 where no face changed.

    Raises:
        PredictionError: a count is negative.
    """
    if negative_flips < 0 or positive_flips < 0:
        raise PredictionError(
            f"Counts of changed faces cannot be negative, got {negative_flips} fell and {positive_flips} rose."
        )
    if negative_flips + positive_flips == 0:
        return 1.0
    return float(
        binomtest(negative_flips, negative_flips + positive_flips, 0.5, alternative="greater").pvalue
    )


def holm(p_values: Sequence[float]) -> list[float]:
    """`p_values` adjusted for being many (S. Holm, Scand. J. Statist. 6, 1979), in the order given.

    Comparing each with alpha keeps the chance of even one false alarm in the whole run under alpha, dependent
    tests or not. statsmodels has it too, but collects garbage on every call, and the gate's self-test judges
    tens of thousands of runs.

    Raises:
        PredictionError: a p-value is NaN or outside [0, 1].
    """
    for p in p_values:
        if not 0 <= p <= 1:
            raise PredictionError(f"A p-value must be in [0, 1], got {p}.")
    order = np.argsort(p_values, kind="stable")
    adjusted = np.empty(len(p_values))
    adjusted[order] = np.minimum(
        1.0, np.maximum.accumulate(np.arange(len(p_values), 0, -1) * np.asarray(p_values, dtype=float)[order])
    )
    return [float(p) for p in adjusted]


def paired_score_test(
    truth: npt.ArrayLike,
    baseline: npt.ArrayLike,
    candidate: npt.ArrayLike,
    score: Score,
    resamples: int = 9999,
    seed: int = 0,
) -> PairedChange:
    """Whether a score fell between two sets of answers about the same faces: by a paired bootstrap, and by
    exchanging answers.

    Each resample of the bootstrap draws faces within each true emotion, and with a face both of its answers.
    A score like macro-F1 may hang on a handful of faces (FER-2013's PrivateTest has 55 of disgust), of which
    a bootstrap is too sure; so a fall must also stand out when each face's two answers are exchanged at
    random, as they could be had nothing changed (approximate randomization: Noreen, Computer-Intensive
    Methods for Testing Hypotheses, 1989; Yeh, COLING 2000). The cost of either does not grow with the number
    of faces.

    Args:
        truth: (n,) emotions, 0..6.
        before: (n,) answers, -1 (no answer)..6.
        now: (n,) answers, -1 (no answer)..6.
        score: a score of confusions, such as `metrics.macro_f1`.
        resamples: how many to draw, of each kind; the smallest possible p is 1 / (resamples + 1).
        seed: the same seed gives the same result.

    Returns:
        the change, its 95 % bootstrap interval, and the greater of the two one-sided p-values (1 + resamples
        that speak against a fall) / (resamples + 1) (Davison & Hinkley, Bootstrap Methods and their
        Application, 1997, ch. 4). Equal answers: 0, 0, 0, 1.

    Raises:
        PredictionError: no faces, lengths that differ, values out of range, or a score that these faces leave
            undefined.
    """
    joint = _joint_table(
        emotion_codes("truth", truth),
        emotion_codes("the answers before", baseline, lowest=NO_ANSWER),
        emotion_codes("the answers now", candidate, lowest=NO_ANSWER),
    )
    require_resamples(resamples)
    change = float(_change(joint, score))
    draws = _change(
        resample_rows(joint.reshape(N_CLASSES, -1), resamples, seed).reshape(resamples, *joint.shape), score
    )
    if not (math.isfinite(change) and np.isfinite(draws).all()):
        raise PredictionError(
            "The score is undefined (NaN) on these faces, so it cannot be compared: does its emotion occur among them?"
        )
    exchanged = _change(_permuted(joint, resamples, seed), score)
    against = max(int((draws >= -ROUNDING).sum()), int((exchanged <= change + ROUNDING).sum()))
    low, high = interval_of_draws(change, draws)
    return PairedChange(change, low, high, (1 + against) / (resamples + 1))


def _permuted(joint: IntArray, resamples: int, seed: int) -> IntArray:
    """Joint tables (resamples, 7, 8, 8) in which each face's answers before and now are exchanged with
    probability one half.
    """
    both: IntArray = joint + joint.swapaxes(-1, -2)
    true, first, second = np.argwhere(np.triu(both, k=1)).T
    tables: IntArray = np.broadcast_to(joint, (resamples, *joint.shape)).copy()
    pairs = both[true, first, second]
    kept = np.random.default_rng(seed).binomial(pairs, 0.5, size=(resamples, len(pairs)))
    tables[:, true, first, second] = kept
    tables[:, true, second, first] = pairs - kept
    return tables


def paired_t_test(baseline: FloatArray, candidate: FloatArray) -> PairedChange:
    """Whether the mean of a score per face fell, by the one-sided paired t-test.

    Where few faces changed, t is surer than it may be: k changed faces can all have fallen by chance in one
    of 2^k cases, so p is at least that.

    Args:
        before: (n,) finite scores.
        now: (n,) finite scores of the same faces.

    Returns:
        mean(now - before), its 95 % interval and the p-value of "it did not fall". Equal scores: 0, 0, 0, 1.

    Raises:
        PredictionError: no faces, lengths that differ, or a score that is NaN or infinite.
    """
    require_same_length(before=baseline, now=candidate)
    difference = np.sort(candidate - baseline)  # sorted, so that the order of the faces does not change the last bit
    if difference.size == 0 or not np.isfinite(difference).all():
        raise PredictionError(
            f"A paired test needs finite scores of at least one face, got {difference.size} faces."
        )
    change, changed = float(difference.mean()), int(np.count_nonzero(difference))
    if changed == 0:
        return PairedChange(0.0, 0.0, 0.0, 1.0)
    spread = float(difference.std())
    if spread <= ROUNDING:  # one face, or all moved alike: nothing for t to stand on
        return PairedChange(change, change, change, 0.5**changed if change < 0 else 1.0)
    interval = ttest_1samp(difference, 0.0).confidence_interval(CONFIDENCE)
    p = float(ttest_1samp(difference, 0.0, alternative="less").pvalue)
    return PairedChange(change, float(interval.low), float(interval.high), min(1.0, max(p, 0.5**changed)))


def _joint_table(truth: IntArray, before: IntArray, now: IntArray) -> IntArray:
    """How often each (emotion, answer before, answer now) occurs: (7, 8, 8) counts, no answer last."""
    require_same_length(truth=truth, before=before, now=now)
    # -1 modulo 8 is 7, the place of no answer.
    cells = (truth * N_ANSWERS + before % N_ANSWERS) * N_ANSWERS + now % N_ANSWERS
    return (
        np.bincount(cells, minlength=N_CLASSES * N_ANSWERS**2)
        .reshape(N_CLASSES, N_ANSWERS, N_ANSWERS)
        .astype(np.int64)
    )


def _change(joint: IntArray, score: Score) -> FloatArray:
    """Score now - score before of joint tables (..., 7, 8, 8)."""
    return np.asarray(score(joint.sum(axis=-2)) - score(joint.sum(axis=-1)), dtype=np.float64)


def sign_flip_test(differences: IntArray) -> float:
    """The p-value of "the sum did not rise": the exact one-sided permutation test of paired differences.

    Were there no change, each face's two versions could as well be exchanged, which turns the sign of its
    difference. The distribution of the sum over all 2^n exchanges is computed exactly, as a convolution of
    binomial distributions, one for each size of difference. Where all differences are -1, 0 or 1 this is the
    exact test of McNemar.

    Args:
        differences: (n,) integers, one for each face, positive where it rose. Several predictions about one
            face are one difference.

    Returns:
        a p-value in [0, 1]; 1.0 where nothing changed.

    Raises:
        PredictionError: the differences are not integers of at least one face.
    """
    sizes, faces = sizes_and_counts(differences)
    if len(sizes) == 0:
        return 1.0
    risen = int(differences[differences > 0].sum())
    return min(1.0, float(sum_of_positive_flips(sizes, faces, 0.5)[risen:][::-1].sum()))


def sizes_and_counts(differences: IntArray) -> tuple[IntArray, IntArray]:
    """The sizes of differences that occur, without 0, and how many faces have each."""
    if differences.ndim != 1 or differences.size == 0 or differences.dtype.kind != "i":
        raise PredictionError(
            f"A paired test needs integer differences of at least one face, got {differences.dtype} of shape {differences.shape}."
        )
    sizes, faces = np.unique(np.abs(differences[differences != 0]), return_counts=True)
    return sizes.astype(np.int64), faces.astype(np.int64)


def permutation_test(
    baseline: IntArray,
    candidate: IntArray,
    score: Callable[[FloatArray], FloatArray],
    resamples: int = 99_999,
    seed: int = 0,
) -> float:
    """The p-value of "the score did not rise", for a score of sums over faces that is no mean: the one-sided
    permutation test.

    Were there no change, each face's two versions could as well be exchanged (as in `sign_flip_rise`). All
    exchanges are tried where there are at most `resamples`, else as many random ones.

    Args:
        before, now: (n, k) counts of the same faces.
        score: of sums (..., k) -> (...).
        resamples: how many random exchanges; the smallest possible p is then 1 / (resamples + 1).
        seed: the same seed gives the same result.

    Raises:
        PredictionError: no faces, other shapes, or `resamples` is under 1.
    """
    if baseline.shape != candidate.shape or baseline.ndim != 2 or baseline.size == 0:
        raise PredictionError(
            f"A paired test needs counts of the same faces, got shapes {baseline.shape} and {candidate.shape}."
        )
    require_resamples(resamples)
    differences = candidate - baseline
    differences = differences[differences.any(axis=1)]
    differences = differences[np.lexsort(differences.T)].astype(
        np.float32
    )  # so that the order of the faces changes no draw
    changed, start, end = (
        len(differences),
        baseline.sum(axis=0).astype(np.float64),
        candidate.sum(axis=0).astype(np.float64),
    )
    every = changed < 63 and 2**changed <= resamples
    rng = np.random.default_rng(seed)
    at_least, draws = 0, 2**changed if every else resamples
    observed = score(end) - score(start) - ROUNDING
    for first in range(0, draws, _PERMUTATIONS):
        size = min(_PERMUTATIONS, draws - first)
        signs: npt.NDArray[Any]
        if every:
            signs = (np.arange(first, first + size)[:, None] >> np.arange(changed)) & 1
        else:
            signs = np.unpackbits(
                rng.integers(0, 256, size=(size, -(-changed // 8)), dtype=np.uint8), axis=1, count=changed
            )
        exchanged = start + signs.astype(np.float32) @ differences
        at_least += int((score(exchanged) - score(start + end - exchanged) >= observed).sum())
    return at_least / draws if every else (1 + at_least) / (draws + 1)


def sum_of_positive_flips(sizes: IntArray, faces: IntArray, share: float) -> FloatArray:
    """The distribution of the summed sizes of those faces that rise, where each does with probability
    `share`: P(sum = 0), P(sum = 1), …
    """
    distribution: FloatArray = np.ones(1)
    for size, n in zip(sizes.tolist(), faces.tolist(), strict=True):
        spaced = np.zeros(size * n + 1)
        spaced[::size] = binom.pmf(np.arange(n + 1), n, share)
        distribution = np.convolve(distribution, spaced).astype(np.float64)
    return distribution
