"""A comparison of two runs as text for a terminal, Markdown for a pull request, JSON and HTML.

All four show the same cells. Each format only escapes what comes from outside in its own way.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from fer_models.gate.flips import PredictionFlip
from fer_models.gate.gate import PASS
from fer_models.images import Face, data_url, resize
from fer_models.report import verdicts
from fer_models.report.compared_runs import FLIP_HEADINGS, HEADINGS, ComparedModel, RunComparison, flip_cells
from fer_models.report.formatting import clean, count, one_line
from fer_models.report.markdown_text import cell, code, code_block, folded, table
from fer_models.report.templates import render

__all__ = ["ComparedModel", "RunComparison", "as_json", "html", "markdown", "text"]

SCHEMA = 2
#: The side of a face's picture, in pixels: twice that of FER-2013, so that a face can be recognised.
PICTURE = 96

#: Pictures of faces by pixel hash; None without --dataset.
Pictures = Mapping[str, Face] | None


# Text for the terminal.


def text(comparison: RunComparison) -> str:
    """Format the comparison as plain text: the table, the failures, the changed faces, the remarks."""
    c = comparison
    table = _aligned(HEADINGS, (result.cells for result in c.results), numbers=(1, 2, 4))
    parts = [f"{one_line(c.before)} -> {one_line(c.after)}\n{c.summary()}\n\n{table}"]
    for result in c.results:
        parts += [
            clean(verdicts.message(result.verdict, c.strict, verdicts.RECORD)),
            _flips_text(result, c.listed),
        ]
    parts += [one_line(remark) for remark in c.remarks()]
    return "\n\n".join(filter(None, parts)) + "\n"


def _flips_text(result: ComparedModel, limit: int) -> str:
    if not result.flip_summary:
        return ""
    lines = [f"{one_line(result.title)}: {result.flip_summary}"]
    for heading, flips in result.flip_groups(limit):
        lines += [f"  {heading}:", _aligned(FLIP_HEADINGS, map(flip_cells, flips), numbers=(0,), indent=4)]
    return "\n".join(lines)


def _aligned(
    headings: Sequence[str], rows: Iterable[Sequence[str]], numbers: Sequence[int], indent: int = 0
) -> str:
    """A table in columns; those in `numbers` are aligned on the right."""
    table = [tuple(map(one_line, row)) for row in (headings, *rows)]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    justify: list[Callable[[str, int], str]] = [
        str.rjust if i in numbers else str.ljust for i in range(len(headings))
    ]
    lines = (
        "   ".join(align(cell, width) for align, cell, width in zip(justify, row, widths, strict=True))
        for row in table
    )
    return "\n".join(" " * indent + line.rstrip() for line in lines)


# Markdown.


def markdown(comparison: RunComparison) -> str:
    """Format the comparison as a comment on a pull request (GitHub-flavoured Markdown).

    It has a table; the rest is folded.
    """
    c = comparison
    parts = [
        f"**{c.summary()}** ({code(c.before)} -> {code(c.after)})",
        table(HEADINGS, [_markdown_cells(result) for result in c.results], numbers=(1, 2, 3, 4, 5)),
    ]
    for result in c.results:
        if message := verdicts.message(result.verdict, c.strict, verdicts.RECORD):
            parts.append(folded(f"{result.verdict.label}: {result.title}", code_block(message)))
        flips = [
            f"{heading}:\n\n{table(FLIP_HEADINGS, [_flip_row(f) for f in group], numbers=(0, 5, 6))}"
            for heading, group in result.flip_groups(c.listed)
        ]
        if flips:
            parts.append(folded(f"{result.title}: {result.flip_summary}", "\n\n".join(flips)))
    if remarks := [f"- {code(remark)}" for remark in c.remarks()]:
        parts.append("\n".join(remarks))
    return "\n\n".join(parts) + "\n"


def _markdown_cells(result: ComparedModel) -> tuple[str, ...]:
    title, *others, verdict = result.cells
    return (code(title), *map(cell, others), f"**{verdict}**" if verdict != PASS else verdict)


def _flip_row(flip: PredictionFlip) -> tuple[str, ...]:
    row, face, *others = flip_cells(flip)
    return (row, code(face), *others)


# JSON.


def as_json(comparison: RunComparison) -> str:
    """Format the comparison as one JSON object, with all digits of the numbers."""
    c = comparison
    content = {
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
    return json.dumps(content, indent=1, allow_nan=False) + "\n"


def _result_json(result: ComparedModel, limit: int, strict: bool) -> dict[str, Any]:
    verdict, c = result.verdict, result.verdict.comparison
    return {
        "subject": c.subject.as_json(),
        "before_subject": result.earlier.as_json(),
        "n": c.metrics.n,
        "metrics": {
            check.metric: {"before": check.baseline, "now": check.now.as_json()} for check in c.checks
        },
        "verdict": verdict.status,
        "message": verdicts.message(verdict, strict, verdicts.RECORD),
        "problems": list(verdict.problems),
        "changes": verdict.changes_json(),
        "log_loss": c.degradation.as_json() if c.degradation else None,
        "flips": {
            "negative": [flip.as_json() for flip in result.negative_flips[:limit]],
            "positive": [flip.as_json() for flip in result.positive_flips[:limit]],
        },
    }


# HTML.


def html(comparison: RunComparison, pictures: Pictures = None) -> str:
    """Render the comparison as a page of its own: no script, and nothing is fetched.

    Args:
        comparison: what to show.
        pictures: the listed faces that were found, by pixel hash; None without a dataset.
    """
    sources = {face: data_url(resize(image, PICTURE)) for face, image in (pictures or {}).items()}
    page = render(
        "comparison",
        comparison=comparison,
        messages=[
            verdicts.message(result.verdict, comparison.strict, verdicts.RECORD)
            for result in comparison.results
        ],
        flip_headings=FLIP_HEADINGS,
        flip_cells=flip_cells,
        pictures=sources,
        side=PICTURE,
        caption=_pictures_caption(comparison, pictures) if any(comparison.flips()) else "",
    )
    return f"{page}\n"


def _pictures_caption(comparison: RunComparison, pictures: Pictures) -> str:
    if pictures is None:
        return "To see these faces, add their dataset to the command: --dataset NAME --data-root FOLDER."
    missing = sum(flip.face not in pictures for flip in comparison.flips())
    faces = count(missing, "listed face")
    return f"{faces} not found in the dataset given with --dataset." if missing else ""
