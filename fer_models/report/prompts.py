"""How much answers hang on the words, as HTML: the spread of each prompt set, edits that should not matter,
and the worst prompt found.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fer_models.report import html_tables, tables
from fer_models.report.markup import Html, element, join
from fer_models.report.tables import NOTHING, Record


def prompts_html(report: Record) -> Html:
    """One block per model and prompt set; nothing where no prompt was asked about."""
    return join(
        *(
            _block(entry)
            for entry in report.get("prompts") or []
            if isinstance(entry, Mapping) and "questions" not in entry
        )
    )


def _block(entry: Record) -> Html:
    spread: Record = entry.get("sensitivity") or {}
    n = entry.get("n")
    return join(
        element(
            "h4", tables.name_of(entry), element("span", f" on {tables.faces_of(entry)}", class_="bounds")
        ),
        element("p", _overview(spread)) if spread else "",
        _search(entry.get("search") or {}, n),
        _scores(
            "template alone", {"(the whole set)": spread.get("ensemble"), **(spread.get("templates") or {})}
        )
        if spread
        else "",
        *(
            _scores(f"word for {emotion} alone", scores)
            for emotion, scores in (spread.get("words") or {}).items()
        ),
        _edits(entry.get("invariances") or {}),
    )


def _overview(spread: Record) -> str:
    kappa = spread.get("kappa")
    agreement = "" if kappa is None else f"; Fleiss' kappa between templates {tables.number(kappa)}"
    return (
        f"Single templates score {tables.number(spread.get('worst'))} to {tables.number(spread.get('best'))} "
        f"(mean {tables.number(spread.get('mean'))}, standard deviation {tables.number(spread.get('sd'))}); "
        f"one template instead of all changes {_share(spread.get('flip_rate'))} of the answers{agreement}."
    )


def _share(value: float | None) -> str:
    return NOTHING if value is None else f"{value:.1%}"


def _search(found: Record, n: object) -> Html:
    if not found:
        return Html("")
    base, worst, breaking = (found.get(key) or {} for key in ("base", "worst", "breaking"))
    rows = [
        html_tables.row_html(title, *_prompt_cells(prompt))
        for title, prompt in (("unedited", base), ("worst found", worst))
        if prompt
    ]
    if breaking:
        rows.append(html_tables.row_html("smallest edit that costs 10 points", *_prompt_cells(breaking)))
    none = "" if breaking else element("p", "No prompt was found that costs 10 points.")
    title = element(
        "caption",
        f"A search over {found.get('tried', NOTHING)} prompts",
        element("span", f" seed {found.get('seed')}", class_="bounds"),
    )
    return join(html_tables.table_html(["prompt", "template", "edits", "#accuracy"], rows, title), none)


def _prompt_cells(prompt: Record) -> tuple[Html, Html, str]:
    words: Mapping[str, Any] = prompt.get("words") or {}
    spoken = element("span", f" ({', '.join(map(str, words.values()))})", class_="bounds") if words else ""
    edits = "; ".join(map(str, prompt.get("edits") or [])) or NOTHING
    return (
        html_tables.text_cell(join(prompt.get("template", NOTHING), spoken)),
        html_tables.text_cell(edits),
        tables.number(prompt.get("accuracy")),
    )


def _scores(heading: str, scores: Record) -> Html:
    rows = [
        html_tables.row_html(
            text, html_tables.interval_html(score.get("value"), score.get("low"), score.get("high"))
        )
        for text, score in scores.items()
        if isinstance(score, Mapping)
    ]
    return html_tables.table_html([heading, "#accuracy"], rows) if rows else Html("")


def _edits(shares: Record) -> Html:
    rows = [html_tables.row_html(name, _share(share)) for name, share in shares.items()]
    return (
        html_tables.table_html(["edit that should not matter", "#answers changed"], rows)
        if rows
        else Html("")
    )
