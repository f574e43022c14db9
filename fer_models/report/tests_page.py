"""The page that pytest-html writes, taken apart, so that its table of tests becomes a tab of ours."""

from __future__ import annotations

import re
from dataclasses import dataclass

from markupsafe import Markup

_STYLE = re.compile(r"<style\b[^>]*>(.*?)</style>", re.DOTALL)
_SCRIPT = re.compile(r"<script\b[^>]*>(.*?)</script>", re.DOTALL)
#: An event handler in markup. The policy of our page blocks it, with an error in the console.
_HANDLER = re.compile(r"""\son[a-z]+=("[^"]*"|'[^']*')""")
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
        """Take a page apart; None if it has no body. Event handlers in its markup are left out."""
        match = _BODY.search(page)
        if match is None:
            return None
        markup, script, rest = match.group(1).partition("<script")
        body = "".join((_HANDLER.sub("", markup), script, rest))
        style = "\n".join(_STYLE.findall(page[: match.start()]))
        return cls(style, Markup(body), tuple(_SCRIPT.findall(body)))

    def nested_style(self, selector: str) -> str:
        """The style sheets, limited to what is inside `selector` (CSS nesting)."""
        return f"\n{selector} {{\n{self.style}\n}}\n"
