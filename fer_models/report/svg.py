"""Figures as inline SVG that follows the colour scheme of the page: nothing is fetched, and no script runs.

They are drawn with matplotlib's objects and without pyplot, so that no window, figure list or backend of the
calling process changes. Each colour of `COLOURS` becomes a CSS variable of the page.
"""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from markupsafe import Markup

from fer_models.report.formatting import clean, one_line

if TYPE_CHECKING:  # matplotlib is imported when a figure is drawn, at the end of a run
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BLUE, INK, MUTED, RULE, SURFACE = "#2563a8", "#24292f", "#6e7781", "#e4e7eb", "#fefefe"
FAIL, INCONCLUSIVE = "#c62828", "#b26a00"
#: The colours of FAIL and INCONCLUSIVE; all others are blue.
VERDICT_COLOURS = {"FAIL": FAIL, "INCONCLUSIVE": INCONCLUSIVE}
#: The CSS variable of each colour; a figure uses no other one.
COLOURS = {
    BLUE: "accent",
    INK: "ink",
    MUTED: "muted",
    RULE: "rule",
    SURFACE: "surface",
    FAIL: "fail",
    INCONCLUSIVE: "inconclusive",
}
_WIDTH_INCHES = 9.2
_LONGEST_LABEL = 48
#: What the page does not need: the prologue of a file, its metadata and style sheet (`style.css` has it), ids
#: of groups (the same in every figure), and the fonts, so that text has the font of the page.
_NOT_NEEDED = re.compile(
    r"^.*?(?=<svg\b)|\s*<metadata>.*?</metadata>|<style\b.*?</style>"
    r"|(?<=<g) id=\"[^\"]*\"|font-family: [^;\"]*;? ?",
    re.DOTALL,
)


@dataclass(frozen=True)
class Picture:
    """A figure for the page.

    Attributes:
        svg: the element `svg`, all text in it escaped.
        description: for readers who cannot see it.
        width: in pixels of the page.
    """

    svg: Markup
    description: str
    width: int


def new_figure(
    height: float, width: float = _WIDTH_INCHES, layout: Literal["constrained"] | None = "constrained"
) -> Figure:
    """Create an empty figure, in inches; without a layout its axes stay where they are put."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout=layout)


def style_axes(ax: Axes, title: str = "") -> None:
    """Give axes a title, no box, and small grey numbers."""
    ax.set_title(shorten_label(title), loc="left", fontsize=10, color=INK, parse_math=False)
    ax.spines[:].set_visible(False)
    ax.tick_params(which="both", length=0, labelsize=9, labelcolor=MUTED)
    ax.set_axisbelow(True)


def shorten_label(name: str) -> str:
    """A name on one short line."""
    line = one_line(name)
    return line if len(line) <= _LONGEST_LABEL else f"{line[: _LONGEST_LABEL - 1]}…"


def percent_tick(value: float, position: float) -> str:
    """Format a share as the label of a tick."""
    return f"{100 * value:.0f}%"


def to_picture(figure: Figure, description: str) -> Picture:
    """Draw the figure. The same figure gives the same text.

    Args:
        figure: from `new_figure`.
        description: for readers who cannot see it, and unique in the page: ids in the figure are made of it.
    """
    description = clean(description)
    svg = _draw(figure, description)
    return Picture(Markup(svg), description, round(figure.get_figwidth() * 100))


class CommonAxes:
    """Axes that many figures have in common. They are drawn once, which takes longer than all the rest.

    Attributes:
        definition: the element `svg`, invisible, that the page needs once for all figures on these axes.
    """

    def __init__(self, axes: Axes, name: str) -> None:
        """Draw the axes with everything that is on them.

        Args:
            axes: the only ones of a figure of `new_figure`, with fixed limits.
            name: of letters, unique in the page.
        """
        self._axes, self._id = axes, f"axes-{name}"
        start, content = _draw(_figure_of(axes), self._id).split(">", 1)
        (view_box,) = re.findall(r'viewBox="[^"]*"', start)
        symbol = f'<symbol id="{self._id}" {view_box}>{content.removesuffix("</svg>")}</symbol>'
        self.definition = Markup(f'<svg class="definitions" aria-hidden="true">{symbol}</svg>')
        axes.set_axis_off()
        for artist in (*axes.lines, *axes.collections, axes.get_legend()):
            if artist is not None:
                artist.set_visible(False)

    def picture(self, draw: Callable[[Axes], Iterable[Artist]], description: str) -> Picture:
        """Draw a figure on these axes.

        Args:
            draw: draws on the axes, and returns what it drew.
            description: as for `to_picture`.
        """
        artists = list(draw(self._axes))
        drawn = to_picture(_figure_of(self._axes), description)
        for artist in artists:
            artist.remove()
        start, content = drawn.svg.split(">", 1)
        return replace(drawn, svg=Markup(f'{start}><use href="#{self._id}"/>{content}'))


def _figure_of(axes: Axes) -> Figure:
    from matplotlib.figure import Figure

    assert isinstance(axes.figure, Figure)
    return axes.figure


def _draw(figure: Figure, salt: str) -> str:
    """The element `svg` of a figure, with ids made of `salt`."""
    import matplotlib
    from matplotlib.backends.backend_svg import FigureCanvasSVG

    canvas, text = FigureCanvasSVG(figure), io.StringIO()
    for patch in (figure.patch, *(ax.patch for ax in figure.axes)):
        patch.set(facecolor="none", edgecolor="none")
    settings = {"svg.fonttype": "none", "svg.hashsalt": salt}  # text as text; the same ids each time
    with warnings.catch_warnings(), matplotlib.rc_context(settings):
        # A letter that the font does not have is measured as a box, and long names crowd the figure. The
        # table has them in full, and a run must not end over them where warnings are errors.
        warnings.simplefilter("ignore")
        print_svg: Any = canvas.print_svg  # without types
        print_svg(text, metadata={"Date": None})  # `savefig` draws twice, first for the layout
    svg = _NOT_NEEDED.sub("", text.getvalue())
    for colour, name in COLOURS.items():
        svg = svg.replace(colour, f"var(--{name})")
    return svg.strip()
