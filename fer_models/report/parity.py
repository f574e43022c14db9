"""Verdicts on exports in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fer_models.gate.gate import FAIL, PASS
from fer_models.gate.parity import ParityVerdict
from fer_models.report import verdicts
from fer_models.report.eval_report import EvalReport
from fer_models.report.formatting import clean, number, signed
from fer_models.report.robustness_entries import ParityEntry

_CHECK = "Check labels, mean, std, range and color_order in its description, or export it again"


def message(verdict: ParityVerdict) -> str:
    """The text on an export that is worse than its reference, or disagrees with it; empty for neither."""
    paired = paired_message(verdict) if verdict.paired.status != PASS or verdict.paired.is_degraded else ""
    disagreement = disagreement_message(verdict) if verdict.disagreement else ""
    return "\n".join(text for text in (paired, disagreement) if text)


def paired_message(verdict: ParityVerdict) -> str:
    """The table of metrics next to those of the reference."""
    paired, reference = verdict.paired, verdict.measured.reference
    if paired.status == FAIL:
        headline = f"it is worse than {reference} on the same faces."
    else:
        headline = f"it may be worse than {reference}, but this many faces cannot establish it."
    if paired.is_degraded and paired.status == PASS:
        headline = f"it gives the true emotion a lower probability than {reference} does."
    hint = f"{_CHECK}: fer-models export {reference}"
    if verdict.measured.quantization is not None:
        hint = f"Try another quantization, or none: fer-models export {reference} --quantize METHOD"
    return verdicts.table(paired, headline, hint, "reference")


def disagreement_message(verdict: ParityVerdict) -> str:
    """The sentence on different answers, and the first faces with one."""
    measured, subject = verdict.measured, verdict.paired.comparison.subject.id
    faces = [
        f"  face {flip['index']} ({flip['truth']}): {_answer(flip['answer'])}, "
        f"{measured.reference}: {_answer(flip['reference_answer'])}"
        for flip in measured.flips()
    ]
    more = len(measured.agreement.differing) - len(faces)
    faces += [f"  and {more} more"] if more else []
    hints = (
        f"  {_CHECK}: fer-models export {measured.reference}",
        "  If the export is quantized, its description must have quantization. "
        "To accept the difference: repeat the run with --update-baselines",
    )
    return "\n".join((f"{subject}: {verdict.disagreement}.", *faces, *hints))


def verdict_json(verdict: ParityVerdict, seconds: Mapping[str, Any]) -> dict[str, Any]:
    """The part of an entry of `parity` in evals.json that is known after the verdict."""
    comparison = verdict.paired.comparison
    return {
        "verdict": verdict.status,
        "is_degraded": verdict.paired.is_degraded and verdict.status != FAIL,
        "p": next(check.p for check in comparison.checks if check.metric == "accuracy"),
        "negative_flips": comparison.negative_flips,
        "positive_flips": comparison.positive_flips,
        "seconds_per_face": seconds.get("seconds_per_face"),
        "reference_seconds_per_face": seconds.get("reference_seconds_per_face"),
    }


def lines(report: EvalReport) -> list[str]:
    """The terminal's line for each export."""
    return [clean(_line(entry)) for entry in report.parity]


def _line(entry: ParityEntry) -> str:
    accuracy, degraded = entry.accuracy, ", DEGRADED" if entry.is_degraded else ""
    return (
        f"{entry.name} against {entry.reference}: {entry.verdict or 'not judged'}{degraded}, "
        f"{entry.disagreements} of {entry.n} predictions differ, "
        f"largest difference of a probability {entry.largest_difference:.2g}, "
        f"accuracy {number(accuracy.before)} -> {number(accuracy.after)} "
        f"({signed(accuracy.change)} [{signed(accuracy.low)}, {signed(accuracy.high)}])"
    )


def _answer(label: str | None) -> str:
    return label or "no prediction"
