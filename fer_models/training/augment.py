"""Augmentation of whole batches on any device: one affine resampling does flip, rotation, scale, shift and
resize.
"""

from __future__ import annotations

import math

import torch
from torch.nn import functional as F

from fer_models.training.recipes import Augmentation


def augment(faces: torch.Tensor, size: int, how: Augmentation, seed: int) -> torch.Tensor:
    """Randomly changed copies of `faces` at another size.

    Args:
        faces: uint8 (n, channels, h, w).
        size: the side of the result.
        seed: decides everything random, so that a resumed run sees what an uninterrupted one would.

    Returns:
        float32 (n, channels, size, size), nominally 0..255, on the device of `faces`.
    """
    n, device = len(faces), faces.device
    generator = torch.Generator().manual_seed(seed)

    def draw(low: float, high: float) -> torch.Tensor:
        return torch.empty(n).uniform_(low, high, generator=generator).to(device)

    angle = draw(-how.rotate, how.rotate) * (math.pi / 180)
    zoom = 1 + draw(-how.scale, how.scale)
    flip = 1 - 2 * (draw(0, 1) < how.mirror).float()
    matrix = torch.zeros(n, 2, 3, device=device)
    matrix[:, 0, 0], matrix[:, 0, 1] = flip * torch.cos(angle) * zoom, -torch.sin(angle) * zoom
    matrix[:, 1, 0], matrix[:, 1, 1] = flip * torch.sin(angle) * zoom, torch.cos(angle) * zoom
    matrix[:, 0, 2], matrix[:, 1, 2] = 2 * draw(-how.shift, how.shift), 2 * draw(-how.shift, how.shift)
    grid = F.affine_grid(matrix, [n, faces.shape[1], size, size], align_corners=False)
    out = F.grid_sample(faces.float(), grid, mode="bilinear", padding_mode="reflection", align_corners=False)
    contrast, brightness = (
        1 + draw(-how.contrast, how.contrast),
        255 * draw(-how.brightness, how.brightness) * 0.5,
    )
    mean = out.mean(dim=(1, 2, 3))
    out = (out - mean[:, None, None, None]) * contrast[:, None, None, None] + (mean + brightness)[
        :, None, None, None
    ]
    return _erase(
        out, draw(0, 1) < how.erase, draw(0.02, 0.2), draw(-1, 1), draw(0, 1), draw(0, 1), draw(0, 255)
    ).clamp_(0, 255)


def _erase(
    faces: torch.Tensor,
    chosen: torch.Tensor,
    area: torch.Tensor,
    ratio: torch.Tensor,
    x: torch.Tensor,
    y: torch.Tensor,
    tone: torch.Tensor,
) -> torch.Tensor:
    """Random erasing (Zhong et al. 2017, arXiv:1708.04896): one rectangle of one tone per chosen face, aspect
    1:3 to 3:1.
    """
    size = faces.shape[-1]
    aspect = torch.exp(ratio * math.log(3))
    height, width = (
        torch.sqrt(area * aspect).clamp(max=1) * size,
        torch.sqrt(area / aspect).clamp(max=1) * size,
    )
    top, left = (size - height) * y, (size - width) * x
    line = torch.arange(size, device=faces.device)
    rows = (line >= top[:, None]) & (line < (top + height)[:, None])
    columns = (line >= left[:, None]) & (line < (left + width)[:, None])
    hole = (rows[:, :, None] & columns[:, None, :] & chosen[:, None, None])[:, None]
    return torch.where(hole, tone[:, None, None, None], faces)
