"""How much arithmetic a forward pass is."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode


def macs(step: Callable[[], object]) -> int:
    """Multiply-accumulates of the matrix products and convolutions of `step`, counted by torch's own flop
    counter (2 flops each).

    Meanwhile attention is done by its plain products: the counter sees nothing of torch's fast path for
    `nn.MultiheadAttention`, and some versions nothing of the fused kernels (2.14 nothing of the CPU's).
    """
    counter, fast = FlopCounterMode(display=False), torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), counter:
            step()
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
    return counter.get_total_flops() // 2
