"""What the page says of the faces themselves: leaks, label noise, copies, counts. Reads `evals.json` alone,
as `tables` does.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain

from fer_models.report.html_tables import interval_html, row_html, table_html
from fer_models.report.markup import Html, element, escape, join
from fer_models.report.tables import NOTHING, Record, face_sets, faces_of, name_of, ranked, signed

#: What a picture on the page begins with: nothing is fetched.
PICTURE = "data:image/png;base64,"
_KINDS = {
    "conflict": "the same pixels, two labels",
    "copy": "the same pixels in two splits",
    "near": "nearly the same",
}


def labels_html(report: Record) -> Html:
    """What each score owes to leaks from `train`, and how it stands beside people where their votes are
    known.
    """
    results = [result for group in ranked(report).values() for result in group]
    leaks = [_leak_row(result) for result in results if result.get("leakage")]
    votes = [_vote_row(result) for result in results if result.get("votes")]
    parts = []
    if leaks:
        headings = [
            "model",
            "#faces also in train",
            "#accuracy on them",
            "#accuracy without them",
            "#difference",
        ]
        parts.append(table_html(headings, leaks))
    if votes:
        strata = [f"#{name} of 10 agree" for name in _strata(results)]
        parts.append(table_html(["model", "#raters' majority", "#one rater, at random", *strata], votes))
    return join(*parts)


def _strata(results: Sequence[Record]) -> list[str]:
    """The names of the groups of faces by how far raters agree, in order."""
    return list(
        dict.fromkeys(chain.from_iterable((r.get("votes") or {}).get("strata") or {} for r in results))
    )


def _leak_row(result: Record) -> Html:
    leaks: Record = result["leakage"]
    without = (result.get("metrics") or {}).get("accuracy_without_leaks")
    difference: Record = leaks.get("difference") or {}
    moved = signed(difference.get("value"))
    bounds = (
        element("span", f"[{signed(difference['low'])}, {signed(difference['high'])}]", class_="bounds")
        if difference
        else ""
    )
    return row_html(
        f"{name_of(result)} on {faces_of(result)}",
        leaks.get("faces", NOTHING),
        _counted(leaks.get("accuracy_on_leaks")),
        _counted(without),
        join(moved, " ", bounds),
    )


def _vote_row(result: Record) -> Html:
    votes: Record = result["votes"]
    strata: Record = votes.get("strata") or {}
    cells = (votes.get("majority"), votes.get("one_annotator"), *strata.values())
    return row_html(f"{name_of(result)} on {faces_of(result)}", *map(_counted, cells))


def _counted(measured: Record | None) -> Html:
    """A value with its interval and the faces it stands on."""
    if not measured:
        return escape(NOTHING)
    return join(
        interval_html(measured.get("value"), measured.get("low"), measured.get("high")),
        element("span", f" n = {measured.get('n')}", class_="bounds"),
    )


def data_html(report: Record) -> Html:
    """The faces: how many of each emotion, what identifies them, and what a reader must know of them."""
    return join(*(_face_set_html(name, data) for name, data in face_sets(report).items()))


def _face_set_html(name: str, data: Record) -> Html:
    counts: Record = data.get("counts") or {}
    total = sum(counts.values()) or 1
    shares = [row_html(label, count, f"{count / total:.1%}") for label, count in counts.items()]
    notes: Sequence[str] = data.get("notes") or []
    return element(
        "div",
        element("h4", name, f" · {data['n']} faces" if data.get("n") is not None else ""),
        table_html(["emotion", "#faces", "#share"], shares) if shares else "",
        element("p", "fingerprint ", element("code", data["fingerprint"])) if data.get("fingerprint") else "",
        _audit_html(data["audit"]) if data.get("audit") else "",
        element("ul", *(element("li", note) for note in notes), class_="notes") if notes else "",
        class_="faces",
    )


def _audit_html(audit: Record) -> Html:
    """What `fer-models data audit` finds: copies and contradictions, with pictures of some."""
    splits: Sequence[Record] = audit.get("splits") or []
    overlaps: Sequence[Record] = audit.get("overlaps") or []
    said = f"{audit.get('n', 0):,} faces in {', '.join(str(s.get('split')) for s in splits)}: {audit.get('distinct', 0):,} distinct images"
    within = [
        "within one split",
        "#faces",
        "#copies",
        "#with two labels",
        "#near pairs",
        "#one tone",
        "#too small",
        "#unreadable",
    ]
    across = ["in two splits", "#copies", "#with another label", "#only nearly the same", "#near pairs"]
    return join(
        element("p", said, class_="caption"),
        table_html(within, map(_split_row, splits)) if splits else "",
        table_html(across, map(_overlap_row, overlaps)) if overlaps else "",
        _examples_html(audit.get("examples") or []),
    )


def _split_row(split: Record) -> Html:
    flaws = [len(split.get(key) or []) for key in ("constant", "tiny", "unreadable")]
    near = (split.get("near_duplicates") or {}).get("pairs", NOTHING)
    return row_html(
        split.get("split"),
        split.get("n"),
        split.get("exact_duplicates"),
        split.get("conflicts"),
        near,
        *flaws,
    )


def _overlap_row(overlap: Record) -> Html:
    near: Record = overlap.get("near_duplicates") or {}
    name = f"{overlap.get('later')} faces in {overlap.get('earlier')}"
    return row_html(
        name,
        overlap.get("exact_duplicates"),
        overlap.get("conflicts"),
        near.get("only", NOTHING),
        near.get("pairs", NOTHING),
    )


def _examples_html(examples: Sequence[Record]) -> Html:
    shown = [figure for figure in map(_example_html, examples) if figure]
    if not shown:
        return Html("")
    return element(
        "details",
        element("summary", f"{len(shown)} pairs to look at"),
        element("div", *shown, class_="pairs"),
    )


def _example_html(example: Record) -> Html:
    picture = str(example.get("picture") or "")
    if not picture.startswith(PICTURE):  # nothing is fetched for the page
        return Html("")
    faces: Sequence[Record] = example.get("faces") or []
    said = " | ".join(f"{face.get('label')}, {face.get('split')} {face.get('source')}" for face in faces)
    kind = _KINDS.get(str(example.get("kind")), str(example.get("kind")))
    alike = f", correlation {example['correlation']:.3f}" if example.get("kind") == "near" else ""
    return element(
        "figure",
        element("img", src=picture, alt="two faces, side by side", width=192, height=96),
        element("figcaption", f"{kind}{alike}: {said}"),
    )
