"""Tables of the measurements in a model card, as blocks of Markdown: scores, verdicts, robustness.

Each public function takes the report of one model and gives nothing where nothing was measured.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from fer_models.emotions import LABELS
from fer_models.report import parity, tables
from fer_models.report.eval_report import EvalReport
from fer_models.report.formatting import NOTHING, count, number, p_value, percent, signed, with_interval
from fer_models.report.markdown_text import cell, code, table
from fer_models.report.measured_value import MeasuredValue
from fer_models.report.report_entries import ClassScores, Result, face_set_name, subject_name
from fer_models.report.robustness import figure_cells
from fer_models.report.robustness_entries import CorruptionResult, MetamorphicResult, ScoreChange
from fer_models.report.worst_slices import worst_slices

#: The metrics of the table of scores, and their headings.
_METRICS = {"accuracy": "accuracy", "macro_f1": "macro F1", "ece": "ECE"}


def scores(report: EvalReport) -> Iterator[str]:
    """The metrics of each result, with intervals."""
    yield "### Scores"
    headings = ("faces as", "faces", "no prediction", *_METRICS.values())
    for name, results in _by_faces(report).items():
        rows = [
            (
                *(_condition(result), f"{result.n:,}", f"{result.unanswered:,}"),
                *(with_interval(result.metrics.get(metric)) for metric in _METRICS),
            )
            for result in results
        ]
        yield f"On {code(name)}, with 95 % intervals:"
        yield table(headings, rows, numbers=range(1, len(headings)))


def recalls(report: EvalReport) -> Iterator[str]:
    """The recall of each emotion."""
    for name, results in _by_faces(report).items():
        emotions = [label for label in LABELS if any(label in result.per_class for result in results)]
        if not emotions:
            continue
        rows = [
            (code(label), *(_recall(result.per_class.get(label)) for result in results)) for label in emotions
        ]
        headings = ("recall of", *map(_condition, results))
        yield f"Recall of each emotion on {code(name)}, with 95 % intervals and numbers of faces:"
        yield table(headings, rows, numbers=range(1, len(headings)))


def slices(report: EvalReport) -> Iterator[str]:
    """The worst and the best slice of each property of the faces, and the gap."""
    rows = [
        (
            *(_condition(row.result), code(row.column.column), code(row.worst.title), f"{row.worst.n:,}"),
            *(with_interval(row.worst.accuracy), code(row.best.title), number(row.best.accuracy.value)),
            *(with_interval(row.gap.difference), cell(p_value(row.gap.p))),
        )
        for row in worst_slices(report)
    ]
    if not rows:
        return
    headings = (
        "faces as",
        "property",
        "worst slice",
        "faces",
        "accuracy",
        "best slice",
        "its accuracy",
        "gap",
        "p",
    )
    yield "### Slices"
    yield (
        "Accuracy in the worst and in the best slice of each property, the gap with a 95 % interval, and its "
        "p-value, adjusted for the properties. A gap says where the model is wrong more often, not why."
    )
    yield table(headings, rows, numbers=(3, 4, 6, 7, 8))


def baselines(report: EvalReport) -> Iterator[str]:
    """The verdict on each result, and the change of its accuracy."""
    headings = ("faces as", "baseline", "recorded", "accuracy", "change", "p", "verdict")
    yield "### Verdict against the baseline"
    for name, results in _by_faces(report).items():
        rows = [
            (
                *(_condition(result), number(result.baseline_value()), _recorded(result)),
                *(number(result.value("accuracy")), signed(result.change()), cell(p_value(result.p()))),
                result.label,
            )
            for result in results
        ]
        yield f"Accuracy on {code(name)}, compared face by face; p is for a fall, adjusted for the run:"
        yield table(headings, rows, numbers=(1, 3, 4, 5))


def leaks(report: EvalReport) -> Iterator[str]:
    """Accuracy with and without faces that are also in the training split."""
    if any(result.leakage is not None for result in report.results):
        yield "### Leaked faces"
    headings = ("faces as", "leaked faces", "accuracy on them", "accuracy without them", "difference")
    for name, results in _by_faces(report).items():
        rows = [
            (
                *(
                    _condition(result),
                    f"{leaks.faces:,} of {result.n:,}",
                    with_interval(leaks.accuracy_on_leaks),
                ),
                with_interval(result.metrics.get("accuracy_without_leaks")),
                _signed_interval(leaks.difference),
            )
            for result in results
            if (leaks := result.leakage) is not None
        ]
        if rows:
            yield f"Faces of {code(name)} that are also in the training split, pixel for pixel:"
            yield table(headings, rows, numbers=range(1, len(headings)))


def annotators(report: EvalReport) -> Iterator[str]:
    """Accuracy against the votes of annotators."""
    if any(result.votes is not None for result in report.results):
        yield "### Agreement with annotators"
    for name, results in _by_faces(report).items():
        judged = [(result, result.votes) for result in results if result.votes is not None]
        strata = list(dict.fromkeys(stratum for _, votes in judged for stratum in votes.strata))
        rows = [
            (
                *(_condition(result), with_interval(votes.majority), with_interval(votes.one_annotator)),
                *(with_interval(votes.strata.get(stratum)) for stratum in strata),
            )
            for result, votes in judged
        ]
        if rows:
            agreeing = (f"{code(stratum)} agree" for stratum in strata)
            headings = ("faces as", "label of the majority", "label of one annotator", *agreeing)
            yield f"Accuracy on {code(name)} where labels are votes, also by how many annotators agree:"
            yield table(headings, rows, numbers=range(1, len(headings)))


# Other measurements.


def restorations(report: EvalReport) -> Iterator[str]:
    """The effect of each restoration."""
    headings = (
        "restoration",
        "against",
        "faces",
        "before",
        "after",
        "change",
        "corrected",
        "broken",
        "p",
        "effect",
    )
    rows = [
        (
            *(code(effect.restoration), code(effect.against), f"{effect.n:,}"),
            *(
                number(effect.accuracy.before),
                number(effect.accuracy.after),
                _signed_interval(effect.accuracy),
            ),
            *(f"{effect.corrected:,}", f"{effect.broken:,}", cell(p_value(effect.p_adjusted))),
            code(effect.verdict),
        )
        for effect in report.restorations
    ]
    if rows:
        yield "### Restorations"
        yield "Accuracy before and after a restoration of the same faces; p is for a difference, adjusted:"
        yield table(headings, rows, numbers=range(2, 9))


def robustness(report: EvalReport) -> Iterator[str]:
    """The robustness checks: a line for each, and the judged figures."""
    headings = ("figure", "faces", "now", "baseline", "change", "95 % interval", "p", "verdict")
    rows = [
        (code(figure.name), f"{figure.faces:,}", *map(cell, figure_cells(figure)), figure.verdict)
        for _, figure in report.robustness
    ]
    lines = [
        *tables.prompts(report),
        *map(_metamorphic_line, report.metamorphic),
        *map(_corruption_line, report.corruptions),
        *parity.lines(report),
    ]
    if rows or lines:
        yield "### Robustness"
    if lines:
        yield "\n".join(f"- {code(line)}" for line in lines)
    if rows:
        yield "Figures against their baselines:"
        yield table(headings, rows, numbers=range(1, 7))


def _metamorphic_line(entry: MetamorphicResult) -> str:
    rates = ", ".join(f"{relation} {percent(rate)}" for relation, rate in entry.flip_rate.items())
    return f"{subject_name(entry.subject)}, small changes of {count(entry.n, 'face')}: flip rates {rates}"


def _corruption_line(entry: CorruptionResult) -> str:
    severities = ", ".join(map(str, entry.severities))
    worst = min(((min(values), name) for name, values in entry.accuracy.items() if values), default=None)
    lowest = "" if worst is None else f"; lowest accuracy {number(worst[0])} ({worst[1]})"
    return (
        f"{subject_name(entry.subject)}, corruptions of severity {severities} on {count(entry.n, 'face')}: "
        f"mean error {number(entry.mean_error)}; accuracy without corruption {number(entry.clean)}{lowest}"
    )


# Names and cells.


def _by_faces(report: EvalReport) -> Mapping[str, Sequence[Result]]:
    """The results by `dataset/split` and corruption."""
    groups: dict[str, list[Result]] = {}
    for result in report.results:
        groups.setdefault(face_set_name(result.subject), []).append(result)
    return groups


def _condition(result: Result) -> str:
    """How the faces were shown: restoration and prompts."""
    subject = result.subject
    return code(f"{subject.restoration} · {subject.prompt}" if subject.prompt else subject.restoration)


def _signed_interval(change: MeasuredValue | ScoreChange | None) -> str:
    """`-0.041 [-0.050, -0.030]`, or a dash."""
    if change is None:
        return NOTHING
    value = change.change if isinstance(change, ScoreChange) else change.value
    return f"{signed(value)} [{signed(change.low)}, {signed(change.high)}]"


def _recall(scores: ClassScores | None) -> str:
    """`0.480 [0.436, 0.524], n 491`, or a dash."""
    if scores is None or scores.recall is None:
        return NOTHING
    interval = scores.intervals.get("recall")
    limits = "" if interval is None else f" [{number(interval[0])}, {number(interval[1])}]"
    return f"{number(scores.recall)}{limits}, n {scores.support:,}"


def _recorded(result: Result) -> str:
    """The date of the baseline, or a dash."""
    date = None if result.baseline is None else result.baseline.recorded.get("date")
    return code(date) if isinstance(date, str) else NOTHING
