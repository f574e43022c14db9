"""Tables and lines for the terminal, and the text of a failure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from fer_models.gate.restoration_effect import NOTHING_SHOWN
from fer_models.report.eval_report import EvalReport
from fer_models.report.formatting import NOTHING, clean, count, number, one_line, p_value, signed
from fer_models.report.robustness_entries import PromptResult, QuestionResult, RestorationResult

#: The results that the line on missing predictions names.
_MOST_UNANSWERED = 4

# The terminal.


def prompts(report: EvalReport) -> list[str]:
    """One line for each model with prompts or questions: the range of its accuracy, and the worst prompt."""
    return [
        clean(_question_line(entry) if isinstance(entry, QuestionResult) else _prompt_line(entry))
        for entry in report.prompts
    ]


def _question_line(entry: QuestionResult) -> str:
    scores = {name: score.accuracy.value for name, score in entry.questions.items()}
    worst = min(scores, key=lambda name: scores[name], default="")
    orders = "; ".join(
        f"correct in all rotations of {name!r} {number(order.circular.value)}"
        for name, order in entry.orders.items()
    )
    default = entry.question
    return (
        f"{entry.name} on {entry.n} of {entry.face_set}: {default!r} {number(scores.get(default))}, "
        f"worst of {len(scores)} questions {number(scores.get(worst))} ({worst!r}); {orders}"
    )


def _prompt_line(entry: PromptResult) -> str:
    spread, search = entry.sensitivity, entry.search
    base, worst, breaking = search.base, search.worst, search.breaking
    edit = ""
    if breaking is not None:
        points = 100 * (base.accuracy - breaking.accuracy)
        edit = f"; {', '.join(breaking.edits)} alone costs {points:.0f} points"
    return (
        f"{entry.name} on {entry.face_set}: "
        f"single templates {number(spread.worst)} to {number(spread.best)}; "
        f"worst of {search.tried} prompts {number(worst.accuracy)} ({worst.template!r}), "
        f"unedited {number(base.accuracy)}{edit}"
    )


def missing_predictions(report: EvalReport) -> list[str]:
    """One line on the results with faces without a prediction, the most first; empty without such faces."""
    results = sorted((r for r in report.results if r.unanswered), key=lambda r: -r.unanswered)
    if not results:
        return []
    parts = [f"{r.name} {r.unanswered:,} of {r.n:,}" for r in results[:_MOST_UNANSWERED]]
    more = len(results) - len(parts)
    return [
        clean(f"faces without a prediction: {', '.join((*parts, *([f'{more:,} more'] if more else [])))}")
    ]


def restorations(report: EvalReport) -> list[str]:
    """One line for each effect of a restoration."""
    return [clean(_restoration_line(effect)) for effect in report.restorations]


def _restoration_line(effect: RestorationResult) -> str:
    accuracy = effect.accuracy
    detectable = ""
    if effect.verdict == NOTHING_SHOWN:
        detectable = f"; these faces would show {100 * effect.minimum_detectable_effect:.1f} points"
    if effect.required_sample_size is not None:
        detectable += f", this change needs about {count(effect.required_sample_size, 'face')}"
    return (
        f"{effect.restoration} against {effect.against}, {effect.model}: {effect.verdict} "
        f"({number(accuracy.before)} -> {number(accuracy.after)} on {count(effect.n, 'face')}, "
        f"{effect.corrected} corrected, {effect.broken} broken, p {p_value(effect.p_adjusted)}{detectable})"
    )


def left_out(report: EvalReport) -> list[str]:
    """The lines on what the depth left out, and the command for everything; empty for a full run."""
    if not report.depth.left_out:
        return []
    return [
        f"Depth {report.depth.name} left out:",
        *(f"  - {phrase}" for phrase in report.depth.left_out),
        "Everything: repeat the run with --depth full",
    ]


def skips(report: EvalReport) -> list[str]:
    """One line for each skipped model, with the reason and the command that changes it."""
    return [
        one_line(f"skipped {skip.model}: {skip.reason}{f' Run: {skip.command}' if skip.command else ''}")
        for skip in report.skipped
    ]


# A failure.


@dataclass(frozen=True)
class FailureRow:
    """One metric of a failure's table; None where there is no value or no baseline.

    Attributes:
        metric: its name.
        now: its value in this run.
        low, high: its 95 % interval.
        baseline: its recorded value.
        change: now minus baseline.
        p: one-sided p-value of a fall, paired face by face.
        failed: whether this metric fails the gate.
    """

    metric: str
    now: float
    low: float | None
    high: float | None
    baseline: float | None
    change: float | None
    p: float | None
    failed: bool


def failure_table(
    id: str,
    headline: str,
    rows: Sequence[FailureRow],
    facts: Iterable[str],
    hint: str,
    before: str = "baseline",
) -> str:
    """Format the text of a failure, to be read without a traceback.

    Args:
        id: the subject's readable id.
        headline: the regression in one sentence.
        rows: the compared metrics; those that failed are marked with `>`.
        facts: further lines, each a sentence.
        hint: the command that comes next.
        before: the heading of `FailureRow.baseline`.
    """
    table = [("metric", "now", "95 % interval", before, "change", "p (paired)"), *map(_failure_cells, rows)]
    return marked_table(id, headline, table, [row.failed for row in rows], [*facts, hint])


def marked_table(
    id: str, headline: str, table: Sequence[Sequence[str]], failed: Sequence[bool], lines_below: Iterable[str]
) -> str:
    """Format a headline, a table with its headings first and failed rows marked with `>`, and lines below."""
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    widths[0] += 1  # space between names and numbers
    marks = ["  ", *("> " if one else "  " for one in failed)]
    lines = [
        mark + "   ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True))
        for mark, cells in zip(marks, table, strict=True)
    ]
    return "\n".join(
        line.rstrip() for line in (f"{id}: {headline}", *lines, *(f"  {line}" for line in lines_below))
    )


def _failure_cells(row: FailureRow) -> tuple[str, ...]:
    interval = NOTHING if row.low is None or row.high is None else f"[{number(row.low)}, {number(row.high)}]"
    return (row.metric, number(row.now), interval, number(row.baseline), signed(row.change), p_value(row.p))
