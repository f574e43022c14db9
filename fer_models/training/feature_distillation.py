"""Hints: the middle of a transformer is led to what a trained convolutional network sees in the same face
(Romero et al. 2015, arXiv:1412.6550).

One label per face does not tell a small transformer which patches belong together: on FER-2013 it answers by
the frequencies of the emotions for more than an epoch. What another network sees at each place does tell it,
in as many numbers as there are places and channels.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import nn
from torch.nn import functional as F

from fer_models.training.perceptual_loss import LossNetwork, standardised


class FeatureDistillation:
    """What a network's tokens should be like, for the batch that it saw last."""

    def __init__(self, name: str, network: nn.Module, device: torch.device) -> None:
        """Lead `network`, one of timm's transformers, to what the trained network called `name` sees.

        Raises:
            WeightsMissingError: that network is not on this machine.
        """
        self.teacher, pupil = LossNetwork(name, device), cast(Any, network)
        self._prefix, self._tokens = int(pupil.num_prefix_tokens), torch.empty(0)
        pupil.blocks[len(pupil.blocks) // 2].register_forward_hook(self._remember)

    def _remember(self, module: nn.Module, given: Any, tokens: torch.Tensor) -> None:
        self._tokens = tokens

    def loss(self, faces: torch.Tensor) -> torch.Tensor:
        """How far the tokens of the batch that went through the network last are from what the teacher sees
        in `faces`, the same ones: 0..2.

        The first channels of each token are compared, as directions, with the teacher's channels at its
        place, each of them centred and scaled.

        Args:
            faces: float (n, channels, h, w) in 0..255.
        """
        tokens = self._tokens[:, self._prefix :].float()
        side = round(tokens.shape[1] ** 0.5)
        with torch.no_grad():
            wanted = F.interpolate(self.teacher.features(faces), (side, side), mode="bilinear")
            wanted = standardised(wanted, wanted).flatten(2).transpose(1, 2)
        return 1 - F.cosine_similarity(tokens[..., : wanted.shape[-1]], wanted, dim=-1).mean()
