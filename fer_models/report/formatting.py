"""Numbers and text as the terminal and the page show them."""

from __future__ import annotations

import re
from collections.abc import Sequence

from rich.cells import cell_len

from fer_models.report.measured_value import MeasuredValue

#: What stands in place of a value that was not measured.
NOTHING = "-"
#: Control characters (all but tab and newline), lone surrogates, noncharacters and direction overrides: no
#: page or terminal can show them, XML forbids them, or they would show other text than there is.
_UNPRINTABLE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]")


def clean(value: object) -> str:
    """Text that can be shown anywhere: each unprintable character becomes U+FFFD, which is visible."""
    return _UNPRINTABLE.sub("\ufffd", str(value))


def one_line(text: object) -> str:
    """Clean text on one line."""
    return " ".join(clean(text).split())


def metric_name(metric: str) -> str:
    """The name of a check in words: `recall of fear`, `accuracy in brightness = lowest quarter`."""
    kind, separator, part = metric.partition(":")
    if not separator:
        return metric
    column, _, name = part.partition("=")
    return f"accuracy in {column} = {name}" if kind == "slice" else f"{kind} of {part}"


def number(value: float | None, digits: int = 3) -> str:
    """`0.668`, or a dash."""
    return NOTHING if value is None else f"{value:.{digits}f}"


def signed(value: float | None) -> str:
    """`-0.027`, `+0.004`: a change with its sign."""
    return NOTHING if value is None else f"{value:+.3f}"


def percent(value: float | None) -> str:
    """`12.5%`, or a dash."""
    return NOTHING if value is None else f"{value:.1%}"


def signed_percent(value: float) -> str:
    """`+12.3%`, `-3.0%`."""
    return f"{value:+.1%}"


def exact_percent(value: float) -> str:
    """`71%`, `99.97%`: as many digits as the share has, at most 5 decimals."""
    return f"{round(100 * value, 5):.10g}%"


def p_value(value: float | None) -> str:
    """`0.0004`, `0.0478`, `0.31`, `< 0.0001`: three digits below 0.1, where the levels of decisions are."""
    if value is None:
        return NOTHING
    if value < 0.0001:
        return "< 0.0001"
    return f"{value:.3g}" if value < 0.1 else f"{value:.2f}"


def p_equation(value: float | None) -> str:
    """`p = 0.0004`, `p < 0.0001`."""
    text = p_value(value)
    return f"p {text}" if text.startswith("<") else f"p = {text}"


def seconds(value: float | None) -> str:
    """`3.1 ms`, `4.2 s`, `3 min 20 s`, `2 h 5 min`."""
    if value is None:
        return NOTHING
    if (whole := round(value)) >= 7200:
        return f"{whole // 3600} h {whole % 3600 // 60} min"
    if whole >= 120:
        return f"{whole // 60} min {whole % 60} s"
    return f"{value * 1000:.3g} ms" if value < 0.9995 else f"{value:.3g} s"


def amount(value: float | None) -> str:
    """`20.0 M`, `1.63 G`, `512`: three digits and a prefix."""
    if value is None:
        return NOTHING
    for factor, prefix in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= factor * 0.9995:
            return f"{value / factor:#.3g} {prefix}".replace(". ", " ")
    return f"{value:.3g}"


def rate(value: float | None) -> str:
    """`1,024`, `9.31`: images per second."""
    if value is None:
        return NOTHING
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def mebibytes(value: float | None) -> str:
    """`3,000 MiB`, or a dash."""
    return NOTHING if value is None else f"{value:,.0f} MiB"


def joules(value: float | None) -> str:
    """`12.3 J`, or a dash."""
    return NOTHING if value is None else f"{value:.3g} J"


def kilowatt_hours(joules: float | None) -> str:
    """`1.5 kWh` from joules, or a dash."""
    return NOTHING if joules is None else f"{joules / 3.6e6:.3g} kWh"


def count(n: int, noun: str) -> str:
    """`1 face`, `1,050 faces`."""
    return f"{n:,} {noun}{'' if n == 1 else 's'}"


def listed(parts: Sequence[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"


def with_interval(value: MeasuredValue | None) -> str:
    """`0.668 [0.652, 0.683]`, or a dash."""
    return NOTHING if value is None else f"{number(value.value)} [{number(value.low)}, {number(value.high)}]"


def shorten(text: str, width: int) -> str:
    """Replace the middle of a text by an ellipsis where it is wider than `width` terminal columns."""
    if cell_len(text) <= width:
        return text
    head, tail = text[: width // 2], text[len(text) - (width - 1) // 2 :]
    while cell_len(f"{head}…{tail}") > width:  # characters of two columns
        head, tail = (head[:-1], tail) if cell_len(head) >= cell_len(tail) else (head, tail[1:])
    return f"{head}…{tail}"
