"""Results of a run on GitHub Actions: the summary page of the step, and annotations."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from fer_models.report.eval_report import EvalReport
from fer_models.report.formatting import count
from fer_models.report.markdown import markdown
from fer_models.report.markdown_text import code
from fer_models.report.workflow_commands import workflow_commands

#: A step whose summary is longer has none.
SUMMARY_BYTES = 1024 * 1024
_FAILED_TESTS = 10


def lines(report: EvalReport, failed_tests: Sequence[str] = ()) -> Iterator[str]:
    """Write the step summary, and return the lines for the log.

    Args:
        report: of the run.
        failed_tests: ids of the tests that failed; a test can fail without a verdict that does.

    Returns:
        the annotations, if this is a run of GitHub Actions (`GITHUB_ACTIONS`), and a warning if the file
        named by `GITHUB_STEP_SUMMARY` cannot be written.
    """
    if os.environ.get("GITHUB_ACTIONS") == "true":
        yield from workflow_commands(report)
    if path := os.environ.get("GITHUB_STEP_SUMMARY"):
        try:
            _append_summary(Path(path), report, failed_tests)
        except OSError as error:
            yield f"warning: the step summary {path} cannot be written ({error.strerror or error})"


def _append_summary(path: Path, report: EvalReport, failed_tests: Sequence[str]) -> None:
    """Append the report to the summary. Raises OSError if that fails, or if the file has no room for it."""
    head, tail = "\n## fer-models\n\n", ""
    if failed_tests:
        names = ", ".join(map(code, failed_tests[:_FAILED_TESTS]))
        more = f", {len(failed_tests) - _FAILED_TESTS} more" if len(failed_tests) > _FAILED_TESTS else ""
        tail = f"\n{count(len(failed_tests), 'test')} failed: {names}{more}\n"
    used = path.stat().st_size if path.exists() else 0
    room = SUMMARY_BYTES - used - len((head + tail).encode())
    text = markdown(report, room)
    if len(text.encode()) > room:
        raise OSError(f"it has {used:,} bytes already, of {SUMMARY_BYTES:,}")
    with path.open("a", encoding="utf-8", newline="\n") as file:
        file.write(head + text + tail)
