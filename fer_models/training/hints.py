"""Hints: the middle of a transformer is led to what a trained convolutional network sees in the same face (Romero et al. 2015, arXiv:1412.6550).

One label per face does not tell a small transformer which patches belong together: on FER-2013 it answers by the frequencies of the emotions
for more than an epoch. What another network sees at each place does tell it, in as many numbers as there are places and channels.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from fer_models import weights
from fer_models.classifiers.cnn import load, normalise
from fer_models.errors import WeightsMissingError

#: Which of a timm network's feature maps is looked at: the last but one, where EfficientNet-B0 has 6 x 6 places for a face of 48 pixels.
_MAP = -2


class Hint:
    """What a network's tokens should be like, for the batch that it saw last."""

    def __init__(self, name: str, network: nn.Module, device: torch.device) -> None:
        """Lead `network`, one of timm's transformers, to what the trained network called `name` sees.

        Raises:
            WeightsMissingError: that network is not on this machine.
        """
        if (path := weights.find(name)) is None:
            raise WeightsMissingError(f"The recipe's hints come from {name}, which is not on this machine. Get it first: fer-models train {name}")
        teacher = load(path, device=device.type)
        seen_by: Any = teacher.network
        pupil: Any = network
        self._network, self._architecture, self._at = seen_by, teacher.architecture, [len(seen_by.feature_info) + _MAP]
        self._prefix, self._tokens = int(pupil.num_prefix_tokens), torch.empty(0)
        pupil.blocks[len(pupil.blocks) // 2].register_forward_hook(self._remember)

    def _remember(self, module: nn.Module, given: Any, tokens: torch.Tensor) -> None:
        self._tokens = tokens

    def loss(self, faces: torch.Tensor) -> torch.Tensor:
        """How far the tokens of the batch that went through the network last are from what the teacher sees in `faces`, the same ones: 0..2.

        The first channels of each token are compared, as directions, with the teacher's channels at its place, each of them centred and scaled.

        Args:
            faces: float (n, channels, h, w) in 0..255.
        """
        tokens, wanted = self._tokens[:, self._prefix :].float(), self._seen(faces)
        side = round(tokens.shape[1] ** 0.5)
        wanted = F.interpolate(wanted, (side, side), mode="bilinear").flatten(2).transpose(1, 2)
        wanted = (wanted - wanted.mean((0, 1))) / wanted.std((0, 1)).clamp(min=1e-6)
        return 1 - F.cosine_similarity(tokens[..., : wanted.shape[-1]], wanted, dim=-1).mean()

    @torch.no_grad()
    def _seen(self, faces: torch.Tensor) -> torch.Tensor:
        own = faces if faces.shape[1] == self._architecture.channels else faces.mean(1, keepdim=True)
        prepared = normalise(own, self._architecture)
        seen: torch.Tensor = self._network.forward_intermediates(prepared, indices=self._at, intermediates_only=True, stop_early=True)[0]
        return seen.float()
