"""Verdicts of the robustness gate in words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from fer_models.gate.gate import FAIL, INCONCLUSIVE, NEW
from fer_models.gate.robustness_gate import ROBUSTNESS_MARGIN, RobustnessFigure
from fer_models.report import tables
from fer_models.report.eval_report import EvalReport
from fer_models.report.formatting import NOTHING, clean, count, number, p_value, signed
from fer_models.report.robustness_entries import VERDICT_ORDER, Figure
from fer_models.report.verdicts import HINT


def failure_text(subject: str, figures: Sequence[RobustnessFigure], strict: bool) -> str | None:
    """The failure text if a figure fails, else None; INCONCLUSIVE and NEW fail under `strict` only."""
    return message(subject, [f for f in figures if f.fails(strict)]) or None


def message(subject: str, figures: Sequence[RobustnessFigure]) -> str:
    """The text on figures that regressed or have no baseline; empty where all pass."""
    worse = [f for f in figures if f.status in (FAIL, INCONCLUSIVE)]
    new = [f for f in figures if f.status == NEW]
    parts = [_table(subject, worse)] if worse else []
    if new:
        names = ", ".join(f.name for f in new)
        record = "To record all faces of the split: repeat the run with --update-baselines"
        parts.append(f"{subject}: no baseline yet for {names}. {record}")
    return "\n".join(parts)


def _table(subject: str, figures: Sequence[RobustnessFigure]) -> str:
    failed = [f.status == FAIL for f in figures]
    headline = (
        f"robustness got worse than its baseline by {100 * ROBUSTNESS_MARGIN:.0f} points or more."
        if any(failed)
        else "robustness got worse, but this many faces cannot establish it."
    )
    rows = [(f.name, str(f.faces), *figure_cells(f)) for f in figures]
    headings = ("figure", "faces", "now", "baseline", "change", "95 % interval", "p (paired)")
    facts = dict.fromkeys(map(_detectable_change, figures))
    return tables.marked_table(subject, headline, [headings, *rows], failed, [*facts, HINT])


def figure_cells(figure: RobustnessFigure | Figure) -> tuple[str, ...]:
    """The cells of a figure: now, baseline, change, the change's interval, p."""
    low, high = figure.low, figure.high
    interval = NOTHING if low is None or high is None else f"[{low:+.3f}, {high:+.3f}]"
    values = (number(figure.now), number(figure.baseline), signed(figure.change))
    return *values, interval, p_value(figure.p)


def _detectable_change(figure: RobustnessFigure) -> str:
    change = figure.minimum_detectable_change
    if change is None:
        return (
            f"{figure.name}: {figure.faces} faces cannot establish a change; "
            f"at least {figure.needed} must change"
        )
    return f"{figure.name}: {figure.faces} faces can establish a change of {100 * change:.1f} points"


def lines(report: EvalReport) -> list[str]:
    """The terminal's lines: the number of figures with each verdict, and each figure that fails."""
    judged = list(report.robustness)
    if not judged:
        return []
    counts = Counter(figure.verdict for _, figure in judged)
    summary = ", ".join(f"{counts[verdict]} {verdict}" for verdict in VERDICT_ORDER if counts[verdict])
    failures = [_failure_line(entry.name, figure) for entry, figure in judged if figure.verdict == FAIL]
    return [clean(line) for line in (f"robustness: {summary} of {count(len(judged), 'figure')}", *failures)]


def _failure_line(name: str, figure: Figure) -> str:
    now, baseline, _, _, p = figure_cells(figure)
    return f"FAIL {name}, {figure.name}: {baseline} -> {now}, p {p}"
