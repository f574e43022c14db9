"""Sample sizes: how many faces a paired test needs to detect a change of a given size."""

from __future__ import annotations

import math
from bisect import bisect_left

import numpy as np
from scipy.stats import binom, norm

from fer_models.errors import UsageError
from fer_models.scoring.detectable_changes import minimum_discordant, paired_t_power
from fer_models.scoring.paired_tests import ROUNDING

#: From this number of faces on the formula of Connor is used: the exact number differs by less than 0.1 %
#: without a margin, and by less than 1 % with one.
_EXACT_LIMIT = 100_000
#: Probability of numbers of changed faces that are left out at each end, as too unlikely.
_TAIL = 1e-9
_HIGHEST_POWER, _LARGEST_FAMILY, _LOWEST_LEVEL = 0.9999, 1_000_000, 1e-12


def required_sample_size(
    fall: float,
    discordant: float,
    *,
    alpha: float = 0.01,
    power: float = 0.8,
    family: int = 1,
    margin: float = 0.0,
) -> int:
    """Number of faces with which `mcnemar_exact` detects a true fall of accuracy with the given power.

    Exact: the number of changed faces is binomial, and so are the negative flips among them (Miettinen,
    Biometrics 24, 1968). From 100,000 faces on it is Connor's formula (Biometrics 43, 1987), and 2 / fall
    faces more, because the exact test's counts are integers: there it differs from the exact number by less
    than 0.1 % without a margin, and by less than 1 % with one.

    Args:
        fall: the true fall, as a share of all faces, in (margin, discordant].
        discordant: the share of faces that change between correct and wrong, either way, at most 1.
        alpha: the level of the test.
        power: the probability of detecting the fall, in (alpha, 0.9999].
        family: the number of tests that are adjusted together (Holm); each can use only alpha / family.
        margin: a smaller observed fall is not detected, however significant it is.

    Returns:
        the smallest number of faces that reaches `power`. The power rises with the number of faces, but for
        steps of less than one face that changes, because counts are integers.

    Raises:
        UsageError: such a fall, level, power or family is impossible.
    """
    if not 0 < fall <= discordant <= 1:
        raise UsageError(
            f"A true fall of {100 * fall:g} points with {100 * discordant:g} % changed faces is impossible. "
            "Choose a fall above 0, and at least as many percent of changed faces, up to 100."
        )
    if not 0 <= margin < fall:
        raise UsageError(
            f"A true fall of {100 * fall:g} points cannot be detected with a margin of {100 * margin:g}: "
            "about half of all runs observe a smaller fall, with any number of faces. Choose a larger fall."
        )
    level = _level(alpha, power, family)
    estimate = _connor(fall, discordant, level, power, margin)
    if estimate >= _EXACT_LIMIT:
        return math.ceil(estimate)

    def suffices(n: int) -> bool:
        return detection_rate(n, fall, discordant, level, margin) >= power

    enough = math.ceil(estimate)
    while not suffices(enough):
        enough *= 2
    return bisect_left(range(enough), True, key=suffices)


def detection_rate(n: int, fall: float, discordant: float, level: float, margin: float = 0.0) -> float:
    """Exact probability that `mcnemar_exact` detects a true fall of accuracy on `n` faces.

    Args:
        n: faces, at least 0.
        fall: the true fall, as a share of all faces, in (0, discordant].
        discordant: the share of faces that change between correct and wrong, in (0, 1].
        level: a p-value up to this is significant.
        margin: a smaller observed fall is not detected.
    """
    fewest, most = binom.ppf(_TAIL, n, discordant), binom.isf(_TAIL, n, discordant)
    changed = np.arange(max(0, int(fewest)), int(most) + 1)
    by_level = binom.isf(level, changed, 0.5) + 1  # negative flips that are significant
    by_margin = np.ceil((changed + margin * n) / 2 - ROUNDING)  # negative - positive flips >= margin * n
    negative_share = (1 + fall / discordant) / 2
    detected = binom.sf(np.maximum(by_level, by_margin) - 1, changed, negative_share)
    return float(binom.pmf(changed, n, discordant) @ detected)


def required_sample_size_for_mean(
    change: float, spread: float, *, alpha: float = 0.01, power: float = 0.8, family: int = 1
) -> int:
    """Number of faces with which the two-sided paired t-test detects a true mean change.

    Args:
        change: the true mean of the paired differences; its sign has no effect.
        spread: their standard deviation, in the same unit.
        alpha: the level of the test.
        power: the probability of detecting the change, by `paired_t_power`; in (alpha, 0.9999].
        family: the number of tests that are adjusted together (Holm); each can use only alpha / family.

    Returns:
        a number of faces. Where all differences are equal: as many as `mcnemar_exact` needs if all faces
        change in one direction.

    Raises:
        UsageError: the change is 0, or such a level, power or family is impossible.
    """
    if not abs(change) > 0 or not spread >= 0:
        raise UsageError(f"A change of {change:g} with a spread of {spread:g} cannot be detected.")
    level = _level(alpha, power, family)
    if spread <= ROUNDING:
        return minimum_discordant(level / 2)
    effect = abs(change) / spread
    highest = 2
    while paired_t_power(effect, highest, level) < power:
        highest *= 2
    return bisect_left(range(highest), power, lo=2, key=lambda n: paired_t_power(effect, n, level))


def _level(alpha: float, power: float, family: int) -> float:
    """The level of one test of a family. Raises UsageError where it is impossible."""
    if not 0 < alpha < power <= _HIGHEST_POWER:
        raise UsageError(
            f"A test needs 0 < alpha < power <= {_HIGHEST_POWER}, got alpha {alpha:g} and power {power:g}."
        )
    if not 1 <= family <= _LARGEST_FAMILY or alpha / family < _LOWEST_LEVEL:
        raise UsageError(
            f"A family has 1 to {_LARGEST_FAMILY:,} tests, each with a level of at least {_LOWEST_LEVEL:g}; "
            f"got {family:,} with alpha {alpha:g}."
        )
    return alpha / family


def _connor(fall: float, discordant: float, level: float, power: float, margin: float) -> float:
    """Estimate of the number of faces by the normal distribution, at least 1."""
    z_level, z_power = norm.isf(level), norm.ppf(power)
    spread = math.sqrt(max(0.0, discordant - fall**2))
    by_level = ((z_level * math.sqrt(discordant) + z_power * spread) / fall) ** 2 + 2 / fall
    by_margin = (max(0.0, z_power) * spread / (fall - margin)) ** 2 if margin else 0.0
    return float(max(1.0, by_level, by_margin))
