"""The outcome of each subject and check of a report: what test reports and CI annotations list."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum

from fer_models.gate.gate import FAIL, INCONCLUSIVE
from fer_models.report.eval_report import EvalReport
from fer_models.report.report_entries import Result, face_set_name

_ERROR = "ERROR"


class Status(Enum):
    """The status of an outcome. UNCERTAIN is a pass that may hide a regression: INCONCLUSIVE or DEGRADED."""

    FAILED = "failed"
    ERROR = "error"
    UNCERTAIN = "uncertain"
    PASSED = "passed"
    SKIPPED = "skipped"


@dataclass(frozen=True)
class Outcome:
    """The outcome of one subject, robustness check or model.

    Attributes:
        group: what it belongs to, such as `fer2013/private_test` or `robustness`.
        name: its name, unique in the group.
        status: what it means for the run.
        label: the verdict in words, such as `PASS, DEGRADED`.
        message: the text of the verdict, or the reason; may be empty.
        seconds: the time of its predictions, if it is known.
    """

    group: str
    name: str
    status: Status
    label: str
    message: str
    seconds: float | None = None


def outcomes(report: EvalReport) -> Iterator[Outcome]:
    """List the outcomes of a report: results, robustness checks, errors, skipped models."""
    for result in report.ranked_results:
        group, name = face_set_name(result.subject), f"{result.name} on {result.face_set}"
        status, message = _status(result), result.message
        if status is Status.SKIPPED:
            message = "It was predicted, and no selected test judges it."
        yield Outcome(group, name, status, result.label, message, result.inference_seconds)
    yield from _checks(report)
    shown = {result.id for result in report.results if result.verdict == _ERROR}
    for error in report.errors:
        if error.subject not in shown:
            yield Outcome("errors", error.subject, Status.ERROR, _ERROR, error.message)
    for skip in report.skipped:
        command = f" Run: {skip.command}" if skip.command else ""
        yield Outcome("skipped models", skip.model, Status.SKIPPED, "SKIPPED", f"{skip.reason}{command}")


def _status(result: Result) -> Status:
    if result.verdict is None:
        return Status.SKIPPED
    if result.verdict == _ERROR:
        return Status.ERROR
    if result.fails or result.verdict == FAIL:
        return Status.FAILED
    return Status.UNCERTAIN if result.verdict == INCONCLUSIVE or result.is_degraded else Status.PASSED


def _checks(report: EvalReport) -> Iterator[Outcome]:
    """The outcomes of the judged robustness checks."""
    sections = {
        "prompts": report.prompts,
        "metamorphic": report.metamorphic,
        "corruptions": report.corruptions,
    }
    more = {"parity": report.parity, "cost ratio": report.cost_ratios}
    for section, entries in {**sections, **more}.items():
        for entry in entries:
            name, verdict = f"{section}: {entry.name} on {entry.face_set}", entry.worst_verdict
            if entry.fails or verdict == FAIL:
                yield Outcome("robustness", name, Status.FAILED, entry.label, entry.message)
            elif entry.is_judged:
                is_uncertain = verdict == INCONCLUSIVE or entry.label != verdict
                status = Status.UNCERTAIN if is_uncertain else Status.PASSED
                yield Outcome("robustness", name, status, entry.label, entry.message)
