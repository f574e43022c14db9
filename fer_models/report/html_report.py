"""The HTML page of a report. It depends on the report alone: no models, faces or GPU are needed.

The page has one script and one style of its own and fetches nothing. Its Content-Security-Policy allows only
the scripts that are in the file, by their hashes: text from outside that became a script would not run.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from markupsafe import Markup

from fer_models.artifacts.resources import ASSETS
from fer_models.report import figures
from fer_models.report.eval_report import EvalReport
from fer_models.report.report_file import write_text
from fer_models.report.robustness_entries import VERDICT_ORDER
from fer_models.report.sections import SECTIONS, Section
from fer_models.report.subject_figures import SubjectFigures
from fer_models.report.templates import render
from fer_models.report.tests_page import TestsPage
from fer_models.report.verdict_sentence import verdict_sentences


def page_html(report: EvalReport, tests: TestsPage | None = None) -> str:
    """Render the page.

    Args:
        report: what to show. Sections without content are left out.
        tests: the page of pytest-html, which gets a tab of its own; None for a report alone.
    """
    script = _asset("page.js")
    style = _asset("style.css") + ("" if tests is None else tests.nested_style(".pytest-html"))
    scripts = [script, *(() if tests is None else tests.scripts)]
    page = render(
        "page",
        report=report,
        sentences=verdict_sentences(report),
        outcome=_outcome(report),
        verdicts=_verdict_counts(report),
        sections=list(_rendered(report, subject_anchors(report))),
        tests=tests,
        script=Markup(script),
        style=Markup(style),
        policy=_policy(scripts),
    )
    return f"{page}\n"


def section_html(report: EvalReport, name: str) -> str:
    """Render one template of `assets/report` about a report, such as `costs`; empty without content."""
    return _render(name, report, subject_anchors(report))


def write_html(report: EvalReport, path: Path, tests: TestsPage | None = None) -> None:
    """Write the page. Its folder is made if it is missing."""
    write_text(page_html(report, tests), path)


def subject_anchors(report: EvalReport) -> dict[str, str]:
    """A unique id in the page for each subject, by its readable id: `subject-vgg19-raw`."""
    anchors: dict[str, str] = {}
    for result in report.ranked_results:
        plain = re.sub(r"[^a-z0-9]+", "-", result.name.lower()).strip("-")
        anchor = f"subject-{plain}"
        while anchor in anchors.values():
            anchor += "-2"
        anchors[result.id] = anchor
    return anchors


def _render(name: str, report: EvalReport, anchors: Mapping[str, str]) -> str:
    results = report.ranked_results
    return render(
        name,
        report=report,
        results=results,
        charts=figures,
        subject_figures=SubjectFigures(results),
        anchors=anchors,
    )


def _rendered(report: EvalReport, anchors: Mapping[str, str]) -> Iterator[tuple[Section, Markup]]:
    """Each section that has content, with it."""
    for section in SECTIONS:
        content = _render(section.template, report, anchors)
        if content:
            yield section, Markup(content)


def _verdict_counts(report: EvalReport) -> dict[str, int]:
    """The number of results with each verdict, the worst first."""
    counts = Counter(result.verdict for result in report.results if result.verdict is not None)
    return {name: counts[name] for name in ("ERROR", *VERDICT_ORDER) if counts[name]}


def _outcome(report: EvalReport) -> str:
    """The style of the verdict: `fail`, `inconclusive` or `pass`."""
    if report.errors or report.failures:
        return "fail"
    verdicts = {result.verdict for result in report.results}
    verdicts |= {check.worst_verdict for check in report.checks if check.is_judged}
    return "pass" if "PASS" in verdicts and "INCONCLUSIVE" not in verdicts else "inconclusive"


def _policy(scripts: Iterable[str]) -> str:
    """The Content-Security-Policy: these scripts, styles and pictures in the file, and nothing else."""
    digests = (hashlib.sha256(script.encode()).digest() for script in scripts)
    hashes = " ".join(f"'sha256-{base64.b64encode(digest).decode()}'" for digest in digests)
    return (
        f"default-src 'none'; script-src {hashes}; style-src 'unsafe-inline'; img-src data:; "
        "media-src data:; base-uri 'none'; form-action 'none'"
    )


def _asset(name: str) -> str:
    return (ASSETS / "report" / name).read_text(encoding="utf-8")
