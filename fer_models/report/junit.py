"""A report as JUnit XML, which CI systems read: one test case for each subject and each robustness check."""

from __future__ import annotations

from collections.abc import Sequence
from xml.etree import ElementTree as ET

from fer_models.report.eval_report import EvalReport
from fer_models.report.formatting import clean, one_line
from fer_models.report.outcomes import Outcome, Status, outcomes

#: The elements of a test case that has not passed.
_ELEMENTS = {Status.FAILED: "failure", Status.ERROR: "error", Status.SKIPPED: "skipped"}


def junit_xml(report: EvalReport) -> str:
    """Format a report as JUnit XML, in the form that pytest writes.

    Each group of outcomes is a suite. A verdict that fails the run is a failure with the gate's message. Any
    other verdict passes; its message is the output of the test case. Characters that XML forbids become
    U+FFFD.
    """
    groups: dict[str, list[Outcome]] = {}
    for outcome in outcomes(report):
        groups.setdefault(outcome.group, []).append(outcome)
    every = [outcome for group in groups.values() for outcome in group]
    root = ET.Element("testsuites", {"name": "fer-models", **_counts(every)})
    for name, members in groups.items():
        suite = ET.SubElement(root, "testsuite", {"name": one_line(name), **_counts(members)})
        for outcome in members:
            _add_case(suite, outcome)
    ET.indent(root, " ")
    content: bytes = ET.tostring(root, encoding="utf-8", xml_declaration=True)
    return content.decode() + "\n"


def _counts(members: Sequence[Outcome]) -> dict[str, str]:
    def number(status: Status) -> str:
        return str(sum(outcome.status is status for outcome in members))

    failures, errors, skipped = map(number, _ELEMENTS)
    return {"tests": str(len(members)), "failures": failures, "errors": errors, "skipped": skipped}


def _add_case(suite: ET.Element, outcome: Outcome) -> None:
    attributes = {"classname": one_line(outcome.group), "name": one_line(outcome.name)}
    if outcome.seconds is not None:
        attributes["time"] = f"{outcome.seconds:.3f}"
    case, message = ET.SubElement(suite, "testcase", attributes), clean(outcome.message)
    if outcome.status in _ELEMENTS:
        headline = one_line(message.partition("\n")[0])
        details = {"message": headline, "type": outcome.label}
        ET.SubElement(case, _ELEMENTS[outcome.status], details).text = message
    elif message:
        ET.SubElement(case, "system-out").text = message
