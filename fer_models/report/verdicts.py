"""Verdicts in words: the failure table, and why a metric does not hold."""

from __future__ import annotations

from fer_models.gate.gate import FAIL, INCONCLUSIVE, NEW, Verdict
from fer_models.gate.metric_checks import DEGRADED_MARGIN, MetricCheck
from fer_models.report.tables import FailureRow, failure_table, p_value

HINT = "If the change is intended: pytest evals --update-baselines, then review the diff of baselines.json."


def message(verdict: Verdict, strict: bool = False) -> str:
    """What a reader must know of a verdict; empty for PASS without DEGRADED."""
    subject = verdict.comparison.subject.id
    if verdict.status == NEW:
        return f"{subject}: no baseline yet{' (fails with --strict-gate)' if strict else ''}. Record it: pytest evals --update-baselines"
    if verdict.status == FAIL:
        what = [_name(c) for c in verdict.failed_checks]
        headline = (
            f"{_list(what)} fell below {'its' if len(what) == 1 else 'their'} baseline."
            if what
            else f"{verdict.problems[0]}."
        )
        return table(verdict, headline)
    if verdict.status == INCONCLUSIVE:
        what = [
            _name(c) for c in verdict.comparison.checks if c.regressed and not c.metric.startswith("recall:")
        ]
        return table(verdict, f"{_list(what)} fell, but this many faces cannot establish it.")
    return degradation_line(verdict)


def degradation_line(verdict: Verdict) -> str:
    """What moved where a verdict carries DEGRADED; empty where it does not."""
    moved = verdict.comparison.degradation
    if moved is None or not verdict.is_degraded:
        return ""
    return (
        f"{verdict.comparison.subject.id}: DEGRADED. Accuracy does not show it, but the probability given to the true emotion fell, "
        f"from {moved.before:.3f} to {moved.now:.3f} on average.\n"
        f"  log score {moved.change:+.3f} nats [{moved.low:+.3f}, {moved.high:+.3f}], p = {p_value(moved.p)}; "
        f"from {DEGRADED_MARGIN} nats on this is DEGRADED, and fails with --strict-gate\n"
        f"  {HINT}"
    )


def why_not(verdict: Verdict, metric: str, strict: bool) -> str | None:
    """The failure text if `metric` (`accuracy`, `macro_f1`, `recall`, `drift`) does not hold, else None.
    DEGRADED fails only under `strict`.

    The record's floor and the bound on unanswered faces belong to accuracy, and so do NEW and INCONCLUSIVE
    under `strict`.
    """
    if any(c.failed and c.metric.split(":")[0] == metric for c in verdict.comparison.checks):
        return message(verdict, strict)
    if metric == "accuracy" and (verdict.problems or (strict and verdict.status in (NEW, INCONCLUSIVE))):
        return message(verdict, strict)
    if metric == "log_loss" and strict and verdict.is_degraded:
        return degradation_line(verdict)
    return None


def table(verdict: Verdict, headline: str = "") -> str:
    """The failure table of a verdict that has a record, under a headline."""
    c = verdict.comparison
    shown = [k for k in c.checks if not k.metric.startswith("recall:") or k.failed]
    rows = [
        FailureRow(_name(k), k.now.value, k.now.low, k.now.high, k.baseline, k.change, k.p, k.failed)
        for k in shown
    ]
    worst = verdict.worst_class
    facts = [
        f"{c.negative_flips} faces were right and are wrong now, {c.positive_flips} the other way"
        + (f"; worst class: {worst[0]} {worst[1]:.2f} -> {worst[2]:.2f}" if worst else "")
    ]
    if c.degradation is not None and c.degradation.is_significant:
        facts.append(
            f"the probability given to the true emotion fell on average from {c.degradation.before:.3f} to {c.degradation.now:.3f}"
        )
    facts += [f"{p}." for p in verdict.problems]
    if verdict.minimum_detectable_fall is not None:
        facts.append(
            f"n = {c.metrics.n} can establish a fall of {100 * verdict.minimum_detectable_fall:.1f} points"
        )
    return failure_table(c.subject.id, headline, rows, facts, HINT)


def _name(check: MetricCheck) -> str:
    return check.metric.replace("recall:", "recall of ")


def _list(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
