"""Screenshots of the page for the documentation: `docs/images`.

Two reports are needed, of a passing and of a failing run on the synthetic faces, so that no picture has a
photograph of a person:
    python benchmarks/page_screenshots.py PASSING/evals.html FAILING/evals.html docs/images
"""

from __future__ import annotations

import argparse
import io
import sys
from pathlib import Path
from typing import Any

from PIL import Image
from playwright.sync_api import sync_playwright

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from browser_pages import launch_chromium

_DESKTOP, _PHONE = {"width": 1280, "height": 900}, {"width": 390, "height": 844}
#: Colours of a picture: it stays small, and text stays sharp.
_COLOURS = 96


def main() -> None:
    """Write the five pictures."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    for name in ("passing", "failing", "folder"):
        parser.add_argument(name, type=Path)
    args = parser.parse_args()
    args.folder.mkdir(parents=True, exist_ok=True)
    total = 0
    with sync_playwright() as playwright:
        browser = launch_chromium(playwright)
        if browser is None:
            raise SystemExit("There is no Chromium on this machine. Install it: apt-get install chromium")
        for name, page, settings, subject in (
            ("light", args.passing, {"viewport": _DESKTOP}, False),
            ("dark", args.passing, {"viewport": _DESKTOP, "color_scheme": "dark"}, False),
            ("phone", args.passing, {"viewport": _PHONE, "device_scale_factor": 1.5}, False),
            ("failing", args.failing, {"viewport": {"width": 1280, "height": 1100}}, False),
            ("subject", args.failing, {"viewport": {"width": 1280, "height": 1250}}, True),
        ):
            path = args.folder / f"{name}.png"
            path.write_bytes(_picture(browser, page, settings, subject))
            total += path.stat().st_size
            print(f"{path}: {path.stat().st_size / 1000:.0f} kB")
    print(f"total: {total / 1000:.0f} kB")


def _picture(browser: Any, path: Path, settings: dict[str, Any], subject: bool) -> bytes:
    """A picture of the top of the page, or of the first subject that failed, as a PNG."""
    page = browser.new_context(**settings).new_page()
    page.goto(path.absolute().as_uri())
    if subject:
        page.locator("#regressions a[href^='#subject']").first.click()
        page.wait_for_timeout(200)
    with Image.open(io.BytesIO(page.screenshot())) as picture:
        small = picture.convert("RGB").quantize(_COLOURS)
    png = io.BytesIO()
    small.save(png, "PNG", optimize=True)
    return png.getvalue()


if __name__ == "__main__":
    main()
