"""Multiply-accumulate operations of a forward pass."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode


def macs(step: Callable[[], object]) -> int:
    """Multiply-accumulates of the matrix products and convolutions of `step`.

    torch's flop counter counts them (2 flops each). Attention is computed by its plain products meanwhile:
    the counter misses torch's fast path for `nn.MultiheadAttention`, and in some versions the fused kernels
    (2.14: those of the CPU).
    """
    counter, fast = FlopCounterMode(display=False), torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), counter:
            step()
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
    return counter.get_total_flops() // 2
