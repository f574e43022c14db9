"""Classifier around any torch network with one logit per class."""

from __future__ import annotations

import contextlib
from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import nn

from fer_models.classifiers import flops
from fer_models.classifiers.base import Predictions
from fer_models.images import Face


class TorchClassifier(ABC):
    """Preprocessing of a subclass, one forward pass, softmax in float32.

    Attributes:
        network: float32 (n, *input_shape) to logits (n, classes), in evaluation mode on `device`.
        labels: the name of each class, in the order of the logits.
        input_shape: the shape of one preprocessed face: (channels, height, width).
        device: the device of the network.
        precision: `float32`, or `bf16` or `fp16` for autocast.
    """

    def __init__(
        self,
        network: nn.Module,
        labels: Sequence[str],
        input_shape: tuple[int, int, int],
        device: torch.device,
        precision: str = "float32",
    ) -> None:
        self.network = network.eval().to(device)
        self.labels, self.input_shape = tuple(labels), input_shape
        self.device, self.precision = device, precision

    @abstractmethod
    def preprocess(self, faces: Sequence[Face], /) -> torch.Tensor:
        """Preprocess faces: float32 (n, *input_shape) on the device."""

    @torch.inference_mode()
    def infer(self, batch: torch.Tensor, /) -> Predictions:
        """Predict from a preprocessed batch."""
        dtype = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(self.precision)
        with torch.autocast(self.device.type, dtype) if dtype is not None else contextlib.nullcontext():
            logits = self.network(batch)
        return Predictions.from_probabilities(logits.float().softmax(dim=1).cpu().numpy(), self.labels)

    def predict(self, faces: Sequence[Face], /) -> Predictions:
        """See `Classifier.predict`."""
        return self.infer(self.preprocess(faces))

    @property
    def parameters(self) -> int:
        """Number of parameters."""
        return sum(p.numel() for p in self.network.parameters())

    @property
    def macs(self) -> int:
        """Multiply-accumulates for one face; see `flops.macs`."""
        return flops.macs(lambda: self.network(torch.zeros(1, *self.input_shape, device=self.device)))
