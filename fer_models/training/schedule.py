"""AdamW and the learning rate schedule: a linear warm-up, then a cosine to zero."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import nn


def build_adamw(
    parameters: Iterable[nn.Parameter], lr: float, weight_decay: float, beta2: float
) -> torch.optim.AdamW:
    """AdamW over all parameters that are not frozen.

    Args:
        parameters: of the network; frozen ones are left out.
        lr: the peak learning rate.
        weight_decay: the decoupled weight decay.
        beta2: the decay of the mean of squared gradients; that of the mean of gradients is 0.9.
    """
    trainable = [parameter for parameter in parameters if parameter.requires_grad]
    return torch.optim.AdamW(trainable, lr=lr, weight_decay=weight_decay, betas=(0.9, beta2))


def warmup_cosine(update: int, updates: int, warmup: float) -> float:
    """Learning rate of an update as a fraction of the peak.

    Args:
        update: its number, from 0.
        updates: the number of updates of the run.
        warmup: the number of updates until the peak.
    """
    return min((update + 1) / warmup, 0.5 * (1 + math.cos(math.pi * (update / updates))))
