"""Progress of the steps of a run."""

from __future__ import annotations

import io
import re
import sys
import time
from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import pytest
from rich.cells import cell_len
from rich.text import Text

from fer_models.config import ShowProgress
from fer_models.plugin.progress import progress


class Reporter:
    """Where pytest writes."""

    def __init__(self) -> None:
        self.text = ""

    def ensure_newline(self) -> None:
        pass

    def write(self, text: str, flush: bool = False) -> None:
        self.text += text

    def write_line(self, text: str, flush: bool = False) -> None:
        self.write(f"{text}\n")


class Terminal(io.StringIO):
    """A standard error that is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.fixture
def reporter() -> Reporter:
    return Reporter()


@pytest.fixture
def show(reporter: Reporter) -> ShowProgress:
    plugins = {
        "terminalreporter": reporter,
        "capturemanager": SimpleNamespace(global_and_fixture_disabled=nullcontext),
    }
    config: Any = SimpleNamespace(pluginmanager=SimpleNamespace(get_plugin=plugins.get))
    return progress(config)


def test_a_step_is_one_line_where_there_is_no_terminal(show: ShowProgress, reporter: Reporter) -> None:
    with show("predicting vgg19-raw on synthetic/test", 350) as advance:
        assert reporter.text == "predicting vgg19-raw on synthetic/test: 350 faces", "before the step ends"
        advance(350)
    (line,) = reporter.text.splitlines()
    assert line.startswith("predicting vgg19-raw on synthetic/test: 350 faces in ")


def test_a_step_within_another_one_has_a_line_of_its_own(show: ShowProgress, reporter: Reporter) -> None:
    with show("searching 10 prompts", 1), show("embedding faces", 35):
        pass
    first, inner, last = reporter.text.splitlines()
    assert first == "searching 10 prompts"
    assert inner.startswith("embedding faces: 35 faces in ")
    assert last.startswith("searching 10 prompts: completed in ")


def test_a_step_that_fails_is_not_called_completed(show: ShowProgress, reporter: Reporter) -> None:
    with pytest.raises(ValueError, match="broken"), show("predicting", 35):
        raise ValueError("broken")
    assert reporter.text == "predicting: 35 faces not completed\n"


@pytest.mark.parametrize("width", [80, 120])
def test_a_terminal_has_share_rate_and_time_left_on_one_line(
    show: ShowProgress, reporter: Reporter, monkeypatch: pytest.MonkeyPatch, width: int
) -> None:
    screen = Terminal()
    monkeypatch.setattr(sys, "stderr", screen)
    for name, value in (("COLUMNS", width), ("TERM", "xterm")):
        monkeypatch.setenv(name, str(value))
    title = "predicting efficientnet_b0-gfpgan-nano on synthetic/test"
    with show(title, 1000) as advance, show(f"{title}{'m' * 100}", 10) as inner:
        advance(100)
        time.sleep(0.05)  # a rate needs two times that differ
        advance(100)
        inner(1)
    lines = [Text.from_ansi(line).plain.rstrip() for line in re.split("[\r\n]", screen.getvalue())]
    shown = [line for line in lines if title in line and "20%" in line]
    assert shown, "a name of usual length is whole"
    assert "/s" in shown[-1]
    assert any("…" in line for line in lines)
    assert max(map(cell_len, lines)) <= width
    assert reporter.text == ""
