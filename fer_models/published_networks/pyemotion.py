"""The network of the package PyEmotion 1.0.0."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import nn

from fer_models.classifiers.network_format import NetworkFormat
from fer_models.images import Face, grey, to_rgb
from fer_models.published_networks.network import TorchClassifier, load_state, read_checkpoint
from fer_models.published_networks.packages import PYEMOTION, PublishedModel

SIDE = 48
_FORMAT = NetworkFormat(
    PYEMOTION.labels,
    size=SIDE,
    channels=1,
    layout="nchw",
    range=(-1, 1),
    output="logits",
    resample="bilinear",
)


def build() -> nn.Module:
    """Build the network, randomly initialised: (n, 1, 48, 48) to (n, 7) scores in [0, 1].

    The package takes the largest exp(score) as its prediction, so the scores are used as logits: the order
    of the emotions is the package's, and the probabilities are nearly uniform (at most e / (e + 6) = 0.31).
    """
    widths = [1, 32, 64, 128, 256]
    layers: list[tuple[str, nn.Module]] = []
    for i in (1, 2, 3, 4):
        convolution = nn.Conv2d(widths[i - 1], widths[i], 3, stride=1 if i == 1 else 2)
        block = (nn.ReflectionPad2d(1), convolution, nn.BatchNorm2d(widths[i]), nn.ReLU())
        layers.append((f"conv_{i}", nn.Sequential(*block)))
    linear = (nn.Linear(256 * 6 * 6, 256), nn.ReLU(), nn.Linear(256, 7), nn.Sigmoid())
    layers += [("flatten", nn.Flatten()), ("linear", nn.Sequential(*linear))]
    return nn.Sequential(OrderedDict(layers))


def preprocess(faces: Sequence[Face]) -> NDArray[np.float32]:
    """Grey, 48 x 48 pixels (bilinear), values in [-1, 1]: (n, 1, 48, 48).

    The package computes grey with OpenCV, which rounds some colours to the neighbouring level.
    """
    return _FORMAT.preprocess([to_rgb(grey(face)) for face in faces])


def load(
    path: Path, model: PublishedModel = PYEMOTION, *, device: str = "auto", precision: str = "float32"
) -> TorchClassifier:
    """The classifier in the package's file `main_model.pkl`.

    Raises:
        WeightsError: it is not the published file, or does not fit the network.
    """
    checkpoint = read_checkpoint(path, model)
    state = checkpoint.get("network") if isinstance(checkpoint, dict) else None
    network = load_state(build(), state, model.package, path)
    return TorchClassifier(network, preprocess, model.labels, (1, SIDE, SIDE), device, precision)
