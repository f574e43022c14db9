"""Time to build and to open the page of 40 subjects on 3,589 faces, and its size.

Run it in a clone, with playwright and a Chromium on the machine:
    python benchmarks/page_speed.py
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from playwright.sync_api import sync_playwright

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from browser_pages import large_report, launch_chromium

from fer_models.report.html_report import write_html

_REPEATS = 3


def _browser(playwright: Any) -> Any:
    browser = launch_chromium(playwright)
    if browser is None:
        raise SystemExit("There is no Chromium on this machine. Install it: apt-get install chromium")
    return browser


def opening_seconds(path: Path) -> float:
    """The median time in seconds until the page is loaded and its script has run, in a new browser."""
    times = []
    with sync_playwright() as playwright:
        for _ in range(_REPEATS):
            browser = _browser(playwright)
            page = browser.new_page()
            started = time.perf_counter()
            page.goto(path.as_uri(), wait_until="load")
            page.locator("form[aria-label='Filter the leaderboard']").wait_for()
            times.append(time.perf_counter() - started)
            browser.close()
    return sorted(times)[_REPEATS // 2]


def main() -> None:
    """Print the three numbers."""
    report = large_report()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "page.html"
        started = time.perf_counter()
        write_html(report, path)
        built = time.perf_counter() - started
        print(f"subjects: {len(report.results)}, faces: {report.results[0].n:,}")
        print(f"size: {path.stat().st_size / 1e6:.2f} MB")
        print(f"built in: {built:.2f} s")
        print(f"opened in: {opening_seconds(path):.2f} s")


if __name__ == "__main__":
    main()
