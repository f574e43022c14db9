"""What models wrote, as HTML: how each reply was read or why it was not, with samples of the words
themselves.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fer_models.report import html_tables, tables
from fer_models.report.markup import Html, element, join
from fer_models.report.tables import NOTHING, Record


def responses_html(report: Record) -> Html:
    """One table per subject that wrote, or left faces unanswered."""
    return join(
        *(
            _block(result, result["responses"])
            for result in report.get("results") or []
            if isinstance(result.get("responses"), Mapping)
        )
    )


def _block(result: Record, ledger: Record) -> Html:
    n = result.get("n") or 0
    rows = [_row(entry, n) for entry in ledger.get("entries") or []]
    heading = element(
        "h4", tables.name_of(result), element("span", f" on {tables.faces_of(result)}", class_="bounds")
    )
    return join(heading, html_tables.table_html(["reply", "#faces", "#share", "said most often"], rows))


def _row(entry: Record, n: int) -> Html:
    kind, count = str(entry.get("kind", NOTHING)), entry.get("n") or 0
    read = f"read: {kind}" if entry.get("answered") else f"no answer: {kind}"
    said = element("ul", *(_said(reply) for reply in entry.get("replies") or []), class_="replies")
    return html_tables.row_html(
        read, str(count), f"{count / n:.1%}" if n else NOTHING, html_tables.text_cell(said)
    )


def _said(reply: Mapping[str, Any]) -> Html:
    return element(
        "li",
        element("q", str(reply.get("text", ""))),
        element("span", f" {reply.get('n', 0)}", class_="bounds"),
    )
