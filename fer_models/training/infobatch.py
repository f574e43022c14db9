"""InfoBatch sampling: epochs without some of the faces that the network has learned already.

InfoBatch (Qin et al. 2024, arXiv:2303.04947) leaves a share of the faces whose last loss was under the mean
out of each epoch, another share each time, and gives those that stay a larger weight, so that the expected
gradient is that of all faces. The last epochs train on every face.
"""

from __future__ import annotations

import torch
from torch.nn import functional as F

#: The share of the epochs, at the end, that train on every face (as in the paper).
FINAL_EPOCHS_SHARE = 0.125


class InfoBatchSampler:
    """Selection of the faces of each epoch by their latest losses.

    Attributes:
        losses: float32 (n,), the latest cross-entropy of each face, in nats above the least possible; NaN for
            a face without one yet.
    """

    def __init__(self, targets: torch.Tensor, label_smoothing: float, epochs: int, share: float) -> None:
        """Start without losses.

        Args:
            targets: float32 (n, 7), the target probabilities of each face.
            label_smoothing: of the loss.
            epochs: the number of epochs of the run.
            share: the share of the learned faces that an epoch leaves out, 0 (none) to below 1.
        """
        smoothed = (1 - label_smoothing) * targets + label_smoothing / targets.shape[1]
        self._minimum_losses = -(smoothed * smoothed.clamp(min=1e-12).log()).sum(dim=1)
        self._share, self._first_full_epoch = share, int(epochs * (1 - FINAL_EPOCHS_SHARE))
        self.losses = torch.full((len(targets),), float("nan"))

    def select_rows(self, epoch: int, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        """The rows of an epoch (from 0) in random order and their weights: int64 (k,), float32 (k,)."""
        n = len(self.losses)
        order = torch.randperm(n, generator=generator)
        if not self._share or epoch >= self._first_full_epoch:
            return order, torch.ones(n)
        is_learned = self.losses < self.losses.nanmean()  # false for a face without a loss
        is_left_out = is_learned & (torch.rand(n, generator=generator) < self._share)
        weights = torch.where(is_learned, 1 / (1 - self._share), 1.0)
        rows = order[~is_left_out[order]]
        return rows, weights[rows]

    def record_losses(self, rows: torch.Tensor, losses: torch.Tensor) -> None:
        """Record the cross-entropies (k,) of some faces."""
        self.losses[rows] = losses.detach().float().cpu() - self._minimum_losses[rows]


def cross_entropies(logits: torch.Tensor, targets: torch.Tensor, label_smoothing: float) -> torch.Tensor:
    """One loss per face, in nats; float32 (k,)."""
    return F.cross_entropy(logits.float(), targets, label_smoothing=label_smoothing, reduction="none")
