"""What a trained network of the zoo sees, as something for another network to learn from: a loss network
(Johnson et al. 2016, arXiv:1603.08155).
"""

from __future__ import annotations

from typing import Any

import torch
from torch.nn import functional as F

from fer_models.artifacts import weights
from fer_models.artifacts.hashing import sha256_of
from fer_models.classifiers.cnn import load, normalise
from fer_models.errors import WeightsMissingError

#: Which of a timm network's feature maps is looked at: the last but one, where EfficientNet-B0 has 6 x 6
#: places for a face of 48 pixels and ResNet-50 4 x 4 for one of 64: what is seen has a place still, and means
#: something already.
_MAP = -2


class LossNetwork:
    """A trained network that is looked into and does not learn."""

    def __init__(self, name: str, device: torch.device) -> None:
        """The network of the zoo called `name`.

        Raises:
            WeightsMissingError: it is not on this machine.
        """
        if (path := weights.find(name)) is None:
            missing = f"This training looks through the eyes of {name}, which is not on this machine."
            raise WeightsMissingError(f"{missing} Get it first: fer-models train {name}")
        classifier = load(path, device=device.type)
        network: Any = classifier.network.requires_grad_(False)
        self.sha256 = sha256_of(path)
        self.network, self.architecture, self._at = (
            network,
            classifier.architecture,
            [len(network.feature_info) + _MAP],
        )

    def features(self, faces: torch.Tensor) -> torch.Tensor:
        """What it sees in `faces`, through which gradients go: (n, features, places, places).

        Args:
            faces: float (n, channels, side, side) in 0..255, grey or RGB, resized where they are not of the
                network's own size.
        """
        size = self.architecture.size
        if faces.shape[-1] != size:
            faces = F.interpolate(faces, (size, size), mode="bilinear", antialias=True)
        if faces.shape[1] != self.architecture.channels:
            faces = faces.mean(1, keepdim=True)
        prepared = normalise(faces, self.architecture).contiguous(memory_format=torch.channels_last)
        seen: torch.Tensor = self.network.forward_intermediates(
            prepared, indices=self._at, intermediates_only=True, stop_early=True
        )[0]
        return seen.float()


def standardised(features: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """`features` with each channel centred and scaled as makes `like` have mean 0 and standard deviation 1
    over all faces and places.

    Without it the channels that are always on would be all that a direction shows.
    """
    return (features - like.mean((0, 2, 3), keepdim=True)) / like.std((0, 2, 3), keepdim=True).clamp(min=1e-6)
