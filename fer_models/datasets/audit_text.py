"""Text of an audit for the terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from fer_models.datasets import ferplus
from fer_models.datasets.audit_results import NEAR_CORRELATION, NEAR_DISTANCE, Audit
from fer_models.emotions import LABELS

#: How many unreadable faces of a split the terminal names.
_LISTED = 10


def format_audit(audit: Audit) -> str:
    """Format an audit as lines for a terminal."""
    tables = (_counts_table, _within_table, _across_table, _noise_table)
    lines = [f"{audit.dataset}: {audit.n:,} faces, {audit.distinct:,} distinct images", ""]
    lines += [line for table in tables for line in table(audit)]
    return "\n".join([*lines, *_remarks(audit)]).rstrip()


def _counts_table(audit: Audit) -> list[str]:
    heads = ["split", "faces", *LABELS]
    rows: list[list[object]] = [[s.split, s.n, *s.counts.values()] for s in audit.splits]
    if any(s.official for s in audit.splits):
        heads.append("official")
        for row, s in zip(rows, audit.splits, strict=True):
            row.append({True: "yes", False: "no", None: ""}[s.official_agrees])
    return _table(heads, rows)


def _within_table(audit: Audit) -> list[str]:
    heads = (
        *("within one split", "copies", "images twice or more", "with two labels", "near pairs"),
        *("constant", "tiny", "unreadable"),
    )
    rows = []
    for s in audit.splits:
        near = s.near_duplicates.pairs if s.near_duplicates else "-"
        problems = len(s.constant), len(s.tiny), len(s.unreadable)
        rows.append([s.split, s.exact_duplicates, s.groups, s.conflicts, near, *problems])
    return _table(heads, rows)


def _across_table(audit: Audit) -> list[str]:
    heads = ("in two splits", "faces", "copies", "", "with another label", "near copy only", "near pairs")
    sizes = {s.split: s.n for s in audit.splits}
    rows = []
    for o in audit.overlaps:
        n, copies, near = sizes[o.later], o.exact_duplicates, o.near_duplicates
        near_cells = (near.only, near.pairs) if near else ("-", "-")
        rows.append([f"{o.later} in {o.earlier}", n, copies, _percent(copies, n), o.conflicts, *near_cells])
    return _table(heads, rows)


def _noise_table(audit: Audit) -> list[str]:
    outside = [f"majority {name}" for name in ferplus.COLUMNS[len(LABELS) :]]
    heads = ["labels and raters", "majority agrees", "", "no majority", *outside, "no vote for it"]
    rows: list[list[object]] = []
    for s in audit.splits:
        if s.noise:
            agreement = s.noise.named, _percent(s.noise.named, s.n)
            rows.append([s.split, *agreement, s.noise.ties, *s.noise.outside.values(), s.noise.unvoted])
    return _table(heads, rows)


def _remarks(audit: Audit) -> Iterator[str]:
    if any(s.near_duplicates for s in audit.splits):
        yield (
            f"near: perceptual hashes at most {NEAR_DISTANCE} of 64 bits apart, "
            f"and pixels that correlate by {NEAR_CORRELATION} or more"
        )
    for s in audit.splits:
        yield from (f"{s.split}: note: {note}" for note in s.notes)
        yield from (f"{s.split}: unreadable: {face.message}" for face in s.unreadable[:_LISTED])
        more = len(s.unreadable) - _LISTED
        if more > 0:
            yield f"{s.split}: … and {more} more that cannot be read (--format json names all)"


def _percent(part: int, total: int) -> str:
    return f"{part / total:.1%}" if total else ""


def _table(heads: Sequence[str], rows: Sequence[Sequence[object]]) -> list[str]:
    """Aligned columns, the first to the left, and an empty line; nothing without rows."""
    if not rows:
        return []
    cells = [heads, *([f"{cell:,}" if isinstance(cell, int) else str(cell) for cell in row] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = []
    for first, *others in cells:
        aligned = [cell.rjust(width) for cell, width in zip(others, widths[1:], strict=True)]
        lines.append("  ".join([first.ljust(widths[0]), *aligned]).rstrip())
    return [*lines, ""]
