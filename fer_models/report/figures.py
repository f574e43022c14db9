"""Charts of the page as PNGs in data URLs: nothing is fetched, and no script runs.

They are drawn with matplotlib's objects and without pyplot, so that no window, figure list or backend of the
calling process changes. They have a white background of their own.
"""

from __future__ import annotations

import base64
import io
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Any

from fer_models.report.eval_report import EvalReport
from fer_models.report.formatting import one_line
from fer_models.report.report_entries import Result
from fer_models.report.robustness_entries import CorruptionResult

if TYPE_CHECKING:  # matplotlib is imported when a chart is drawn, at the end of a run
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

_BLUE, _INK, _FAINT, _GRID = "#2563a8", "#24292f", "#6e7781", "#e4e7eb"
_VERDICT_COLOURS = {"FAIL": "#c62828", "INCONCLUSIVE": "#b26a00"}
_WIDTH_INCHES = 9.2
_DPI = 200  # twice what is shown, for sharp screens
_MAX_LINES = 40  # in one panel; the table has the others


@dataclass(frozen=True)
class Picture:
    """A chart for the page.

    Attributes:
        source: a PNG as a data URL.
        description: for readers who cannot see it.
        width: in pixels of the page.
    """

    source: str
    description: str
    width: int


# The leaderboard.


@dataclass
class _Line:
    """One line of the leaderboard chart: the result under a name, and published claims under it."""

    result: Result | None = None
    claims: list[float] = field(default_factory=list)


def leaderboard(report: EvalReport) -> Picture | None:
    """Draw accuracy with its 95 % interval for each subject, one panel for each set of faces.

    A dashed line marks the accuracy of always predicting the most frequent emotion. Hollow diamonds are
    published claims on the same dataset; they were not measured here. Results on corrupted faces are left to
    the table, unless there are no others. None without results.
    """
    groups = report.ranked
    shown = {faces: results for faces, results in groups.items() if not _is_corrupted(results[0])} or groups
    panels = {faces: _lines(results, report.published) for faces, results in shown.items()}
    panels = {faces: lines for faces, lines in panels.items() if lines}
    if not panels:
        return None
    heights = [min(len(lines), _MAX_LINES) + 0.2 for lines in panels.values()]
    figure = _figure(0.27 * sum(heights) + 0.4 * len(heights) + 0.7)
    axes = figure.subplots(len(panels), 1, squeeze=False, sharex=True, height_ratios=heights)[:, 0]
    majorities = _majorities(report)
    for ax, (faces, lines) in zip(axes, panels.items(), strict=True):
        _draw_panel(ax, faces, lines, majorities.get(faces))
    axes[-1].set_xlabel("accuracy", color=_FAINT, fontsize=9)
    all_lines = [line for lines in panels.values() for line in lines.values()]
    marks = _legend(all_lines, has_majority=bool(majorities.keys() & panels))
    place: dict[str, Any] = {"loc": "outside lower left", "ncols": 4, "frameon": False}
    figure.legend(handles=marks, fontsize=8, labelcolor=_FAINT, **place)
    names = ", ".join(panels)
    return _picture(figure, f"Accuracy with 95 % intervals on {names}; the numbers are in the leaderboard.")


def _majorities(report: EvalReport) -> dict[str, float]:
    """The share of the most frequent emotion in each set of faces."""
    counts = {faces: description.counts.values() for faces, description in report.data.items()}
    return {faces: max(row) / sum(row) for faces, row in counts.items() if sum(row)}


def _lines(results: Sequence[Result], published: Sequence[Mapping[str, Any]]) -> dict[str, _Line]:
    """The lines of one panel by name: the results in their order, then claims on models without a result."""
    lines = {result.name: _Line(result) for result in results if result.value("accuracy") is not None}
    subject = results[0].subject
    for claim in [] if _is_corrupted(results[0]) else published:
        # A claim without a split is shown too: it is about this dataset, and its protocol is in the table.
        is_same = claim.get("dataset") == subject.dataset and claim.get("split") in (None, subject.split)
        if is_same and isinstance(claim.get("accuracy"), int | float):
            unrestored = _claim_name({"restoration": "raw", **claim})
            name = unrestored if unrestored in lines else _claim_name(claim)
            lines.setdefault(name, _Line()).claims.append(claim["accuracy"])
    return lines


def _claim_name(claim: Mapping[str, Any]) -> str:
    prompt = f" · {claim['prompt']}" if claim.get("prompt") else ""
    names = [str(claim[key]) for key in ("model", "restoration") if claim.get(key)]
    return f"{'-'.join(names) or 'unnamed'}{prompt}"


def _draw_panel(ax: Axes, faces: str, lines: Mapping[str, _Line], majority: float | None) -> None:
    _plain(ax, faces if len(lines) <= _MAX_LINES else f"{faces}, {_MAX_LINES} of {len(lines)}")
    lines = dict(islice(lines.items(), _MAX_LINES))
    ax.grid(axis="x", color=_GRID, linewidth=0.8)
    labels = [_label(name) for name in lines]
    ax.set_yticks(range(len(lines)), labels, parse_math=False, fontsize=9, color=_INK)
    ax.set_ylim(len(lines) - 0.4, -0.6)
    ax.xaxis.set_major_formatter(_percent)
    if majority is not None:
        ax.axvline(majority, color=_FAINT, linewidth=1, linestyle=(0, (4, 3)), zorder=1)
    hollow: dict[str, Any] = {"markersize": 5.5, "markerfacecolor": "none", "markeredgecolor": _FAINT}
    for y, line in enumerate(lines.values()):
        if line.result is not None:
            _draw_result(ax, y, line.result)
        ax.plot(line.claims, [y] * len(line.claims), "D", zorder=2, **hollow)


def _draw_result(ax: Axes, y: int, result: Result) -> None:
    colour = _VERDICT_COLOURS.get(str(result.verdict), _BLUE)
    accuracy, baseline = result.metrics["accuracy"], result.baseline_value()
    bar: dict[str, Any] = {"linewidth": 2.2, "alpha": 0.45, "solid_capstyle": "round"}
    ax.plot([accuracy.low, accuracy.high], [y, y], color=colour, zorder=3, **bar)
    if baseline is not None:
        ax.plot([baseline], [y], "|", color=_INK, markersize=11, markeredgewidth=1.3, zorder=4)
    edge: dict[str, Any] = {"markeredgecolor": "white", "markeredgewidth": 0.8}
    ax.plot([accuracy.value], [y], "o", color=colour, markersize=6, zorder=5, **edge)


def _legend(lines: Sequence[_Line], has_majority: bool) -> list[Line2D]:
    """A key to each mark that occurs, and to no other."""
    from matplotlib.lines import Line2D

    results = [line.result for line in lines if line.result is not None]
    measured: dict[str, Any] = {"color": _BLUE, "marker": "o", "linewidth": 2.2}
    baseline: dict[str, Any] = {"color": _INK, "marker": "|", "markersize": 9, "linestyle": ""}
    claim: dict[str, Any] = {"color": _FAINT, "marker": "D", "mfc": "none", "ls": ""}
    majority: dict[str, Any] = {"color": _FAINT, "linewidth": 1, "ls": "--"}
    marks = [
        (bool(results), "measured here, 95 % interval", measured),
        (any(result.baseline for result in results), "baseline", baseline),
        (any(line.claims for line in lines), "published claim, not measured here", claim),
        (has_majority, "always the most frequent emotion", majority),
    ]
    return [Line2D([], [], label=label, **style) for occurs, label, style in marks if occurs]


# Costs.


def cost(report: EvalReport) -> Picture | None:
    """Draw accuracy against images per second for each timed subject; None without any."""
    points = _cost_points(report)
    if not points:
        return None
    figure = _figure(3.4)
    ax = figure.subplots()
    _plain(ax, "")
    ax.grid(color=_GRID, linewidth=0.8)
    ax.set_xscale("log")
    ax.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    ax.yaxis.set_major_formatter(_percent)
    ax.set_xlabel("images per second (more is faster)", color=_FAINT, fontsize=9)
    ax.set_ylabel("accuracy", color=_FAINT, fontsize=9)
    xs, ys = zip(*points.values(), strict=True)
    ax.plot(xs, ys, "o", color=_BLUE, markersize=7, markeredgecolor="white")
    ax.margins(x=0.15, y=0.15)
    _name_points(ax, points)
    numbers = "the numbers are in the leaderboard and in the table of costs."
    return _picture(figure, f"Accuracy against images per second; {numbers}")


def _name_points(ax: Axes, points: Mapping[str, tuple[float, float]]) -> None:
    """Write a name next to each point, towards the middle of the chart and clear of the names above it."""
    ax.autoscale_view()  # now, not when drawn: the place of a point in the chart depends on its limits
    place = ax.transScale + ax.transLimits
    taken: list[tuple[float, float]] = []
    style: dict[str, Any] = {"verticalalignment": "center", "fontsize": 8, "color": _INK, "parse_math": False}
    for name, point in sorted(points.items(), key=lambda item: -item[1][1]):
        x, y = place.transform(point)
        is_left = x > 0.75
        down = y + 0.03
        for other_x, other_y in taken:
            if abs(x - other_x) < 0.25 and abs(down - other_y) < 0.06:
                down = other_y - 0.06
        taken.append((x, down))
        text_x, side = (x - 0.012, "right") if is_left else (x + 0.012, "left")
        ax.text(text_x, down, _label(name), transform=ax.transAxes, horizontalalignment=side, **style)


def _cost_points(report: EvalReport) -> dict[str, tuple[float, float]]:
    """Images per second (of the fastest batch size) and accuracy by name, on the first uncorrupted faces."""
    speeds: dict[str, float] = {}
    for timed in report.costs:
        if timed.phase == "inference" and timed.images_per_second:
            speeds[timed.title] = max(timed.images_per_second, speeds.get(timed.title, 0.0))
    groups = [results for results in report.ranked.values() if not _is_corrupted(results[0])]
    points: dict[str, tuple[float, float]] = {}
    for result in groups[0] if groups else []:
        accuracy = result.value("accuracy")
        if accuracy is not None and result.name in speeds:
            points[result.name] = (speeds[result.name], accuracy)
    return points


# Corruptions.


def severities(entries: Sequence[CorruptionResult]) -> Picture:
    """Draw mean accuracy over all corruptions by severity, one line per entry; 0 is no corruption."""
    figure = _figure(3.2)
    ax = figure.subplots()
    _plain(ax, "Accuracy on corrupted faces, mean over corruptions")
    for entry in entries[:_MAX_LINES]:
        by_severity = zip(*entry.accuracy.values(), strict=True)
        means = [entry.clean, *(sum(scores) / len(scores) for scores in by_severity)]
        label = _label(entry.name)
        ax.plot([0, *entry.severities], means, marker="o", markersize=3, linewidth=1.4, label=label)
    ax.set_ylim(0, 1)
    ax.yaxis.set_major_formatter(_percent)
    ax.set_xlabel("severity", fontsize=9, color=_FAINT)
    ax.grid(axis="y", color=_GRID, linewidth=0.8)
    ax.legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1.0, 0.5))
    return _picture(figure, "Accuracy by severity of corruption, one line per model and restoration")


# Parts that the charts share.


def _is_corrupted(result: Result) -> bool:
    return result.subject.corruption is not None


def _figure(height: float) -> Figure:
    from matplotlib.figure import Figure

    return Figure(figsize=(_WIDTH_INCHES, height), layout="constrained")


def _percent(value: float, position: float) -> str:
    return f"{100 * value:.0f}%"


def _plain(ax: Axes, title: str) -> None:
    """Give axes no box, and small grey numbers."""
    ax.set_title(_label(title), loc="left", fontsize=10, color=_INK, parse_math=False)
    ax.spines[:].set_visible(False)
    ax.tick_params(which="both", length=0, labelsize=9, labelcolor=_FAINT)
    ax.set_axisbelow(True)


def _label(name: str) -> str:
    """A name on one short line."""
    line = one_line(name)
    return line if len(line) <= 48 else f"{line[:47]}…"


def _picture(figure: Figure, description: str) -> Picture:
    """Draw the figure as a PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    FigureCanvasAgg(figure)
    png = io.BytesIO()
    with warnings.catch_warnings():
        # A letter that the font does not have is drawn as a box, and long names crowd the chart. The table
        # has them in full, and a run must not end over them where warnings are errors.
        warnings.simplefilter("ignore")
        figure.savefig(png, format="png", dpi=_DPI, facecolor="white", metadata={"Software": None})
    source = f"data:image/png;base64,{base64.b64encode(png.getvalue()).decode()}"
    return Picture(source, description, round(figure.get_figwidth() * 100))
