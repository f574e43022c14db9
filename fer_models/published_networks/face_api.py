"""The expression network of the npm package @vladmandic/face-api 1.7.15, from the archive of `npm pack`."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from timm.layers import SeparableConv2d, create_conv2d  # type: ignore[attr-defined]
from torch import nn
from torch.nn.functional import relu

from fer_models.errors import WeightsError, one_line
from fer_models.images import Face
from fer_models.published_networks import npm_archive, tfjs
from fer_models.published_networks.network import TorchClassifier, load_state
from fer_models.published_networks.packages import FACE_API, PublishedModel

SIDE = 112
#: Subtracted from the channels (red, green, blue) of 0..255, before the division by 255.
MEAN_RGB = (122.782, 117.001, 104.298)
_WIDTHS = (3, 32, 64, 128, 256)
#: The names of the package's tensors, and torch's, without the layer.
_TENSORS = {
    "filters": "weight",
    "depthwise_filter": "conv_dw.weight",
    "pointwise_filter": "conv_pw.weight",
    "weights": "weight",
}


class DenseBlock(nn.Module):
    """Four convolutions, the first with stride 2; each later one takes the sum of all before it.

    The padding is TensorFlow's "same": with stride 2, one pixel on the right and at the bottom only.
    """

    def __init__(self, before: int, after: int, *, separable_first: bool) -> None:
        super().__init__()
        separable: Any = SeparableConv2d  # timm leaves its constructor untyped
        options = {"padding": "same", "bias": True}
        make_first = separable if separable_first else create_conv2d
        self.conv0 = make_first(before, after, 3, stride=2, **options)
        self.conv1, self.conv2, self.conv3 = (separable(after, after, 3, **options) for _ in range(3))

    def forward(self, faces: torch.Tensor) -> torch.Tensor:
        """(n, before, h, w) to (n, after, h / 2, w / 2)."""
        total = out = relu(self.conv0(faces))
        for convolution in (self.conv1, self.conv2, self.conv3):
            out = convolution(out)
            total = total + out
            out = relu(total)
        return out


def build() -> nn.Module:
    """Build the network, randomly initialised: (n, 3, 112, 112) to (n, 7) logits."""
    network = nn.Sequential()
    for i, (before, after) in enumerate(pairwise(_WIDTHS)):
        network.add_module(f"dense{i}", DenseBlock(before, after, separable_first=i > 0))
    network.add_module("pool", nn.AvgPool2d(7))
    network.add_module("flatten", nn.Flatten())
    network.add_module("fc", nn.Linear(_WIDTHS[-1], 7))
    return network


def preprocess(faces: Sequence[Face]) -> NDArray[np.float32]:
    """Black bars to a square, bilinear to 112 x 112, minus the mean, over 255: (n, 3, 112, 112), RGB.

    As the package does with a tensor. With a canvas, the browser's own filter resizes.
    """
    resized = np.stack([_resize(_pad_to_square(face)) for face in faces])
    values = (resized - np.asarray(MEAN_RGB, np.float32)) / np.float32(255)
    return np.ascontiguousarray(values.transpose(0, 3, 1, 2), dtype=np.float32)


def read(path: Path, model: PublishedModel = FACE_API) -> dict[str, torch.Tensor]:
    """Read the tensors of the archive, with torch's names and axes.

    Raises:
        WeightsError: the archive is damaged, or holds another network.
    """
    manifest, data = npm_archive.read_members(path, model.files, model.install_hint)
    try:
        tensors = tfjs.decode(manifest, data)
        return dict(_to_torch(name, array) for name, array in tensors.items())
    except ValueError as error:
        raise WeightsError(
            f"{path} holds no weights of TensorFlow.js ({one_line(str(error))}). "
            f"Get the published archive: {model.install_hint}"
        ) from error


def load(
    path: Path, model: PublishedModel = FACE_API, *, device: str = "auto", precision: str = "float32"
) -> TorchClassifier:
    """The classifier in the archive of `npm pack`.

    Raises:
        WeightsError: the archive is damaged, or holds another network.
    """
    network = load_state(build(), read(path, model), model.package, path)
    return TorchClassifier(network, preprocess, model.labels, (3, SIDE, SIDE), device, precision)


def _to_torch(name: str, array: NDArray[np.float32]) -> tuple[str, torch.Tensor]:
    """Rename a tensor and transpose it: (h, w, in, out) to (out, in, h, w), (in, out) to (out, in)."""
    *layers, tensor = name.split("/")
    is_plain = layers in (["dense0", "conv0"], ["fc"])
    if tensor == "depthwise_filter" and array.ndim == 4:
        array = array.transpose(2, 3, 0, 1)  # (h, w, channels, 1) to (channels, 1, h, w)
    elif array.ndim == 4:
        array = array.transpose(3, 2, 0, 1)
    elif array.ndim == 2:
        array = array.T
    key = ("bias" if is_plain else "conv_pw.bias") if tensor == "bias" else _TENSORS.get(tensor, tensor)
    return ".".join([*layers, key]), torch.from_numpy(np.ascontiguousarray(array))


def _pad_to_square(face: Face) -> Face:
    """Black bars on both sides of the shorter axis; an odd pixel goes to the end."""
    height, width = face.shape[:2]
    bars = [(0, 0), (0, 0), (0, 0)]
    difference = abs(height - width)
    bars[1 if height > width else 0] = (difference // 2, difference - difference // 2)
    return np.pad(face, bars)


def _resize(face: Face) -> NDArray[np.float32]:
    """Resize a square face to 112 x 112 as TensorFlow's `resize_bilinear` does by default.

    Pixel i of n is taken at i * n / 112 (not at pixel centres), and nothing is smoothed.
    """
    weights, side = _interpolation(len(face)), len(face)
    rows = (weights @ face.astype(np.float32).reshape(side, -1)).reshape(SIDE, side, 3)
    resized: NDArray[np.float32] = weights @ rows
    return resized


@lru_cache(maxsize=16)
def _interpolation(side: int) -> NDArray[np.float32]:
    """The weights (112, side) of linear interpolation."""
    positions = np.arange(SIDE) * (side / SIDE)
    columns = [np.interp(positions, np.arange(side), one_hot) for one_hot in np.eye(side)]
    return np.stack(columns, axis=1).astype(np.float32)
