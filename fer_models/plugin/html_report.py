"""Start of the HTML page: at the first test that uses this plugin's fixtures.

A run without such a test leaves an earlier page as it is: `-k` with a spelling mistake, `--collect-only`,
or a suite that only loads the plugin.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import pytest

from fer_models.plugin import options
from fer_models.plugin.session import known_state

#: Attribute of a test report whose test uses this plugin's fixtures; workers transmit it.
MARK = "uses_fer_models"


class PageStarter:
    """Register pytest-html at the first marked report, with the page beside evals.json."""

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


class PageErrors:
    """A page that cannot be written fails the run with a sentence, and takes nothing else with it."""

    @pytest.hookimpl(wrapper=True, trylast=True)  # inside the summary in the terminal, around pytest-html
    def pytest_sessionfinish(self, session: pytest.Session) -> Generator[None, object, object]:
        """Let pytest-html write the page."""
        try:
            return (yield)
        except OSError as error:
            path = session.config.getoption("htmlpath", None)
            state = known_state(session.config)
            if path is None or state is None:
                raise
            state.errors["the page"] = (
                f"{path} cannot be written ({error.strerror or error}). "
                "Free some space, or choose --report-dir FOLDER."
            )
            session.exitstatus = pytest.ExitCode.TESTS_FAILED
            return None


def wanted(config: pytest.Config) -> bool:
    """Whether this process starts the page: not a worker, with pytest-html, and without `--html`."""
    if hasattr(config, "workerinput") or not hasattr(config.option, "htmlpath"):
        return False
    return not config.option.htmlpath
