"""Parts of a Markdown text (GitHub-flavoured) in which text from outside stays text.

A code span or block is the only place in which GitHub renders no markup, no link and no @mention: an escaped
`@name` still notifies somebody. So names and messages are code.
"""

from __future__ import annotations

import html
from collections.abc import Sequence

from fer_models.report.formatting import NOTHING, clean, one_line


def code(text: str) -> str:
    """Format text from outside as a code span; it can be the cell of a table."""
    return f"`{_literal(one_line(text)) or NOTHING}`"


def code_block(text: str) -> str:
    """Format text of several lines from outside as a block of code."""
    return f"```text\n{_literal(clean(text))}\n```"


def folded(title: str, content: str) -> str:
    """Fold Markdown behind a title from outside.

    The title is HTML; after the empty line the content is Markdown again.
    """
    escaped = html.escape(one_line(title))
    return f"<details><summary><code>{escaped}</code></summary>\n\n{content}\n\n</details>"


def table(headings: Sequence[str], rows: Sequence[Sequence[str]], numbers: Sequence[int]) -> str:
    """Format a table; the columns in `numbers` are aligned on the right. Cells are Markdown."""
    rule = ["--:" if i in numbers else "---" for i in range(len(headings))]
    return "\n".join(f"| {' | '.join(row)} |" for row in (headings, rule, *rows))


def cell(text: str) -> str:
    """Format a number or another text of this project as a cell, such as `< 0.0001`."""
    return text.replace("<", "&lt;")


def _literal(text: str) -> str:
    """Replace the two characters that end a code span and a cell of a table.

    No escape for them works in every reader of Markdown.
    """
    return text.replace("`", "'").replace("|", "\N{BROKEN BAR}")
