"""A report as Markdown for a CI summary or a pull request: the verdict, tables, the rest folded."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from fer_models.gate.gate import PASS
from fer_models.report import parity, robustness, tables
from fer_models.report.change_entries import ChangedFace
from fer_models.report.compared_runs import FLIP_HEADINGS
from fer_models.report.eval_report import EvalReport
from fer_models.report.formatting import count, number, p_value, signed, with_interval
from fer_models.report.markdown_text import cell, code, code_block, folded, table
from fer_models.report.outcomes import Status, outcomes
from fer_models.report.report_entries import Result
from fer_models.report.robustness_entries import RestorationResult
from fer_models.report.verdict_sentence import verdict_sentence
from fer_models.report.worst_slices import WorstSlice, worst_slices

_HEADINGS = ("subject", "n", "accuracy", "change", "p", "verdict")
_EFFECT_HEADINGS = (
    "restoration",
    "against",
    "model",
    "n",
    "before",
    "after",
    "corrected",
    "broken",
    "p",
    "effect",
)
_SLICE_HEADINGS = (
    "subject",
    "property",
    "worst slice",
    "n",
    "accuracy",
    "best slice",
    "its accuracy",
    "gap",
    "p",
)
_SELECTIVE_HEADINGS = ("subject", "accuracy at 80 % coverage", "at 90 %", "AURC", "excess AURC")
#: The outcomes whose messages are shown, in this order.
_FOLDED = (Status.FAILED, Status.ERROR, Status.UNCERTAIN)
#: The parts that can be left out of a text that is too long, in this order.
_FLIPS, _DETAILS, _TABLES = "the faces that changed", "messages and details", "the tables"


def markdown(report: EvalReport, limit: int | None = None) -> str:
    """Format a report as GitHub-flavoured Markdown.

    Args:
        report: of a run.
        limit: the largest size in bytes of UTF-8. A longer text loses the faces that changed, then all folded
            parts, then the tables, and names what it lost. None for no limit.
    """
    left_out: tuple[str, ...] = ()
    for part in (_FLIPS, _DETAILS, _TABLES):
        text = _text(report, left_out)
        if limit is None or len(text.encode()) <= limit:
            return text
        left_out = (*left_out, part)
    return _text(report, left_out)


def _text(report: EvalReport, left_out: Sequence[str]) -> str:
    parts = [f"**{verdict_sentence(report, code)}**"]
    if _TABLES not in left_out:
        parts += _tables(report)
    if _DETAILS not in left_out:
        parts += _details(report, with_flips=_FLIPS not in left_out)
    if left_out:
        parts.append(f"Left out, because the text is too long here: {', '.join(left_out)}.")
    return "\n\n".join(parts) + "\n"


def _tables(report: EvalReport) -> Iterator[str]:
    """A table for each set of faces, and a line on robustness and each export."""
    for face_set, results in report.ranked.items():
        has_unanswered = any(result.unanswered for result in results)
        headings = (*_HEADINGS[:2], *(("no prediction",) if has_unanswered else ()), *_HEADINGS[2:])
        rows = [_row(result, has_unanswered) for result in results]
        yield f"{code(face_set)}\n\n{table(headings, rows, numbers=range(1, len(headings) - 1))}"
    yield from map(code, (*robustness.lines(report)[:1], *parity.lines(report)))


def _row(result: Result, has_unanswered: bool) -> tuple[str, ...]:
    accuracy = with_interval(result.metrics.get("accuracy"))
    change, p = signed(result.change()), p_value(result.p())
    verdict = result.label if result.label == PASS else f"**{result.label}**"
    unanswered = (f"{result.unanswered:,}",) if has_unanswered else ()
    return (code(result.name), f"{result.n:,}", *unanswered, accuracy, change, cell(p), verdict)


def _details(report: EvalReport, *, with_flips: bool) -> Iterator[str]:
    """Folded parts, failures first, and a list of remarks."""
    listed = [outcome for outcome in outcomes(report) if outcome.status in _FOLDED and outcome.message]
    for outcome in sorted(listed, key=lambda outcome: _FOLDED.index(outcome.status)):
        yield folded(f"{outcome.label}: {outcome.name}", code_block(outcome.message))
    if with_flips:
        yield from (folded(*_flips(result)) for result in report.ranked_results if result.flips)
    if slices := [_slice_row(row) for row in worst_slices(report) if row.is_shown]:
        yield folded(f"Worst slices ({len(slices)})", table(_SLICE_HEADINGS, slices, numbers=(3, 4, 6, 7, 8)))
    if selective := [row for result in report.ranked_results if (row := _selective_row(result))]:
        yield folded(
            "The most confident predictions", table(_SELECTIVE_HEADINGS, selective, numbers=(1, 2, 3, 4))
        )
    if report.restorations:
        rows = [_effect_row(effect) for effect in report.restorations]
        effects = table(_EFFECT_HEADINGS, rows, numbers=(3, 4, 5, 6, 7, 8))
        yield folded(f"Effects of restorations ({len(rows)})", effects)
    if lines := [f"- {code(line)}" for line in _remarks(report)]:
        yield "\n".join(lines)


def _flips(result: Result) -> tuple[str, str]:
    """A title with the numbers of flips, and a table of the faces that the report has."""
    title = f"{result.id}: faces that changed"
    if result.changes is not None:
        faces = result.changes.faces
        n_wrong = count(faces.negative_flips, "face")
        title = f"{result.id}: {n_wrong} correct before and wrong now, {faces.positive_flips} the other way"
        if (shown := len(result.flips)) < faces.negative_flips + faces.positive_flips:
            title += f" ({shown} shown)"
    return title, table(FLIP_HEADINGS, [_flip_row(face) for face in result.flips], numbers=(0, 5, 6))


def _flip_row(face: ChangedFace) -> tuple[str, ...]:
    emotions = (face.truth, face.before or "no prediction", face.now or "no prediction")
    p_true = (number(face.p_true.before, 2), number(face.p_true.now, 2))
    return (str(face.index), code(face.face), *map(code, emotions), *p_true)


def _effect_row(effect: RestorationResult) -> tuple[str, ...]:
    names = map(code, (effect.restoration, effect.against, effect.model))
    accuracies = (number(effect.accuracy.before), number(effect.accuracy.after))
    faces = (f"{effect.corrected:,}", f"{effect.broken:,}", cell(p_value(effect.p_adjusted)))
    return (*names, f"{effect.n:,}", *accuracies, *faces, code(effect.verdict))


def _slice_row(row: WorstSlice) -> tuple[str, ...]:
    names = map(code, (row.result.name, row.column.column, row.worst.title))
    worst = (f"{row.worst.n:,}", with_interval(row.worst.accuracy))
    best = (code(row.best.title), number(row.best.accuracy.value))
    return (*names, *worst, *best, with_interval(row.gap.difference), cell(p_value(row.gap.p)))


def _selective_row(result: Result) -> tuple[str, ...] | None:
    """Accuracy on the most confident faces and the areas; None without probabilities."""
    if result.selective is None:
        return None
    areas = result.selective.by_probability
    accuracies = {one.coverage: one.accuracy for one in result.selective.accuracy_at}
    cells = (accuracies.get(0.8), accuracies.get(0.9), areas.aurc, areas.excess_aurc)
    return (code(f"{result.name} on {result.face_set}"), *map(with_interval, cells))


def _remarks(report: EvalReport) -> Iterator[str]:
    """Lines on what was skipped or left out, and notes."""
    yield from tables.skips(report)
    if report.not_judged:
        yield f"{count(len(report.not_judged), 'recorded subject')} {report.not_judged_reason}"
    if report.depth.left_out:
        yield f"Depth {report.depth.name} left out: {', '.join(report.depth.left_out)}"
    yield from (f"Note: {note}" for note in report.notes)
    yield from (f"Note: {name}: {note}" for name, note in report.face_notes)
