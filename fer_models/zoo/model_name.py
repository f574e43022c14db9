"""Grammar of model names: one frozen value per name, parsed once and printed back the same.

    name      = component { "+" component }                          late fusion, if more than one
              | ( "onnx:" | "tflite:" ) FILE                         a network in a file
    component = [source ":"] network ["-probe"] { "+" variant } ["@" checkpoint]
    source    = "timm" | "open_clip" | "hf-hub" | "hf-vlm" | "hf" | "endpoint"
    variant   = "tta" | "calibrated" | NUMBER "crops"
              | "likelihood" | "likelihood-normalized" | "likelihood-calibrated"

Everything after the first `@` is the checkpoint (a file, a folder or a server's URL), so only a name without
a checkpoint can be a fusion or a probe. A name that ends in `.py` is a Python file that defines models.
FILE, with any `+` and `@` in it, is the checkpoint of a model without network and variants.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass, replace
from enum import Enum

#: Test-time augmentation: the mean of a face and its mirror image.
TTA = "tta"
#: Temperature scaling: probabilities that are sharpened or flattened.
CALIBRATED = "calibrated"
#: The start of the answer modes of a vision-language model that does not generate text.
LIKELIHOOD = "likelihood"
#: The end of a variant that sets the number of crops per image.
CROPS = "crops"
_VARIANT = re.compile(rf"{TTA}|{CALIBRATED}|{LIKELIHOOD}(?:-normalized|-calibrated)?|[1-9][0-9]*{CROPS}")
_PROBE = "-probe"


class Source(str, Enum):
    """Where a model comes from: the value is the prefix of its names; the last two have none."""

    TIMM = "timm"
    OPEN_CLIP = "open_clip"
    HF_HUB = "hf-hub"
    HF_VLM = "hf-vlm"
    HF_IMAGE = "hf"
    ENDPOINT = "endpoint"
    ONNX = "onnx"
    TFLITE = "tflite"
    ZOO = "zoo"
    PYTHON_FILE = "python file"

    @property
    def prefix(self) -> str:
        """The text before a network of this source, with its colon."""
        return "" if self in (Source.ZOO, Source.PYTHON_FILE) else f"{self.value}:"

    @property
    def is_network_file(self) -> bool:
        """Whether all after the prefix is the path of a file."""
        return self in (Source.ONNX, Source.TFLITE)


@dataclass(frozen=True)
class ModelName:
    """A model's name, taken apart.

    Any text can be parsed, and prints back the same; whether such a model exists is decided by
    `resolve.resolve_model`.

    Attributes:
        network: the name within its source: `vgg19`, `ViT-B-32/openai`, `ORGANISATION/NAME`, a server's
            model, or the path of a Python file. Empty for a fusion, and for a network in a file.
        source: where the network comes from.
        checkpoint: what follows `@`, None without it; the path of a network in a file.
        variants: what follows `+`, without it, in the order of the text: `("4crops", "likelihood")`.
        is_probe: a linear probe on the embeddings of the network. Never with a checkpoint.
        components: the models of a late fusion, two at least; empty for any other model.
    """

    network: str = ""
    source: Source = Source.ZOO
    checkpoint: str | None = None
    variants: tuple[str, ...] = ()
    is_probe: bool = False
    components: tuple[ModelName, ...] = ()

    @classmethod
    def parse(cls, text: str) -> ModelName:
        """The name in `text`."""
        if text.endswith(".py"):
            return cls(text, Source.PYTHON_FILE)
        source, path = _split_source(text)
        if source.is_network_file:
            return cls(source=source, checkpoint=path)
        names, at, checkpoint = text.partition("@")
        head, *others = names.split("+")
        groups = [[head]]
        for piece in others:
            if is_variant(piece):
                groups[-1].append(piece)
            else:
                groups.append([piece])
        if not at:
            parts = [cls._component(first, tuple(variants)) for first, *variants in groups]
            return parts[0] if len(parts) == 1 else cls(components=tuple(parts))
        network, *variants = groups[-1]
        before = ["+".join(group) for group in groups[:-1]]
        source, network = _split_source("+".join([*before, network]))
        return cls(network, source, checkpoint, tuple(variants))

    @classmethod
    def _component(cls, text: str, variants: tuple[str, ...]) -> ModelName:
        source, network = _split_source(text)
        return cls(network.removesuffix(_PROBE), source, variants=variants, is_probe=network.endswith(_PROBE))

    def __str__(self) -> str:
        if self.components:
            return "+".join(map(str, self.components))
        probe = _PROBE if self.is_probe else ""
        variants = "".join(f"+{variant}" for variant in self.variants)
        at = "" if self.source.is_network_file else "@"
        checkpoint = "" if self.checkpoint is None else f"{at}{self.checkpoint}"
        return f"{self.source.prefix}{self.network}{probe}{variants}{checkpoint}"

    @property
    def base(self) -> ModelName | None:
        """The model that this one changes: without the last variant, else without `-probe`; None if plain."""
        if self.variants:
            return replace(self, variants=self.variants[:-1])
        return replace(self, is_probe=False) if self.is_probe else None

    def with_variants(self, *variants: str) -> ModelName:
        """The same model with further `variants`, at the end of its name."""
        if self.components:
            *others, last = self.components
            return replace(self, components=(*others, last.with_variants(*variants)))
        return replace(self, variants=(*self.variants, *variants))

    def is_made_of(self, names: Collection[str]) -> bool:
        """Whether this is one of `names`, or a variant, a linear probe or a fusion of them."""
        if str(self) in names:
            return True
        if self.components:
            return all(part.is_made_of(names) for part in self.components)
        return self.base is not None and self.base.is_made_of(names)


def is_variant(text: str) -> bool:
    """Whether `text` is a variant, written without its `+`."""
    return _VARIANT.fullmatch(text) is not None


def _split_source(text: str) -> tuple[Source, str]:
    for source in Source:
        if source.prefix and text.startswith(source.prefix):
            return source, text.removeprefix(source.prefix)
    return Source.ZOO, text
