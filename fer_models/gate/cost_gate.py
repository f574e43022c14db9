"""Cost gate: judges whether a model takes longer than its baseline, relative to the reference workload.

Accuracy is compared face by face; a time has no faces. Each round of a measurement is divided by the
reference workload around it, so a busy or throttled machine slows both alike. `benchmarks/cost_gate.py`
estimates the false-positive rate and the power.
"""

from __future__ import annotations

from dataclasses import dataclass

from fer_models.cost.ratio import CostRatio, RelativeChange
from fer_models.gate.baselines import SLOWDOWN_MARGIN
from fer_models.gate.gate import FAIL, INCONCLUSIVE, NEW, PASS


@dataclass(frozen=True)
class CostVerdict:
    """The verdict on the cost ratio of one subject.

    Attributes:
        status: FAIL where the whole interval of the change is above `SLOWDOWN_MARGIN`, INCONCLUSIVE where
            only the change is, NEW without a comparable record, else PASS.
        now: as measured.
        recorded: the comparable record; None for NEW.
        change: of `now` from `recorded`; None for NEW.
        reason: why nothing is compared; empty if something is.
    """

    status: str
    now: CostRatio
    recorded: CostRatio | None = None
    change: RelativeChange | None = None
    reason: str = ""

    def fails(self, strict: bool) -> bool:
        """Whether this fails the run: FAIL, and INCONCLUSIVE under `strict`.

        NEW does not: a baseline of another machine is the usual case.
        """
        return self.status == FAIL or (strict and self.status == INCONCLUSIVE)


def judge(now: CostRatio, recorded: CostRatio | None) -> CostVerdict:
    """Judge a cost ratio against its record, or None for no record."""
    if recorded is None:
        return CostVerdict(NEW, now, reason="its baseline has no cost ratio")
    if different := now.different_conditions(recorded):
        return CostVerdict(NEW, now, reason=f"its baseline was measured with {', '.join(different)}")
    if now.is_disturbed:
        share = f"other processes used {now.other_load:.0%} of the processors meanwhile"
        return CostVerdict(NEW, now, reason=f"{share}, so its time is not comparable")
    change = now.change_from(recorded)
    status = PASS if change.value <= SLOWDOWN_MARGIN else INCONCLUSIVE
    return CostVerdict(FAIL if change.low > SLOWDOWN_MARGIN else status, now, recorded, change)
