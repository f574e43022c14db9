"""Terminal summary of a run: leaderboard, robustness, skips, errors, and where the page is."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Iterable, Iterator
from typing import Any

import pytest
from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from fer_models.plugin.state import State


def write_summary(reporter: Any, config: pytest.Config, state: State) -> None:
    """Write the summary of a run that evaluated, skipped or failed something.

    On a terminal, long lines are wrapped between words. Elsewhere each message stays on one line: a log is
    searched.
    """
    from fer_models.report import parity, robustness, tables
    from fer_models.report.leaderboard import leaderboard
    from fer_models.report.worst_slices import slice_lines

    report = state.report()
    reporter.section("fer-models")
    if state.results:
        lines = leaderboard(report, reporter._tw.fullwidth)
        reporter.write_line(rendered(reporter, lines))
    results = (
        *tables.missing_predictions(report),
        *slice_lines(report),
        *(*parity.lines(report), *robustness.lines(report)),
        *(*tables.prompts(report), *tables.restorations(report)),
    )
    for line in (*results, *tables.skips(report), *_failures(reporter, state), *tables.left_out(report)):
        reporter.write_line(wrapped(reporter, line))
    for line in _baselines(state):
        reporter.write_line(wrapped(reporter, line))
    reporter.write_line(f"page:    {config.getoption('htmlpath', None) or 'none'}")
    reporter.write_line(f"numbers: {state.report_dir / 'evals.json'}")
    if state.results:
        reporter.write_line(wrapped(reporter, f"history: {state.history.problem or state.history.path}"))


def rendered(reporter: Any, lines: Iterable[Text]) -> str:
    """The lines as one text, with colours where the terminal has them."""
    text, has_colour = io.StringIO(), reporter._tw.hasmarkup
    colours = "standard" if has_colour else None
    console = Console(file=text, force_terminal=has_colour, color_system=colours)  # type: ignore[arg-type]
    for line in lines:
        console.print(line, no_wrap=True, overflow="ignore", crop=False)
    return text.getvalue().rstrip()


def wrapped(reporter: Any, text: str) -> str:
    """The text with its long lines wrapped to a terminal; a table in it, whose lines are short, stays."""
    width = reporter._tw.fullwidth
    if not reporter.isatty:
        return text
    wrapper = textwrap.TextWrapper(
        width, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False
    )
    lines = text.split("\n")
    return "\n".join(wrapper.fill(line) if cell_len(line) > width else line for line in lines)


def _failures(reporter: Any, state: State) -> Iterator[str]:
    """The errors of the run, and the failed verdicts that no failed test has shown already."""
    for name, message in state.errors.items():
        yield f"error: {message if name in message else f'{name}: {message}'}"
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
    if state.n_recorded:
        recorded = f"recorded {state.n_recorded} subject(s) in {options.baselines}"
        yield f"{recorded}: review the diff before you commit it"
