"""`fer-models report`: writes the report of a run, or of a store, in any format."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from fer_models.artifacts.object_storage import store_path
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
_STORED_PAGE = Path("reports/stored.html")

_EXAMPLES = (
    "fer-models report                                   # reports/evals.html again",
    'fer-models report --format markdown >> "$GITHUB_STEP_SUMMARY"',
    "fer-models report --store .evals/store --model vgg19",
)


def add(commands: Commands) -> None:
    """Add the parser of `report`."""
    text = "write the report of a run, or of stored predictions, as a page or in another format"
    parser = add_command(commands, "report", text, _EXAMPLES)
    parser.description = (
        "Write the report of a run again, as a page or in another format; with --store, score and judge "
        "stored predictions. No model, weights or faces are needed. The exit code is 0 whatever the verdicts "
        "are."
    )
    parser.add_argument(
        "report", metavar="FILE", nargs="?", type=Path, help=f"the evals.json of the run (default {_REPORT})"
    )
    parser.add_argument(
        "--store", type=store_path, metavar="FOLDER", help="report stored predictions instead"
    )
    parser.add_argument(
        "--baselines",
        type=Path,
        metavar="FILE",
        help="with --store: the baselines (default: baselines.json here, else the packaged one)",
    )
    for name in ("--model", "--dataset", "--split"):
        parser.add_argument(name, metavar="NAME", help=f"with --store: only this {name.removeprefix('--')}")
    strict = "with --store: INCONCLUSIVE, NEW and DEGRADED are failures too"
    parser.add_argument("--strict-gate", action="store_true", help=strict)
    parser.add_argument(
        "--format",
        choices=("html", "markdown", "json", "junit"),
        default="html",
        help="html (default), markdown for GitHub, json, or junit: XML for CI systems",
    )
    output_option(parser, "the page next to the evals.json, or reports/stored.html; others: standard output")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Write the report."""
    if args.store is None:
        names = ("baselines", "model", "dataset", "split", "strict_gate")
        if given := [f"--{name.replace('_', '-')}" for name in names if getattr(args, name)]:
            raise UsageError(f"{', '.join(given)}: only for stored predictions. Add --store FOLDER.")
        from fer_models.report.report_file import read_report

        path = args.report or _REPORT
        _write(read_report(path), args.format, args.output, path.with_suffix(".html"))
        return 0
    if args.report is not None:
        raise UsageError(f"Give either the file {args.report} or --store {args.store}, not both.")
    _write(_of_store(args), args.format, args.output, _STORED_PAGE)
    return 0


def _of_store(args: argparse.Namespace) -> EvalReport:
    """Build the report of the stored predictions that the options select."""
    from fer_models.artifacts import resources
    from fer_models.gate import baselines
    from fer_models.report.stored_report import stored_report

    path: Path = args.baselines or Path("baselines.json")
    if args.baselines is not None and not path.is_file():
        raise UsageError(f"--baselines {path}: no such file. Check its name.")
    records = baselines.read(path if path.is_file() else resources.shipped_baselines())
    wanted = {name: getattr(args, name) for name in ("model", "dataset", "split") if getattr(args, name)}
    return stored_report(
        args.store,
        records,
        lambda subject: all(getattr(subject, name) == value for name, value in wanted.items()),
        args.strict_gate,
    )


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
