"""Reference workload: a fixed computation by which times on different machines become comparable."""

from __future__ import annotations

from collections.abc import Callable

#: The size of the workload: about 0.6 GFLOP of convolution and as much of matrix product.
_CHANNELS, _SIDE, _MATRIX = 64, 64, 672


def reference_workload(device: str = "cpu") -> Callable[[], None]:
    """Return a step of one 3x3 convolution and one matrix product in float32, on fixed inputs.

    The time of a model divided by the time of this step, measured in turns, depends far less on the machine
    than either of both.

    Args:
        device: torch's name of the device.
    """
    import torch

    generator = torch.Generator().manual_seed(0)

    def random(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=generator).to(device)

    images, filters = random(2, _CHANNELS, _SIDE, _SIDE), random(_CHANNELS, _CHANNELS, 3, 3)
    left, right = random(_MATRIX, _MATRIX), random(_MATRIX, _MATRIX)

    @torch.inference_mode()
    def step() -> None:
        torch.nn.functional.conv2d(images, filters, padding=1)
        left @ right

    return step
