"""Values of the options on slices."""

from __future__ import annotations

import math
from collections.abc import Sequence

from fer_models.errors import UsageError, one_line


def parse_cuts(texts: Sequence[str]) -> dict[str, tuple[float, ...]]:
    """Parse cuts such as `age=20,40,60`.

    Raises:
        UsageError: one has another form, or a column is named twice.
    """
    cuts: dict[str, tuple[float, ...]] = {}
    for text in texts:
        name, _, numbers = text.rpartition("=")
        try:
            values = tuple(float(number) for number in numbers.split(","))
        except ValueError:
            values = ()
        if not name or not values or not all(map(math.isfinite, values)):
            raise UsageError(f"--slice-cuts must look like age=20,40,60, got '{one_line(text, 80)}'.")
        if name in cuts:
            raise UsageError(f"--slice-cuts names the column '{one_line(name, 80)}' twice.")
        cuts[name] = values
    return cuts


def parse_pair(text: str) -> tuple[str, str]:
    """Parse two columns such as `brightness,sex`.

    Raises:
        UsageError: the text has another form, or names one column twice.
    """
    names = tuple(name.strip() for name in text.split(","))
    if len(names) != 2 or not all(names) or names[0] == names[1]:
        raise UsageError(
            f"--cross-slices must name two columns such as brightness,sex, got '{one_line(text, 80)}'."
        )
    return names[0], names[1]
