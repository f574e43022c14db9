"""HTML tables of the report."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from typing import Any

from fer_models.emotions import LABELS
from fer_models.report.markup import Html, element, escape, join
from fer_models.report.tables import (
    NOTHING,
    PHASES,
    TRAINING,
    VERDICT_STYLES,
    Record,
    amount,
    baseline_of,
    change_of,
    duration,
    faces_of,
    name_of,
    number,
    p_value,
    ranked,
    references,
    seconds,
    signed,
    value_of,
    verdict_of,
)


def table_html(headings: Sequence[object], rows: Iterable[Html], title: Html | None = None) -> Html:
    """A table that scrolls sideways on a narrow screen. A heading that starts with `#` stands over
    numbers.
    """
    head = join(
        *(
            element(
                "th", str(h).removeprefix("#"), scope="col", class_="num" if str(h).startswith("#") else None
            )
            for h in headings
        )
    )
    return element(
        "div",
        element("table", title, element("thead", element("tr", head)), element("tbody", *rows)),
        class_="scroll",
    )


def row_html(name: object, *cells: object) -> Html:
    """A row: its name, then its cells; cells that are text are numbers in a column."""
    return element(
        "tr",
        element("th", name, scope="row"),
        *(cell if _is_cell(cell) else number_cell(cell) for cell in cells),
    )


def _is_cell(value: object) -> bool:
    return isinstance(value, Html) and value.startswith("<td")


def number_cell(value: object) -> Html:
    """A cell whose digits line up with those above it."""
    return element("td", value, class_="num")


def text_cell(value: object) -> Html:
    """A cell of words."""
    return element("td", value, class_="text")


def interval_html(value: float | None, low: float | None, high: float | None) -> Html:
    """A value with its 95 % interval, smaller, behind it."""
    bounds = (
        ""
        if low is None or high is None
        else element("span", f"[{number(low)}, {number(high)}]", class_="bounds")
    )
    return join(number(value), " ", bounds)


def _metric_html(result: Record, metric: str) -> Html:
    value: Record = (result.get("metrics") or {}).get(metric) or {}
    return interval_html(value.get("value"), value.get("low"), value.get("high"))


def verdict_html(verdict: object) -> Html:
    """The verdict as a small coloured label; `PASS, DEGRADED` as two."""
    if isinstance(verdict, str) and verdict.endswith(", DEGRADED"):
        return join(verdict_html(verdict.removesuffix(", DEGRADED")), " ", verdict_html("DEGRADED"))
    known = str(verdict) if verdict in VERDICT_STYLES or verdict == "DEGRADED" else ""
    return element("span", verdict, class_=f"verdict {known.lower()}".strip()) if verdict else escape(NOTHING)


def leaderboard_html(report: Record) -> Html:
    """All results, best accuracy first within each set of faces."""
    groups = ranked(report)
    if not groups:
        return element("p", "No model was measured.", class_="empty")
    unanswered = any(result.get("unanswered") for result in chain.from_iterable(groups.values()))
    silent = ["#no answer"] if unanswered else []
    headings = [
        "model",
        "#n",
        *silent,
        "#accuracy",
        "#without leaks",
        "#macro F1",
        "#ECE",
        "#baseline",
        "#change",
        "#p",
        "verdict",
        "#time",
    ]
    rows = []
    for faces, results in groups.items():
        rows.append(
            element("tr", element("th", faces, colspan=len(headings), scope="rowgroup"), class_="group")
        )
        rows += [_leaderboard_row_html(result, unanswered) for result in results]
        rows += [_reference_row_html(row, unanswered) for row in references(report, faces)]
    return table_html(headings, rows)


def _leaderboard_row_html(result: Record, unanswered: bool) -> Html:
    p: float | None = ((result.get("changes") or {}).get("accuracy") or {}).get("p")
    return row_html(
        name_of(result),
        result.get("n", NOTHING),
        *([result.get("unanswered", NOTHING)] if unanswered else []),
        _metric_html(result, "accuracy"),
        number(value_of(result, "accuracy_without_leaks")),
        _metric_html(result, "macro_f1"),
        number(value_of(result, "ece")),
        number(baseline_of(result, "accuracy")),
        signed(change_of(result)),
        p_value(p),
        text_cell(verdict_html(verdict_of(result))),
        duration(result),
    )


def _reference_row_html(row: Record, unanswered: bool) -> Html:
    cells = [
        row.get("n", NOTHING),
        *(["0"] if unanswered else []),
        _metric_html({"metrics": row}, "accuracy"),
    ]
    return element(
        "tr",
        element("th", row.get("name"), scope="row"),
        *map(number_cell, cells),
        element("td", colspan=8),
        class_="average",
    )


def per_class_html(result: Record) -> Html:
    """Precision, recall and F1 of each emotion with their intervals, then the averages over all seven."""
    per_class: Record = result.get("per_class") or {}
    rows = [_class_row(label, per_class[label]) for label in LABELS if per_class.get(label)]
    if not rows:
        return Html("")
    averages = [
        _average_row(result, kind)
        for kind in ("macro", "weighted")
        if value_of(result, f"{kind}_f1") is not None
    ]
    return table_html(
        ["emotion", "#precision", "#recall", "#F1", "#faces"], [*rows, *averages], title_html(result)
    )


def title_html(result: Record) -> Html:
    """The caption of a table about one result: whose answers, on which faces."""
    return element("caption", name_of(result), element("span", f" on {faces_of(result)}", class_="bounds"))


def _class_row(label: str, scores: Record) -> Html:
    intervals: Record = scores.get("intervals") or {}
    bounds = {name: intervals.get(name) or (None, None) for name in ("precision", "recall", "f1")}
    return row_html(
        label,
        *(interval_html(scores.get(name), *bounds[name]) for name in bounds),
        scores.get("support", NOTHING),
    )


def _average_row(result: Record, kind: str) -> Html:
    cells = (_metric_html(result, f"{kind}_{name}") for name in ("precision", "recall", "f1"))
    return element(
        "tr",
        element("th", kind, scope="row"),
        *map(number_cell, cells),
        number_cell(result.get("n", "")),
        class_="average",
    )


def costs_html(report: Record) -> Html:
    """What each stage costs, timed now: time, throughput, size and memory; and what training took, as the
    weights record it.
    """
    costs: Sequence[Record] = report.get("costs") or []
    timed, trained = ([c for c in costs if (c.get("phase") == TRAINING) is past] for past in (False, True))
    headings = ["model", "stage", "#batch", "#median", "#images/s", "#parameters", "#MACs", "#peak memory"]
    past_headings = [
        "training, as recorded",
        "on",
        "#epochs",
        "#an epoch",
        "#in all",
        "#images/s",
        "#peak memory",
        "#energy",
    ]
    return join(
        table_html(headings, map(_cost_row, sorted(timed, key=_by_phase))) if timed else "",
        table_html(past_headings, map(_training_row, trained)) if trained else "",
    )


def _training_row(cost: Record) -> Html:
    joules = cost.get("joules")
    return row_html(
        cost.get("model", NOTHING),
        text_cell(cost.get("device") or NOTHING),
        cost.get("epochs", NOTHING),
        seconds(cost.get("seconds_per_epoch")),
        seconds(cost.get("seconds")),
        _rate(cost.get("images_per_second")),
        _megabytes(cost.get("peak_memory_mb")),
        NOTHING if joules is None else f"{joules / 3.6e6:.3g} kWh",
    )


def _megabytes(value: float | None) -> str:
    return NOTHING if value is None else f"{value:,.0f} MB"


def _by_phase(cost: Record) -> int:
    phase = cost.get("phase")
    return PHASES.index(phase) if phase in PHASES else len(PHASES)


def _rate(value: float | None) -> str:
    if value is None:
        return NOTHING
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _cost_row(cost: Record) -> Html:
    return row_html(
        name_of({"subject": cost, "id": cost.get("name")}),
        text_cell(cost.get("phase", NOTHING)),
        cost.get("batch", NOTHING),
        seconds(cost.get("seconds")),
        _rate(cost.get("images_per_second")),
        amount(cost.get("parameters")),
        amount(cost.get("macs")),
        _megabytes(cost.get("peak_memory_mb")),
    )


def published_html(report: Record) -> Html:
    """What others published, word for word as far as `baselines.json` records it."""
    return records_html(report.get("published") or [])


def records_html(records: Sequence[Record]) -> Html:
    """Any list of flat records as a table with a column for each key, in order of appearance."""
    keys = list(dict.fromkeys(chain.from_iterable(records)))
    rows = (element("tr", *(_record_cell(record.get(key)) for key in keys)) for record in records)
    return table_html([str(key).replace("_", " ") for key in keys], rows) if keys else Html("")


def _record_cell(value: Any) -> Html:
    if isinstance(value, Mapping) and "value" in value:
        return number_cell(interval_html(value["value"], value.get("low"), value.get("high")))
    if isinstance(value, float):
        return text_cell(f"{value:.4g}")
    return text_cell(value_html(value))


def value_html(value: Any) -> Html:
    """Any JSON value: an object as lines of `key value`, a list with commas, null as a dash."""
    if isinstance(value, Mapping):
        return element(
            "ul",
            *(
                element("li", element("span", key, class_="key"), " ", value_html(inner))
                for key, inner in value.items()
            ),
        )
    if isinstance(value, list):
        return escape(", ".join(str(item) for item in value) or NOTHING)
    return escape(NOTHING if value is None else value)


def environment_html(report: Record) -> Html:
    """Where this was measured: hardware, versions, options."""
    environment: Record = report.get("environment") or {}
    rows = [
        element("tr", element("th", key, scope="row"), text_cell(value_html(value)))
        for key, value in environment.items()
    ]
    return element("div", element("table", element("tbody", *rows)), class_="scroll") if rows else Html("")
