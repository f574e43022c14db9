"""What every classifier around a torch network does with it: precision, compilation, and its parameters."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager

import torch
from torch import nn

from fer_models.errors import one_line


class NotCompiledWarning(UserWarning):
    """A network could not be compiled, so it runs as it is."""


def autocast(device: torch.device, precision: str) -> AbstractContextManager[object]:
    """Compute in `bf16` or `fp16` where torch considers it safe; `float32` changes nothing."""
    dtype = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(precision)
    return contextlib.nullcontext() if dtype is None else torch.autocast(device.type, dtype)


def parameter_count(network: nn.Module) -> int:
    """Number of parameters."""
    return sum(parameter.numel() for parameter in network.parameters())


def compile_network(
    network: Callable[[torch.Tensor], torch.Tensor],
) -> Callable[[torch.Tensor], torch.Tensor]:
    """Compile a network for inference, at its first batch and for batches of that shape.

    A batch of another shape, such as the last one of a dataset, runs uncompiled: compiling once more would
    take longer. Weights are constants of the compiled code ("freezing"), so that they are laid out once. A
    network that torch.compile cannot compile runs uncompiled, with a `NotCompiledWarning`.
    """
    from torch._inductor import config  # its import takes a second

    compiled = torch.compile(network, dynamic=False)
    shape: torch.Size | None = None
    failed = False

    def forward(batch: torch.Tensor) -> torch.Tensor:
        nonlocal shape, failed
        shape = batch.shape if shape is None else shape
        if failed or batch.shape != shape:
            return network(batch)
        try:
            # As an option of torch.compile, freezing would leave out the part that a network gains most from.
            with config.patch(freezing=True):
                return compiled(batch)
        except Exception as error:  # the compiler, the C++ compiler behind it, or a network that it rejects
            failed = True
            warnings.warn(
                f"The network runs uncompiled, because torch.compile failed: {one_line(str(error), 160)}. "
                "Leave --compile out, or install a C++ compiler.",
                NotCompiledWarning,
                stacklevel=2,
            )
            return network(batch)

    return forward
