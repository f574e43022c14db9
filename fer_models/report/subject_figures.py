"""Figures of each subject: reliability and selective prediction, on axes that all subjects have in common."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from fer_models.report.report_entries import Result
from fer_models.report.svg import (
    BLUE,
    INK,
    MUTED,
    RULE,
    CommonAxes,
    Picture,
    new_figure,
    percent_tick,
    style_axes,
)

if TYPE_CHECKING:  # matplotlib is imported when a figure is drawn, at the end of a run
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes

_MARGIN = 0.04  # of the axes beyond their first and last tick


class SubjectFigures:
    """The figures of some subjects. As the axes are the same for all, the figures can be compared."""

    def __init__(self, results: Sequence[Result]) -> None:
        """Prepare the figures of `results`; nothing is drawn yet."""
        self._results = results

    @property
    def definitions(self) -> Markup:
        """What the page needs once, besides the figures."""
        axes = []
        if any(result.reliability for result in self._results):
            axes.append(self._reliability_axes)
        if any(result.selective for result in self._results):
            axes.append(self._risk_coverage_axes)
        return Markup("").join(one.definition for one in axes)

    def reliability(self, result: Result) -> Picture | None:
        """Draw accuracy with its 95 % interval against confidence, by bin; None without probabilities.

        The diagonal is perfect calibration. The area of a point grows with its number of faces.
        """
        bins = result.reliability
        if not bins:
            return None
        most = max(one.n for one in bins)
        confidences = [one.confidence for one in bins]
        areas = [(3 + 7 * (one.n / most) ** 0.5) ** 2 for one in bins]

        def draw(ax: Axes) -> Iterator[Artist]:
            low, high = [one.accuracy.low for one in bins], [one.accuracy.high for one in bins]
            yield ax.vlines(confidences, low, high, color=BLUE, linewidth=1.4, alpha=0.5)
            yield ax.scatter(confidences, [one.accuracy.value for one in bins], areas, color=BLUE)

        text = f"{result.id}: accuracy against confidence; the numbers are in the table below."
        return self._reliability_axes.picture(draw, text)

    def risk_coverage(self, result: Result) -> Picture | None:
        """Draw the risk-coverage curves; None for a model without probabilities.

        The dashed line is the best possible order, which has all errors last.
        """
        if result.selective is None:
            return None
        curve = result.selective.curve
        coverage = [point.coverage for point in curve]

        def draw(ax: Axes) -> Iterable[Artist]:
            best, margins = [point.best for point in curve], [point.by_margin for point in curve]
            risks = [point.by_probability for point in curve]
            values = (best, margins, risks)
            lines = zip(values, _CURVES.values(), strict=True)
            return [line for y, style in lines for line in ax.plot(coverage, y, **style)]

        text = f"{result.id}: error rate against coverage; the numbers are in the table below."
        return self._risk_coverage_axes.picture(draw, text)

    @cached_property
    def _reliability_axes(self) -> CommonAxes:
        ax = _new_axes(3.6, left=0.17)
        ax.plot([0, 1], [0, 1], color=MUTED, linewidth=1, linestyle="--")
        ax.set(ylim=(-_MARGIN, 1 + _MARGIN), yticks=(0, 0.5, 1))
        ax.set_xlabel("confidence", fontsize=9, color=MUTED)
        ax.set_ylabel("accuracy", fontsize=9, color=MUTED)
        return CommonAxes(ax, "reliability")

    @cached_property
    def _risk_coverage_axes(self) -> CommonAxes:
        curves = [result.selective.curve for result in self._results if result.selective is not None]
        risks = [max(point.by_probability, point.by_margin) for curve in curves for point in curve]
        most = max([0.01, *risks])
        ax = _new_axes(4.4, left=0.14)
        ax.set_ylim(-_MARGIN * most, (1 + _MARGIN) * most)
        ax.locator_params(axis="y", nbins=4)
        ax.set_xlabel("coverage: most confident faces", fontsize=9, color=MUTED)
        ax.set_ylabel("error rate", fontsize=9, color=MUTED)
        for label, style in _CURVES.items():
            ax.plot([], [], label=label, **style)
        ax.legend(frameon=False, fontsize=8, loc="upper left", labelcolor=INK)
        return CommonAxes(ax, "risk-coverage")


#: Curves of selective prediction by their names, and how they look.
_CURVES: dict[str, dict[str, Any]] = {
    "best possible order": {"color": MUTED, "linewidth": 1, "linestyle": "--"},
    "by margin": {"color": INK, "linewidth": 1, "linestyle": ":"},
    "by probability": {"color": BLUE, "linewidth": 1.8},
}


def _new_axes(width: float, left: float) -> Axes:
    """Axes for shares; `left` is where they begin, as a share of the width in inches."""
    figure = new_figure(3.1, width, layout=None)
    ax: Axes = figure.subplots(gridspec_kw={"left": left, "right": 0.97, "bottom": 0.16, "top": 0.97})
    style_axes(ax)
    ax.set(xlim=(-_MARGIN, 1 + _MARGIN), xticks=(0, 0.5, 1))
    ax.xaxis.set_major_formatter(percent_tick)
    ax.yaxis.set_major_formatter(percent_tick)
    ax.grid(color=RULE, linewidth=0.8)
    return ax
