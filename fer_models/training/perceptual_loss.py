"""Perceptual loss: feature maps of a trained network of the zoo (Johnson et al. 2016, arXiv:1603.08155)."""

from __future__ import annotations

from typing import Any

import torch
from torch.nn import functional as F

from fer_models.artifacts import weights
from fer_models.artifacts.hashing import sha256_of
from fer_models.classifiers.cnn import load, normalise

#: Index of the feature map of a timm network: the last but one, where EfficientNet-B0 has 6 x 6 places for a
#: face of 48 pixels and ResNet-50 4 x 4 for one of 64. It still has places, and already represents content.
_FEATURE_MAP = -2


class LossNetwork:
    """A trained, frozen network whose feature maps are compared.

    Attributes:
        sha256: of its weights.
    """

    def __init__(self, name: str, device: torch.device) -> None:
        """Load the network of the zoo called `name`.

        Raises:
            WeightsMissingError: its weights are not on this machine.
        """
        problem = f"This recipe compares features of {name}, and its weights are not on this machine."
        path = weights.find_trained(name, problem)
        classifier = load(path, device=device.type)
        network: Any = classifier.network.requires_grad_(False)
        self.sha256, self.network, self.architecture = sha256_of(path), network, classifier.architecture
        self._indices = [len(network.feature_info) + _FEATURE_MAP]

    def extract_features(self, faces: torch.Tensor) -> torch.Tensor:
        """Feature map of `faces` with gradients: (n, channels, places, places).

        Args:
            faces: float (n, channels, side, side) in 0..255, grey or RGB; resized to the network's size.
        """
        size = self.architecture.size
        if faces.shape[-1] != size:
            faces = F.interpolate(faces, (size, size), mode="bilinear", antialias=True)
        if faces.shape[1] != self.architecture.channels:
            faces = faces.mean(1, keepdim=True)
        batch = normalise(faces, self.architecture).contiguous(memory_format=torch.channels_last)
        features: torch.Tensor = self.network.forward_intermediates(
            batch, indices=self._indices, intermediates_only=True, stop_early=True
        )[0]
        return features.float()


def standardize(features: torch.Tensor, reference: torch.Tensor) -> torch.Tensor:
    """Standardize the channels of `features` with the mean and standard deviation of those of `reference`.

    Without it, channels that are always active would dominate a cosine similarity.
    """
    mean, std = reference.mean((0, 2, 3), keepdim=True), reference.std((0, 2, 3), keepdim=True)
    return (features - mean) / std.clamp(min=1e-6)
