"""The network of the package what-the-face-classification 0.0.27."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import nn
from torchvision import transforms

from fer_models.images import Face
from fer_models.published_networks.network import TorchClassifier, load_state, read_checkpoint
from fer_models.published_networks.packages import WHAT_THE_FACE, PublishedModel

SIDE = 48


def build() -> nn.Module:
    """Build the network, randomly initialised: (n, 1, 48, 48) to (n, 7) logits."""
    widths = [1, 28, 56, 112]
    layers: list[tuple[str, nn.Module]] = []
    for i in (1, 2, 3):
        convolution = nn.Conv2d(widths[i - 1], widths[i], 3)
        layers += [(f"conv{i}", convolution), (f"tanh{i}", nn.Tanh()), (f"pool{i}", nn.MaxPool2d(2))]
    layers += [("flatten", nn.Flatten()), ("fc1", nn.Linear(112 * 4 * 4, 2000)), ("relu1", nn.ReLU())]
    layers += [("fc2", nn.Linear(2000, 304)), ("relu2", nn.ReLU()), ("fc3", nn.Linear(304, 7))]
    return nn.Sequential(OrderedDict(layers))


def preprocess(faces: Sequence[Face]) -> NDArray[np.float32]:
    """Shorter side to 48 pixels (bilinear), centre square, grey, values in [0, 1]: (n, 1, 48, 48).

    The package first crops the first face that its detector finds. Here every image is a face.
    """
    steps = transforms.Compose(
        [transforms.Resize(SIDE), transforms.CenterCrop(SIDE), transforms.Grayscale(), transforms.ToTensor()]
    )
    tensors = [steps(Image.fromarray(face)) for face in faces]
    pixels: NDArray[np.float32] = torch.stack(tensors).numpy()
    return pixels


def load(
    path: Path, model: PublishedModel = WHAT_THE_FACE, *, device: str = "auto", precision: str = "float32"
) -> TorchClassifier:
    """The classifier in the package's file `active_model.pth`.

    Raises:
        WeightsError: it is not the published file, or does not fit the network.
    """
    network = load_state(build(), read_checkpoint(path, model), model.package, path)
    return TorchClassifier(network, preprocess, model.labels, (1, SIDE, SIDE), device, precision)
