"""Verdicts of the cost gate in words, and their entries in evals.json."""

from __future__ import annotations

from typing import Any

from fer_models.gate.baselines import SLOWDOWN_MARGIN
from fer_models.gate.cost_gate import CostVerdict
from fer_models.gate.gate import FAIL, INCONCLUSIVE, NEW
from fer_models.report.formatting import exact_percent, signed_percent
from fer_models.report.tables import marked_table
from fer_models.report.verdicts import HINT

#: The name of the figure.
FIGURE = "cost: ratio to the reference workload"


def message(subject: str, verdict: CostVerdict) -> str:
    """The text on a slowdown; empty for PASS and NEW.

    Args:
        subject: the subject's readable id.
        verdict: of its cost ratio.
    """
    change, recorded = verdict.change, verdict.recorded
    if verdict.status not in (FAIL, INCONCLUSIVE) or change is None or recorded is None:
        return ""
    margin = exact_percent(SLOWDOWN_MARGIN)
    headline = (
        f"inference takes longer than its baseline, by more than {margin}."
        if verdict.status == FAIL
        else f"inference may take more than {margin} longer than its baseline: it is not established."
    )
    interval = f"[{signed_percent(change.low)}, {signed_percent(change.high)}]"
    cells: tuple[str, ...] = (
        f"{verdict.now.median:.3g}",
        f"{recorded.median:.3g}",
        signed_percent(change.value),
        interval,
    )
    headings = ("figure", "now", "baseline", "change", "95 % interval")
    facts = (
        f"the time of {verdict.now.faces} faces as a multiple of the reference workload's, timed around it",
        f"median of {len(verdict.now.values)} rounds now, {len(recorded.values)} in the baseline; "
        f"{verdict.now.machine}",
    )
    return marked_table(
        subject, headline, [headings, ("cost ratio", *cells)], [verdict.status == FAIL], [*facts, HINT]
    )


def entry(verdict: CostVerdict, strict: bool, text: str) -> dict[str, Any]:
    """The figures of an entry of evals.json.

    Args:
        verdict: of the cost ratio.
        strict: INCONCLUSIVE fails too.
        text: of `message`.
    """
    now, n = verdict.now.median, verdict.now.faces
    baseline = None if verdict.recorded is None else verdict.recorded.median
    change: tuple[float | None, ...] = (None, None, None)
    if verdict.change is not None and baseline is not None:
        change = tuple(value * baseline for value in verdict.change)
    figure = {
        **{"name": FIGURE, "faces": n, "now": now, "baseline": baseline, "p": None},
        **dict(zip(("change", "low", "high"), change, strict=True)),
        **{"minimum_detectable_change": None, "needed": None, "verdict": verdict.status},
    }
    return {
        "n": n,
        "machine": verdict.now.machine,
        "rounds": len(verdict.now.values),
        "figures": [] if verdict.status == NEW else [figure],
        "fails": verdict.fails(strict),
        "message": text,
    }
