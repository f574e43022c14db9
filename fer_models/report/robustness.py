"""Verdicts of the robustness gate in words and as HTML, from the `figures` of entries in evals.json."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from fer_models.gate.gate import FAIL, INCONCLUSIVE, NEW, PASS
from fer_models.gate.robustness_gate import ROBUSTNESS_MARGIN, RobustnessFigure
from fer_models.report import html_tables, tables
from fer_models.report.markup import Html, clean, element
from fer_models.report.tables import NOTHING, Record
from fer_models.report.verdicts import HINT

#: The sections of evals.json whose entries have `figures`.
SECTIONS = ("prompts", "metamorphic", "corruptions")
_ORDER = (FAIL, INCONCLUSIVE, NEW, PASS)


def why_not(subject: str, figures: Sequence[RobustnessFigure], strict: bool) -> str | None:
    """The failure text if one of the figures fails, else None. INCONCLUSIVE and NEW fail under `strict`
    only.
    """
    return message(subject, [f for f in figures if f.fails(strict)]) or None


def message(subject: str, figures: Sequence[RobustnessFigure]) -> str:
    """What a reader must know of figures that got worse or have no baseline; empty where all pass."""
    worse = [f for f in figures if f.status in (FAIL, INCONCLUSIVE)]
    new = [f for f in figures if f.status == NEW]
    parts = [_table(subject, worse)] if worse else []
    if new:
        names = ", ".join(f.name for f in new)
        parts.append(
            f"{subject}: no baseline yet for {names}. Record it on all faces of the split: pytest evals --update-baselines"
        )
    return "\n".join(parts)


def _table(subject: str, figures: Sequence[RobustnessFigure]) -> str:
    failed = [f.status == FAIL for f in figures]
    headline = (
        f"robustness got worse than its baseline by {100 * ROBUSTNESS_MARGIN:.0f} points or more."
        if any(failed)
        else "robustness got worse, but this many faces cannot establish it."
    )
    rows = [(f.name, str(f.faces), *_numbers(f.as_json())) for f in figures]
    headings = ("figure", "faces", "now", "baseline", "change", "95 % interval", "p (paired)")
    facts = dict.fromkeys(map(_establishes, figures))
    return tables.marked_table(subject, headline, [headings, *rows], failed, [*facts, HINT])


def _numbers(figure: Record) -> tuple[str, ...]:
    low, high = figure.get("low"), figure.get("high")
    interval = NOTHING if low is None or high is None else f"[{low:+.3f}, {high:+.3f}]"
    numbers = (
        tables.number(figure.get("now")),
        tables.number(figure.get("baseline")),
        tables.signed(figure.get("change")),
    )
    return *numbers, interval, tables.p_value(figure.get("p"))


def _establishes(figure: RobustnessFigure) -> str:
    if figure.minimum_detectable_change is None:
        return f"{figure.name}: {figure.faces} faces cannot establish a change; at least {figure.needed} must change"
    return f"{figure.name}: {figure.faces} faces can establish a change of {100 * figure.minimum_detectable_change:.1f} points"


def entries(report: Record) -> Iterator[Mapping[str, Any]]:
    """The entries of evals.json that have figures with verdicts."""
    for section in SECTIONS:
        yield from (
            entry
            for entry in report.get(section) or []
            if isinstance(entry, Mapping) and entry.get("figures")
        )


def lines(report: Record) -> list[str]:
    """For the terminal: how many figures have which verdict, and a line for each that fails."""
    judged = [(entry, figure) for entry in entries(report) for figure in entry["figures"]]
    if not judged:
        return []
    counts = Counter(figure.get("verdict") for _, figure in judged)
    told = [
        f"robustness: {', '.join(f'{counts[v]} {v}' for v in _ORDER if counts[v])} of {len(judged)} figures"
    ]
    for entry, figure in judged:
        if figure.get("verdict") == FAIL:
            now, baseline, _, _, p = _numbers(figure)
            told.append(f"FAIL {tables.name_of(entry)}, {figure.get('name')}: {baseline} -> {now}, p {p}")
    return list(map(clean, told))


def messages(report: Record, verdict: str) -> list[str]:
    """The failure texts of the entries whose worst verdict is this one."""
    return [
        entry["message"] for entry in entries(report) if entry.get("message") and _worst(entry) == verdict
    ]


def _worst(entry: Record) -> str:
    verdicts = {figure.get("verdict") for figure in entry["figures"]}
    return next((verdict for verdict in _ORDER if verdict in verdicts), PASS)


def figures_html(report: Record, section: str) -> Html:
    """The figures of a section with their verdicts, behind a click; nothing where none was judged."""
    judged = [entry for entry in entries(report) if entry in (report.get(section) or [])]
    rows = [_row(entry, figure) for entry in judged for figure in entry["figures"]]
    if not rows:
        return Html("")
    headings = [
        "figure",
        "#faces",
        "#now",
        "#baseline",
        "#change",
        "#95 % interval",
        "#p (paired)",
        "verdict",
    ]
    title = f"{len(rows)} figures against their baselines"
    opened = True if any(_worst(entry) == FAIL for entry in judged) else None
    return element("details", element("summary", title), html_tables.table_html(headings, rows), open=opened)


def _row(entry: Record, figure: Record) -> Html:
    name = f"{tables.name_of(entry)}, {str(figure.get('name')).partition(': ')[2]}"
    verdict = html_tables.text_cell(html_tables.verdict_html(figure.get("verdict")))
    return html_tables.row_html(name, str(figure.get("faces", NOTHING)), *_numbers(figure), verdict)
