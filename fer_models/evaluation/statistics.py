"""Uncertainty: intervals around what was measured, and tests of whether it fell.

Everything here counts faces. A *confusion* is an integer array of shape (7, 8): the row is the true emotion, the column the
answer in `Emotion` order, and the last column counts faces without an answer. Functions that score confusions take any number of
leading axes, (..., 7, 8), so that thousands of resamples are scored in one call.

The bootstrap is stratified by the true emotion: how many faces of each emotion a data set has is a choice of those who made it,
not luck. Drawing faces with replacement within one emotion and counting their answers is a multinomial draw on that emotion's row of
counts, so no face is ever drawn one by one (Efron & Tibshirani, An Introduction to the Bootstrap, 1993, ch. 6 and 13).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.optimize import brentq
from scipy.stats import beta, binom, binomtest, t, ttest_1samp
from statsmodels.stats.inter_rater import fleiss_kappa
from statsmodels.stats.power import TTestPower
from statsmodels.stats.proportion import proportion_confint

from fer_models.emotions import EMOTIONS
from fer_models.errors import PredictionError

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]

#: A score of confusions: (..., 7, 8) counts -> (...) values.
Score = Callable[[IntArray], FloatArray]

#: How a face without an answer is written where answers are integers.
NO_ANSWER = -1

CONFIDENCE = 0.95

_CLASSES = len(EMOTIONS)
_ANSWERS = _CLASSES + 1  # the seven emotions, then no answer

_EXCHANGES = 4096  # tried at a time: a megabyte or two

# Two scores that are equal on paper may differ in their last bits; such a difference is no fall.
_ROUNDING = 1e-12


@dataclass(frozen=True)
class Measurement:
    """A value with its 95 % interval, and the number of faces it stands on.

    Attributes:
        value: what was measured.
        low: lower end of the interval.
        high: upper end of the interval.
        n: the faces counted, at least 1.

    Raises:
        PredictionError: a number is NaN or infinite, or there are no faces.
    """

    value: float
    low: float
    high: float
    n: int

    def __post_init__(self) -> None:
        if self.n < 1:
            raise PredictionError(f"A measurement needs at least one face, got n = {self.n}.")
        if not all(map(math.isfinite, (self.value, self.low, self.high))):
            raise PredictionError(f"A measurement must be finite, got {self.value} [{self.low}, {self.high}] on {self.n} faces.")

    def as_json(self) -> dict[str, float]:
        """The value and its interval as plain floats, as evals.json keeps them."""
        return {"value": float(self.value), "low": float(self.low), "high": float(self.high)}


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


def emotion_codes(what: str, values: npt.ArrayLike, *, lowest: int = 0) -> IntArray:
    """`values` as a one-dimensional array of emotion indices, checked.

    Args:
        what: how messages call the values.
        values: integers in `lowest`..6.
        lowest: 0, or -1 where a face may be without an answer.

    Raises:
        PredictionError: no values, not one-dimensional, not integers, or out of range.
    """
    codes = np.asarray(values)
    if codes.ndim != 1 or codes.size == 0:
        raise PredictionError(f"{what} must hold one emotion for each of at least one face, got an array of shape {codes.shape}.")
    if codes.dtype.kind not in "iu":
        raise PredictionError(f"{what} must be integers in {lowest}..{_CLASSES - 1}, got {codes.dtype}.")
    wrong = np.flatnonzero((codes < lowest) | (codes >= _CLASSES))
    if wrong.size:
        raise PredictionError(f"{what} must be in {lowest}..{_CLASSES - 1}, got {codes[wrong[0]]} at face {wrong[0]} ({wrong.size} such faces).")
    return codes.astype(np.int64)


def require_same_length(**columns: IntArray | FloatArray) -> None:
    """Checks that each named array tells about the same number of faces.

    Raises:
        PredictionError: the lengths differ.
    """
    lengths = {name: len(column) for name, column in columns.items()}
    if len(set(lengths.values())) > 1:
        raise PredictionError(f"All must tell of the same faces, got {', '.join(f'{n} in {name}' for name, n in lengths.items())}.")


def wilson(successes: int, n: int, confidence: float = CONFIDENCE) -> Measurement:
    """The share `successes` / `n` with its score interval (E. B. Wilson, JASA 22, 1927), in [0, 1].

    Raises:
        PredictionError: `n` is under 1, or `successes` is outside 0..n.
    """
    if n < 1 or not 0 <= successes <= n:
        raise PredictionError(f"A share needs n of at least 1 and successes in 0..n, got {successes} of {n}.")
    value = successes / n
    low, high = proportion_confint(successes, n, alpha=1 - confidence, method="wilson")
    # At 0 and n the interval ends at the value itself; rounding must not put it on the other side.
    return Measurement(value, min(value, max(0.0, float(low))), max(value, min(1.0, float(high))), n)


def mcnemar_fall(fell: int, rose: int) -> float:
    """The p-value of "accuracy did not fall": the exact, one-sided test of McNemar (Psychometrika 12, 1947).

    Only faces whose correctness changed say anything; were there no fall, each would be as likely to have changed either way.

    Args:
        fell: faces answered right before and wrong now.
        rose: faces answered wrong before and right now.

    Returns:
        a p-value in (0, 1]; 1.0 where no face changed.

    Raises:
        PredictionError: a count is negative.
    """
    if fell < 0 or rose < 0:
        raise PredictionError(f"Counts of changed faces cannot be negative, got {fell} fell and {rose} rose.")
    if fell + rose == 0:
        return 1.0
    return float(binomtest(fell, fell + rose, 0.5, alternative="greater").pvalue)


def holm(p_values: Sequence[float]) -> list[float]:
    """`p_values` adjusted for being many (S. Holm, Scand. J. Statist. 6, 1979), in the order given.

    Comparing each with alpha keeps the chance of even one false alarm in the whole run under alpha, dependent tests or not.
    statsmodels has it too, but collects garbage on every call, and the gate's self-test judges tens of thousands of runs.

    Raises:
        PredictionError: a p-value is NaN or outside [0, 1].
    """
    for p in p_values:
        if not 0 <= p <= 1:
            raise PredictionError(f"A p-value must be in [0, 1], got {p}.")
    order = np.argsort(p_values, kind="stable")
    adjusted = np.empty(len(p_values))
    adjusted[order] = np.minimum(1.0, np.maximum.accumulate(np.arange(len(p_values), 0, -1) * np.asarray(p_values, dtype=float)[order]))
    return [float(p) for p in adjusted]


def smallest_fall(n: int, discordant: int, alpha: float = 0.01, power: float = 0.8) -> float:
    """The smallest true fall in accuracy that `mcnemar_fall` would establish on these faces.

    Of `discordant` changed faces, let each have fallen with probability q, a true fall of discordant * (2q - 1) / n. The test needs
    `k` falls to reach `alpha`; P(Binomial(discordant, q) >= k) is the beta distribution function I_q(k, discordant - k + 1)
    (Clopper & Pearson, Biometrika 26, 1934), so the q that reaches `power` is a quantile of it.

    Args:
        n: faces compared.
        discordant: how many of them changed between right and wrong, either way.
        alpha: the level of the test.
        power: with what probability such a fall is to be found, in (alpha, 1).

    Returns:
        a fall in (0, 1], as a share of `n`. Where so few faces changed that even all of them falling proves nothing, the fewest faces
        that would prove it by all falling, as a share of `n` and at most 1.

    Raises:
        PredictionError: `n` is under 1, `discordant` outside 0..n, or not 0 < alpha < power < 1.
    """
    if n < 1 or not 0 <= discordant <= n:
        raise PredictionError(f"A comparison needs n of at least 1 and changed faces in 0..n, got {discordant} of {n}.")
    if not 0 < alpha < power < 1:
        raise PredictionError(f"A test needs 0 < alpha < power < 1, got alpha {alpha} and power {power}.")
    fewest = fewest_faces(alpha)
    if discordant < fewest:
        return min(1.0, fewest / n)
    critical = int(binom.isf(alpha, discordant, 0.5)) + 1
    share_fallen = float(beta.ppf(power, critical, discordant - critical + 1))
    return discordant * (2 * share_fallen - 1) / n


def smallest_mean_change(differences: FloatArray, alpha: float = 0.01, power: float = 0.8) -> float:
    """The smallest true mean of paired differences, up or down, that the two-sided paired t-test would establish (statsmodels' power of t).

    Args:
        differences: (n,) finite; their spread is taken for the true one.
        alpha, power: as in `smallest_fall`.

    Returns:
        a mean above 0, in the unit of the differences. Where these are all alike, so that their spread is unknown, what `smallest_fall` says
        of as many faces of which none changed.
    """
    spread = float(np.std(differences, ddof=1)) if len(differences) > 1 else 0.0
    if spread <= _ROUNDING:
        return smallest_fall(len(differences), 0, alpha / 2, power)
    return spread * float(TTestPower().solve_power(nobs=len(differences), alpha=alpha, power=power))


def _resample(counts: IntArray, resamples: int, seed: int) -> IntArray:
    """Redraws each row of `counts` (7, k) with its own total, `resamples` times: (resamples, 7, k)."""
    totals = counts.sum(axis=1)
    shares = counts / np.maximum(totals, 1)[:, None]
    return np.random.default_rng(seed).multinomial(totals, shares, size=(resamples, len(counts)))


def bootstrap_confusions(confusion: IntArray, resamples: int, seed: int) -> IntArray:
    """Confusions of faces drawn with replacement within each true emotion.

    Args:
        confusion: (7, 8) counts.
        resamples: how many to draw.
        seed: the same seed gives the same draws.

    Returns:
        (resamples, 7, 8) counts; every row keeps the total that it has in `confusion`.

    Raises:
        PredictionError: `confusion` has another shape or a negative count, or `resamples` is under 1.
    """
    counts = np.asarray(confusion)
    if counts.shape != (_CLASSES, _ANSWERS) or counts.dtype.kind not in "iu" or (counts < 0).any():
        raise PredictionError(f"A confusion is a ({_CLASSES}, {_ANSWERS}) array of counts, got {counts.dtype} of shape {counts.shape}.")
    _require_resamples(resamples)
    return _resample(counts.astype(np.int64), resamples, seed)


def bootstrap_means(rows: FloatArray, resamples: int, seed: int) -> FloatArray:
    """Column means of rows drawn with replacement, for what cannot be counted in a confusion.

    Rows are sorted first, so that their order changes no draw. Memory stays at one resample.

    Args:
        rows: (n, k), one row per face.
        resamples: how many to draw.
        seed: the same seed gives the same draws.

    Returns:
        (resamples, k) means.

    Raises:
        PredictionError: `rows` is empty or not two-dimensional, or `resamples` is under 1.
    """
    if rows.ndim != 2 or rows.size == 0:
        raise PredictionError(f"A bootstrap needs at least one row of numbers, got an array of shape {rows.shape}.")
    _require_resamples(resamples)
    n = len(rows)
    rows = rows[np.lexsort(rows.T)]
    rng = np.random.default_rng(seed)
    means = np.empty((resamples, rows.shape[1]))
    for mean in means:
        times_drawn = np.bincount(rng.integers(n, size=n), minlength=n)
        mean[:] = times_drawn @ rows / n
    return means


def bootstrapped(value: float, draws: FloatArray, n: int) -> Measurement:
    """`value` with the 95 % percentile interval of its bootstrap `draws` (Efron & Tibshirani 1993, ch. 13).

    Raises:
        PredictionError: a number is NaN, or `n` is under 1.
    """
    low, high = _percentile_interval(value, draws)
    return Measurement(float(value), low, high, n)


def paired_fall(truth: npt.ArrayLike, before: npt.ArrayLike, now: npt.ArrayLike, score: Score, resamples: int = 9999, seed: int = 0) -> PairedChange:
    """Whether a score fell between two sets of answers about the same faces: by a paired bootstrap, and by exchanging answers.

    Each resample of the bootstrap draws faces within each true emotion, and with a face both of its answers. A score like macro-F1 may hang
    on a handful of faces (FER-2013's PrivateTest has 55 of disgust), of which a bootstrap is too sure; so a fall must also stand out when each
    face's two answers are exchanged at random, as they could be had nothing changed (approximate randomization: Noreen, Computer-Intensive
    Methods for Testing Hypotheses, 1989; Yeh, COLING 2000). The cost of either does not grow with the number of faces.

    Args:
        truth: (n,) emotions, 0..6.
        before: (n,) answers, -1 (no answer)..6.
        now: (n,) answers, -1 (no answer)..6.
        score: a score of confusions, such as `metrics.macro_f1`.
        resamples: how many to draw, of each kind; the smallest possible p is 1 / (resamples + 1).
        seed: the same seed gives the same result.

    Returns:
        the change, its 95 % bootstrap interval, and the greater of the two one-sided p-values (1 + resamples that speak against a fall) /
        (resamples + 1) (Davison & Hinkley, Bootstrap Methods and their Application, 1997, ch. 4). Equal answers: 0, 0, 0, 1.

    Raises:
        PredictionError: no faces, lengths that differ, values out of range, or a score that these faces leave undefined.
    """
    joint = _joint_table(
        emotion_codes("truth", truth),
        emotion_codes("the answers before", before, lowest=NO_ANSWER),
        emotion_codes("the answers now", now, lowest=NO_ANSWER),
    )
    _require_resamples(resamples)
    change = float(_change(joint, score))
    draws = _change(_resample(joint.reshape(_CLASSES, -1), resamples, seed).reshape(resamples, *joint.shape), score)
    if not (math.isfinite(change) and np.isfinite(draws).all()):
        raise PredictionError("The score is undefined (NaN) on these faces, so it cannot be compared: does its emotion occur among them?")
    exchanged = _change(_exchanged(joint, resamples, seed), score)
    against = max(int((draws >= -_ROUNDING).sum()), int((exchanged <= change + _ROUNDING).sum()))
    low, high = _percentile_interval(change, draws)
    return PairedChange(change, low, high, (1 + against) / (resamples + 1))


def _exchanged(joint: IntArray, resamples: int, seed: int) -> IntArray:
    """Joint tables (resamples, 7, 8, 8) in which each face's answers before and now are exchanged with probability one half."""
    both: IntArray = joint + joint.swapaxes(-1, -2)
    true, first, second = np.argwhere(np.triu(both, k=1)).T
    tables: IntArray = np.broadcast_to(joint, (resamples, *joint.shape)).copy()
    pairs = both[true, first, second]
    kept = np.random.default_rng(seed).binomial(pairs, 0.5, size=(resamples, len(pairs)))
    tables[:, true, first, second] = kept
    tables[:, true, second, first] = pairs - kept
    return tables


def paired_mean_fall(before: FloatArray, now: FloatArray) -> PairedChange:
    """Whether the mean of a score per face fell, by the one-sided paired t-test.

    Where few faces changed, t is surer than it may be: k changed faces can all have fallen by chance in one of 2^k cases, so p is at
    least that.

    Args:
        before: (n,) finite scores.
        now: (n,) finite scores of the same faces.

    Returns:
        mean(now - before), its 95 % interval and the p-value of "it did not fall". Equal scores: 0, 0, 0, 1.

    Raises:
        PredictionError: no faces, lengths that differ, or a score that is NaN or infinite.
    """
    require_same_length(before=before, now=now)
    difference = np.sort(now - before)  # sorted, so that the order of the faces does not change the last bit
    if difference.size == 0 or not np.isfinite(difference).all():
        raise PredictionError(f"A paired test needs finite scores of at least one face, got {difference.size} faces.")
    change, changed = float(difference.mean()), int(np.count_nonzero(difference))
    if changed == 0:
        return PairedChange(0.0, 0.0, 0.0, 1.0)
    spread = float(difference.std())
    if spread <= _ROUNDING:  # one face, or all moved alike: nothing for t to stand on
        return PairedChange(change, change, change, 0.5**changed if change < 0 else 1.0)
    interval = ttest_1samp(difference, 0.0).confidence_interval(CONFIDENCE)
    p = float(ttest_1samp(difference, 0.0, alternative="less").pvalue)
    return PairedChange(change, float(interval.low), float(interval.high), min(1.0, max(p, 0.5**changed)))


def _joint_table(truth: IntArray, before: IntArray, now: IntArray) -> IntArray:
    """How often each (emotion, answer before, answer now) occurs: (7, 8, 8) counts, no answer last."""
    require_same_length(truth=truth, before=before, now=now)
    # -1 modulo 8 is 7, the place of no answer.
    cells = (truth * _ANSWERS + before % _ANSWERS) * _ANSWERS + now % _ANSWERS
    return np.bincount(cells, minlength=_CLASSES * _ANSWERS**2).reshape(_CLASSES, _ANSWERS, _ANSWERS).astype(np.int64)


def _change(joint: IntArray, score: Score) -> FloatArray:
    """Score now - score before of joint tables (..., 7, 8, 8)."""
    return np.asarray(score(joint.sum(axis=-2)) - score(joint.sum(axis=-1)), dtype=np.float64)


def _percentile_interval(value: float, draws: FloatArray) -> tuple[float, float]:
    """The middle 95 % of `draws`, widened where the bootstrap's bias would leave `value` itself outside."""
    low, high = np.quantile(draws, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return float(np.minimum(low, value)), float(np.maximum(high, value))  # unlike min and max, these let no NaN vanish


def _require_resamples(resamples: int) -> None:
    if resamples < 1:
        raise PredictionError(f"A bootstrap needs at least one resample, got {resamples}.")


def agreement(answers: Sequence[IntArray]) -> float | None:
    """Fleiss' kappa between several lists of answers to the same faces: 1 for the same answers, 0 for agreement as by chance.

    Args:
        answers: each (n,), the emotion answered, -1 for no answer, which counts as an answer of its own.

    Returns:
        None for a single list.
    """
    if len(answers) < 2:
        return None
    counts = np.stack([(np.stack(answers) == answer).sum(axis=0) for answer in (-1, *EMOTIONS)], axis=1)
    if (counts.max(axis=1) == len(answers)).all():
        return 1.0  # where all say the same one thing of every face, the formula would divide nothing by nothing
    return float(fleiss_kappa(counts))


def sign_flip_rise(differences: IntArray) -> float:
    """The p-value of "the sum did not rise": the exact one-sided permutation test of paired differences.

    Were there no change, each face's two versions could as well be exchanged, which turns the sign of its difference. The distribution of
    the sum over all 2^n exchanges is computed exactly, as a convolution of binomial distributions, one for each size of difference. Where
    all differences are -1, 0 or 1 this is the exact test of McNemar.

    Args:
        differences: (n,) integers, one for each face, positive where it rose. Several predictions about one face are one difference.

    Returns:
        a p-value in [0, 1]; 1.0 where nothing changed.

    Raises:
        PredictionError: the differences are not integers of at least one face.
    """
    sizes, faces = _sizes(differences)
    if len(sizes) == 0:
        return 1.0
    risen = int(differences[differences > 0].sum())
    return min(1.0, float(_sum_of_risen(sizes, faces, 0.5)[risen:][::-1].sum()))


def smallest_rise(differences: IntArray, alpha: float, power: float = 0.8) -> float | None:
    """The smallest true rise of the sum that `sign_flip_rise` would establish, where as many faces change as much as they did here.

    Args:
        differences: (n,) integers, as observed.
        alpha: the level of the test.
        power: with what probability such a rise is to be found, in (alpha, 1).

    Returns:
        a rise of the sum, above 0. Where so few faces changed that even all of them rising proves nothing: the rise in which just enough
        faces rise, by as much as those that changed (by 1 where none did). None where there are not that many faces.

    Raises:
        PredictionError: as `sign_flip_rise`, or not 0 < alpha < power < 1.
    """
    if not 0 < alpha < power < 1:
        raise PredictionError(f"A test needs 0 < alpha < power < 1, got alpha {alpha} and power {power}.")
    sizes, faces = _sizes(differences)
    fewest = fewest_faces(alpha)
    if len(differences) < fewest:
        return None
    total = float(sizes @ faces)
    if faces.sum() < fewest:
        return fewest * (total / faces.sum() if len(sizes) else 1.0)
    tails = np.cumsum(_sum_of_risen(sizes, faces, 0.5)[::-1])[::-1]
    critical = int(np.argmax(tails <= alpha))
    share = float(brentq(lambda q: _sum_of_risen(sizes, faces, q)[critical:].sum() - power, 0.5, 1.0))
    return total * (2 * share - 1)


def fewest_faces(alpha: float) -> int:
    """How many faces must change, all in one direction, before `sign_flip_rise` can have a p-value of at most `alpha`."""
    return math.ceil(-math.log2(alpha))  # 0.5 ** fewest <= alpha


def _sizes(differences: IntArray) -> tuple[IntArray, IntArray]:
    """The sizes of differences that occur, without 0, and how many faces have each."""
    if differences.ndim != 1 or differences.size == 0 or differences.dtype.kind != "i":
        raise PredictionError(f"A paired test needs integer differences of at least one face, got {differences.dtype} of shape {differences.shape}.")
    sizes, faces = np.unique(np.abs(differences[differences != 0]), return_counts=True)
    return sizes.astype(np.int64), faces.astype(np.int64)


def _sum_of_risen(sizes: IntArray, faces: IntArray, share: float) -> FloatArray:
    """The distribution of the summed sizes of those faces that rise, where each does with probability `share`: P(sum = 0), P(sum = 1), …"""
    distribution: FloatArray = np.ones(1)
    for size, n in zip(sizes.tolist(), faces.tolist(), strict=True):
        spaced = np.zeros(size * n + 1)
        spaced[::size] = binom.pmf(np.arange(n + 1), n, share)
        distribution = np.convolve(distribution, spaced).astype(np.float64)
    return distribution


def exchange_rise(
    before: IntArray, now: IntArray, score: Callable[[FloatArray], FloatArray], resamples: int = 99_999, seed: int = 0
) -> float:
    """The p-value of "the score did not rise", for a score of sums over faces that is no mean: the one-sided permutation test.

    Were there no change, each face's two versions could as well be exchanged (as in `sign_flip_rise`). All exchanges are tried where there
    are at most `resamples`, else as many random ones.

    Args:
        before, now: (n, k) counts of the same faces.
        score: of sums (..., k) -> (...).
        resamples: how many random exchanges; the smallest possible p is then 1 / (resamples + 1).
        seed: the same seed gives the same result.

    Raises:
        PredictionError: no faces, other shapes, or `resamples` is under 1.
    """
    if before.shape != now.shape or before.ndim != 2 or before.size == 0:
        raise PredictionError(f"A paired test needs counts of the same faces, got shapes {before.shape} and {now.shape}.")
    _require_resamples(resamples)
    differences = now - before
    differences = differences[differences.any(axis=1)]
    differences = differences[np.lexsort(differences.T)].astype(np.float32)  # so that the order of the faces changes no draw
    changed, start, end = len(differences), before.sum(axis=0).astype(np.float64), now.sum(axis=0).astype(np.float64)
    every = changed < 63 and 2**changed <= resamples
    rng = np.random.default_rng(seed)
    at_least, draws = 0, 2**changed if every else resamples
    observed = score(end) - score(start) - _ROUNDING
    for first in range(0, draws, _EXCHANGES):
        size = min(_EXCHANGES, draws - first)
        signs: npt.NDArray[Any]
        if every:
            signs = (np.arange(first, first + size)[:, None] >> np.arange(changed)) & 1
        else:
            signs = np.unpackbits(rng.integers(0, 256, size=(size, -(-changed // 8)), dtype=np.uint8), axis=1, count=changed)
        exchanged = start + signs.astype(np.float32) @ differences
        at_least += int((score(exchanged) - score(start + end - exchanged) >= observed).sum())
    return at_least / draws if every else (1 + at_least) / (draws + 1)


def jackknife_interval(change: float, without: FloatArray) -> tuple[float, float]:
    """The 95 % interval of a change that is computed from faces, by leaving out one face at a time (Efron & Tibshirani 1993, ch. 11).

    All predictions about a face are left out together, so the interval is clustered by face. For a mean it is that of the paired t-test.

    Args:
        change: of all faces, in [-1, 1].
        without: (n,) the change without each face.

    Returns:
        the ends, in [-1, 1]; the whole of it for a single face, which shows no spread.
    """
    n = len(without)
    if n < 2:
        return -1.0, 1.0
    spread = float(np.sqrt((n - 1) / n * ((without - without.mean()) ** 2).sum()))
    reach = float(t.ppf((1 + CONFIDENCE) / 2, n - 1)) * spread
    return max(-1.0, change - reach), min(1.0, change + reach)
