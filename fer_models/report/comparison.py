"""A comparison of two runs as text for a terminal, Markdown for a pull request, JSON for a program and HTML
for a browser.

All four show the same cells, made once by `_cells` and `_flip_cells`; each format only neutralises what comes
from outside in its own way.
"""

from __future__ import annotations

import html as entities
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fer_models.gate.compare import PredictionFlip
from fer_models.gate.gate import FAIL, INCONCLUSIVE, NEW, PASS, Verdict
from fer_models.images import Face, data_url, resize
from fer_models.report import html_report, html_tables, tables, verdicts
from fer_models.report.markup import Html, clean, element, join
from fer_models.store.subject import Subject

SCHEMA = 2
#: The side of a face's picture, in pixels: twice FER-2013's, so that a face of 48 pixels can be recognised.
PICTURE = 96

_HEADINGS = ("subject", "n", "before", "now", "change", "p", "verdict")
_FLIP_HEADINGS = (
    "row",
    "face",
    "true emotion",
    "answer before",
    "answer now",
    "p(true) before",
    "p(true) now",
)
_ONE_WAY, _OTHER_WAY = "Right before, wrong now", "Wrong before, right now"
#: Pictures of faces by pixel hash; None where nobody said where the faces lie.
Pictures = Mapping[str, Face] | None


@dataclass(frozen=True)
class ComparedModel:
    """One subject of a comparison.

    Attributes:
        earlier: whose answers those before are; the verdict's subject, unless two models are compared.
        verdict: of the gate, judged with all others of the comparison.
        fell, rose: the faces that went from right to wrong and from wrong to right, in the order to list
            them.
    """

    earlier: Subject
    verdict: Verdict
    negative_flips: Sequence[PredictionFlip]
    positive_flips: Sequence[PredictionFlip]

    @property
    def title(self) -> str:
        """The subject, or both."""
        now = self.verdict.comparison.subject
        return now.id if now == self.earlier else f"{self.earlier.id} -> {now.id}"


@dataclass(frozen=True)
class RunComparison:
    """All that is said of two runs.

    Attributes:
        before, after: what was compared, as it was asked for.
        results: one entry per subject on both sides.
        only_before, only_after: the subjects on one side only.
        refused: a sentence on each subject that cannot be compared.
        notes: a sentence on each part of the sides that was left out.
        listed: how many faces are listed per subject and direction, at least 0.
        strict: INCONCLUSIVE, NEW and DEGRADED fail too.
        all_names: one-sided subjects are named, not counted.
    """

    before: str
    after: str
    results: Sequence[ComparedModel]
    only_before: Sequence[Subject] = ()
    only_after: Sequence[Subject] = ()
    incomparable: Sequence[str] = ()
    notes: Sequence[str] = ()
    listed: int = 20
    strict: bool = False
    all_names: bool = False

    @property
    def failed(self) -> bool:
        """A verdict fails, or a subject on both sides could not be compared: that is no pass."""
        return bool(self.incomparable) or any(result.verdict.fails(self.strict) for result in self.results)

    def flips(self) -> Iterator[PredictionFlip]:
        """The faces that are listed."""
        for result in self.results:
            yield from result.negative_flips[: self.listed]
            yield from result.positive_flips[: self.listed]

    def remarks(self) -> Iterator[str]:
        """What is beside the verdicts: one-sided subjects, refusals, notes."""
        for name, subjects in ((self.before, self.only_before), (self.after, self.only_after)):
            if subjects:
                ids = "; ".join(subject.id for subject in subjects)
                count = f"{_count(len(subjects), 'subject')} (--all lists them)"
                yield f"Only in {name}: {ids if self.all_names else count}"
        yield from (f"Not compared: {sentence}" for sentence in self.incomparable)
        yield from (f"Note: {sentence}" for sentence in self.notes)

    def summary(self) -> str:
        """`3 subjects compared: 1 FAIL, 2 PASS`."""
        counts = Counter(result.verdict.status for result in self.results) + Counter(
            "DEGRADED" for result in self.results if result.verdict.is_degraded
        )
        found = ", ".join(
            f"{counts[status]} {status}"
            for status in (FAIL, INCONCLUSIVE, NEW, PASS, "DEGRADED")
            if counts[status]
        )
        return f"{_count(len(self.results), 'subject')} compared: {found}"


# What every format shows.


def _cells(result: ComparedModel) -> tuple[str, ...]:
    accuracy = next(check for check in result.verdict.comparison.checks if check.metric == "accuracy")
    now = accuracy.now
    interval = f"{tables.number(now.value)} [{tables.number(now.low)}, {tables.number(now.high)}]"
    n = f"{result.verdict.comparison.metrics.n:,}"
    return (
        result.title, n, tables.number(accuracy.baseline), interval, tables.signed(accuracy.change), tables.p_value(accuracy.p), result.verdict.label
    )  # fmt: skip


def _flip_cells(flip: PredictionFlip) -> tuple[str, ...]:
    answers = (flip.truth, flip.before or "no answer", flip.now or "no answer")
    return (str(flip.index), flip.face[:12], *answers, f"{flip.p_before:.2f}", f"{flip.p_now:.2f}")


def _changed(result: ComparedModel) -> str:
    """How many faces went which way."""
    was, now = ("was", "is") if len(result.negative_flips) == 1 else ("were", "are")
    return f"{_count(len(result.negative_flips), 'face')} {was} right and {now} wrong now, {len(result.positive_flips)} the other way"


def _directions(result: ComparedModel, listed: int) -> Iterator[tuple[str, Sequence[PredictionFlip]]]:
    """A heading and the faces under it, where there are any."""
    for heading, found in ((_ONE_WAY, result.negative_flips), (_OTHER_WAY, result.positive_flips)):
        if shown := found[:listed]:
            rest = f" ({len(shown)} of {len(found)})" if len(shown) < len(found) else ""
            yield heading + rest, shown


def _count(n: int, noun: str) -> str:
    return f"{n} {noun}{'' if n == 1 else 's'}"


def _flat(text: str) -> str:
    """Text from outside on one line, without what cannot be printed."""
    return " ".join(clean(text).split())


# The terminal.


def text(comparison: RunComparison) -> str:
    """The comparison as lines of plain text: the table, the failures in the gate's own words, the changed
    faces, the remarks.
    """
    c = comparison
    parts = [
        f"{_flat(c.before)} -> {_flat(c.after)}\n{c.summary()}\n\n{_aligned(_HEADINGS, map(_cells, c.results), numbers=(1, 2, 4))}"
    ]
    for result in c.results:
        parts.append(clean(verdicts.message(result.verdict, c.strict)))
        lines = (
            [f"{_flat(result.title)}: {_changed(result)}"]
            if result.negative_flips or result.positive_flips
            else []
        )
        for heading, flips in _directions(result, c.listed):
            lines += [
                f"  {heading}:",
                _aligned(_FLIP_HEADINGS, map(_flip_cells, flips), numbers=(0,), indent=4),
            ]
        parts.append("\n".join(lines))
    parts += [_flat(remark) for remark in c.remarks()]
    return "\n\n".join(filter(None, parts)) + "\n"


def _aligned(
    headings: Sequence[str], rows: Iterable[Sequence[str]], numbers: Sequence[int], indent: int = 0
) -> str:
    """A table in columns; those in `numbers` are set to the right."""
    table = [tuple(map(_flat, row)) for row in (headings, *rows)]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    set_cell: list[Callable[[str, int], str]] = [
        str.rjust if i in numbers else str.ljust for i in range(len(headings))
    ]
    lines = (
        "   ".join(put(cell, width) for put, cell, width in zip(set_cell, row, widths, strict=True))
        for row in table
    )
    return "\n".join(" " * indent + line.rstrip() for line in lines)


# Markdown.


def markdown(comparison: RunComparison) -> str:
    """The comparison as a comment on a pull request (GitHub-flavoured Markdown): a table, the rest behind
    clicks.
    """
    c = comparison
    parts = [
        f"**{c.summary()}** ({_code(c.before)} -> {_code(c.after)})",
        _table(_HEADINGS, [_markdown_cells(r) for r in c.results], numbers=(1, 2, 3, 4, 5)),
    ]
    for result in c.results:
        if message := verdicts.message(result.verdict, c.strict):
            parts.append(
                _folded(
                    f"{result.verdict.label}: {result.title}",
                    "```text\n" + _literal(clean(message)) + "\n```",
                )
            )
        flips = [
            f"{heading}:\n\n{_table(_FLIP_HEADINGS, [_flip_row(f) for f in found], numbers=(0, 5, 6))}"
            for heading, found in _directions(result, c.listed)
        ]
        if flips:
            parts.append(_folded(f"{result.title}: {_changed(result)}", "\n\n".join(flips)))
    if remarks := [f"- {_code(remark)}" for remark in c.remarks()]:
        parts.append("\n".join(remarks))
    return "\n\n".join(parts) + "\n"


def _markdown_cells(result: ComparedModel) -> tuple[str, ...]:
    title, *others, verdict = _cells(result)
    return (
        _code(title),
        *(cell.replace("<", "&lt;") for cell in others),
        f"**{verdict}**" if verdict != PASS else verdict,
    )


def _flip_row(flip: PredictionFlip) -> tuple[str, ...]:
    row, face, *others = _flip_cells(flip)
    return (row, _code(face), *others)


def _table(headings: Sequence[str], rows: Sequence[Sequence[str]], numbers: Sequence[int]) -> str:
    rule = ["--:" if i in numbers else "---" for i in range(len(headings))]
    return "\n".join(f"| {' | '.join(row)} |" for row in (headings, rule, *rows))


def _folded(title: str, content: str) -> str:
    """Content behind a click; the title is HTML, the content Markdown again after the empty line."""
    return f"<details><summary>{entities.escape(_flat(title))}</summary>\n\n{content}\n\n</details>"


def _code(text: str) -> str:
    """Text from outside as a code span, where no markup, link or @mention works."""
    return f"`{_literal(_flat(text)) or tables.NOTHING}`"


def _literal(text: str) -> str:
    """Look-alikes for the two characters that end a code span and a table's cell: there is no way to escape
    them that every reader knows.
    """
    return text.replace("`", "'").replace("|", "\N{BROKEN BAR}")


# JSON.


def as_json(comparison: RunComparison) -> str:
    """The comparison as one JSON object; every number that the other formats round is there in full."""
    c = comparison
    said = {
        "schema": SCHEMA,
        "before": c.before,
        "after": c.after,
        "failed": c.failed,
        "results": [_result_json(result, c.listed, c.strict) for result in c.results],
        "only_before": [subject.as_json() for subject in c.only_before],
        "only_after": [subject.as_json() for subject in c.only_after],
        "incomparable": list(c.incomparable),
        "notes": list(c.notes),
    }
    return json.dumps(said, indent=1, allow_nan=False) + "\n"


def _result_json(result: ComparedModel, listed: int, strict: bool) -> dict[str, Any]:
    verdict, c = result.verdict, result.verdict.comparison
    return {
        "subject": c.subject.as_json(),
        "before_subject": result.earlier.as_json(),
        "n": c.metrics.n,
        "metrics": {
            check.metric: {"before": check.baseline, "now": check.now.as_json()} for check in c.checks
        },
        "verdict": verdict.status,
        "message": verdicts.message(verdict, strict),
        "problems": list(verdict.problems),
        "changes": verdict.changes_json(),
        "log_loss": verdict.comparison.degradation.as_json() if verdict.comparison.degradation else None,
        "flips": {
            "negative": [f.as_json() for f in result.negative_flips[:listed]],
            "positive": [f.as_json() for f in result.positive_flips[:listed]],
        },
    }


# HTML.


def html(comparison: RunComparison, pictures: Pictures = None) -> str:
    """The comparison as a page of its own: no script, nothing fetched.

    Args:
        comparison: what to show.
        pictures: the listed faces by pixel hash, as far as they were found; None where nobody looked for
            them.
    """
    c = comparison
    title = f"{c.before} -> {c.after}"
    blocks = [
        element("p", c.summary(), class_="lead"),
        html_tables.table_html(
            ["subject", "#n", "#before", "#now", "#change", "#p", "verdict"], map(_row_html, c.results)
        ),
    ]
    blocks += [_result_html(result, c, pictures) for result in c.results]
    if any(c.flips()):
        blocks.append(element("p", _about_pictures(c, pictures), class_="caption"))
    if remarks := [element("li", remark) for remark in c.remarks()]:
        blocks.append(element("ul", *remarks))
    head = element(
        "head",
        Html('<meta charset="utf-8">'),
        element("title", title),
        element("style", Html(html_report.STYLE)),
    )
    body = element("body", element("div", element("h3", title), *blocks, class_="fer"))
    return f"<!doctype html>\n{element('html', head, body, lang='en')}\n"


def _row_html(result: ComparedModel) -> Html:
    *cells, verdict = _cells(result)
    return html_tables.row_html(*cells, html_tables.text_cell(html_tables.verdict_html(verdict)))


def _result_html(result: ComparedModel, comparison: RunComparison, pictures: Pictures) -> Html:
    message = verdicts.message(result.verdict, comparison.strict)
    flips = [
        join(element("h4", heading), _flips_html(found, pictures))
        for heading, found in _directions(result, comparison.listed)
    ]
    return join(
        element("pre", message, class_="fail" if result.verdict.status == FAIL else None) if message else "",
        element("details", element("summary", f"{result.title}: {_changed(result)}"), *flips)
        if flips
        else "",
    )


def _flips_html(flips: Sequence[PredictionFlip], pictures: Pictures) -> Html:
    row, *others, p_before, p_now = _FLIP_HEADINGS
    headings = [f"#{row}", *others, f"#{p_before}", f"#{p_now}"]
    return html_tables.table_html(
        [*headings, "picture"] if pictures else headings, (_flip_html(flip, pictures) for flip in flips)
    )


def _flip_html(flip: PredictionFlip, pictures: Pictures) -> Html:
    row, face, *answers, p_before, p_now = _flip_cells(flip)
    words = (html_tables.text_cell(cell) for cell in (element("code", face), *answers))
    seen = (
        [html_tables.text_cell(_picture(pictures[flip.face]) if flip.face in pictures else tables.NOTHING)]
        if pictures
        else []
    )
    return element(
        "tr", html_tables.number_cell(row), *words, *map(html_tables.number_cell, (p_before, p_now)), *seen
    )


def _picture(face: Face) -> Html:
    return element("img", src=data_url(resize(face, PICTURE)), width=PICTURE, height=PICTURE, alt="the face")


def _about_pictures(comparison: RunComparison, pictures: Pictures) -> str:
    if pictures is None:
        return "To see these faces, say where they lie: add --dataset NAME (and --data-root FOLDER) to the command."
    missing = sum(flip.face not in pictures for flip in comparison.flips())
    return (
        f"{_count(missing, 'listed face')} not found in the dataset given with --dataset." if missing else ""
    )
