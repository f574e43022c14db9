"""Terminal summary of a run: leaderboard, robustness, skips, errors, and where the page is."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

import pytest

from fer_models.plugin.state import State
from fer_models.report.eval_report import EvalReport


def write_summary(reporter: Any, config: pytest.Config, state: State) -> None:
    """Write the summary of a run that evaluated, skipped or failed something."""
    from fer_models.report import parity, robustness, tables

    report = state.report()
    reporter.section("fer-models")
    if state.results:
        reporter.write_line(_leaderboard(reporter, report))
    results = (
        *(*parity.lines(report), *robustness.lines(report)),
        *(*tables.prompts(report), *tables.restorations(report)),
    )
    for line in (*results, *tables.skips(report), *_failures(reporter, state), *tables.left_out(report)):
        reporter.write_line(line)
    for line in _baselines(state):
        reporter.write_line(line)
    page = config.getoption("htmlpath", None) or "none"
    reporter.write_line(f"page: {page}   numbers: {state.report_dir / 'evals.json'}")


def _leaderboard(reporter: Any, report: EvalReport) -> str:
    from rich.console import Console

    from fer_models.report import tables

    text, has_colour = io.StringIO(), reporter._tw.hasmarkup
    width, colours = max(reporter._tw.fullwidth, 100), "standard" if has_colour else None
    console = Console(file=text, width=width, force_terminal=has_colour, color_system=colours)  # type: ignore[arg-type]
    console.print(tables.leaderboard(report))
    return text.getvalue().rstrip()


def _failures(reporter: Any, state: State) -> Iterator[str]:
    """The errors of the run, and the failed verdicts that no failed test has shown already."""
    for message in state.errors.values():
        yield f"error: {message}"
    reports = [*reporter.stats.get("failed", []), *reporter.stats.get("error", [])]
    shown = "\n".join(report.longreprtext for report in reports)
    for message in state.failures().values():
        if message.partition("\n")[0] not in shown:
            yield f"failed, although no selected test asserts it: {message}"


def _baselines(state: State) -> Iterator[str]:
    """Lines on the records that were left out, read from the package, or written."""
    options = state.evaluation.runner.options
    if state.left_out:
        names = ", ".join(state.left_out[:3]) + (", …" if len(state.left_out) > 3 else "")
        total = len(state.left_out)
        yield f"recorded, and left out of this run by -k, --model or --depth: {total} ({names})"
    if options.baselines_source != options.baselines:
        yield f"baselines: those of the package, because there is no {options.baselines}"
    if state.update and state.records:
        recorded = f"recorded {len(state.records)} subject(s) in {options.baselines}"
        yield f"{recorded}: review the diff before you commit it"
