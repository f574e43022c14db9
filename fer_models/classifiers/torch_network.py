"""What every classifier around a torch network does with it: precision, and the number of parameters."""

from __future__ import annotations

import contextlib
from contextlib import AbstractContextManager

import torch
from torch import nn


def autocast(device: torch.device, precision: str) -> AbstractContextManager[object]:
    """Compute in `bf16` or `fp16` where torch considers it safe; `float32` changes nothing."""
    dtype = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(precision)
    return contextlib.nullcontext() if dtype is None else torch.autocast(device.type, dtype)


def parameter_count(network: nn.Module) -> int:
    """Number of parameters."""
    return sum(parameter.numel() for parameter in network.parameters())
