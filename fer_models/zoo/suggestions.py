"""Suggestions for mistyped model names."""

from __future__ import annotations

import difflib

from fer_models.classifiers.vlm.base import ANSWER_MODES, GENERATE
from fer_models.errors import UnknownNameError
from fer_models.zoo.model_name import CROPS, TTA, ModelName, Source, is_variant
from fer_models.zoo.registry import Registry
from fer_models.zoo.spec import ModelSpec

_VARIANTS = (TTA, *(mode for mode in ANSWER_MODES if mode != GENERATE), f"4{CROPS}", f"16{CROPS}")
_PREFIXES = [source.prefix.removesuffix(":") for source in Source if source.prefix]


def unknown_model(part: str, text: str, models: Registry[ModelSpec]) -> UnknownNameError:
    """The error for a name whose `part` is unknown, with the nearest complete name."""
    given = part if ModelName.parse(text).components else text
    return UnknownNameError("model", given, models.names, suggestion=suggest_name(text, models))


def suggest_name(text: str, models: Registry[ModelSpec]) -> str | None:
    """The name that the user may have meant by `text`: each unknown part replaced by the nearest one.

    None if some part resembles no known one.
    """
    known = [*models.names, *(f"{spec.name}-probe" for spec in models if _can_be_probed(spec))]
    names, at, checkpoint = text.partition("@")
    parts: list[str] = []
    for piece in filter(None, names.split("+")):
        part = _nearest_piece(piece, known, is_first=not parts)
        if part is None:
            return None
        parts.append(part)
    repaired = f"{'+'.join(parts)}{at}{checkpoint}"
    return repaired if parts and repaired != text else None


def _nearest_piece(piece: str, known: list[str], *, is_first: bool) -> str | None:
    if piece in known or (not is_first and is_variant(piece)):
        return piece
    prefix, colon, network = piece.partition(":")
    if colon:
        source = _nearest(prefix, _PREFIXES)
        return None if source is None else f"{source}:{network}"
    return _nearest(piece, known if is_first else [*_VARIANTS, *known])


def _nearest(text: str, known: list[str]) -> str | None:
    return next(iter(difflib.get_close_matches(text.lower(), known, n=1, cutoff=0.5)), None)


def _can_be_probed(spec: ModelSpec) -> bool:
    return spec.has_embeddings and not spec.components
