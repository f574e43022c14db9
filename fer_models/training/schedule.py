"""AdamW with a short warm-up and a cosine to zero, for what is trained in minutes on features that were
computed once.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import nn


def adamw(
    parameters: Iterable[nn.Parameter], lr: float, weight_decay: float, updates: int
) -> tuple[torch.optim.AdamW, torch.optim.lr_scheduler.LambdaLR]:
    """The optimizer of all parameters that learn, and its schedule, to be moved on after each update.

    Args:
        lr: the peak, reached after 5 % of all `updates`.
    """
    optimizer = torch.optim.AdamW(
        [p for p in parameters if p.requires_grad], lr=lr, weight_decay=weight_decay, betas=(0.9, 0.98)
    )
    warm = max(1, updates // 20)
    share = lambda step: min((step + 1) / warm, 0.5 * (1 + math.cos(math.pi * min(1.0, step / updates))))  # noqa: E731 (a rate per step)
    return optimizer, torch.optim.lr_scheduler.LambdaLR(optimizer, share)
