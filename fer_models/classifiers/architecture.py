"""Architecture of a CNN and its preprocessing, as data: importing this does not import torch."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Architecture:
    """Architecture of a network and preprocessing of its faces.

    Attributes:
        timm: the name of the network in timm.
        size: the side of the square input, in pixels.
        channels: 1 for grey, 3 for RGB.
        mean, std: what a channel scaled to 0..1 is normalised with.
        linear_head: replace the classifier by global average pooling and one linear layer (VGG19's two
            4096-wide layers hold 86 % of its parameters and do not help at 48 pixels).
        stem_stride: the stride of the first convolution where it differs from timm's: 1 keeps a 48-pixel face
            from being shrunk to 2x2 before the last stage.
    """

    timm: str
    size: int = 48
    channels: int = 1
    mean: float | tuple[float, ...] = 0.5
    std: float | tuple[float, ...] = 0.25
    linear_head: bool = False
    stem_stride: int | None = None
