"""Measurements with 95 % intervals: Wilson, stratified bootstrap, jackknife."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt
from scipy.stats import t
from statsmodels.stats import inter_rater
from statsmodels.stats.proportion import proportion_confint

from fer_models.emotions import EMOTIONS
from fer_models.errors import PredictionError

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]

#: The code of a missing prediction, where predictions are integers.
NO_ANSWER = -1

CONFIDENCE = 0.95

#: Counts of `times_drawn` that are computed together, so that they fit the cache of a processor, and the most
#: that are kept (32 MB).
_BLOCK, _LARGEST_CACHED = 2**16, 2**24

#: The most faces of which a bootstrap of rows draws each resample: its time and memory grow with the faces,
#: while its result comes ever closer to its limit, a normal distribution.
LARGEST_BOOTSTRAP = 50_000

N_CLASSES = len(EMOTIONS)
N_ANSWERS = N_CLASSES + 1  # the seven emotions, then no prediction


@dataclass(frozen=True)
class Measurement:
    """A value with its 95 % interval, and the number of faces it is computed over.

    Attributes:
        value: the value.
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
            raise PredictionError(
                f"A measurement must be finite, got {self.value} [{self.low}, {self.high}] on {self.n} faces."
            )

    def as_json(self) -> dict[str, float]:
        """Return the value and its interval as plain floats, as in evals.json."""
        return {"value": float(self.value), "low": float(self.low), "high": float(self.high)}


def emotion_codes(name: str, values: npt.ArrayLike, *, lowest: int = 0) -> IntArray:
    """Validate emotion indices: a one-dimensional int64 array.

    Args:
        name: of the values, for messages.
        values: integers in `lowest`..6.
        lowest: 0, or -1 where a prediction may be missing.

    Raises:
        PredictionError: no values, not one-dimensional, not integers, or out of range.
    """
    codes = np.asarray(values)
    if codes.ndim != 1 or codes.size == 0:
        raise PredictionError(
            f"{name} must have one emotion for each of at least one face, got shape {codes.shape}."
        )
    if codes.dtype.kind not in "iu":
        raise PredictionError(f"{name} must be integers in {lowest}..{N_CLASSES - 1}, got {codes.dtype}.")
    invalid = np.flatnonzero((codes < lowest) | (codes >= N_CLASSES))
    if invalid.size:
        first = invalid[0]
        raise PredictionError(
            f"{name} must be in {lowest}..{N_CLASSES - 1}, got {codes[first]} at face {first} "
            f"({invalid.size} such faces)."
        )
    return codes.astype(np.int64)


def require_same_length(**columns: IntArray | FloatArray) -> None:
    """Check that all named arrays have the same length.

    Raises:
        PredictionError: the lengths differ.
    """
    lengths = {name: len(column) for name, column in columns.items()}
    if len(set(lengths.values())) > 1:
        sizes = ", ".join(f"{n} in {name}" for name, n in lengths.items())
        raise PredictionError(f"All must be of the same faces, got {sizes}.")


def wilson_interval(successes: float, n: int, confidence: float = CONFIDENCE) -> Measurement:
    """Share `successes` / `n` with its score interval (E. B. Wilson, JASA 22, 1927), in [0, 1].

    `successes` is a count, or a mean of counts.

    Raises:
        PredictionError: `n` is under 1, or `successes` is outside 0..n.
    """
    return wilson_intervals([successes], [n], confidence)[0]


def wilson_intervals(
    successes: Sequence[float], n: Sequence[int], confidence: float = CONFIDENCE
) -> list[Measurement]:
    """The shares `successes` / `n` of several groups with their `wilson_interval`, in one call.

    Raises:
        PredictionError: an `n` is under 1, or one of `successes` is outside 0..n.
    """
    for k, total in zip(successes, n, strict=True):
        if total < 1 or not 0 <= k <= total:
            raise PredictionError(f"A share needs n of at least 1 and successes in 0..n, got {k} of {total}.")
    lows, highs = proportion_confint(
        np.asarray(successes), np.asarray(n), alpha=1 - confidence, method="wilson"
    )
    measured = []
    for k, total, low, high in zip(successes, n, lows.tolist(), highs.tolist(), strict=True):
        value = k / total
        # At 0 and n the interval ends at the value itself; rounding must not put it on the other side.
        measured.append(Measurement(value, min(value, max(0.0, low)), max(value, min(1.0, high)), total))
    return measured


def bootstrap_confusions(confusion: IntArray, resamples: int, seed: int) -> IntArray:
    """Bootstrap confusions: faces drawn with replacement within each true emotion.

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
    if counts.shape != (N_CLASSES, N_ANSWERS) or counts.dtype.kind not in "iu" or (counts < 0).any():
        raise PredictionError(
            f"A confusion is a ({N_CLASSES}, {N_ANSWERS}) array of counts, "
            f"got {counts.dtype} of shape {counts.shape}."
        )
    require_resamples(resamples)
    return resample_rows(counts.astype(np.int64), resamples, seed)


def bootstrap_means(rows: FloatArray, resamples: int, seed: int) -> FloatArray:
    """Bootstrap column means of rows, for metrics that are not computed from a confusion.

    Rows are sorted first, so that their order changes no draw. Means of more than `LARGEST_BOOTSTRAP` rows
    are drawn from the normal distribution that they converge to (central limit theorem), with the covariance
    of the rows over n.

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
        raise PredictionError(
            f"A bootstrap needs at least one row of numbers, got an array of shape {rows.shape}."
        )
    require_resamples(resamples)
    n = len(rows)
    rows = rows[np.lexsort(rows.T)]
    if n > LARGEST_BOOTSTRAP:
        covariance = np.atleast_2d(np.cov(rows, rowvar=False, bias=True)) / n
        rng = np.random.default_rng(seed)
        return rng.multivariate_normal(rows.mean(axis=0), covariance, size=resamples, method="eigh")
    means = np.empty((resamples, rows.shape[1]))
    for start, drawn in times_drawn(n, resamples, seed):
        means[start : start + len(drawn)] = drawn.astype(np.float64) @ rows / n
    return means


def times_drawn(n: int, resamples: int, seed: int) -> Iterator[tuple[int, npt.NDArray[np.uint16]]]:
    """How often each of `n` faces is in each resample with replacement; always the same for the same numbers.

    Drawing takes longest, and all models of a run are scored on the same faces: the draws of as many faces as
    a benchmark has are kept.

    Yields:
        the number of the first resample of a block, and the block, (some, n).
    """
    if n * resamples > _LARGEST_CACHED:
        yield from _blocks(n, resamples, seed)
    else:
        yield from _kept_blocks(n, resamples, seed)


@lru_cache(maxsize=4)
def _kept_blocks(n: int, resamples: int, seed: int) -> tuple[tuple[int, npt.NDArray[np.uint16]], ...]:
    return tuple(_blocks(n, resamples, seed))


def _blocks(n: int, resamples: int, seed: int) -> Iterator[tuple[int, npt.NDArray[np.uint16]]]:
    rng, size = np.random.default_rng(seed), max(1, _BLOCK // n)
    for start in range(0, resamples, size):
        drawn = np.empty((min(size, resamples - start), n), dtype=np.uint16)
        for row in drawn:
            row[:] = np.bincount(rng.integers(n, size=n), minlength=n)
        drawn.flags.writeable = False
        yield start, drawn


def percentile_interval(value: float, draws: FloatArray, n: int) -> Measurement:
    """Percentile interval (95 %) of `value` by its bootstrap `draws` (Efron & Tibshirani 1993, ch. 13).

    Raises:
        PredictionError: a number is NaN, or `n` is under 1.
    """
    low, high = interval_of_draws(value, draws)
    return Measurement(float(value), low, high, n)


def fleiss_kappa(predictions: Sequence[IntArray]) -> float | None:
    """Fleiss' kappa between lists of predictions for the same faces: 1 for equal ones, 0 by chance.

    Args:
        predictions: each (n,), the predicted emotion; -1 for none counts as a class.

    Returns:
        None for a single list.
    """
    if len(predictions) < 2:
        return None
    table = np.stack(predictions)
    counts = np.stack([(table == emotion).sum(axis=0) for emotion in (NO_ANSWER, *EMOTIONS)], axis=1)
    if (counts.max(axis=1) == len(predictions)).all():
        return 1.0  # where all lists have one and the same emotion, the formula would divide 0 by 0
    return float(inter_rater.fleiss_kappa(counts))


def jackknife_interval(change: float, without: FloatArray) -> tuple[float, float]:
    """Jackknife interval (95 %) of a change, by leaving out one face at a time.

    All predictions for a face are left out together, so the interval is clustered by face (Efron & Tibshirani
    1993, ch. 11). For a mean it is that of the paired t-test.

    Args:
        change: of all faces, in [-1, 1].
        without: (n,) the change without each face.

    Returns:
        the ends, in [-1, 1]; -1 and 1 for a single face, which has no spread.
    """
    n = len(without)
    if n < 2:
        return -1.0, 1.0
    spread = float(np.sqrt((n - 1) / n * ((without - without.mean()) ** 2).sum()))
    reach = float(t.ppf((1 + CONFIDENCE) / 2, n - 1)) * spread
    return max(-1.0, change - reach), min(1.0, change + reach)


def resample_rows(counts: IntArray, resamples: int, seed: int) -> IntArray:
    """Resample each row of `counts` (7, k) with its own total, `resamples` times: (resamples, 7, k)."""
    totals = counts.sum(axis=1)
    shares = counts / np.maximum(totals, 1)[:, None]
    return np.random.default_rng(seed).multinomial(totals, shares, size=(resamples, len(counts)))


def interval_of_draws(value: float, draws: FloatArray) -> tuple[float, float]:
    """Middle 95 % of `draws`, widened where the bootstrap's bias would leave `value` outside."""
    low, high = np.quantile(draws, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    # Unlike min and max, these keep NaN.
    return float(np.minimum(low, value)), float(np.maximum(high, value))


def require_resamples(resamples: int) -> None:
    """Check that there is at least one resample. Raises PredictionError."""
    if resamples < 1:
        raise PredictionError(f"A bootstrap needs at least one resample, got {resamples}.")
