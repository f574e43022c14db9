"""Classifier around the rebuilt network of a package: the package's preprocessing, then torch."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from fer_models.artifacts import safetensors_io
from fer_models.classifiers import flops
from fer_models.classifiers.base import Predictions
from fer_models.classifiers.torch_network import autocast, parameter_count
from fer_models.errors import WeightsError, reason_of
from fer_models.images import Face
from fer_models.published_networks.packages import PublishedModel

#: float32 (n, channels, height, width) of n faces.
Preprocess = Callable[[Sequence[Face]], NDArray[np.float32]]


class TorchClassifier:
    """Preprocessing of a package, one forward pass, softmax in float32.

    Args:
        network: float32 (n, *input_shape) to logits (n, classes).
        preprocess: the package's preprocessing.
        labels: the name of each class, in the order of the logits.
        input_shape: the shape of one preprocessed face: (channels, height, width).
        device: a name of `safetensors_io.pick_device`.
        precision: `float32`, or `bf16` or `fp16` for autocast.

    Raises:
        UsageError: this machine has no such device.
    """

    def __init__(
        self,
        network: nn.Module,
        preprocess: Preprocess,
        labels: Sequence[str],
        input_shape: tuple[int, int, int],
        device: str = "auto",
        precision: str = "float32",
    ) -> None:
        self.device = safetensors_io.pick_device(device)
        self.network = network.eval().to(self.device)
        self.labels, self.input_shape, self.precision = tuple(labels), input_shape, precision
        self._preprocess = preprocess

    def preprocess(self, faces: Sequence[Face], /) -> torch.Tensor:
        """Preprocess faces: float32 (n, *input_shape) on the device."""
        return torch.from_numpy(self._preprocess(faces)).to(self.device)

    @torch.inference_mode()
    def infer(self, batch: torch.Tensor, /) -> Predictions:
        """Predict from a preprocessed batch."""
        with autocast(self.device, self.precision):
            logits = self.network(batch)
        return Predictions.from_probabilities(logits.float().softmax(dim=1).cpu().numpy(), self.labels)

    def predict(self, faces: Sequence[Face], /) -> Predictions:
        """See `Classifier.predict`."""
        return self.infer(self.preprocess(faces))

    @property
    def parameters(self) -> int:
        """Number of parameters."""
        return parameter_count(self.network)

    @property
    def macs(self) -> int:
        """Multiply-accumulates for one face; see `flops.macs`."""
        return flops.macs(lambda: self.network(torch.zeros(1, *self.input_shape, device=self.device)))


def load_state(network: nn.Module, state: Any, name: str, path: Path) -> nn.Module:
    """Load the tensors of `path` into the rebuilt network of the package `name`, and return it.

    Raises:
        WeightsError: `state` is no dictionary of tensors, or does not fit the network.
    """
    if not isinstance(state, dict) or not all(isinstance(t, torch.Tensor) for t in state.values()):
        raise WeightsError(f"{path} holds no dictionary of tensors, which {name} needs.")
    safetensors_io.check_state_dict(network, state, name, path)
    network.load_state_dict(state)
    return network


def read_checkpoint(path: Path, model: PublishedModel) -> Any:
    """Read a file of `torch.save`: its content is checked first, and then only tensors are loaded.

    Raises:
        WeightsError: it is not the published file, or holds something else than tensors.
    """
    data = model.files[0].read(path, model.install_hint)
    try:
        return torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises exceptions of many types for a file that is no checkpoint
        raise WeightsError(
            f"{path} holds no tensors that torch can load ({reason_of(error)}). "
            f"Install it again: {model.install_hint}"
        ) from error
