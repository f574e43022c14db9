"""Pages in a real browser: Playwright with a Chromium of this machine; axe-core from its package.

`nox -s browser` provides both. Without one of them these tests are skipped, with the reason.
"""

from __future__ import annotations

import json
import os
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from browser_pages import (
    failing_report,
    hostile_report,
    large_report,
    launch_chromium,
    passing_report,
    with_tests,
)

from fer_models.report.html_report import write_html

#: A folder with the package of axe-core, as `npm pack axe-core` leaves it.
_AXE_FOLDER = "FER_MODELS_AXE"


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """A headless Chromium. Nothing is downloaded."""
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: nox -s browser")
    with api.sync_playwright() as playwright:
        browser = launch_chromium(playwright)
        if browser is None:
            pytest.skip("there is no Chromium on this machine: apt-get install chromium")
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The files of the pages under test, by name."""
    folder = tmp_path_factory.mktemp("pages")
    paths = {}
    for name, report, tests in (
        ("passing", passing_report(), None),
        ("failing", failing_report(), None),
        ("hostile", hostile_report(), with_tests(folder)),
        ("large", large_report(), None),
    ):
        paths[name] = folder / f"{name}.html"
        write_html(report, paths[name], tests)
    return paths


@pytest.fixture
def open_page(browser: Any, pages: dict[str, Path]) -> Iterator[Callable[..., Any]]:
    """A function that opens a page by name; an error in its console, or a request, fails the test."""
    contexts, problems = [], []

    def open_it(name: str, fragment: str = "", **settings: Any) -> Any:
        context = browser.new_context(**{"viewport": {"width": 1280, "height": 900}, **settings})
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("dialog", lambda dialog: (problems.append(f"dialog {dialog.message}"), dialog.dismiss()))
        url = pages[name].as_uri()
        page.on("request", lambda request: _note_request(request.url, url, problems))
        page.goto(url + fragment)
        return page

    yield open_it
    for context in contexts:
        context.close()
    assert problems == []


def _note_request(url: str, page: str, problems: list[str]) -> None:
    if url.partition("#")[0] != page and not url.startswith("data:"):
        problems.append(f"request to {url}")


@pytest.fixture(scope="session")
def axe_script() -> str:
    """The script of axe-core."""
    folder = os.environ.get(_AXE_FOLDER)
    packages = sorted(Path(folder).glob("axe-core-*.tgz")) if folder else []
    if not packages:
        pytest.skip(f"{_AXE_FOLDER} names no folder with axe-core: nox -s browser")
    with tarfile.open(packages[-1]) as archive:
        member = archive.extractfile("package/axe.min.js")
        assert member is not None
        return member.read().decode()


@pytest.fixture
def findings(axe_script: str) -> Callable[[Any], list[str]]:
    """A function that lists the serious and critical findings of axe-core on a page."""

    def find(page: Any) -> list[str]:
        page.evaluate(axe_script)  # the debugger's door: the policy of the page does not apply to it
        result = json.loads(page.evaluate("axe.run(document).then(result => JSON.stringify(result))"))
        assert result["passes"], "axe-core checked nothing"
        serious = [one for one in result["violations"] if one["impact"] in ("serious", "critical")]
        return [f"{one['id']}: {node['html'][:200]}" for one in serious for node in one["nodes"]]

    return find
