"""Networks of models as one torch module from a preprocessed batch to logits, with their format."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from fer_models.classifiers.base import Classifier
from fer_models.classifiers.clip import Clip
from fer_models.classifiers.cnn import CNN
from fer_models.classifiers.network_format import NetworkFormat
from fer_models.classifiers.probe import LinearProbe
from fer_models.errors import UsageError


@dataclass(frozen=True)
class ExportableNetwork:
    """The network of a model.

    Attributes:
        module: maps a float32 batch (n, channels, size, size) to logits (n, k), k the number of labels.
        network_format: its input and output.
        note: how the export differs from the model for faces that are not square; empty if it does not.
    """

    module: nn.Module
    network_format: NetworkFormat
    note: str = ""


def exportable_network(name: str, classifier: Classifier) -> ExportableNetwork:
    """The network of a model that was loaded on the CPU in float32.

    Args:
        name: the model's name, for `same_as` and messages.
        classifier: the loaded model.

    Raises:
        UsageError: the model is not one torch network (a fusion, test-time augmentation, a vision-language
            model, a server, or a model of the user's own class).
    """
    if isinstance(classifier, CNN):
        network = _cnn(classifier)
    elif isinstance(classifier, Clip):
        weights = classifier.scale * classifier.class_embeddings(classifier.prompts)
        network = _clip(classifier, weights, np.zeros(len(weights), dtype=np.float32))
    elif isinstance(classifier, LinearProbe) and isinstance(classifier.encoder, Clip):
        network = _clip(classifier.encoder, classifier.probe.weights, classifier.probe.bias)
    else:
        raise UsageError(
            f"{name} cannot be exported: it is a {type(classifier).__name__}, and only a CNN, the image "
            "encoder of a CLIP model, or a linear probe on one is a single network. Export its parts."
        )
    return replace(network, network_format=replace(network.network_format, same_as=name))


def _cnn(classifier: CNN) -> ExportableNetwork:
    return ExportableNetwork(classifier.network, classifier.network_format)


class ClipImageClassifier(nn.Module):
    """Image encoder of a CLIP model and a linear layer on its embeddings of unit length."""

    def __init__(self, encoder: nn.Module, weights: NDArray[np.float32], bias: NDArray[np.float32]) -> None:
        """`weights` (k, d) and `bias` (k,) give the logits of an embedding (d,)."""
        super().__init__()
        self.encoder = encoder
        self.linear = nn.Linear(weights.shape[1], weights.shape[0])
        self.linear.weight.data.copy_(torch.from_numpy(np.ascontiguousarray(weights)))
        self.linear.bias.data.copy_(torch.from_numpy(np.ascontiguousarray(bias)))

    def forward(self, batch: torch.Tensor) -> torch.Tensor:
        """Logits (n, k) of preprocessed faces (n, 3, size, size)."""
        logits: torch.Tensor = self.linear(nn.functional.normalize(self.encoder(batch), dim=-1))
        return logits


def _clip(clip: Clip, weights: NDArray[np.float32], bias: NDArray[np.float32]) -> ExportableNetwork:
    config = clip.preprocess_config
    size = config.size[0] if isinstance(config.size, tuple | list) else config.size
    network_format = NetworkFormat(
        labels=clip.labels,
        size=size,
        channels=3,
        layout="nchw",
        range=(0.0, 1.0),
        output="logits",
        mean=_as_tuple(config.mean),
        std=_as_tuple(config.std),
        resample=config.interpolation,
    )
    way = {"shortest": "cropped", "longest": "padded"}.get(config.resize_mode)
    note = f"A face that is not square is {way} by the model, and squeezed to a square by the export."
    module = ClipImageClassifier(clip.model.visual, weights.astype(np.float32), bias)
    return ExportableNetwork(module, network_format, note if way else "")


def _as_tuple(value: float | tuple[float, ...] | list[float]) -> tuple[float, ...]:
    return tuple(value) if isinstance(value, tuple | list) else (value,)
