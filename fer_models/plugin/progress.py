"""Progress bars of a run."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from rich.console import Console

from fer_models.config import ShowProgress
from fer_models.progress import Progress


def progress(config: pytest.Config) -> ShowProgress:
    """A progress bar on a terminal; a line at the start elsewhere; nothing in a worker process."""

    @contextmanager
    def show(title: str, total: int) -> Iterator[Progress]:
        reporter, capture = (
            config.pluginmanager.get_plugin("terminalreporter"),
            config.pluginmanager.get_plugin("capturemanager"),
        )
        if reporter is None or capture is None or hasattr(config, "workerinput"):
            yield lambda n: None
            return
        with capture.global_and_fixture_disabled():
            if not sys.stderr.isatty():
                reporter.ensure_newline()
                reporter.write_line(f"{title}: {total} faces")
                yield lambda n: None
                return
            from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
            from rich.progress import Progress as Bar

            columns = (
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TimeRemainingColumn(),
            )
            with Bar(*columns, console=Console(stderr=True), transient=True) as bar:
                task = bar.add_task(title, total=total)
                yield lambda n: bar.advance(task, n)

    return show
