"""The HTML page of a run. It starts at the first test that uses this plugin's fixtures.

A run without such a test leaves an earlier page as it is: `-k` with a spelling mistake, `--collect-only`,
or a suite that only loads the plugin.
"""

from __future__ import annotations

import os
from collections.abc import Generator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from fer_models.plugin import options
from fer_models.plugin.session import known_state
from fer_models.third_party_code import describe_exception

if TYPE_CHECKING:
    from fer_models.plugin.state import State

#: Attribute of a test report whose test uses this plugin's fixtures; workers transmit it.
MARK = "uses_fer_models"


class PageStarter:
    """Register pytest-html at the first marked report, with the page in the folder of evals.json."""

    def __init__(self, config: pytest.Config) -> None:
        self.config = config
        self.session: pytest.Session | None = None

    def pytest_sessionstart(self, session: pytest.Session) -> None:
        """Keep the session, which pytest-html needs."""
        self.session = session

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Start the page."""
        if not getattr(report, MARK, False):
            return
        manager = self.config.pluginmanager
        manager.unregister(self)
        before = manager.get_plugins()
        self.config.option.htmlpath = str(options.report_dir(self.config) / "evals.html")
        self.config.option.self_contained_html = True
        html: Any = manager.get_plugin("html")
        html.pytest_configure(self.config)
        for started in manager.get_plugins() - before:
            started.pytest_sessionstart(self.session)
            if getattr(self.session, "items", None):
                started.pytest_collection_finish(self.session)
            started.pytest_runtest_logreport(report)  # pluggy calls it from the next report on


class PageWriter:
    """Write the page: the report, with the table of tests that pytest-html writes in a tab.

    A page that cannot be written fails the run with a sentence, and takes nothing else with it.
    """

    @pytest.hookimpl(wrapper=True, trylast=True)  # inside the summary in the terminal, around pytest-html
    def pytest_sessionfinish(self, session: pytest.Session) -> Generator[None, object, object]:
        """Let pytest-html write its page, and put the report into it."""
        state, path = known_state(session.config), session.config.getoption("htmlpath", None)
        if state is None or path is None or hasattr(session.config, "workerinput"):
            return (yield)
        page, result = Path(os.path.expandvars(path)).expanduser(), None
        try:
            result = yield
        except OSError as error:  # of pytest-html, or of a plugin that writes in this hook too (`--junitxml`)
            _add_error(session, state, *_describe(error, page))
        try:
            _write_page(state, page)
        except OSError as error:
            _add_error(session, state, *_describe(error, page))
        except _PageError as error:
            sentence = f"{page} cannot be written ({str(error).rstrip('.')})."
            _add_error(session, state, str(page), sentence)
        return result


def _add_error(session: pytest.Session, state: State, file: str, sentence: str) -> None:
    """Fail the run, because a file cannot be written."""
    results = " The results are in evals.json." if state.is_written else ""
    state.errors[file] = f"{sentence}{results}"
    session.exitstatus = pytest.ExitCode.TESTS_FAILED


def _describe(error: OSError, page: Path) -> tuple[str, str]:
    """The file that cannot be written, and a sentence."""
    file, reason = Path(os.fsdecode(error.filename or page)), error.strerror or error
    is_page = file.name == page.name or file.name.startswith(f".{page.name}.")  # its temporary file
    if is_page or page.absolute().is_relative_to(file.absolute()):
        advice = "Free some space, or choose --report-dir FOLDER."
        return str(page), f"{page} cannot be written ({reason}). {advice}"
    return str(file), f"{file} cannot be written ({reason})."


class _PageError(Exception):
    """The page cannot show something, such as a value of a baselines file."""


def _write_page(state: State, path: Path) -> None:
    """Replace the page of pytest-html by ours, if the run evaluated or skipped something.

    A page of a form that is not known stays as it is, next to ours, as `…-tests.html`. Ours is written also
    where pytest-html wrote none.

    Raises:
        _PageError: the page cannot show the results.
        OSError: it cannot be written.
    """
    is_empty = not (state.results or any(state.sections.values()) or state.skipped or state.errors)
    if is_empty and not state.evaluation.runner.data.audit_result:
        return
    from fer_models.report import html_report
    from fer_models.report.tests_page import TestsPage

    try:
        is_file = path.is_file()
        tests = TestsPage.parse(path.read_text(encoding="utf-8")) if is_file else None
        if is_file and tests is None:
            path.rename(path.with_name(f"{path.stem}-tests{path.suffix}"))
        html_report.write_html(state.report(), path, tests)
    except OSError:
        raise
    except Exception as error:
        raise _PageError(describe_exception(error)) from error


def wanted(config: pytest.Config) -> bool:
    """Whether this process starts the page: not a worker, with pytest-html, and without `--html`."""
    if hasattr(config, "workerinput") or not hasattr(config.option, "htmlpath"):
        return False
    return not config.option.htmlpath
