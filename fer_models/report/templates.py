"""HTML from the jinja2 templates in `assets/report`.

Everything is escaped (autoescape), every value is cleaned of unprintable characters (`finalize`), and a name
that does not exist is an error (`StrictUndefined`). Python code holds no markup.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cache
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from fer_models.artifacts.resources import ASSETS
from fer_models.datasets.audit_results import Example
from fer_models.emotions import LABELS
from fer_models.gate.restoration_effect import ALL_MODELS, NOTHING_SHOWN
from fer_models.report import first_screen, formatting, trend_figure
from fer_models.report.change_entries import ChangedFace
from fer_models.report.cost_points import cost_points
from fer_models.report.matrix import matrices
from fer_models.report.prompt_diff import prompt_diff
from fer_models.report.robustness import figure_cells
from fer_models.report.robustness_entries import FlipExample, FlippedFace, RestorationResult
from fer_models.report.worst_slices import worst_slices

#: The start of every picture on the page, so that nothing is fetched.
PICTURE_PREFIX = "data:image/png;base64,"


def render(name: str, **values: Any) -> str:
    """Render the template `NAME.html.jinja`.

    Args:
        name: such as `summary`.
        **values: the variables of the template.
    """
    return _environment().get_template(f"{name}.html.jinja").render(**values).strip()


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(ASSETS / "report"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_finalize,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals["labels"] = LABELS
    environment.globals |= {
        "about_faces": first_screen.about_faces,
        "cost_points": cost_points,
        "facts": first_screen.facts,
        "matrices": matrices,
        "trend_chart": trend_figure.trend,
        "worst_slices": worst_slices,
    }
    environment.tests["has_embedded_pictures"] = _has_embedded_pictures
    environment.tests["is_measured_here"] = lambda claim: bool(_measured_here(claim))
    for function in (
        *(formatting.number, formatting.signed, formatting.percent, formatting.p_value, formatting.seconds),
        *(formatting.metric_name, formatting.exact_percent),
        *(formatting.amount, formatting.rate, formatting.mebibytes, formatting.kilowatt_hours),
        *(formatting.joules, formatting.count, figure_cells),
    ):
        environment.filters[function.__name__] = function
    more: dict[str, Callable[..., Any]] = {
        "bytes_as_mb": lambda n: formatting.number(None if n is None else n / 1e6, 1),
        "measured_here": _measured_here,
        "most_probable": lambda probabilities: sorted(probabilities.items(), key=lambda item: -item[1])[:3],
        "notable_effects": _notable_effects,
        "prompt_diff": prompt_diff,
        "emotion": lambda i: LABELS[i] if 0 <= i < len(LABELS) else "no prediction",
        "keys_in_order": _keys_in_order,
        "milliseconds": lambda value: formatting.number(None if value is None else 1000 * value, 1),
        "or_dash": lambda value: formatting.NOTHING if value is None else value,
        "quoted": repr,
        "thousands": lambda n: f"{n:,}",
        "with_unbroken_p": lambda text: re.sub(r"\bp ([=<]) (?=\d)", "p\u00a0\\1\u00a0", text),
        "wrapped": lambda value, before="", after="": f"{before}{value}{after}",
    }
    environment.filters |= more
    return environment


def _finalize(value: Any) -> Any:
    """Clean a value before it is escaped. `Markup` is the output of a template, which is clean already."""
    return value if isinstance(value, Markup) else formatting.clean(value)


def _has_embedded_pictures(example: Example | FlippedFace | FlipExample | ChangedFace) -> bool:
    """Whether the pictures of an example are in the report itself; others would be fetched."""
    pictures = (example.picture,) if isinstance(example, Example) else example.pictures
    return all(picture.startswith(PICTURE_PREFIX) for picture in pictures)


def _measured_here(claim: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The results of a claim's model here, as `published_claims.with_results` adds them."""
    entries = claim.get("measured_here")
    entries = entries if isinstance(entries, list | tuple) else ()
    numbers = ("accuracy", "low", "high")
    return [
        one
        for one in entries
        if isinstance(one, Mapping)
        and all(isinstance(one.get(key), int | float) for key in numbers)
        and all(key in one for key in ("restoration", "split", "n", "source"))
    ]


def _notable_effects(
    effects: Sequence[RestorationResult],
) -> tuple[list[RestorationResult], list[RestorationResult]]:
    """The effects that a reader needs (a difference, or all models together), and the others."""
    shown = [e for e in effects if e.verdict != NOTHING_SHOWN or e.model == ALL_MODELS]
    return shown, [effect for effect in effects if effect not in shown]


def _keys_in_order(mappings: Iterable[Mapping[str, Any]]) -> list[str]:
    """The keys of several mappings, each once, in order of appearance."""

    def keys() -> Iterator[str]:
        for mapping in mappings:
            yield from mapping

    return list(dict.fromkeys(keys()))
