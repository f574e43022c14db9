"""Variants of timm networks for small images, registered with timm (and so with open_clip)."""

from __future__ import annotations

from typing import Any

import timm
import torch
from timm.layers import build_sincos2d_pos_embed  # type: ignore[attr-defined]
from torch import nn


@timm.models.register_model
def efficientnet_b0_stride1(pretrained: bool = False, **options: Any) -> nn.Module:
    """EfficientNet-B0 for small images: stride 1 in the first layer (`Architecture.stem_stride`)."""
    model: Any = timm.create_model("efficientnet_b0", pretrained=pretrained, **options)
    model.conv_stem.stride = (1, 1)
    network: nn.Module = model
    return network


@timm.models.register_model
def phi3v_nano_vision(pretrained: bool = False, **options: Any) -> nn.Module:
    """Small ViT with the structure of CLIP's image encoder: phi3v-nano's (see `training.vlm`)."""
    side, patch, width = 48, 6, 192
    small: Any = {
        "img_size": side,
        "patch_size": patch,
        "embed_dim": width,
        "depth": 5,
        "num_heads": 3,
        "global_pool": "avg",
    }
    model: Any = timm.create_model(
        "vit_base_patch16_clip_quickgelu_224", pretrained=pretrained, **small, **options
    )
    # Sine-cosine position embeddings: with few images it learns faster (Beyer et al. 2022,
    # arXiv:2205.01580).
    with torch.no_grad():
        model.pos_embed[:, 1:] = build_sincos2d_pos_embed([side // patch, side // patch], width) / 2
    network: nn.Module = model
    return network


#: Channels of the plain network's convolutions, and of its hidden layer.
_PLAIN_CHANNELS, _PLAIN_HIDDEN = (24, 48, 96, 192), 512


@timm.models.register_model
def plain_cnn(
    pretrained: bool = False,
    in_chans: int = 1,
    num_classes: int = 7,
    drop_rate: float = 0.0,
    **timm_options: Any,
) -> nn.Module:
    """Plain network for faces of 48 pixels: four 3x3 convolutions, each halving the side, and two layers.

    With 1.1 million parameters it is small enough to train in minutes on a processor, and large enough to
    memorize FER-2013's training faces (see `studies.protocols`).

    Args:
        pretrained: must be false.
        in_chans: 1 for grey, 3 for colour.
        num_classes: the number of logits.
        drop_rate: of the dropout before the hidden layer.
        **timm_options: about the files of trained weights, which `timm.create_model` passes to every network.

    Raises:
        ValueError: `pretrained`; there are no trained weights.
    """
    if pretrained:
        raise ValueError("plain_cnn has no trained weights. Create it with pretrained=False.")
    layers: list[nn.Module] = []
    for width in _PLAIN_CHANNELS:
        layers += [
            nn.Conv2d(in_chans, width, 3, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(inplace=True),
        ]
        in_chans = width
    layers += [
        nn.Flatten(),
        nn.Dropout(drop_rate),
        nn.Linear(9 * in_chans, _PLAIN_HIDDEN),
        nn.ReLU(inplace=True),
        nn.Linear(_PLAIN_HIDDEN, num_classes),
    ]
    return nn.Sequential(*layers)
