"""Which faces an epoch trains on: all of them, or fewer of those that are learnt already.

Half of the work of a long training goes into faces that the network has long got right. InfoBatch (Qin et al.
2024, arXiv:2303.04947) leaves a share of the faces whose last loss was under the mean out of each epoch,
another share each time, and counts those that stay for more, so that the expected gradient is that of all
faces. The last epochs see every face.
"""

from __future__ import annotations

import torch
from torch.nn import functional as F

#: The share of the epochs, at the end, that see every face (as in the paper).
WHOLE_AT_THE_END = 0.125


class InfoBatchSampler:
    """The faces of each epoch, and what is remembered of them.

    Attributes:
        losses: float32 (n,), how far each face's answer was from its target when it was last seen, in nats
            above the least possible; NaN for a face that was not seen yet.
    """

    def __init__(self, targets: torch.Tensor, label_smoothing: float, epochs: int, share: float) -> None:
        """Args:
        targets: float32 (n, 7), what each face is said to be.
        share: how many of the learnt faces an epoch leaves out, 0 (none) to below 1.
        """
        smoothed = (1 - label_smoothing) * targets + label_smoothing / targets.shape[1]
        self._least = -(smoothed * smoothed.clamp(min=1e-12).log()).sum(dim=1)
        self._share, self._last = share, round(epochs * (1 - WHOLE_AT_THE_END))
        self.losses = torch.full((len(targets),), float("nan"))

    def epoch(self, epoch: int, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        """The rows of an epoch (from 0) in random order, and how much each counts: int64 (k,), float32
        (k,).
        """
        n = len(self.losses)
        order = torch.randperm(n, generator=generator)
        if not self._share or epoch >= self._last:
            return order, torch.ones(n)
        learnt = self.losses < self.losses.nanmean()  # a face that was not seen yet is not learnt
        out = learnt & (torch.rand(n, generator=generator) < self._share)
        counts = torch.where(learnt, 1 / (1 - self._share), 1.0)
        rows = order[~out[order]]
        return rows, counts[rows]

    def learn(self, rows: torch.Tensor, losses: torch.Tensor) -> None:
        """Remember the cross-entropies (k,) of some faces."""
        self.losses[rows] = losses.detach().float().cpu() - self._least[rows]


def cross_entropies(logits: torch.Tensor, targets: torch.Tensor, label_smoothing: float) -> torch.Tensor:
    """One loss per face, in nats; float32 (k,)."""
    return F.cross_entropy(logits.float(), targets, label_smoothing=label_smoothing, reduction="none")
