"""What restorations do to answers, as HTML: one row per model and restoration, each emotion, and faces that
were helped and hurt, to look at.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from fer_models.report import html_tables, tables
from fer_models.report.data_quality import PICTURE
from fer_models.report.markup import Html, element, join
from fer_models.report.tables import NOTHING, Record


def restorations_html(report: Record) -> Html:
    """One table over all effects, and for each model its emotions and some faces; nothing where no
    restoration was compared.
    """
    effects = [effect for effect in report.get("restorations") or [] if isinstance(effect, Mapping)]
    if not effects:
        return Html("")
    headings = [
        "restoration",
        "model",
        "#before",
        "#after",
        "#change",
        "#macro-F1",
        "#helped",
        "#hurt",
        "#p",
        "verdict",
        "#ms a face",
    ]
    headings += ["#s a corrected face", "#likeness"]
    return join(html_tables.table_html(headings, map(_row, effects)), *map(_details, effects))


def _row(effect: Record) -> Html:
    accuracy: Record = effect.get("accuracy") or {}
    f1: Record = effect.get("macro_f1") or {}
    seconds = effect.get("seconds_per_face")
    return html_tables.row_html(
        f"{effect.get('restoration')} against {effect.get('against')}",
        html_tables.text_cell(effect.get("model")),
        tables.number(accuracy.get("before")),
        tables.number(accuracy.get("after")),
        _change(accuracy),
        _change(f1) if f1 else NOTHING,
        effect.get("corrected", NOTHING),
        effect.get("broken", NOTHING),
        tables.p_value(effect.get("p_adjusted")),
        html_tables.text_cell(element("b", effect.get("verdict"))),
        NOTHING if seconds is None else f"{1000 * seconds:.1f}",
        tables.amount(effect.get("seconds_per_corrected_face")),
        tables.number(effect.get("fidelity")),
    )


def _change(score: Record) -> Html:
    bounds = element(
        "span", f" [{tables.signed(score.get('low'))}, {tables.signed(score.get('high'))}]", class_="bounds"
    )
    return join(tables.signed(score.get("change")), bounds)


def _details(effect: Record) -> Html:
    faces: Record = effect.get("faces") or {}
    per_class: Record = effect.get("per_class") or {}
    shown = [
        (kind, [figure for figure in map(_face, faces.get(kind) or []) if figure])
        for kind in ("corrected", "broken")
    ]
    if not per_class and not any(figures for _, figures in shown):
        return Html("")
    title = f"{effect.get('restoration')} against {effect.get('against')}, {effect.get('model')}: each emotion, and some faces"
    rows = [
        html_tables.row_html(
            label,
            tables.number(s.get("before")),
            tables.number(s.get("after")),
            s.get("corrected", NOTHING),
            s.get("broken", NOTHING),
        )
        for label, s in per_class.items()
    ]
    galleries = [
        join(element("p", f"{kind}:", class_="caption"), element("div", *figures, class_="pairs"))
        for kind, figures in shown
        if figures
    ]
    table = (
        html_tables.table_html(["emotion", "#recall before", "#after", "#helped", "#hurt"], rows)
        if rows
        else ""
    )
    return element("details", element("summary", title), table, *galleries)


def _face(face: Record) -> Html:
    pictures: Sequence[object] = face.get("pictures") or []
    if not pictures or not all(
        str(picture).startswith(PICTURE) for picture in pictures
    ):  # nothing is fetched for the page
        return Html("")
    images = [
        element("img", src=str(picture), alt=alt, width=96, height=96)
        for picture, alt in zip(pictures, ("before", "after"), strict=False)
    ]
    before, after = (answer or "no answer" for answer in (face.get("answers") or [None, None])[:2])
    words = f"{face.get('truth')}, face {face.get('index')}: {before} \u2192 {after}"
    return element("figure", *images, element("figcaption", words), class_="pair")
