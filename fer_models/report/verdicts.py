"""Verdicts of the gate in words: the failure table, and the reason why a test fails."""

from __future__ import annotations

from fer_models.errors import UsageError
from fer_models.gate.gate import FAIL, INCONCLUSIVE, NEW, Verdict
from fer_models.gate.metric_checks import DEGRADED_MARGIN, OVERALL, SLICE, MetricCheck
from fer_models.report.formatting import count, listed, metric_name, p_equation
from fer_models.report.tables import FailureRow, failure_table

#: The metrics that a test can ask the gate about.
METRICS = ("accuracy", "macro_f1", "recall", "slice", "log_loss")
#: What records new baselines: for the command of a run, and for others.
REPEAT, RECORD = "repeat the run with --update-baselines", "run fer-models eval --update-baselines"
_HINT = "If intended, {}, and review the diff."
HINT = _HINT.format(REPEAT)


def message(verdict: Verdict, strict: bool = False, update: str = REPEAT) -> str:
    """The text on a verdict; empty for PASS without DEGRADED.

    Args:
        verdict: of one subject.
        strict: NEW fails too.
        update: how new baselines are recorded: `REPEAT` or `RECORD`.
    """
    hint = _HINT.format(update)
    subject = verdict.comparison.subject.id
    if verdict.status == NEW:
        fails = " (fails with --strict-gate)" if strict else ""
        return f"{subject}: no baseline yet{fails}. To record one, {update}."
    if verdict.status == FAIL:
        names = [_name(c) for c in verdict.failed_checks]
        headline = _fall_headline(verdict, names) if names else f"{verdict.problems[0]}."
        return table(verdict, headline, hint)
    if verdict.status == INCONCLUSIVE:
        checks = verdict.comparison.checks
        names = [_name(c) for c in checks if c.regressed and c.family == OVERALL]
        return table(verdict, f"{listed(names)} fell, but this many faces cannot establish it.", hint)
    return _degradation_line(verdict, hint)


def _degradation_line(verdict: Verdict, hint: str) -> str:
    """The change of probabilities where a verdict has DEGRADED; empty where it does not."""
    degradation = verdict.comparison.degradation
    if degradation is None or not verdict.is_degraded:
        return ""
    return (
        f"{verdict.comparison.subject.id}: DEGRADED. Accuracy does not show it, "
        "but the probability given to the true emotion fell, "
        f"from {degradation.before:.3f} to {degradation.now:.3f} (geometric mean).\n"
        f"  log score {degradation.change:+.3f} nats "
        f"[{degradation.low:+.3f}, {degradation.high:+.3f}], {p_equation(degradation.p)}; "
        f"from {DEGRADED_MARGIN} nats on this is DEGRADED, and fails with --strict-gate\n"
        f"  {hint}"
    )


def failure_text(verdict: Verdict, metric: str, strict: bool) -> str | None:
    """The failure text if a metric fails the gate, else None.

    The record's floor and the bound on faces without a prediction belong to accuracy, and so do NEW and
    INCONCLUSIVE under `strict`.

    Args:
        verdict: of one subject.
        metric: one of `METRICS`.
        strict: NEW, INCONCLUSIVE and DEGRADED fail too.

    Raises:
        UsageError: the gate has no such metric.
    """
    if metric not in METRICS:
        raise UsageError(f"The gate has no metric {metric!r}. Choose one of: {', '.join(METRICS)}.")
    if any(c.failed and c.metric.split(":")[0] == metric for c in verdict.comparison.checks):
        return message(verdict, strict)
    if metric == "accuracy" and (verdict.problems or (strict and verdict.status in (NEW, INCONCLUSIVE))):
        return message(verdict, strict)
    if metric == "log_loss" and strict and verdict.is_degraded:
        return _degradation_line(verdict, HINT)
    return None


def table(verdict: Verdict, headline: str, hint: str, recorded: str = "baseline") -> str:
    """The failure table of a verdict that has a record, under a headline.

    Args:
        verdict: of one subject.
        headline: a sentence.
        hint: what to do next.
        recorded: the heading above the values of the record.
    """
    c = verdict.comparison
    shown = [k for k in c.checks if k.family == OVERALL or k.failed]
    rows = [
        FailureRow(_name(k), k.now.value, k.now.low, k.now.high, k.baseline, k.change, k.p, k.failed)
        for k in shown
    ]
    were, are = ("was", "is") if c.negative_flips == 1 else ("were", "are")
    faces = count(c.negative_flips, "face")
    facts = [f"{faces} {were} correct and {are} wrong now, {c.positive_flips} the other way"]
    if (worst := verdict.worst_class) is not None:
        facts[0] += f"; worst class: {worst[0]} {worst[1]:.2f} -> {worst[2]:.2f}"
    if c.degradation is not None and c.degradation.is_significant:
        before, now = c.degradation.before, c.degradation.now
        facts.append(
            f"the probability given to the true emotion fell from {before:.3f} to {now:.3f} (geometric mean)"
        )
    facts += [f"{problem}." for problem in verdict.problems if f"{problem}." != headline]
    fall = verdict.minimum_detectable_fall
    establishes = "no fall, however large" if fall is None else f"a fall of {100 * fall:.1f} points"
    facts.append(f"n = {c.metrics.n} can establish {establishes}")
    if (required := verdict.required_sample_size) is not None:
        facts.append(
            f"with the same share of changed faces, about {count(required, 'face')} in all "
            f"({required - c.metrics.n:,} more) would establish this fall"
        )
    return failure_table(c.subject.id, headline, rows, facts, hint, recorded)


def _fall_headline(verdict: Verdict, names: list[str]) -> str:
    headline = f"{listed(names)} fell below {'its' if len(names) == 1 else 'their'} baseline."
    if {check.family for check in verdict.failed_checks} == {SLICE}:
        return f"Over all faces no fall is established, but {headline}"
    return headline


def _name(check: MetricCheck) -> str:
    return metric_name(check.metric)
