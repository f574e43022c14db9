"""The page that pytest-html writes, taken apart, so that its table of tests becomes a tab of ours."""

from __future__ import annotations

import re
from dataclasses import dataclass

from markupsafe import Markup

_STYLE = re.compile(r"<style\b[^>]*>(.*?)</style>", re.DOTALL)
_SCRIPT = re.compile(r"<script\b[^>]*>(.*?)</script>", re.DOTALL)
#: The button of an unfinished run reloads the page. The policy of our page refuses such a script.
_INLINE_HANDLER = re.compile(r' onclick="location\.reload\(\)"')
_BODY = re.compile(r"<body\b[^>]*>(.*)</body>", re.DOTALL)


@dataclass(frozen=True)
class TestsPage:
    """The parts of a self-contained page of pytest-html.

    Attributes:
        style: its style sheets.
        body: what is in its `body`, scripts among them.
        scripts: the text of each script.
    """

    __test__ = False  # not a class of tests, although its name begins with "Test"

    style: str
    body: Markup
    scripts: tuple[str, ...]

    @classmethod
    def parse(cls, page: str) -> TestsPage | None:
        """Take a page apart; None if it has no body."""
        found = _BODY.search(page)
        if found is None:
            return None
        body = _INLINE_HANDLER.sub("", found.group(1))
        style = "\n".join(_STYLE.findall(page[: found.start()]))
        return cls(style, Markup(body), tuple(_SCRIPT.findall(body)))

    def nested_style(self, selector: str) -> str:
        """The style sheets, limited to what is inside `selector` (CSS nesting)."""
        return f"\n{selector} {{\n{self.style}\n}}\n"
