"""What bad pictures do to answers, as HTML: each corruption's accuracy, and how it falls over the
severities.
"""

from __future__ import annotations

from collections.abc import Mapping

from fer_models.report import figures, html_tables, tables
from fer_models.report.markup import Html, join
from fer_models.report.tables import NOTHING, Record


def corruptions_html(report: Record) -> Html:
    """A curve for each pair, and one table; nothing where no face was spoilt."""
    entries = [entry for entry in report.get("corruptions") or [] if isinstance(entry, Mapping)]
    if not entries:
        return Html("")
    names = list(dict.fromkeys(name for entry in entries for name in entry.get("accuracy") or {}))
    headings = [
        "mean accuracy over the severities",
        "#faces",
        "#mean error",
        "#as they are",
        *(f"#{name}" for name in names),
    ]
    return join(
        figures.severities(entries),
        html_tables.table_html(headings, [_row(entry, names) for entry in entries]),
    )


def _row(entry: Record, names: list[str]) -> Html:
    accuracy: Record = entry.get("accuracy") or {}
    means = (
        tables.number(sum(accuracy[name]) / len(accuracy[name]), 2) if accuracy.get(name) else NOTHING
        for name in names
    )
    own = (
        str(entry.get("n", NOTHING)),
        tables.number(entry.get("mean_error")),
        tables.number(entry.get("clean"), 2),
    )
    return html_tables.row_html(tables.name_of(entry), *own, *means)
