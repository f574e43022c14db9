"""A picture of a face with the probabilities that a model predicted."""

from __future__ import annotations

import io
from collections.abc import Sequence

from fer_models.emotions import LABELS
from fer_models.errors import printable
from fer_models.images import Face

_WIDTH_INCHES, _HEIGHT_INCHES, _DPI = 6.4, 3.0, 150
_BLUE, _FAINT = "#2563a8", "#9aa4b0"


def draw(face: Face, title: str, probabilities: Sequence[float] | None) -> bytes:
    """Draw a PNG: the face, and a bar per emotion next to it.

    Args:
        face: uint8 RGB (h, w, 3).
        title: the text above the face; characters that are not ASCII, which a font may not have, become `?`.
        probabilities: seven, in the order of `Emotion`, in [0, 1]; None where there are none.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(_WIDTH_INCHES, _HEIGHT_INCHES), dpi=_DPI, layout="constrained")
    picture, bars = figure.subplots(1, 2, width_ratios=(1, 1.2))
    picture.imshow(face)
    picture.set_axis_off()
    picture.set_title(printable(title).encode("ascii", "replace").decode(), parse_math=False)
    bars.set_axis_off()
    if probabilities is not None:
        highest = max(probabilities)
        colours = [_BLUE if p == highest else _FAINT for p in probabilities]
        bars.set_axis_on()
        bars.barh(LABELS, probabilities, color=colours)
        bars.set_xlim(0, 1.15)  # room for the number next to a bar of 1
        bars.set_xticks([])
        bars.invert_yaxis()
        bars.spines[["top", "right", "bottom"]].set_visible(False)
        for i, p in enumerate(probabilities):
            bars.text(p + 0.02, i, f"{p:.2f}", va="center")
    png = io.BytesIO()
    figure.savefig(png, format="png")
    return png.getvalue()
