"""The verdict on a run in a sentence or two: what regressed, else what was judged and what is uncertain.

A restoration that harms fails no run, so it is no part of the verdict.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from fer_models.gate.gate import FAIL, INCONCLUSIVE, NEW
from fer_models.report.eval_report import EvalReport
from fer_models.report.formatting import count, listed, metric_name, number, one_line, p_equation, signed
from fer_models.report.report_entries import Entry, Result, face_set_name
from fer_models.report.robustness_entries import CostRatioEntry, Figure, ParityEntry, RobustnessEntry

_ERROR = "ERROR"
#: How many names are listed; the rest is counted.
_NAMES = 3
#: The metrics that are named first, in this order, and their names in words. Others are recalls of emotions.
_METRICS = {"accuracy": "accuracy", "macro_f1": "macro F1"}


def verdict_sentence(report: EvalReport, quote: Callable[[str], str] = one_line) -> str:
    """Describe the verdict on a run, as plain text on one line.

    Args:
        report: of the run.
        quote: formats each text from outside, such as the name of a model; by default it is shown as it is.
    """
    return " ".join(verdict_sentences(report, quote))


def verdict_sentences(report: EvalReport, quote: Callable[[str], str] = one_line) -> list[str]:
    """The sentences of `verdict_sentence`, at least one; the first is the most important."""
    return list(_Verdict(report, quote).sentences())


@dataclass(frozen=True)
class _Verdict:
    """The parts of the sentence."""

    report: EvalReport
    quote: Callable[[str], str]

    def sentences(self) -> Iterator[str]:
        """The worst failure, and what else failed; without one, the scope of the run and its outcome."""
        worst, uncertain = self._worst_failure(), list(self._uncertain())
        if worst is not None:
            yield worst
            if others := self._other_failures():
                yield f"{listed(others)} failed too."
            yield from (f"{clause}." for clause in uncertain)
        elif self._judged or self._figures:
            yield f"{self._scope()}: {self._outcome()}."
            yield from (f"{clause}." for clause in uncertain)
        else:
            yield self._nothing_judged()
        if self._errors:
            yield f"{count(len(self._errors), 'error')}: {self._listed(self._errors)}."
        fails = any(e.fails for e in self._results) or any(e.fails for e in self.report.checks)
        if worst is None and fails:
            yield "The run fails, because of --strict-gate."

    # What the report holds.

    @cached_property
    def _results(self) -> list[Result]:
        """The results with a verdict."""
        return [r for r in self.report.ranked_results if r.verdict not in (None, _ERROR)]

    @cached_property
    def _exports(self) -> list[ParityEntry]:
        """The exports with a verdict."""
        return [entry for entry in self.report.parity if entry.verdict is not None]

    @cached_property
    def _judged(self) -> list[Result | ParityEntry]:
        return [*self._results, *self._exports]

    @cached_property
    def _figures(self) -> list[tuple[RobustnessEntry, Figure]]:
        return list(self.report.robustness)

    @cached_property
    def _errors(self) -> list[str]:
        """What the errors are about, each once: a subject that could not be judged, or a part of the run."""
        failed = (r.id for r in self.report.ranked_results if r.verdict == _ERROR)
        return list(dict.fromkeys((*failed, *(error.subject for error in self.report.errors))))

    @cached_property
    def _failed(self) -> list[Result]:
        """The results that failed, worst first: accuracy, then macro-F1, then the recall of an emotion."""
        return sorted((r for r in self._results if r.verdict == FAIL), key=_severity)

    @cached_property
    def _failed_exports(self) -> list[ParityEntry]:
        failed = (entry for entry in self._exports if entry.verdict == FAIL)
        return sorted(failed, key=lambda entry: entry.accuracy.change)

    @cached_property
    def _failed_figures(self) -> list[tuple[RobustnessEntry, Figure]]:
        """The figures that failed, the greatest change first; then costs, whose changes are no shares."""
        failed = (pair for pair in self._figures if pair[1].verdict == FAIL)
        return sorted(failed, key=lambda pair: (_is_cost(pair[0]), -abs(pair[1].change or 0.0)))

    # Failures.

    def _worst_failure(self) -> str | None:
        """A sentence on the worst failure: of a result, else an export, else a robustness figure."""
        if self._failed:
            return self._regression(self._failed[0])
        if self._failed_exports:
            return self._worse_export(self._failed_exports[0])
        for entry, figure in self._failed_figures:
            change = _change(self.quote(figure.name), figure.baseline, figure.now, figure.p)
            return f"{self._on(entry, 'regressed')}: {change}."
        return None

    def _regression(self, result: Result) -> str:
        metric = _failed_metric(result)
        if metric is None:  # the floor, or faces without a prediction
            reason = result.message.strip().partition("\n")[0].removeprefix(f"{result.id}: ").rstrip(".")
            return f"{self._on(result, 'failed')}{f': {self.quote(reason)}' if reason else ''}."
        name = _METRICS.get(metric) or self.quote(metric_name(metric))
        before, now = result.baseline_value(metric), result.value(metric)
        if before is None or now is None:
            change = f"{name} {signed(result.change(metric))}{_p(result.p(metric))}"
        else:
            change = _change(name, before, now, result.p(metric))
        return f"{self._on(result, 'regressed')}: {change}."

    def _worse_export(self, entry: ParityEntry) -> str:
        accuracy = _change("accuracy", entry.accuracy.before, entry.accuracy.after, entry.p)
        differs = self._on(entry, f"differs from {self.quote(entry.reference)}")
        return f"{differs}: {entry.disagreements:,} of {entry.n:,} predictions, {accuracy}."

    def _on(self, entry: Entry, verb: str) -> str:
        return f"{self.quote(entry.name)} {verb} on {self.quote(entry.face_set)}"

    def _other_failures(self) -> list[str]:
        """The numbers of failures besides the worst, by kind."""
        numbers = {
            "other combination": len(self._failed),
            "other export": len(self._failed_exports),
            "other robustness figure": sum(not _is_cost(entry) for entry, _ in self._failed_figures),
            "other cost": sum(_is_cost(entry) for entry, _ in self._failed_figures),
        }
        worst = next(noun for noun, n in numbers.items() if n)
        return [count(n, noun) for noun, n in (numbers | {worst: numbers[worst] - 1}).items() if n]

    # A run without regressions.

    def _scope(self) -> str:
        """`5 models, 18 combinations on synthetic/test, 1,050 faces`; the name of a single combination."""
        entries: list[Entry] = [*self._judged, *(entry for entry, _ in self._figures)]
        names = dict.fromkeys(entry.name for entry in entries)
        models = {entry.subject.model for entry in entries}
        subjects = {entry.subject for entry in entries}
        face_sets = dict.fromkeys(face_set_name(entry.subject) for entry in entries)
        what = self.quote(next(iter(names)))
        if len(subjects) > 1:
            what = f"{count(len(models), 'model')}, {count(len(subjects), 'combination')}"
        where = self.quote(next(iter(face_sets)))
        if len(face_sets) > 1:
            where = count(len(face_sets), "set") + " of faces"
        return f"{what} on {where}, {self._faces(entries)}"

    def _faces(self, entries: Iterable[Entry]) -> str:
        """`1,050 faces`, or `70 of 1,050 faces` where no combination has all."""
        predicted: dict[str, int] = {}
        total: dict[str, int] = {}
        for entry in entries:
            name = face_set_name(entry.subject)
            predicted[name] = max(predicted.get(name, 0), entry.n)
            total[name] = max(total.get(name, 0), entry.of if isinstance(entry, Result) else entry.n)
        n, of = sum(predicted.values()), sum(total.values())
        return count(n, "face") if n == of else f"{n:,} of {count(of, 'face')}"

    def _outcome(self) -> str:
        verdicts = {
            *(entry.verdict for entry in self._judged),
            *(figure.verdict for _, figure in self._figures),
        }
        if verdicts == {NEW}:
            return "nothing was compared"
        return "nothing regressed beyond doubt" if INCONCLUSIVE in verdicts else "nothing regressed"

    def _uncertain(self) -> Iterator[str]:
        """Clauses on what is inconclusive, degraded, or has no baseline."""
        yield from self._clauses(INCONCLUSIVE, "is inconclusive", "are inconclusive")
        if names := self._names(entry for entry in self._judged if entry.is_degraded):
            verb = "gives" if len(names) == 1 else "give"
            lower = f"{verb} the true emotion a lower probability (DEGRADED)"
            yield f"{len(names):,} {lower}: {self._listed(names)}"
        yield from self._clauses(NEW, "has no baseline yet", "have no baseline yet")

    def _clauses(self, verdict: str, singular: str, plural: str) -> Iterator[str]:
        """A clause on the combinations with a verdict, and one on the robustness figures."""
        if names := self._names(entry for entry in self._judged if entry.verdict == verdict):
            yield f"{len(names):,} {singular if len(names) == 1 else plural}: {self._listed(names)}"
        if n := sum(figure.verdict == verdict for _, figure in self._figures):
            yield f"{count(n, 'robustness figure')} {singular if n == 1 else plural}"

    def _nothing_judged(self) -> str:
        predicted = sum(result.verdict is None for result in self.report.results)
        skipped = [skip.model for skip in self.report.skipped]
        if predicted:
            return f"Nothing was judged: {count(predicted, 'combination')} predicted only."
        if skipped:
            models, was = count(len(skipped), "model"), "was" if len(skipped) == 1 else "were"
            return f"Nothing was judged: {models} {was} skipped ({self._listed(skipped)})."
        return "Nothing was judged."

    # Names.

    def _names(self, entries: Iterable[Entry]) -> list[str]:
        """The name of each combination once, with its faces where the report has several sets of them."""
        face_sets = {face_set_name(entry.subject) for entry in self.report.results}
        return list(dict.fromkeys(entry.id if len(face_sets) > 1 else entry.name for entry in entries))

    def _listed(self, names: Sequence[str]) -> str:
        more = len(names) - _NAMES
        return ", ".join((*map(self.quote, names[:_NAMES]), *([f"{more:,} more"] if more > 0 else [])))


def _is_cost(entry: RobustnessEntry) -> bool:
    return isinstance(entry, CostRatioEntry)


def _failed_metric(result: Result) -> str | None:
    """The metric whose fall fails a result: accuracy, else macro-F1, else the worst recall; None for none."""
    changes = {} if result.changes is None else result.changes.metrics
    failed = [name for name, change in changes.items() if change.failed]
    return min(failed, key=lambda name: (_rank(name), changes[name].change), default=None)


def _severity(result: Result) -> tuple[int, float]:
    metric = _failed_metric(result)
    return (-1, 0.0) if metric is None else (_rank(metric), result.change(metric) or 0.0)


def _rank(metric: str) -> int:
    return list(_METRICS).index(metric) if metric in _METRICS else len(_METRICS)


def _change(name: str, before: float | None, now: float, p: float | None) -> str:
    return f"{name} {number(before)} -> {number(now)}{_p(p)}"


def _p(p: float | None) -> str:
    """` (p = 0.0004)`, ` (p < 0.0001)`; empty for none."""
    return "" if p is None else f" ({p_equation(p)})"
