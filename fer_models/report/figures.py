"""Pictures for the page, each complete in itself: nothing is fetched, and no script runs.

A confusion matrix is an HTML table with coloured cells: sharp at any size, its numbers can be selected and
read aloud. The charts are PNGs in data URIs, drawn through matplotlib's objects without pyplot, so that no
window, figure list or backend of the calling process is touched. They bring their own white ground, and stay
legible wherever the page is shown.
"""

from __future__ import annotations

import base64
import io
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING

from fer_models.emotions import LABELS
from fer_models.report.html_tables import title_html
from fer_models.report.markup import Html, clean, element
from fer_models.report.tables import Record, baseline_of, face_sets, name_of, ranked, value_of

if TYPE_CHECKING:  # matplotlib is imported when a chart is drawn, at the end of a run
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

_BLUE, _INK, _FAINT, _GRID = "#2563a8", "#24292f", "#6e7781", "#e4e7eb"
_VERDICT_COLOURS = {"FAIL": "#c62828", "INCONCLUSIVE": "#b26a00"}
_WIDTH_INCHES = 9.2
_DPI = 200  # twice what is shown, for sharp screens
_MOST_LINES = 40  # in one panel; the table has the others


# The confusion matrix.


def confusion(result: Record) -> Html:
    """The confusion matrix as a heat map: each row (the true emotion) adds up to 100 %, with the counts below
    the shares.

    A column `no answer` appears if any face was left unanswered. Empty if the result holds no matrix.
    """
    matrix: Sequence[Sequence[int]] = result.get("confusion") or []
    silent: Sequence[int] = result.get("no_answer") or []
    if not matrix:
        return Html("")
    rows = [[*counts, silent[i]] if any(silent) else list(counts) for i, counts in enumerate(matrix)]
    headings = [*LABELS, "no answer"] if any(silent) else LABELS
    head = element(
        "tr",
        element("td", "true ↓ answer →", class_="corner"),
        *(element("th", element("span", h), scope="col") for h in headings),
    )
    body = (_heat_row(label, counts) for label, counts in zip(LABELS, rows, strict=True))
    return element(
        "table", title_html(result), element("thead", head), element("tbody", *body), class_="heat"
    )


def _heat_row(label: str, counts: Sequence[int]) -> Html:
    total = sum(counts)
    return element(
        "tr",
        element("th", label, scope="row"),
        *(_heat_cell(count, count / total if total else 0.0) for count in counts),
    )


def _heat_cell(count: int, share: float) -> Html:
    """White to blue; the ink turns white where the ground is dark."""
    red, green, blue = (round(255 + (dark - 255) * share**0.8) for dark in (18, 74, 140))
    style = f"background:rgb({red},{green},{blue});color:{'#fff' if share > 0.6 else '#24292f'}"
    return (
        element("td", element("b", f"{share:.0%}"), element("i", count), style=style)
        if count
        else element("td", "·", class_="zero")
    )


# The leaderboard.


@dataclass
class _Line:
    """One line of the leaderboard chart: what was measured under a name, and what others claim under it."""

    measured: Record | None = None
    claims: list[float] = field(default_factory=list)


def leaderboard(report: Record) -> Html:
    """Accuracy with its 95 % interval for each subject, a panel for each set of faces.

    A dashed line marks what the answer "always the most frequent emotion" would reach, if the counts are
    known. Hollow diamonds are published claims on the same data set; they were not measured here. Results on
    corrupted faces are left to the table, unless there are no others.
    """
    groups = ranked(report)
    shown = {faces: results for faces, results in groups.items() if not _corrupted(results[0])} or groups
    panels = {faces: _lines(results, report.get("published") or []) for faces, results in shown.items()}
    panels = {faces: lines for faces, lines in panels.items() if lines}
    if not panels:
        return Html("")
    heights = [min(len(lines), _MOST_LINES) + 0.2 for lines in panels.values()]
    figure = _figure(0.27 * sum(heights) + 0.4 * len(heights) + 0.7)
    axes = figure.subplots(len(panels), 1, squeeze=False, sharex=True, height_ratios=heights)[:, 0]
    majorities = _majorities(report)
    for ax, (faces, lines) in zip(axes, panels.items(), strict=True):
        _draw_panel(ax, faces, lines, majorities.get(faces))
    axes[-1].set_xlabel("accuracy", color=_FAINT, fontsize=9)
    marks = _legend(
        [line for lines in panels.values() for line in lines.values()],
        majority=bool(majorities.keys() & panels),
    )
    figure.legend(
        handles=marks, loc="outside lower left", ncols=4, frameon=False, fontsize=8, labelcolor=_FAINT
    )
    return _image(
        figure, f"Accuracy with 95 % intervals on {', '.join(panels)}; the numbers are in the leaderboard."
    )


def _majorities(report: Record) -> dict[str, float]:
    """The share of the most frequent emotion in each set of faces whose counts are known."""
    counts = {faces: (data.get("counts") or {}).values() for faces, data in face_sets(report).items()}
    return {faces: max(row) / sum(row) for faces, row in counts.items() if sum(row)}


def _lines(results: Sequence[Record], published: Sequence[Record]) -> dict[str, _Line]:
    """The lines of one panel by name: the measured ones in their order, then claims on models that were not
    measured.
    """
    lines = {name_of(result): _Line(result) for result in results if value_of(result, "accuracy") is not None}
    subject: Record = results[0].get("subject") or {}
    for claim in [] if _corrupted(results[0]) else published:
        # A claim that does not say its split is shown too: it is about this data set, and its protocol stands
        # in the table of claims.
        same = claim.get("dataset") == subject.get("dataset") and claim.get("split") in (
            None,
            subject.get("split"),
        )
        if same and isinstance(claim.get("accuracy"), int | float):
            measured = name_of(
                {"subject": {"restoration": "raw", **claim}}
            )  # beside the faces as they are, where a claim says no more
            name = measured if measured in lines else name_of({"subject": claim})
            lines.setdefault(name, _Line()).claims.append(claim["accuracy"])
    return lines


def _draw_panel(ax: Axes, faces: str, lines: Mapping[str, _Line], majority: float | None) -> None:
    _plain(ax, faces if len(lines) <= _MOST_LINES else f"{faces}, {_MOST_LINES} of {len(lines)}")
    lines = dict(islice(lines.items(), _MOST_LINES))
    ax.grid(axis="x", color=_GRID, linewidth=0.8)
    ax.set_yticks(
        range(len(lines)), [_label(name) for name in lines], parse_math=False, fontsize=9, color=_INK
    )
    ax.set_ylim(len(lines) - 0.4, -0.6)
    ax.xaxis.set_major_formatter(_percent)
    if majority is not None:
        ax.axvline(majority, color=_FAINT, linewidth=1, linestyle=(0, (4, 3)), zorder=1)
    for y, line in enumerate(lines.values()):
        if line.measured is not None:
            _draw_measured(ax, y, line.measured)
        ax.plot(
            line.claims,
            [y] * len(line.claims),
            "D",
            markersize=5.5,
            markerfacecolor="none",
            markeredgecolor=_FAINT,
            zorder=2,
        )


def _draw_measured(ax: Axes, y: int, result: Record) -> None:
    colour = _VERDICT_COLOURS.get(str(result.get("verdict")), _BLUE)
    accuracy: Record = result["metrics"]["accuracy"]
    baseline = baseline_of(result, "accuracy")
    if accuracy.get("low") is not None and accuracy.get("high") is not None:
        ax.plot(
            [accuracy["low"], accuracy["high"]],
            [y, y],
            color=colour,
            linewidth=2.2,
            alpha=0.45,
            solid_capstyle="round",
            zorder=3,
        )
    if baseline is not None:
        ax.plot([baseline], [y], "|", color=_INK, markersize=11, markeredgewidth=1.3, zorder=4)
    ax.plot(
        [accuracy["value"]],
        [y],
        "o",
        color=colour,
        markersize=6,
        markeredgecolor="white",
        markeredgewidth=0.8,
        zorder=5,
    )


def _legend(lines: Sequence[_Line], majority: bool) -> list[Line2D]:
    """A key to each mark that occurs, and to no other."""
    from matplotlib.lines import Line2D

    measured = [line.measured for line in lines if line.measured is not None]
    marks = [
        (
            bool(measured),
            Line2D([], [], color=_BLUE, marker="o", linewidth=2.2, label="measured here, 95 % interval"),
        ),
        (
            any(r.get("baseline") for r in measured),
            Line2D([], [], color=_INK, marker="|", markersize=9, linestyle="", label="baseline"),
        ),
        (
            any(line.claims for line in lines),
            Line2D(
                [],
                [],
                color=_FAINT,
                marker="D",
                mfc="none",
                ls="",
                label="published claim, not measured here",
            ),
        ),
        (
            majority,
            Line2D(
                [], [], color=_FAINT, linewidth=1, linestyle="--", label="always the most frequent emotion"
            ),
        ),
    ]
    return [mark for occurs, mark in marks if occurs]


# What an answer costs.


def cost(report: Record) -> Html:
    """Accuracy against images per second, for each subject whose inference was timed; empty if there is
    none.
    """
    points = _cost_points(report)
    if not points:
        return Html("")
    figure = _figure(3.4)
    ax = figure.subplots()
    _plain(ax, "")
    ax.grid(color=_GRID, linewidth=0.8)
    ax.set_xscale("log")
    ax.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    ax.yaxis.set_major_formatter(_percent)
    ax.set_xlabel("images per second (more is faster)", color=_FAINT, fontsize=9)
    ax.set_ylabel("accuracy", color=_FAINT, fontsize=9)
    ax.plot(
        [x for x, _ in points.values()],
        [y for _, y in points.values()],
        "o",
        color=_BLUE,
        markersize=7,
        markeredgecolor="white",
    )
    ax.margins(x=0.15, y=0.15)
    _name_points(ax, points)
    return _image(
        figure,
        "Accuracy against images per second; the numbers are in the leaderboard and in the table of costs.",
    )


def _name_points(ax: Axes, points: Mapping[str, tuple[float, float]]) -> None:
    """A name beside each point: towards the middle of the chart, and pushed down until it is clear of the
    names above it.
    """
    ax.autoscale_view()  # now, not when drawn: where a point stands in the chart depends on its limits
    place = ax.transScale + ax.transLimits
    taken: list[tuple[float, float]] = []
    for name, point in sorted(points.items(), key=lambda item: -item[1][1]):
        x, y = place.transform(point)
        to_the_left = x > 0.75
        down = y + 0.03
        for other_x, other_y in taken:
            if abs(x - other_x) < 0.25 and abs(down - other_y) < 0.06:
                down = other_y - 0.06
        taken.append((x, down))
        side = {
            "x": x + (-0.012 if to_the_left else 0.012),
            "horizontalalignment": "right" if to_the_left else "left",
        }
        ax.text(
            y=down,
            s=_label(name),
            transform=ax.transAxes,
            verticalalignment="center",
            fontsize=8,
            color=_INK,
            parse_math=False,
            **side,
        )


def _cost_points(report: Record) -> dict[str, tuple[float, float]]:
    """Images per second (of the fastest batch size) and accuracy by subject, on the first set of faces that
    was not corrupted.
    """
    speeds: dict[str, float] = {}
    for timed in report.get("costs") or []:
        if timed.get("phase") == "inference" and timed.get("images_per_second"):
            name = name_of({"subject": timed})
            speeds[name] = max(timed["images_per_second"], speeds.get(name, 0.0))
    points: dict[str, tuple[float, float]] = {}
    for result in next((results for results in ranked(report).values() if not _corrupted(results[0])), []):
        accuracy = value_of(result, "accuracy")
        if accuracy is not None and name_of(result) in speeds:
            points[name_of(result)] = (speeds[name_of(result)], accuracy)
    return points


def severities(entries: Sequence[Record]) -> Html:
    """The mean accuracy over all corruptions at each severity, one line per entry of `corruptions` in
    evals.json; severity 0 is the face as it is.
    """
    figure = _figure(3.2)
    ax = figure.subplots()
    _plain(ax, "Accuracy on bad pictures, mean over corruptions")
    for entry in entries[:_MOST_LINES]:
        by_severity = zip(*(entry.get("accuracy") or {}).values(), strict=True)
        means = [entry.get("clean") or 0.0, *(sum(scores) / len(scores) for scores in by_severity)]
        severities = [0, *(entry.get("severities") or range(1, len(means)))]
        ax.plot(severities, means, marker="o", markersize=3, linewidth=1.4, label=_label(name_of(entry)))
    ax.set_ylim(0, 1)
    ax.yaxis.set_major_formatter(_percent)
    ax.set_xlabel("severity", fontsize=9, color=_FAINT)
    ax.grid(axis="y", color=_GRID, linewidth=0.8)
    ax.legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1.0, 0.5))
    return _image(figure, "Accuracy by severity of corruption, one line per model and restoration")


# What the charts share.


def _corrupted(result: Record) -> bool:
    return bool((result.get("subject") or {}).get("corruption"))


def _figure(height: float) -> Figure:
    from matplotlib.figure import Figure

    return Figure(figsize=(_WIDTH_INCHES, height), layout="constrained")


def _percent(value: float, position: float) -> str:
    return f"{100 * value:.0f}%"


def _plain(ax: Axes, title: str) -> None:
    """Axes without a box, with small grey figures."""
    ax.set_title(_label(title), loc="left", fontsize=10, color=_INK, parse_math=False)
    ax.spines[:].set_visible(False)
    ax.tick_params(which="both", length=0, labelsize=9, labelcolor=_FAINT)
    ax.set_axisbelow(True)


def _label(name: str) -> str:
    """`name` on one short line."""
    line = " ".join(clean(name).split())
    return line if len(line) <= 48 else f"{line[:47]}…"


def _image(figure: Figure, description: str) -> Html:
    """The figure as an `<img>` that holds its own pixels."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    FigureCanvasAgg(figure)
    png = io.BytesIO()
    with warnings.catch_warnings():
        # A letter that the font lacks is drawn as a box, names that are too long crowd the chart: the table
        # has them in full, and where warnings are errors a run must not end over them.
        warnings.simplefilter("ignore")
        figure.savefig(png, format="png", dpi=_DPI, facecolor="white", metadata={"Software": None})
    width = round(figure.get_figwidth() * 100)
    return element(
        "img",
        src=f"data:image/png;base64,{base64.b64encode(png.getvalue()).decode()}",
        alt=description,
        width=width,
    )
