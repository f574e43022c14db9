"""Feature distillation: a transformer's tokens are trained to match the feature map of a trained network.

Romero et al. 2015 (arXiv:1412.6550) call such targets hints. One label per face does not tell a small
transformer
which patches belong together: on FER-2013 it predicts the frequencies of the emotions for more than an epoch.
The features of a convolutional network give it a target at each place.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import nn
from torch.nn import functional as F

from fer_models.training.perceptual_loss import LossNetwork, standardize


class FeatureDistillation:
    """Distance of a transformer's tokens from a teacher's feature map, for the latest batch."""

    def __init__(self, name: str, network: nn.Module, device: torch.device) -> None:
        """Observe the middle block of the student.

        Args:
            name: the teacher, a trained network of the zoo.
            network: the student, one of timm's transformers.
            device: the device of both.

        Raises:
            WeightsMissingError: the teacher is not on this machine.
        """
        self.teacher, student = LossNetwork(name, device), cast(Any, network)
        self._prefix, self._tokens = int(student.num_prefix_tokens), torch.empty(0)
        student.blocks[len(student.blocks) // 2].register_forward_hook(self._store_tokens)

    def _store_tokens(self, module: nn.Module, inputs: Any, tokens: torch.Tensor) -> None:
        self._tokens = tokens

    def loss(self, faces: torch.Tensor) -> torch.Tensor:
        """Mean cosine distance between the student's tokens and the teacher's features: 0..2.

        The first channels of each token are compared with the teacher's standardized channels at its place.

        Args:
            faces: float (n, channels, h, w) in 0..255: the batch that the student processed last.
        """
        tokens = self._tokens[:, self._prefix :].float()
        side = round(tokens.shape[1] ** 0.5)
        with torch.no_grad():
            target = F.interpolate(self.teacher.extract_features(faces), (side, side), mode="bilinear")
            target = standardize(target, target).flatten(2).transpose(1, 2)
        return 1 - F.cosine_similarity(tokens[..., : target.shape[-1]], target, dim=-1).mean()
