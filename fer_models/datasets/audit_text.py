"""The audit of a dataset as text."""

from __future__ import annotations

from collections.abc import Sequence

from fer_models.datasets import ferplus
from fer_models.datasets.audit_results import NEAR_CORRELATION, NEAR_DISTANCE, Audit
from fer_models.emotions import LABELS


def format_audit(found: Audit) -> str:
    """The audit as lines for a terminal."""
    lines = [f"{found.dataset}: {found.n:,} faces, {found.distinct:,} distinct images", ""]
    heads = ["split", "faces", *LABELS, *(["official"] if any(s.official for s in found.splits) else [])]
    agree = {True: "yes", False: "no", None: ""}
    lines += _table(
        heads,
        [[s.split, s.n, *s.counts.values(), agree[s.official_agrees]][: len(heads)] for s in found.splits],
    )
    heads = [
        "within one split",
        "copies",
        "images twice or more",
        "with two labels",
        "near pairs",
        "constant",
        "tiny",
        "unreadable",
    ]
    lines += _table(
        heads,
        [
            [
                s.split,
                s.exact_duplicates,
                s.groups,
                s.conflicts,
                s.near_duplicates.pairs if s.near_duplicates else "-",
                len(s.constant),
                len(s.tiny),
                len(s.unreadable),
            ]
            for s in found.splits
        ],
    )
    sizes = {s.split: s.n for s in found.splits}
    lines += _table(
        ["in two splits", "faces", "copies", "", "with another label", "near copy only", "near pairs"],
        [
            [
                f"{o.later} in {o.earlier}",
                sizes[o.later],
                o.exact_duplicates,
                _percent(o.exact_duplicates, sizes[o.later]),
                o.conflicts,
            ]
            + ([o.near_duplicates.only, o.near_duplicates.pairs] if o.near_duplicates else ["-", "-"])
            for o in found.overlaps
        ],
    )
    lines += _table(
        [
            "labels and raters",
            "majority agrees",
            "",
            "no majority",
            *(f"says {name}" for name in ferplus.COLUMNS[len(LABELS) :]),
            "no vote for it",
        ],
        [
            [
                s.split,
                s.noise.named,
                _percent(s.noise.named, s.n),
                s.noise.ties,
                *s.noise.outside.values(),
                s.noise.unvoted,
            ]
            for s in found.splits
            if s.noise
        ],
    )
    if any(s.near_duplicates for s in found.splits):
        lines.append(
            f"near: perceptual hashes at most {NEAR_DISTANCE} of 64 bits apart, and pixels that correlate by {NEAR_CORRELATION} or more"
        )
    for s in found.splits:
        lines += [f"{s.split}: note: {note}" for note in s.notes]
        lines += [f"{s.split}: unreadable: {bad.message}" for bad in s.unreadable[:_LISTED]]
        if len(s.unreadable) > _LISTED:
            lines.append(
                f"{s.split}: … and {len(s.unreadable) - _LISTED} more that cannot be read (--json names all)"
            )
    return "\n".join(lines).rstrip()


#: How many unreadable faces of a split the terminal names.
_LISTED = 10


def _percent(part: int, whole: int) -> str:
    return f"{part / whole:.1%}" if whole else ""


def _table(heads: Sequence[str], rows: Sequence[Sequence[object]]) -> list[str]:
    """Aligned columns, the first to the left, and an empty line; nothing without rows."""
    cells = [
        list(heads),
        *([f"{cell:,}" if isinstance(cell, int) else str(cell) for cell in row] for row in rows),
    ]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    aligned = [
        "  ".join(
            c.rjust(w) if i else c.ljust(w) for i, (c, w) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in cells
    ]
    return [*aligned, ""] if rows else []
