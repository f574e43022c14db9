"""The block at the top of the page, and the file it can be rebuilt from.

The page is a function of `evals.json` alone: `summary_html(read_json(path))` gives the same page again,
without models, faces or a GPU.
"""

from __future__ import annotations

import json
import math
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NoReturn

from fer_models.errors import FerModelsError, UsageError
from fer_models.report import (
    corruptions,
    data_quality,
    figures,
    html_tables,
    metamorphic,
    prompts,
    questions,
    responses,
    restorations,
    robustness,
    tables,
)
from fer_models.report.markup import Html, element, join
from fer_models.report.tables import Record, name_of, ranked

SCHEMA = 2
_SHOWN = 3  # so many confusion matrices stand open, one row of them; the others wait behind a click

# pytest-html's page is white whatever the reader's system prefers, so this block is white too, and says so: a
# dark block on that page would clash, and on a dark page of someone's own it stays legible as a white sheet.
# Every selector begins with .fer, so nothing outside changes.
#: The style of everything inside `class="fer"`.
STYLE = """
.fer { color-scheme: light; background: #fff; color: #24292f; font: 14px/1.5 system-ui, -apple-system, "Segoe UI", Helvetica, Arial, sans-serif;
       max-width: 1180px; margin: 0 0 32px; }
.fer p, .fer li { color: inherit; }
.fer h3 { font-size: 17px; font-weight: 600; margin: 34px 0 8px; padding-bottom: 5px; border-bottom: 1px solid #d8dee4; }
.fer h4 { font-size: 14px; font-weight: 600; margin: 14px 0 4px; }
.fer .lead, .fer .caption, .fer .empty { color: #57606a; margin: 4px 0 10px; max-width: 80ch; }
.fer .scroll { overflow-x: auto; }
.fer .scroll + .scroll { margin-top: 14px; }
.fer table { border-collapse: collapse; font-size: 13px; }
.fer caption { text-align: left; font-weight: 600; padding: 0 0 4px; }
.fer caption .bounds { font-weight: 400; }
.fer th, .fer td { padding: 5px 14px 5px 0; text-align: left; vertical-align: top; border: 0; }
.fer thead th { color: #57606a; font-weight: 500; vertical-align: bottom; border-bottom: 1px solid #8c959f; white-space: nowrap; }
.fer tbody th { font-weight: 500; overflow-wrap: break-word; }
.fer tbody tr + tr > * { border-top: 1px solid #eaeef2; }
.fer td.num, .fer th.num { text-align: right; white-space: nowrap; font-variant-numeric: tabular-nums; }
.fer td.text { overflow-wrap: break-word; }
.fer .bounds { color: #6e7781; font-size: 12px; }
.fer tr.group th { color: #57606a; font-weight: 600; padding-top: 14px; }
.fer tr.average > * { color: #57606a; }
.fer .wide th, .fer .wide td { padding-right: 10px; }
.fer .verdict { display: inline-block; padding: 0 8px; border-radius: 9px; font-size: 11px; line-height: 18px; font-weight: 600;
                letter-spacing: .02em; white-space: nowrap; background: #eaeef2; color: #424a53; }
.fer .verdict.pass { background: #dcf3e2; color: #11622b; }
.fer .verdict.fail { background: #fde1e0; color: #a11a1a; }
.fer .verdict.inconclusive { background: #fdf0cd; color: #7a4d00; }
.fer .verdict.drift { background: #f3e3fb; color: #6a1b91; }
.fer .verdict.new { background: #ddeafb; color: #11498a; }
.fer pre { margin: 8px 0; padding: 10px 14px; overflow-x: auto; border-left: 3px solid #b26a00; background: #f6f8fa; color: #24292f;
           font: 12.5px/1.5 ui-monospace, SFMono-Regular, Menlo, Consolas, "Liberation Mono", monospace; }
.fer pre.fail { border-left-color: #c62828; }
.fer code { font: 12px ui-monospace, SFMono-Regular, Menlo, Consolas, "Liberation Mono", monospace; overflow-wrap: anywhere; }
.fer img { display: block; max-width: 100%; height: auto; margin: 6px 0; }
.fer details { margin: 6px 0; }
.fer summary { cursor: pointer; color: #0b5cad; }
.fer .grid { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 370px), 1fr)); gap: 22px 18px; margin-top: 8px; }
.fer .grid.wide { grid-template-columns: repeat(auto-fill, minmax(min(100%, 560px), 1fr)); }
.fer table.heat { table-layout: fixed; width: 100%; font-size: 12px; }
.fer table.heat th, .fer table.heat td { padding: 0; height: 34px; border: 1px solid #fff; text-align: center; vertical-align: middle;
                                         line-height: 1.15; }
.fer table.heat thead th { height: 26px; font-size: 9.5px; letter-spacing: -.02em; font-weight: 500; vertical-align: bottom; white-space: normal; }
.fer table.heat tbody th, .fer table.heat .corner { width: 56px; padding-right: 6px; text-align: right; font-size: 11px; font-weight: 500;
                                                    color: #57606a; }
.fer table.heat .corner { font-size: 9.5px; color: #6e7781; }
.fer table.heat b { display: block; font-weight: 600; }
.fer table.heat i { font-style: normal; font-size: 9.5px; opacity: .9; }
.fer table.heat .zero { background: #f9fafb; color: #afb8c1; }
.fer ul { margin: 4px 0; padding-left: 18px; }
.fer td.text ul { margin: 0; padding: 0; list-style: none; }
.fer td q { overflow-wrap: anywhere; white-space: pre-wrap; }
.fer .pairs { display: grid; grid-template-columns: repeat(auto-fill, minmax(196px, 1fr)); gap: 14px; margin-top: 8px; }
.fer figure { margin: 0; }
.fer figure.pair img { display: inline-block; image-rendering: pixelated; margin-right: 4px; }
.fer figcaption { color: #57606a; font-size: 12px; overflow-wrap: anywhere; }
.fer .key { color: #57606a; }
.fer .claims { border: 1px dashed #afb8c1; border-radius: 6px; padding: 0 14px 10px; margin-top: 34px; }
.fer .claims h3 { border: 0; margin-top: 12px; padding: 0; }
"""


def summary_html(report: Record) -> Html:
    """The whole report as one block of HTML with its own style, to stand at the top of any page: no script,
    nothing fetched.

    Sections without content are left out.
    """
    return element("div", element("style", Html(STYLE)), _lead(report), *_sections(report), class_="fer")


def _sections(report: Record) -> Iterator[Html]:
    results = [result for group in ranked(report).values() for result in group]
    yield _section("Leaderboard", html_tables.leaderboard_html(report))
    yield _section("What fell", _failures(results, report))
    yield _section(
        "What could not be judged",
        *(element("pre", e.get("message"), class_="fail") for e in report.get("errors") or []),
    )
    yield _section("Accuracy", figures.leaderboard(report))
    yield _section("Confusion matrices", _confusions(results))
    yield _section("Per emotion", _per_class(results))
    yield _labels(report)
    yield _section("Restoration", restorations.restorations_html(report))
    yield _section("What models wrote", responses.responses_html(report))
    verdicts = {section: robustness.figures_html(report, section) for section in robustness.SECTIONS}
    yield _section(
        "Prompts and questions",
        verdicts["prompts"],
        prompts.prompts_html(report),
        questions.questions_html(report),
    )
    yield _section("Bad pictures", verdicts["corruptions"], corruptions.corruptions_html(report))
    yield _section("Small changes", verdicts["metamorphic"], metamorphic.metamorphic_html(report))
    yield _section("Costs", figures.cost(report), html_tables.costs_html(report))
    yield _section("Skipped", _skipped(report))
    yield _published(report)
    yield _section("Faces", data_quality.data_html(report), _bullets(_notes(results)))
    yield _section("Environment", html_tables.environment_html(report))


def _section(title: str, *parts: Html) -> Html:
    return element("section", element("h3", title), *parts) if any(parts) else Html("")


def _lead(report: Record) -> Html:
    """How many subjects came to which verdict, in one line."""
    results: Sequence[Record] = report.get("results") or []
    skipped = report.get("skipped") or []
    more = f", {len(skipped)} not on this machine" if skipped else ""
    more += f", {len(errors)} could not be judged" if (errors := report.get("errors") or []) else ""
    verdicts = Counter(result.get("verdict") for result in results)
    known = [
        join(" ", html_tables.verdict_html(v), f" {verdicts[v]}")
        for v in ("FAIL", "INCONCLUSIVE", "NEW", "PASS")
        if verdicts[v]
    ]
    lead = element("p", f"{_count(len(results), 'subject')} measured{more}", *known, class_="lead")
    return join(lead, _left_out(report))


def _left_out(report: Record) -> Html:
    """What the depth of the run left out, behind a click."""
    lines = tables.left_out(report)
    return (
        _folded(lines[0].removesuffix(":"), _bullets([line.removeprefix("  - ") for line in lines[1:]]))
        if lines
        else Html("")
    )


def _count(n: int, noun: str) -> str:
    return f"{n} {noun}{'' if n == 1 else 's'}"


def _labels(report: Record) -> Html:
    table = data_quality.labels_html(report)
    if not table:
        return table
    said = (
        "A face that also stands in train, pixel for pixel, may have been learnt by heart. Where FER+ votes are known: accuracy against the "
        "single most frequent vote of ten raters (faces whose votes tie, or mostly say contempt, unknown or no face, are left out), the expected "
        "agreement with one rater drawn at random, and accuracy against the label by how many raters agree with each other."
    )
    return element(
        "section", element("h3", "Leaks and label noise"), element("p", said, class_="caption"), table
    )


def _failures(results: Sequence[Record], report: Record) -> Html:
    """The failures' own words, and DEGRADED's; then, behind a click, those of falls that so few faces cannot
    establish.
    """
    failed = [
        element("pre", r["message"], class_="fail")
        for r in results
        if r.get("verdict") == "FAIL" and r.get("message")
    ]
    failed += [
        element("pre", r["message"]) for r in results if r.get("verdict") == "PASS" and r.get("message")
    ]
    failed += [element("pre", message, class_="fail") for message in robustness.messages(report, "FAIL")]
    unsure = [
        element("pre", r["message"])
        for r in results
        if r.get("verdict") == "INCONCLUSIVE" and r.get("message")
    ]
    unsure += [element("pre", message) for message in robustness.messages(report, "INCONCLUSIVE")]
    title = f"{len(unsure)} inconclusive: a fall that this many faces cannot establish"
    return join(*failed, _folded(title, join(*unsure), opened=not failed))


def _confusions(results: Sequence[Record]) -> Html:
    matrices = [matrix for matrix in map(figures.confusion, results) if matrix]
    shown, others = matrices[:_SHOWN], matrices[_SHOWN:]
    return join(_grid(shown), _folded(f"{len(others)} more matrices", _grid(others)))


def _per_class(results: Sequence[Record]) -> Html:
    found = [table for table in map(html_tables.per_class_html, results) if table]
    return _folded(f"Precision, recall and F1 of {_count(len(found), 'subject')}", _grid(found, "grid wide"))


def _grid(cells: Sequence[Html], kind: str = "grid") -> Html:
    """The cells side by side, as many in a row as there is room for."""
    return element("div", *cells, class_=kind) if cells else Html("")


def _folded(title: str, content: Html, opened: bool = False) -> Html:
    """The content behind a click on its title."""
    return (
        element("details", element("summary", title), content, open=True if opened else None)
        if content
        else content
    )


def _skipped(report: Record) -> Html:
    skips: Sequence[Record] = report.get("skipped") or []
    lines = [
        join(
            element("b", s.get("model")),
            f": {s.get('reason') or 'no reason given'} ",
            _code(s.get("command")),
        )
        for s in skips
    ]
    return _bullets(lines)


def _code(command: object) -> Html:
    return element("code", command) if command else Html("")


def _bullets(lines: Sequence[str]) -> Html:
    return element("ul", *(element("li", line) for line in lines)) if lines else Html("")


def _notes(results: Sequence[Record]) -> list[str]:
    """Each note once, with the subjects it is about."""
    about: dict[str, list[str]] = {}
    for result in results:
        for note in result.get("notes") or []:
            about.setdefault(str(note), []).append(name_of(result))
    return [f"{note} ({', '.join(dict.fromkeys(names))})" for note, names in about.items()]


def _published(report: Record) -> Html:
    table = html_tables.published_html(report)
    if not table:
        return table
    warning = (
        "Numbers from publications, under their own protocols. They were not measured here, and no verdict depends on them. "
        "The check says whether so many faces can give such a number at all, and where it lies."
    )
    return element(
        "section",
        element("h3", "Published claims, not measured here"),
        element("p", warning, class_="caption"),
        table,
        class_="claims",
    )


# The file.


def write_json(report: Record, path: Path) -> None:
    """Write `evals.json` whole or not at all; its folder is made if it is missing.

    Raises:
        FerModelsError: the report holds NaN, infinity or something that JSON has no word for. The message
            says where.
    """
    _refuse_what_is_not_json(report, "report")
    # In the contract's order, and in ASCII: any tool can read it.
    _write(json.dumps(report, indent=1, allow_nan=False) + "\n", path)


def write_html(report: Record, path: Path) -> None:
    """Write `summary_html` as a page of its own, for a run that ends before pytest-html can write one."""
    title = element("title", "fer-models: evaluation of facial emotion recognition models")
    head, body = element("head", Html('<meta charset="utf-8">'), title), element("body", summary_html(report))
    _write(f"<!doctype html>\n{element('html', head, body, lang='en')}\n", path)


def _write(text: str, path: Path) -> None:
    """Write a file whole or not at all; its folder is made if it is missing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        part.write_text(text, encoding="utf-8", newline="\n")
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def _refuse_what_is_not_json(value: Any, where: str) -> None:
    if isinstance(value, dict):
        for key, inner in value.items():
            if not isinstance(key, str):
                raise FerModelsError(
                    f"{where} has the key {key!r}: keys in evals.json are strings. Spell it as one."
                )
            _refuse_what_is_not_json(inner, f"{where}.{key}")
    elif isinstance(value, list | tuple):
        for i, inner in enumerate(value):
            _refuse_what_is_not_json(inner, f"{where}[{i}]")
    elif isinstance(value, float) and not math.isfinite(value):
        raise FerModelsError(
            f"{where} is {value}, which JSON cannot hold. Find out why it is not finite; what was not measured is null."
        )
    elif not isinstance(value, str | int | float | None):
        raise FerModelsError(
            f"{where} is a {type(value).__name__}, which JSON cannot hold. Convert it to a plain number, text, list or dict."
        )


def read_json(path: Path) -> dict[str, Any]:
    """The report that `write_json` left at `path`.

    Raises:
        UsageError: there is no such file, it is not JSON, or it is not a report of this schema.
    """
    try:
        report = json.loads(path.read_text(encoding="utf-8"), parse_constant=_refuse_constant)
    except OSError as error:
        raise UsageError(
            f"Cannot read the report {path}: {error.strerror}. `pytest evals` writes one into --report-dir."
        ) from error
    except ValueError as error:  # not UTF-8, not JSON, or NaN in it
        raise UsageError(
            f"{path} is not a report: {error}. Run `pytest evals` again to write a new one."
        ) from error
    if not isinstance(report, dict) or not isinstance(report.get("results"), list):
        raise UsageError(
            f"{path} is JSON, but not a report: it has no list of results. Give the evals.json of a run of `pytest evals`."
        )
    if report.get("schema") != SCHEMA:
        raise UsageError(
            f"{path} has schema {report.get('schema')!r}, this version reads {SCHEMA}. Run `pytest evals` again to write a new one."
        )
    return report


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"it holds {name}, which is not JSON")
