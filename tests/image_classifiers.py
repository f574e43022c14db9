"""Small random image classifiers of the real classes, saved as transformers saves them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import transformers

from fer_models.emotions import LABELS

#: The order of most published models: that of class folders.
ALPHABETICAL = tuple(sorted(LABELS))
_SMALL = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "image_size": 32,
    "patch_size": 8,
}


def vit(folder: Path, labels: Sequence[str] = ALPHABETICAL, **more: Any) -> Path:
    """A ViT of 32 pixels."""
    config = transformers.ViTConfig(**{**_SMALL, **_names(labels), **more})
    return _saved(transformers.ViTForImageClassification, config, _squares(32), folder)


def grey_vit(folder: Path, labels: Sequence[str] = ALPHABETICAL) -> Path:
    """A ViT with one channel."""
    config = transformers.ViTConfig(**_SMALL, num_channels=1, **_names(labels))
    processor = _squares(32, image_mean=[0.4], image_std=[0.2])
    return _saved(transformers.ViTForImageClassification, config, processor, folder)


def resnet(folder: Path, labels: Sequence[str] = ALPHABETICAL) -> Path:
    """A ResNet, whose processor resizes and crops."""
    sizes: dict[str, Any] = {"embedding_size": 8, "hidden_sizes": [8, 16], "depths": [1, 1]}
    config = transformers.ResNetConfig(**sizes, **_names(labels))
    processor = transformers.ConvNextImageProcessor(size={"shortest_edge": 48}, crop_pct=0.875)
    return _saved(transformers.ResNetForImageClassification, config, processor, folder)


def mobilenet(folder: Path, labels: Sequence[str] = ALPHABETICAL) -> Path:
    """A MobileNetV2, whose processor resizes and crops."""
    config = transformers.MobileNetV2Config(depth_multiplier=0.1, image_size=32, **_names(labels))
    processor = transformers.MobileNetV2ImageProcessor(
        size={"shortest_edge": 36}, crop_size={"height": 32, "width": 32}
    )
    return _saved(transformers.MobileNetV2ForImageClassification, config, processor, folder)


def siglip(folder: Path, labels: Sequence[str] = ALPHABETICAL) -> Path:
    """The image encoder of a SigLIP with a classification head; the settings of images are nested."""
    config = transformers.SiglipConfig(
        text_config={"vocab_size": 50, **{k: v for k, v in _SMALL.items() if "size" not in k}},
        vision_config=_SMALL,
        **_names(labels),
    )
    processor = transformers.SiglipImageProcessor(size={"height": 32, "width": 32})
    return _saved(transformers.SiglipForImageClassification, config, processor, folder)


def _names(labels: Sequence[str]) -> dict[str, Any]:
    names = dict(enumerate(labels))
    return {"id2label": names, "label2id": {name: i for i, name in names.items()}}


def _squares(side: int, **more: Any) -> Any:
    return transformers.ViTImageProcessor(size={"height": side, "width": side}, **more)


def _saved(network: Any, config: Any, processor: Any, folder: Path) -> Path:
    """Save a network, initialised as by He et al. 2015, so that its predictions differ from face to face."""
    torch.manual_seed(0)
    model = network(config)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.normal_(std=(2 / parameter[0].numel()) ** 0.5)
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder
