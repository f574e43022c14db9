"""Names that try to become markup, and readers of Markdown and HTML."""

from __future__ import annotations

from collections.abc import Iterator
from html.parser import HTMLParser

import hypothesis.strategies as st
from markdown_it import MarkdownIt
from markdown_it.token import Token

HOSTILE = "|`<img src=x onerror=alert(1)>`|\n\n# @all [a](b) \x1b[31m</td></details>"
NAMES = st.one_of(
    st.text(min_size=1, max_size=20), st.text(alphabet="`|<>\\\n*_[]()!&~#@-: a", min_size=1, max_size=30)
)


def tables_in(markdown: str) -> list[list[list[str]]]:
    """Tables of a rendered Markdown text: rows of cells, code and text alike."""
    tables, is_inside = [], False
    for token in MarkdownIt("commonmark").enable("table").parse(markdown):
        if token.type in ("table_open", "table_close"):
            is_inside = token.type == "table_open"
            tables += [[]] if is_inside else []
        elif token.type == "tr_open":
            tables[-1].append([])
        elif token.type == "inline" and is_inside:
            tables[-1][-1].append("".join(child.content for child in token.children))
    return tables


def tokens_in(markdown: str) -> Iterator[Token]:
    """All tokens of a rendered Markdown text."""
    for token in MarkdownIt("commonmark").enable("table").parse(markdown):
        yield token
        yield from token.children or ()


def markup_in(markdown: str) -> Iterator[str]:
    """The HTML in a Markdown text."""
    return (token.content for token in tokens_in(markdown) if token.type.startswith("html"))


class Tags(HTMLParser):
    """Parser of all tags with their attributes' names, and of the text."""

    def __init__(self, page):
        super().__init__()
        self.tags, self.text = [], ""
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, tuple(name for name, _ in attributes)))

    def handle_data(self, data):
        self.text += data
