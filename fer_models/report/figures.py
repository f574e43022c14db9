"""Figures of the page about several subjects: leaderboard, cost, corruptions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Any

from fer_models.report.cost_points import cost_points
from fer_models.report.eval_report import EvalReport
from fer_models.report.report_entries import Result
from fer_models.report.robustness_entries import CorruptionResult
from fer_models.report.svg import (
    BLUE,
    INK,
    MUTED,
    RULE,
    SURFACE,
    VERDICT_COLOURS,
    Picture,
    new_figure,
    percent_tick,
    shorten_label,
    style_axes,
    to_picture,
)

if TYPE_CHECKING:  # matplotlib is imported when a chart is drawn, at the end of a run
    from matplotlib.axes import Axes
    from matplotlib.lines import Line2D

_MAX_LINES = 40  # in one panel; the table has the others
#: Lines that one figure compares: more cannot be told apart.
MOST_COMPARED = 8


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
    figure = new_figure(0.27 * sum(heights) + 0.4 * len(heights) + 0.7)
    axes = figure.subplots(len(panels), 1, squeeze=False, sharex=True, height_ratios=heights)[:, 0]
    majorities = {faces: majority for faces in panels if (majority := _majority(report, shown[faces]))}
    for ax, (faces, lines) in zip(axes, panels.items(), strict=True):
        _draw_panel(ax, faces, lines, majorities.get(faces))
    axes[-1].set_xlabel("accuracy", color=MUTED, fontsize=9)
    all_lines = [line for lines in panels.values() for line in islice(lines.values(), _MAX_LINES)]
    marks = _legend(all_lines, has_majority=bool(majorities))
    place: dict[str, Any] = {"loc": "outside lower left", "ncols": 4, "frameon": False}
    figure.legend(handles=marks, fontsize=8, labelcolor=MUTED, **place)
    names = ", ".join(panels)
    return to_picture(figure, f"Accuracy with 95 % intervals on {names}; the numbers are in the leaderboard.")


def _majority(report: EvalReport, results: Sequence[Result]) -> float | None:
    """The share of the most frequent emotion in the faces of results."""
    faces = report.face_set_of(results)
    counts = [] if faces is None else list(faces.counts.values())
    return max(counts) / sum(counts) if sum(counts) else None


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
    style_axes(ax, faces if len(lines) <= _MAX_LINES else f"{faces}, {_MAX_LINES} of {len(lines)}")
    lines = dict(islice(lines.items(), _MAX_LINES))
    ax.grid(axis="x", color=RULE, linewidth=0.8)
    labels = [shorten_label(name) for name in lines]
    ax.set_yticks(range(len(lines)), labels, parse_math=False, fontsize=9, color=INK)
    ax.set_ylim(len(lines) - 0.4, -0.6)
    ax.xaxis.set_major_formatter(percent_tick)
    if majority is not None:
        ax.axvline(majority, color=MUTED, linewidth=1, linestyle=(0, (4, 3)), zorder=1)
    hollow: dict[str, Any] = {"markersize": 5.5, "markerfacecolor": "none", "markeredgecolor": MUTED}
    for y, line in enumerate(lines.values()):
        if line.result is not None:
            _draw_result(ax, y, line.result)
        ax.plot(line.claims, [y] * len(line.claims), "D", zorder=2, **hollow)


def _draw_result(ax: Axes, y: int, result: Result) -> None:
    colour = VERDICT_COLOURS.get(str(result.verdict), BLUE)
    accuracy, baseline = result.metrics["accuracy"], result.baseline_value()
    bar: dict[str, Any] = {"linewidth": 2.2, "alpha": 0.45, "solid_capstyle": "round"}
    ax.plot([accuracy.low, accuracy.high], [y, y], color=colour, zorder=3, **bar)
    if baseline is not None:
        ax.plot([baseline], [y], "|", color=INK, markersize=11, markeredgewidth=1.3, zorder=4)
    edge: dict[str, Any] = {"markeredgecolor": SURFACE, "markeredgewidth": 0.8}
    ax.plot([accuracy.value], [y], "o", color=colour, markersize=6, zorder=5, **edge)


def _legend(lines: Sequence[_Line], has_majority: bool) -> list[Line2D]:
    """A key to each mark that occurs, and to no other."""
    from matplotlib.lines import Line2D

    results = [line.result for line in lines if line.result is not None]
    measured: dict[str, Any] = {"color": BLUE, "marker": "o", "linewidth": 2.2}
    baseline: dict[str, Any] = {"color": INK, "marker": "|", "markersize": 9, "linestyle": ""}
    claim: dict[str, Any] = {"color": MUTED, "marker": "D", "mfc": "none", "ls": ""}
    majority: dict[str, Any] = {"color": MUTED, "linewidth": 1, "ls": "--"}
    verdicts = {str(result.verdict) for result in results}
    marks = [
        (bool(results), "measured here, 95 % interval", measured),
        *((name in verdicts, name, {**measured, "color": VERDICT_COLOURS[name]}) for name in VERDICT_COLOURS),
        (any(result.baseline_value() is not None for result in results), "baseline", baseline),
        (any(line.claims for line in lines), "published claim, not measured here", claim),
        (has_majority, "always the most frequent emotion", majority),
    ]
    return [Line2D([], [], label=label, **style) for occurs, label, style in marks if occurs]


# Costs.


def cost(report: EvalReport) -> Picture | None:
    """Draw accuracy against images per second, both with 95 % intervals; None without timed subjects.

    A model that another one dominates is hollow.
    """
    points = cost_points(report)
    if not points:
        return None
    figure = new_figure(3.6)
    ax = figure.subplots()
    style_axes(ax)
    ax.grid(color=RULE, linewidth=0.8)
    ax.set_xscale("log")
    ax.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    ax.yaxis.set_major_formatter(percent_tick)
    ax.set_xlabel("images per second (more is faster)", color=MUTED, fontsize=9)
    ax.set_ylabel("accuracy", color=MUTED, fontsize=9)
    for point in points:
        x, accuracy, is_dominated = point.images_per_second, point.accuracy, point.dominated_by is not None
        ax.plot([x, x], [accuracy.low, accuracy.high], color=BLUE, linewidth=1.6, alpha=0.5)
        if point.speed_interval is not None:
            ax.plot(point.speed_interval, [accuracy.value] * 2, color=BLUE, linewidth=1.6, alpha=0.5)
        face = {"markerfacecolor": SURFACE if is_dominated else BLUE, "markeredgecolor": BLUE}
        ax.plot([x], [accuracy.value], "o", markersize=7, **face)  # type: ignore[arg-type]
    ax.margins(x=0.15, y=0.15)
    _name_points(ax, {point.result.name: (point.images_per_second, point.accuracy.value) for point in points})
    return to_picture(figure, "Accuracy against images per second; the numbers are in the table below.")


def _name_points(ax: Axes, points: Mapping[str, tuple[float, float]]) -> None:
    """Write a name next to each point, towards the middle of the chart and clear of the names above it."""
    ax.autoscale_view()  # now, not when drawn: the place of a point in the chart depends on its limits
    place = ax.transScale + ax.transLimits
    taken: list[tuple[float, float]] = []
    style: dict[str, Any] = {"verticalalignment": "center", "fontsize": 8, "color": INK, "parse_math": False}
    for name, point in sorted(points.items(), key=lambda item: -item[1][1]):
        x, y = place.transform(point)
        is_left = x > 0.75
        down = y + 0.03
        for other_x, other_y in taken:
            if abs(x - other_x) < 0.25 and abs(down - other_y) < 0.06:
                down = other_y - 0.06
        taken.append((x, down))
        text_x, side = (x - 0.012, "right") if is_left else (x + 0.012, "left")
        ax.text(text_x, down, shorten_label(name), transform=ax.transAxes, horizontalalignment=side, **style)


# Corruptions.


def severities(entries: Sequence[CorruptionResult]) -> Picture:
    """Draw mean accuracy over all corruptions by severity; 0 is no corruption.

    The `MOST_COMPARED` entries with the best accuracy without corruption have a line each, told apart by the
    dashes too: the table has all.
    """
    figure = new_figure(3.4)
    ax = figure.subplots()
    style_axes(ax)
    shown = sorted(entries, key=lambda entry: -entry.clean)[:MOST_COMPARED]
    for i, entry in enumerate(shown):
        by_severity = zip(*entry.accuracy.values(), strict=True)
        means = [entry.clean, *(sum(scores) / len(scores) for scores in by_severity)]
        style: dict[str, Any] = {"marker": "os^Dv<>p"[i % 8], "linestyle": "-" if i < 4 else "--"}
        ax.plot(
            [0, *entry.severities],
            means,
            markersize=4,
            linewidth=1.4,
            label=str(i),  # matplotlib leaves out one that starts with an underscore
            **style,
        )
    ax.set_ylim(0, 1.02)
    ax.set_xticks([0, *(entries[0].severities if entries else ())])
    ax.yaxis.set_major_formatter(percent_tick)
    ax.set_xlabel("severity", fontsize=9, color=MUTED)
    ax.set_ylabel("accuracy", fontsize=9, color=MUTED)
    ax.grid(axis="y", color=RULE, linewidth=0.8)
    place: dict[str, Any] = {"loc": "center left", "bbox_to_anchor": (1.0, 0.5)}
    legend = ax.legend(frameon=False, fontsize=8, labelcolor=INK, **place)
    for text, entry in zip(legend.get_texts(), shown, strict=True):
        text.set_parse_math(False)
        text.set_text(shorten_label(entry.name))
    return to_picture(figure, "Accuracy by severity of corruption, one line per model and restoration")


def _is_corrupted(result: Result) -> bool:
    return result.subject.corruption is not None
