"""How much answers hang on how a model is asked, as HTML: other questions, other orders of the list, and the
places it favours.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fer_models.report import html_tables, tables
from fer_models.report.markup import Html, element, join
from fer_models.report.tables import NOTHING, Record


def questions_html(report: Record) -> Html:
    """One block per model that writes; nothing where none was asked in several ways."""
    return join(
        *(
            _block(entry)
            for entry in report.get("prompts") or []
            if isinstance(entry, Mapping) and "questions" in entry
        )
    )


def _block(entry: Record) -> Html:
    asked: Record = {**(entry.get("questions") or {}), **(entry.get("shuffles") or {})}
    return join(
        element(
            "h4",
            tables.name_of(entry),
            element("span", f" on {entry.get('n', NOTHING)} of {tables.faces_of(entry)}", class_="bounds"),
        ),
        element("p", _overview(entry)),
        html_tables.table_html(
            ["question", "#accuracy", "#unanswered", "#answers changed"],
            [_row(name, said) for name, said in asked.items()],
        ),
        *(_order(name, order) for name, order in (entry.get("orders") or {}).items()),
    )


def _overview(entry: Record) -> str:
    kappa = entry.get("kappa")
    agreement = (
        ""
        if kappa is None
        else f" Fleiss' kappa between the questions, without the shuffled ones: {tables.number(kappa)}."
    )
    return f"Its own question is {entry.get('question', NOTHING)!r}.{agreement}"


def _row(name: str, said: Record) -> Html:
    score = said.get("accuracy") or {}
    accuracy = html_tables.interval_html(score.get("value"), score.get("low"), score.get("high"))
    return html_tables.row_html(name, accuracy, _share(said.get("unanswered")), _share(said.get("changed")))


def _order(name: str, order: Record) -> Html:
    """What turning the list of one question round does: each place's share of the answers, against an even
    share.
    """
    circular, places = order.get("circular") or {}, order.get("position_shares") or []
    told = f"Right in all {len(order.get('rotations') or {})} rotations of {name!r}: "
    share = html_tables.interval_html(circular.get("value"), circular.get("low"), circular.get("high"))
    heading = ["answers that stood", *(f"#{i}." for i in range(1, len(places) + 1)), "#bias"]
    row = html_tables.row_html(
        "in the list", *(_share(place) for place in places), _share(order.get("position_bias"))
    )
    rotations = [_row(rotation, said) for rotation, said in (order.get("rotations") or {}).items()]
    return join(
        element("p", told, share),
        html_tables.table_html(heading, [row]),
        element(
            "details",
            element("summary", f"each rotation of {name!r}"),
            html_tables.table_html(["question", "#accuracy", "#unanswered", "#answers changed"], rotations),
        ),
    )


def _share(value: Any) -> str:
    return NOTHING if value is None else f"{value:.1%}"
