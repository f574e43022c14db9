"""Minimum detectable changes: the smallest true changes that a test detects in 80 % of runs."""

from __future__ import annotations

import math

import numpy as np
from scipy.optimize import brentq
from scipy.stats import beta, binom, nct, t

from fer_models.errors import PredictionError
from fer_models.scoring.intervals import FloatArray, IntArray
from fer_models.scoring.paired_tests import ROUNDING, sizes_and_counts, sum_of_positive_flips


def minimum_detectable_fall(
    n: int, discordant: int, alpha: float = 0.01, power: float = 0.8, margin: float = 0.0
) -> float:
    """Smallest true fall in accuracy that is relevant, and significant by `mcnemar_exact`, on these faces.

    Let each of `discordant` changed faces be a negative flip with probability q, a true fall of discordant *
    (2q - 1) / n. The test needs `k` negative flips to reach `alpha`; P(Binomial(discordant, q) >= k) is the
    beta distribution function I_q(k, discordant - k + 1) (Clopper & Pearson, Biometrika 26, 1934), so the q
    that reaches `power` is a quantile of it.

    Args:
        n: faces compared.
        discordant: how many of them changed between correct and wrong, either way.
        alpha: the level of the test.
        power: the probability of detecting such a fall, in (alpha, 1).
        margin: the smallest fall that is relevant, as a share of `n`; a smaller one that is observed is not
            counted as detected.

    Returns:
        a fall in (0, 1], as a share of `n`. Where so few faces changed that even negative flips alone are not
        enough: the smallest number of negative flips that is, as a share of `n` and at most 1.

    Raises:
        PredictionError: `n` is under 1, `discordant` outside 0..n, or not 0 < alpha < power < 1.
    """
    if n < 1 or not 0 <= discordant <= n:
        raise PredictionError(
            f"A comparison needs n of at least 1 and changed faces in 0..n, got {discordant} of {n}."
        )
    if not 0 < alpha < power < 1:
        raise PredictionError(f"A test needs 0 < alpha < power < 1, got alpha {alpha} and power {power}.")
    relevant = math.ceil(round(margin * n, 6))  # rounded first: 0.07 * 100 is a little more than 7
    fewest = max(minimum_discordant(alpha), relevant)
    if discordant < fewest:
        return min(1.0, fewest / n)
    critical = max(int(binom.isf(alpha, discordant, 0.5)) + 1, -(-(discordant + relevant) // 2))
    share = float(beta.ppf(power, critical, discordant - critical + 1))
    return discordant * (2 * share - 1) / n


def minimum_detectable_mean_change(n: int, spread: float, alpha: float = 0.01, power: float = 0.8) -> float:
    """Smallest true mean of paired differences that is significant by the two-sided paired t-test.

    Args:
        n: the number of differences.
        spread: their standard deviation, taken for the true one.
        alpha: the level of the test.
        power: the probability of detecting such a mean, by `paired_t_power`; in (alpha, 1).

    Returns:
        a mean above 0, in the unit of the spread. Where the spread is 0, which is to say unknown:
        `minimum_detectable_fall` of as many faces of which none changed.
    """
    if spread <= ROUNDING:
        return minimum_detectable_fall(n, 0, alpha / 2, power)
    highest = 1.0
    while paired_t_power(highest, n, alpha) < power:
        highest *= 2
    return spread * float(brentq(lambda effect: paired_t_power(effect, n, alpha) - power, 0.0, highest))


def paired_t_power(effect_size: float, n: int, alpha: float) -> float:
    """Probability that the two-sided paired t-test is significant in the direction of the true change.

    The upper tail of the noncentral t distribution (Cohen 1988, Statistical Power Analysis, chapter 2). The
    other tail is the wrong direction; scipy's value of it is sometimes NaN, and so is statsmodels' power.

    Args:
        effect_size: the true mean of the differences, in standard deviations, at least 0.
        n: the number of differences, at least 2.
        alpha: the level of the test.
    """
    return float(nct.sf(t.isf(alpha / 2, n - 1), n - 1, effect_size * math.sqrt(n)))


def sample_deviation(values: FloatArray) -> float:
    """Standard deviation of a sample (n,), with n - 1; 0 for a single value."""
    return float(np.std(values, ddof=1)) if len(values) > 1 else 0.0


def minimum_detectable_rise(differences: IntArray, alpha: float, power: float = 0.8) -> float | None:
    """Smallest true rise of the sum that is significant by `sign_flip_test`.

    As many faces change as in `differences`, by as much.

    Args:
        differences: (n,) integers, as observed.
        alpha: the level of the test.
        power: the probability of detecting such a rise, in (alpha, 1).

    Returns:
        a rise of the sum, above 0. Where so few faces changed that even rises alone are not significant: the
        rise in which just enough faces rise, by as much as those that changed (by 1 where none did). None
        where there are not that many faces.

    Raises:
        PredictionError: as `sign_flip_test`, or not 0 < alpha < power < 1.
    """
    if not 0 < alpha < power < 1:
        raise PredictionError(f"A test needs 0 < alpha < power < 1, got alpha {alpha} and power {power}.")
    sizes, faces = sizes_and_counts(differences)
    fewest = minimum_discordant(alpha)
    if len(differences) < fewest:
        return None
    total = float(sizes @ faces)
    if faces.sum() < fewest:
        return fewest * (total / faces.sum() if len(sizes) else 1.0)
    tails = np.cumsum(sum_of_positive_flips(sizes, faces, 0.5)[::-1])[::-1]
    critical = int(np.argmax(tails <= alpha))
    share = float(brentq(lambda q: sum_of_positive_flips(sizes, faces, q)[critical:].sum() - power, 0.5, 1.0))
    return total * (2 * share - 1)


def minimum_discordant(alpha: float) -> int:
    """Smallest number of changed faces, all in one direction, with p <= `alpha` by `sign_flip_test`."""
    return math.ceil(-math.log2(alpha))  # 0.5 ** n <= alpha
