"""Reference workload: a fixed computation by which times on different machines become comparable."""

from __future__ import annotations

from collections.abc import Callable

#: The workload is a plain network of 3x3 convolutions: their channels, where each second one halves the side,
#: and the number and the side of its images. 1.7 billion multiply-accumulates.
_CHANNELS, _IMAGES, _SIDE = (32, 64, 128, 128, 256, 256, 512, 512), 4, 96


def reference_workload(device: str = "cpu") -> Callable[[], None]:
    """Return a step of one forward pass of a fixed convolutional network in float32, with fixed weights.

    The time of a model divided by the time of this step, measured in turns, depends far less on the machine
    than either of both. A network is used, because a processor that is short of memory bandwidth or of clock
    cycles slows it as it slows the model: with one convolution and one matrix product, which fit into the
    cache, ratios of the shipped networks varied a third more from process to process.

    Args:
        device: torch's name of the device; another one, such as `server`, means the CPU.
    """
    import torch
    from torch import nn

    device = device if device in ("cuda", "mps") else "cpu"
    layers: list[nn.Module] = []
    channels = 3
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        for number, width in enumerate(_CHANNELS):
            layers += [nn.Conv2d(channels, width, 3, stride=2 - number % 2, padding=1), nn.ReLU()]
            channels = width
        images = torch.randn(_IMAGES, 3, _SIDE, _SIDE)
    network = nn.Sequential(*layers).eval().to(device).to(memory_format=torch.channels_last)
    batch = images.to(device).contiguous(memory_format=torch.channels_last)

    @torch.inference_mode()
    def step() -> None:
        network(batch)

    return step
