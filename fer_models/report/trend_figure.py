"""Chart of the accuracy of subjects over runs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from fer_models.report.eval_report import EvalReport
from fer_models.report.svg import (
    BLUE,
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
from fer_models.report.trend_entries import Trend

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: The most subjects in the chart; the tables have the others.
_MAX_SUBJECTS = 8
_COLUMNS = 2
_HEIGHT_INCHES = 1.5


def trend(report: EvalReport) -> Picture | None:
    """Draw the accuracy of subjects over runs; None where no subject has two runs."""
    shown = shown_trends(report)
    if not shown:
        return None
    figure = new_figure(_HEIGHT_INCHES * -(-len(shown) // _COLUMNS) + 0.2)
    draw(figure, shown)
    return to_picture(
        figure, "Accuracy with 95 % intervals over runs; the numbers are in the tables of runs."
    )


def shown_trends(report: EvalReport) -> list[Trend]:
    """The trends in the chart: with at least two accuracies, failed subjects first, as many as fit."""
    drawable = [trend for trend in report.trends if len(trend.accuracies) > 1]
    return sorted(drawable, key=lambda trend: trend.runs[-1].verdict not in ("FAIL", "ERROR"))[:_MAX_SUBJECTS]


def draw(figure: Figure, trends: Sequence[Trend]) -> None:
    """Draw a panel per subject into a figure.

    A panel has the accuracy of each run with its interval, in the order of the runs and not to the scale of
    time. A vertical line marks a run before which weights, data, versions or other inputs changed.
    """
    columns = min(len(trends), _COLUMNS)
    panels = figure.subplots(-(-len(trends) // columns), columns, squeeze=False).flatten()
    for ax, trend in zip(panels, trends, strict=False):
        _draw_panel(ax, trend)
    for ax in panels[len(trends) :]:
        ax.set_axis_off()


def _draw_panel(ax: Axes, trend: Trend) -> None:
    style_axes(ax)
    title = f"{shorten_label(trend.name)}\n{shorten_label(trend.face_set)}"
    ax.set_title(title, loc="left", fontsize=8, color=MUTED, parse_math=False)
    ax.grid(axis="y", color=RULE, linewidth=0.8)
    ax.yaxis.set_major_formatter(percent_tick)
    runs = [run for run in trend.runs if run.accuracy is not None]
    for x, run in enumerate(runs):
        if run.changed:
            ax.axvline(x - 0.5, color=MUTED, linewidth=1, linestyle=(0, (2, 2)), zorder=1)
    values = [accuracy.value for accuracy in trend.accuracies]
    ax.plot(range(len(values)), values, color=RULE, linewidth=1.4, zorder=2)
    edge: dict[str, Any] = {"markeredgecolor": SURFACE, "markeredgewidth": 0.6}
    for x, (run, accuracy) in enumerate(zip(runs, trend.accuracies, strict=True)):
        colour = VERDICT_COLOURS.get(str(run.verdict), BLUE)
        ax.plot([x, x], [accuracy.low, accuracy.high], color=colour, linewidth=2, alpha=0.45, zorder=3)
        ax.plot([x], [accuracy.value], "o", color=colour, markersize=4.5, zorder=4, **edge)
    ax.set_xlim(-0.6, len(runs) - 0.4)
    ends = [run.minute for run in (runs[0], runs[-1])]
    days = [minute[:10] for minute in ends]
    ax.set_xticks([0, len(runs) - 1], ends if days[0] == days[1] else days, fontsize=8)
    ax.tick_params(axis="y", labelsize=8)
