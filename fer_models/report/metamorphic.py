"""What small changes of the faces do, as HTML: the share of changed answers, and the smallest change that
turns a face's answer, to look at.
"""

from __future__ import annotations

from collections.abc import Mapping

from fer_models.emotions import LABELS
from fer_models.report import html_tables, tables
from fer_models.report.data_quality import PICTURE
from fer_models.report.markup import Html, element, join
from fer_models.report.tables import NOTHING, Record


def metamorphic_html(report: Record) -> Html:
    """One table over all models, and a gallery for each; nothing where no face was changed."""
    entries = [entry for entry in report.get("metamorphic") or [] if isinstance(entry, Mapping)]
    if not entries:
        return Html("")
    families = list(dict.fromkeys(name for entry in entries for name in entry.get("flip_rate") or {}))
    rows = [_row(entry, families) for entry in entries]
    return join(
        html_tables.table_html(["answers changed by", "#faces", *(f"#{name}" for name in families)], rows),
        *map(_gallery, entries),
    )


def _row(entry: Record, families: list[str]) -> Html:
    changed: Record = entry.get("flip_rate") or {}
    shares = (NOTHING if changed.get(name) is None else f"{changed[name]:.1%}" for name in families)
    return html_tables.row_html(
        f"{tables.name_of(entry)} on {tables.faces_of(entry)}", str(entry.get("n", NOTHING)), *shares
    )


def _gallery(entry: Record) -> Html:
    shown = [figure for figure in map(_flip, entry.get("flips") or []) if figure]
    steady = entry.get("n_robust") or 0
    said = (
        f"{tables.name_of(entry)}: the smallest changes found that turn some answers, from doubtful to sure"
    )
    rest = (
        element(
            "p",
            f"{steady} of the searched faces kept their answer under every change tried.",
            class_="caption",
        )
        if steady
        else ""
    )
    if not shown and not rest:
        return Html("")
    return element("details", element("summary", said), element("div", *shown, class_="pairs"), rest)


def _flip(flip: Record) -> Html:
    pictures = [str(flip.get(key) or "") for key in ("before", "after")]
    if not all(picture.startswith(PICTURE) for picture in pictures):  # nothing is fetched for the page
        return Html("")
    images = [
        element("img", src=picture, alt=alt, width=96, height=96)
        for picture, alt in zip(pictures, ("the face", "changed"), strict=True)
    ]
    words = (
        f"{_label(flip.get('answer'))} \u2192 {_label(flip.get('changed_answer'))} by {flip.get('change')}"
    )
    return element("figure", *images, element("figcaption", words), class_="pair")


def _label(answer: object) -> str:
    return LABELS[answer] if isinstance(answer, int) and 0 <= answer < len(LABELS) else "no answer"
