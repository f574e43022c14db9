"""Sample size of a test set: the faces that the gate needs to detect a fall, before its collection."""

from __future__ import annotations

from dataclasses import dataclass

from fer_models.gate.metric_checks import ALPHA, MARGIN
from fer_models.scoring.sample_size import required_sample_size

#: Accuracy and macro-F1: the tests of one subject that are adjusted together.
TESTS_PER_SUBJECT = 2
_NEIGHBOURS = (0.5, 0.75, 1.5, 2.0)


@dataclass(frozen=True)
class GateSettings:
    """Settings of the gate that is planned for; see `required_sample_size`.

    Attributes:
        alpha: the level of the family.
        power: the share of runs in which the gate fails by accuracy.
        family: the number of tests that are adjusted together.
        margin: the smallest relevant fall, as a share of all faces.
    """

    alpha: float = ALPHA
    power: float = 0.8
    family: int = TESTS_PER_SUBJECT
    margin: float = MARGIN


@dataclass(frozen=True)
class SamplePlan:
    """Number of faces with which the gate detects a true fall.

    Attributes:
        fall: the true fall of accuracy, as a share of all faces.
        discordant: the share of faces that change between correct and wrong, either way.
        n: faces.
    """

    fall: float
    discordant: float
    n: int

    @property
    def negative_flips(self) -> float:
        """Expected number of faces that become wrong."""
        return self.n * (self.discordant + self.fall) / 2

    @property
    def positive_flips(self) -> float:
        """Expected number of faces that become correct."""
        return self.n * (self.discordant - self.fall) / 2


def plan(fall: float, discordant: float, settings: GateSettings) -> SamplePlan:
    """Plan a test set.

    Args:
        fall: the true fall of accuracy, as a share of all faces, in (margin, discordant].
        discordant: the share of faces that change between correct and wrong, either way, at most 1.
        settings: those of the gate.

    Raises:
        UsageError: such a fall, level, power or family is impossible.
    """
    s = settings
    n = required_sample_size(fall, discordant, alpha=s.alpha, power=s.power, family=s.family, margin=s.margin)
    return SamplePlan(fall, discordant, n)


def neighbouring_plans(wanted: SamplePlan, settings: GateSettings) -> list[SamplePlan]:
    """Plans for the wanted share of changed faces, and for half, 3/4, 3/2 and twice as many.

    Those with a share that is impossible for this fall are left out. Raises as `plan`.
    """
    shares = (factor * wanted.discordant for factor in _NEIGHBOURS)
    others = [plan(wanted.fall, share, settings) for share in shares if wanted.fall <= share <= 1]
    return sorted([wanted, *others], key=lambda one: one.discordant)
