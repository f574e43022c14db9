"""`fer-models report`: writes the report of a run again, in another format."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from fer_models.cli.common import (
    STANDARD_OUTPUT,
    Commands,
    add_command,
    output_option,
    writable,
    write_output,
)
from fer_models.errors import UsageError

if TYPE_CHECKING:
    from fer_models.report.eval_report import EvalReport

_REPORT = Path("reports/evals.json")

_EXAMPLES = (
    "fer-models report                                   # reports/evals.html again",
    'fer-models report --format markdown >> "$GITHUB_STEP_SUMMARY"',
    "fer-models report OTHER/evals.json --format junit --output evals.xml",
)


def add(commands: Commands) -> None:
    """Add the parser of `report`."""
    text = "write the report of a run again, as a page or in another format"
    parser = add_command(commands, "report", text, _EXAMPLES)
    parser.description = (
        "Write the report of a run again, as a page or in another format. Nothing is evaluated: no model, "
        "weights or faces are needed. The exit code is 0 whatever the verdicts are."
    )
    parser.add_argument(
        "report",
        metavar="FILE",
        nargs="?",
        type=Path,
        default=_REPORT,
        help=f"the evals.json of the run (default {_REPORT})",
    )
    parser.add_argument(
        "--format",
        choices=("html", "markdown", "json", "junit"),
        default="html",
        help="html (default), markdown for GitHub, json, or junit: XML for CI systems",
    )
    output_option(parser, "the page next to the evals.json; other formats: standard output")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Write the report."""
    from fer_models.report.report_file import read_report

    _write(read_report(args.report), args.format, args.output, args.report.with_suffix(".html"))
    return 0


def _write(report: EvalReport, form: str, output: Path | None, page: Path) -> None:
    """Write a report in a format; a page has no other default than a file."""
    if form == "html":
        _write_page(report, output or page)
        return
    from fer_models.report import junit, markdown, report_file

    formats = {"markdown": markdown.markdown, "json": report_file.as_json, "junit": junit.junit_xml}
    write_output(formats[form](report), output)


def _write_page(report: EvalReport, path: Path) -> None:
    if path == STANDARD_OUTPUT:
        raise UsageError("A page is written to a file. Choose one, such as --output evals.html.")
    from fer_models.report.html_report import write_html

    with writable(path):
        write_html(report, path)
    print(f"page: {path}")
