"""Cost ratio of a model: its time as a multiple of the reference workload's, and the change from a record."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any, NamedTuple

import numpy as np

#: The largest share of the processors that other processes may use during a measurement. With a load average
#: of 8 on two cores, a network took three times as many references as with one of 1.
MAX_OTHER_LOAD = 0.1
_RESAMPLES = 9999
#: The conditions of a measurement. Ratios under different ones are not compared.
_CONDITIONS = ("machine", "device", "precision", "compiled", "faces")


class RelativeChange(NamedTuple):
    """A relative change, such as 0.2 for 20 % more, with its 95 % interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class CostRatio:
    """The durations of one prediction, each divided by that of the reference workload around it.

    Attributes:
        values: one per round.
        faces: per prediction.
        machine: processor, cores and GPUs.
        device: where the model runs.
        precision: of the model's computation.
        compiled: whether its network is compiled.
        other_load: the share of the processors that other processes used meanwhile, 0..1; None where it is
            not known.
    """

    values: tuple[float, ...]
    faces: int
    machine: str
    device: str
    precision: str
    compiled: bool = False
    other_load: float | None = None

    @classmethod
    def from_json(cls, value: Any) -> CostRatio:
        """Convert from JSON.

        Raises:
            ValueError: it is not a cost ratio; the text says why.
        """
        if not isinstance(value, Mapping):
            raise ValueError(f"it must be an object, got {type(value).__name__}")
        types: dict[str, tuple[type, ...]] = {
            "values": (list,), "faces": (int,), "machine": (str,), "device": (str,), "precision": (str,),
            "compiled": (bool,), "other_load": (float, int, type(None))
        }  # fmt: skip
        if set(value) != set(types):
            raise ValueError(f"its fields must be {', '.join(types)}")
        for name, kinds in types.items():
            if type(value[name]) not in kinds:
                raise ValueError(f"{name} must be {kinds[0].__name__}, got {value[name]!r:.60}")
        ratios = value["values"]
        if len(ratios) < 2 or not all(
            type(ratio) in (int, float) and _is_positive(ratio) for ratio in ratios
        ):
            raise ValueError("values must be positive numbers, at least two")  # a bootstrap needs two
        if value["faces"] < 1:
            raise ValueError("faces must be at least 1")
        return cls(**{**value, "values": tuple(map(float, ratios))})

    def as_json(self) -> dict[str, Any]:
        """Convert to JSON, the values rounded to four digits."""
        load = None if self.other_load is None else round(self.other_load, 3)
        values = [float(f"{value:.4g}") for value in self.values]
        return {**asdict(self), "values": values, "other_load": load}

    @property
    def is_disturbed(self) -> bool:
        """Whether other processes kept the machine busy: a network suffers more than the reference does."""
        return self.other_load is not None and self.other_load > MAX_OTHER_LOAD

    @property
    def median(self) -> float:
        """The median of the rounds."""
        return median(self.values)

    def different_conditions(self, other: CostRatio) -> list[str]:
        """List the conditions that differ in another measurement, as `machine 'AMD EPYC, 2 cores'`."""
        names = [name for name in _CONDITIONS if getattr(self, name) != getattr(other, name)]
        return [f"{name} {getattr(other, name)!r}" for name in names]

    def change_from(self, recorded: CostRatio) -> RelativeChange:
        """Compute the relative change of the median, with a percentile bootstrap over the rounds of both.

        Rounds of one process resemble each other more than those of two processes do, so the interval is
        somewhat too narrow; `benchmarks/cost_gate.py` measures what a margin makes of that.
        """
        from scipy.stats import bootstrap

        change = self.median / recorded.median - 1
        samples = (np.array(self.values), np.array(recorded.values))
        if all(np.ptp(sample) == 0 for sample in samples):  # the bootstrap of scipy needs some variance
            return RelativeChange(change, change, change)
        interval = bootstrap(
            samples,
            lambda now, old, axis=-1: np.median(now, axis=axis) / np.median(old, axis=axis) - 1,
            method="percentile",
            n_resamples=_RESAMPLES,
            rng=np.random.default_rng(0),
        ).confidence_interval
        return RelativeChange(change, float(interval.low), float(interval.high))


def _is_positive(value: float) -> bool:
    return math.isfinite(value) and value > 0
