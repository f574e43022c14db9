"""Paired tests: whether a score fell, or a count rose, between two versions on the same faces.

A *confusion* is an integer array of shape (7, 8): the row is the true emotion, the column the predicted one
in `Emotion` order, and the last column counts faces without a prediction. Functions that score confusions
take any number of leading axes, (..., 7, 8), so that thousands of resamples are scored in one call.

The bootstrap is stratified by the true emotion: the number of faces of each emotion is a choice of the
authors of a dataset, and not random. Drawing faces with replacement within one emotion and counting their
predictions is a multinomial draw on that emotion's row of counts, so no face is drawn one by one (Efron &
Tibshirani, An Introduction to the Bootstrap, 1993, ch. 6 and 13).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
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
# Two scores that are mathematically equal may differ in their last bits; such a difference is no fall.
ROUNDING = 1e-12
#: The resamples after which `paired_score_test` ends where p is clear: as many as give an interval.
FIRST_RESAMPLES = 999
#: A p far above every level of the gate.
CLEAR_P = 0.05


class PairedChange(NamedTuple):
    """Change of a score between two versions on the same faces.

    Attributes:
        change: candidate - baseline; negative is a fall.
        low: lower end of the change's 95 % interval.
        high: upper end of the change's 95 % interval.
        p: one-sided p-value of a fall, in (0, 1].
    """

    change: float
    low: float
    high: float
    p: float


def mcnemar_exact(negative_flips: int, positive_flips: int) -> float:
    """Exact one-sided test of McNemar (Psychometrika 12, 1947): p-value of a fall of accuracy.

    Only faces whose correctness changed count. Under the null hypothesis each change is as likely either way.

    Args:
        negative_flips: faces that are correct in the baseline and wrong in the candidate.
        positive_flips: faces that are wrong in the baseline and correct in the candidate.

    Returns:
        a p-value in (0, 1]; 1.0 where no face changed.

    Raises:
        PredictionError: a count is negative.
    """
    if negative_flips < 0 or positive_flips < 0:
        raise PredictionError(
            f"Counts of changed faces cannot be negative, got {negative_flips} negative flips "
            f"and {positive_flips} positive flips."
        )
    n = negative_flips + positive_flips
    return float(binomtest(negative_flips, n, 0.5, alternative="greater").pvalue) if n else 1.0


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjust p-values for multiple tests (S. Holm, Scand. J. Statist. 6, 1979), in the order given.

    Comparing each with alpha keeps the probability of even one false positive in a full run under alpha, for
    dependent tests too. statsmodels has it as well, but collects garbage on every call, and
    `fer_models.gate.power` judges tens of thousands of runs.

    Raises:
        PredictionError: a p-value is NaN or outside [0, 1].
    """
    for p in p_values:
        if not 0 <= p <= 1:
            raise PredictionError(f"A p-value must be in [0, 1], got {p}.")
    order = np.argsort(p_values, kind="stable")
    steps = np.arange(len(p_values), 0, -1) * np.asarray(p_values, dtype=float)[order]
    adjusted = np.empty(len(p_values))
    adjusted[order] = np.minimum(1.0, np.maximum.accumulate(steps))
    return [float(p) for p in adjusted]


def paired_score_test(
    truth: npt.ArrayLike,
    baseline: npt.ArrayLike,
    candidate: npt.ArrayLike,
    score: Score,
    resamples: int = 9999,
    seed: int = 0,
) -> PairedChange:
    """Test whether a score fell, by a paired bootstrap and by approximate randomization.

    Each resample of the bootstrap draws faces within each true emotion, and with a face both of its
    predictions. A score like macro-F1 may depend on few faces (FER-2013's PrivateTest has 55 of disgust), and
    for these a bootstrap is too confident. Therefore a fall must also be significant when each face's two
    predictions are exchanged at random, which changes nothing under the null hypothesis (approximate
    randomization: Noreen, Computer-Intensive Methods for Testing Hypotheses, 1989; Yeh, COLING 2000). The
    cost of either does not grow with the number of faces.

    A p of `CLEAR_P` or more after `FIRST_RESAMPLES` ends the test (a sequential Monte Carlo test: Besag &
    Clifford, Biometrika 78, 1991): no level below `CLEAR_P` is reached more often than without this rule.

    Args:
        truth: (n,) emotions, 0..6.
        baseline: (n,) predictions, -1 (none)..6.
        candidate: (n,) predictions, -1 (none)..6.
        score: a score of confusions, such as `metrics.macro_f1`.
        resamples: how many to draw at most, of each kind; the smallest possible p is 1 / (resamples + 1).
        seed: the same seed gives the same result.

    Returns:
        the change, its 95 % bootstrap interval, and the greater of the two one-sided p-values (1 + resamples
        without a fall) / (resamples + 1) (Davison & Hinkley, Bootstrap Methods and their Application, 1997,
        ch. 4). Equal predictions: 0, 0, 0, 1.

    Raises:
        PredictionError: no faces, lengths that differ, values out of range, or a score that is undefined on
            these faces.
    """
    joint = _joint_table(
        emotion_codes("truth", truth),
        emotion_codes("the predictions of the baseline", baseline, lowest=NO_ANSWER),
        emotion_codes("the predictions of the candidate", candidate, lowest=NO_ANSWER),
    )
    require_resamples(resamples)
    first = min(resamples, FIRST_RESAMPLES)
    tested = _test_score(joint, score, first, seed)
    return tested if first == resamples or tested.p >= CLEAR_P else _test_score(joint, score, resamples, seed)


def _test_score(joint: IntArray, score: Score, resamples: int, seed: int) -> PairedChange:
    """The test of `paired_score_test` with a fixed number of resamples."""
    change = float(_change(*_confusions(joint), score))
    rows = resample_rows(joint.reshape(N_CLASSES, -1), resamples, seed)
    draws = _change(*_confusions(rows.reshape(resamples, *joint.shape)), score)
    if not (math.isfinite(change) and np.isfinite(draws).all()):
        raise PredictionError(
            "The score is undefined (NaN) on these faces, so it cannot be compared: "
            "does its emotion occur among them?"
        )
    exchanged = _change(*_exchanged_confusions(joint, resamples, seed), score)
    without_fall = max(int((draws >= -ROUNDING).sum()), int((exchanged <= change + ROUNDING).sum()))
    low, high = interval_of_draws(change, draws)
    return PairedChange(change, low, high, (1 + without_fall) / (resamples + 1))


def _confusions(joint: IntArray) -> tuple[IntArray, IntArray]:
    """The confusions (..., 7, 8) of the baseline and of the candidate in joint tables (..., 7, 8, 8)."""
    # As `sum`, and five times as fast on thousands of small tables.
    return np.einsum("...bc->...b", joint), np.einsum("...bc->...c", joint)


def _exchanged_confusions(joint: IntArray, resamples: int, seed: int) -> tuple[IntArray, IntArray]:
    """Both confusions (resamples, 7, 8), with each face's two predictions exchanged with probability 1/2."""
    both = joint + joint.swapaxes(-1, -2)
    true, first, second = np.argwhere(np.triu(both, k=1)).T
    faces = both[true, first, second]  # with these two predictions, in either order
    firsts = np.random.default_rng(seed).binomial(faces, 0.5, size=(resamples, len(faces)))
    effects = np.zeros((len(faces), *joint.shape[:2]))
    effects[np.arange(len(faces)), true, first], effects[np.arange(len(faces)), true, second] = 1, -1
    without = np.einsum("tbb->tb", joint).copy()
    np.add.at(without, (true, second), faces)
    # Counts are exact in float64, whose products are much faster than those of integers.
    baseline = without + np.tensordot(firsts.astype(np.float64), effects, axes=1).astype(np.int64)
    return baseline, both.sum(axis=-1) - baseline


def paired_t_test(baseline: FloatArray, candidate: FloatArray) -> PairedChange:
    """Test whether the mean of a score per face fell, by the one-sided paired t-test.

    Where few faces changed, t is too confident: k changes can all be falls by chance in one of 2^k cases, so
    p is at least that.

    Args:
        baseline: (n,) finite scores.
        candidate: (n,) finite scores of the same faces.

    Returns:
        mean(candidate - baseline), its 95 % interval and the p-value of a fall. Equal scores: 0, 0, 0, 1.

    Raises:
        PredictionError: no faces, lengths that differ, or a score that is NaN or infinite.
    """
    require_same_length(baseline=baseline, candidate=candidate)
    differences = np.sort(candidate - baseline)  # sorted: the order of the faces changes no bit
    if differences.size == 0 or not np.isfinite(differences).all():
        raise PredictionError(
            f"A paired test needs finite scores of at least one face, got {differences.size} faces."
        )
    change, n_changed = float(differences.mean()), int(np.count_nonzero(differences))
    if n_changed == 0:
        return PairedChange(0.0, 0.0, 0.0, 1.0)
    spread = float(differences.std())
    if spread <= ROUNDING:  # one face, or equal differences: t is undefined
        return PairedChange(change, change, change, 0.5**n_changed if change < 0 else 1.0)
    interval = ttest_1samp(differences, 0.0).confidence_interval(CONFIDENCE)
    p = float(ttest_1samp(differences, 0.0, alternative="less").pvalue)
    return PairedChange(change, float(interval.low), float(interval.high), min(1.0, max(p, 0.5**n_changed)))


def _joint_table(truth: IntArray, baseline: IntArray, candidate: IntArray) -> IntArray:
    """Counts (7, 8, 8) of each (emotion, baseline prediction, candidate prediction); none is last."""
    require_same_length(truth=truth, baseline=baseline, candidate=candidate)
    # -1 modulo 8 is 7, the index of no prediction.
    cells = (truth * N_ANSWERS + baseline % N_ANSWERS) * N_ANSWERS + candidate % N_ANSWERS
    counts = np.bincount(cells, minlength=N_CLASSES * N_ANSWERS**2)
    return counts.reshape(N_CLASSES, N_ANSWERS, N_ANSWERS).astype(np.int64)


def _change(baseline: IntArray, candidate: IntArray, score: Score) -> FloatArray:
    """Candidate score - baseline score of confusions (..., 7, 8)."""
    return np.asarray(score(candidate) - score(baseline), dtype=np.float64)


def sign_flip_test(differences: IntArray) -> float:
    """Exact one-sided permutation test of paired differences: p-value of a rise of their sum.

    Under the null hypothesis each face's two versions can be exchanged, which flips the sign of its
    difference. The distribution of the sum over all 2^n exchanges is computed exactly, as a convolution of
    binomial distributions, one for each size of difference. Where all differences are -1, 0 or 1 this is the
    exact test of McNemar.

    Args:
        differences: (n,) integers, one for each face, positive for a rise. Several predictions for one face
            are one difference.

    Returns:
        a p-value in [0, 1]; 1.0 where nothing changed.

    Raises:
        PredictionError: the differences are not integers of at least one face.
    """
    sizes, faces = sizes_and_counts(differences)
    if len(sizes) == 0:
        return 1.0
    rise = int(differences[differences > 0].sum())
    return min(1.0, float(sum_of_positive_flips(sizes, faces, 0.5)[rise:][::-1].sum()))


def sizes_and_counts(differences: IntArray) -> tuple[IntArray, IntArray]:
    """Sizes of differences that occur, without 0, and the number of faces with each."""
    if differences.ndim != 1 or differences.size == 0 or differences.dtype.kind != "i":
        raise PredictionError(
            "A paired test needs integer differences of at least one face, "
            f"got {differences.dtype} of shape {differences.shape}."
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
    """Permutation test (one-sided) of a score of sums over faces that is no mean: p-value of a rise.

    Under the null hypothesis each face's two versions can be exchanged (as in `sign_flip_test`). All
    exchanges are tried where there are at most `resamples`, else as many random ones.

    Args:
        baseline: (n, k) counts.
        candidate: (n, k) counts of the same faces.
        score: of sums (..., k) -> (...).
        resamples: how many random exchanges; the smallest possible p is then 1 / (resamples + 1).
        seed: the same seed gives the same result.

    Raises:
        PredictionError: no faces, other shapes, or `resamples` is under 1.
    """
    if baseline.shape != candidate.shape or baseline.ndim != 2 or baseline.size == 0:
        raise PredictionError(
            "A paired test needs counts of the same faces, "
            f"got shapes {baseline.shape} and {candidate.shape}."
        )
    require_resamples(resamples)
    differences = candidate - baseline
    differences = differences[differences.any(axis=1)]
    # Sorted, so that the order of the faces changes no draw.
    differences = differences[np.lexsort(differences.T)].astype(np.float32)
    n_changed = len(differences)
    start, end = (counts.sum(axis=0).astype(np.float64) for counts in (baseline, candidate))
    is_exact = n_changed < 63 and 2**n_changed <= resamples
    draws = 2**n_changed if is_exact else resamples
    observed = score(end) - score(start) - ROUNDING
    at_least = 0
    for flips in _exchanges(n_changed, draws, is_exact, seed):
        exchanged = start + flips.astype(np.float32) @ differences
        at_least += int((score(exchanged) - score(start + end - exchanged) >= observed).sum())
    return at_least / draws if is_exact else (1 + at_least) / (draws + 1)


def _exchanges(n: int, draws: int, is_exact: bool, seed: int) -> Iterator[npt.NDArray[Any]]:
    """Batches (m, n) of 0 and 1: which faces are exchanged, all combinations or random ones."""
    rng = np.random.default_rng(seed)
    for first in range(0, draws, _PERMUTATIONS):
        size = min(_PERMUTATIONS, draws - first)
        if is_exact:
            yield (np.arange(first, first + size)[:, None] >> np.arange(n)) & 1
        else:
            bits = rng.integers(0, 256, size=(size, -(-n // 8)), dtype=np.uint8)
            yield np.unpackbits(bits, axis=1, count=n)


def sum_of_positive_flips(sizes: IntArray, faces: IntArray, share: float) -> FloatArray:
    """Distribution of the summed sizes of rises, each with probability `share`: P(0), P(1) and so on."""
    distribution: FloatArray = np.ones(1)
    for size, n in zip(sizes.tolist(), faces.tolist(), strict=True):
        spaced = np.zeros(size * n + 1)
        spaced[::size] = binom.pmf(np.arange(n + 1), n, share)
        distribution = np.convolve(distribution, spaced).astype(np.float64)
    return distribution
