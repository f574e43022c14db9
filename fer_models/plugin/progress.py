"""Progress of the steps of a run: bars on a terminal, lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import pytest
from rich.console import Console
from rich.progress import BarColumn, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar
from rich.text import Text

from fer_models.config import ShowProgress
from fer_models.progress import Progress
from fer_models.report.formatting import count, rate, seconds, shorten

#: Columns of a terminal: of the numbers next to the title of a step, and of the bar; and the width from which
#: on there is a bar. On a narrower terminal the name of the model is worth more.
_NUMBERS, _BAR, _WIDE = 24, 20, 100


def progress(config: pytest.Config) -> ShowProgress:
    """Bars with rate and time left on a terminal; one line per step elsewhere; none in a worker process."""
    bars, lines = _Bars(), _Lines()

    @contextmanager
    def show(title: str, total: int) -> Iterator[Progress]:
        reporter = config.pluginmanager.get_plugin("terminalreporter")
        capture = config.pluginmanager.get_plugin("capturemanager")
        if reporter is None or capture is None or hasattr(config, "workerinput"):
            yield lambda n: None
            return
        with capture.global_and_fixture_disabled():
            reporter.ensure_newline()
            on_terminal = sys.stderr.isatty()
            with bars.step(title, total) if on_terminal else lines.step(reporter, title, total) as advance:
                yield advance

    return show


class Rate(ProgressColumn):
    """Faces per second, over the last half minute."""

    def render(self, task: Task) -> Text:
        """The rate of a step; empty at its start."""
        return Text("" if task.speed is None else f"{rate(task.speed)}/s", style="progress.data.speed")


class _Bars:
    """The bars of the steps that run now: a step within another one has a row of its own."""

    def __init__(self) -> None:
        self._shown: Bar | None = None

    @contextmanager
    def step(self, title: str, total: int) -> Iterator[Progress]:
        outer = self._shown
        bar = self._shown = outer or _bar(Console(stderr=True))
        width = bar.console.width
        room = width - _NUMBERS - (_BAR + 1 if width >= _WIDE else 0)
        try:
            with bar if outer is None else nullcontext():
                task = bar.add_task(shorten(title, max(room, 20)), total=total)
                try:
                    yield lambda n: bar.advance(task, n)
                finally:
                    bar.refresh()  # a short step is shown too
                    bar.remove_task(task)
        finally:
            self._shown = outer


def _bar(console: Console) -> Bar:
    title, share = TextColumn("{task.description}", markup=False), TextColumn("{task.percentage:>3.0f}%")
    picture = (BarColumn(bar_width=_BAR),) if console.width >= _WIDE else ()
    return Bar(title, *picture, share, Rate(), TimeRemainingColumn(), console=console, transient=True)


class _Lines:
    """One line per step: its title at its start, its time at its end."""

    def __init__(self) -> None:
        self._open: str | None = None

    @contextmanager
    def step(self, reporter: Any, title: str, total: int) -> Iterator[Progress]:
        if self._open is not None:  # a step within another one
            reporter.write_line("")
        self._open = title
        reporter.write(f"{title}: {count(total, 'face')}" if total > 1 else title, flush=True)
        started, end = time.perf_counter(), "not completed"
        try:
            yield lambda n: None
            end = f"in {seconds(time.perf_counter() - started)}"
        finally:
            reporter.write_line(f" {end}" if self._open == title else f"{title}: completed {end}", flush=True)
            self._open = None
