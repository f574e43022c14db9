"""The HTML page of a report. It depends on the report alone: no models, faces or GPU are needed."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from fer_models.report import figures
from fer_models.report.eval_report import EvalReport
from fer_models.report.report_file import write_text
from fer_models.report.robustness_entries import VERDICT_ORDER
from fer_models.report.templates import render


def summary_html(report: EvalReport) -> str:
    """Render the report as one block of HTML with its own style, for the top of any page.

    It has no script and fetches nothing. Sections without content are left out.
    """
    return section_html(report, "summary")


def section_html(report: EvalReport, name: str) -> str:
    """Render one template of `assets/report` about a report, such as `costs`; empty without content."""
    counts = Counter(result.verdict for result in report.results)
    return render(name, report=report, charts=figures, verdict_counts=counts, verdict_order=VERDICT_ORDER)


def write_html(report: EvalReport, path: Path) -> None:
    """Write the page by itself, for a run that ends before pytest-html can write it."""
    write_text(section_html(report, "page") + "\n", path)
