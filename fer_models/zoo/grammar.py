"""Grammar of model names: variants (`+tta`), probes (`-probe`) and fusions (`NAME+NAME`)."""

from __future__ import annotations

import re
from collections.abc import Collection

#: The mark of test-time augmentation.
TTA = "+tta"
#: What may follow a model's name (before `@FILE`) and says how it is asked, where that is not the plain way.
_MARK = re.compile(r"\+(?:tta|likelihood(?:-normalized|-calibrated)?|[1-9][0-9]*crops)(?=\+|$)")
#: What the name of a linear probe on another model ends with.
PROBE = "-probe"


def mark_of(name: str) -> str:
    """The last mark in a model's name: `+tta` of `vgg19+tta` and of `vgg19+tta@FILE`; nothing of `vgg19`."""
    network = name.partition("@")[0]
    marks = [m for m in _MARK.finditer(network) if m.end() == len(network)]
    return marks[-1][0] if marks else ""


def base_name(name: str) -> str:
    """The name without its last mark: `vgg19` of `vgg19+tta`, `vgg19@FILE` of `vgg19+tta@FILE`; any other
    name as it is.
    """
    network, at, file = name.partition("@")
    return f"{network.removesuffix(mark_of(name))}{at}{file}"


def parts_of(name: str) -> tuple[str, ...]:
    """The models that a fusion's name puts together: `vgg19` and `resnet50+tta` for `vgg19+resnet50+tta`; any
    other name alone.
    """
    if "@" in name or name.startswith("+"):
        return (name,)
    return tuple(
        part.replace("\0", "+") for part in _MARK.sub(lambda mark: f"\0{mark[0][1:]}", name).split("+")
    )


def is_known(name: str, known: Collection[str]) -> bool:
    """Whether `name` is one of `known`, or is made of them: asked in another way, by a linear probe, or by
    fusion.
    """
    if name in known:
        return True
    parts = parts_of(name)
    if len(parts) > 1:
        return all(is_known(part, known) for part in parts)
    return is_known(base_name(name), known) if mark_of(name) else name.removesuffix(PROBE) in known
