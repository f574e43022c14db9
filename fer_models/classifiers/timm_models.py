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
