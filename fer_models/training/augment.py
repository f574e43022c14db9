"""Augmentation of a batch on any device: one affine resampling flips, rotates, scales, shifts and resizes."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch.nn import functional as F

from fer_models.training.recipes import NO_AUGMENTATION, Augmentation


class _Rectangles(NamedTuple):
    """Erased rectangles, one per face: each field has shape (n,)."""

    area: torch.Tensor  # as a share of the face's
    log_aspect: torch.Tensor  # logarithm to base 3 of height / width
    x: torch.Tensor  # position, 0..1
    y: torch.Tensor
    tone: torch.Tensor  # 0..255


def augment(faces: torch.Tensor, size: int, augmentation: Augmentation, seed: int) -> torch.Tensor:
    """Augmented copies of `faces` at another size.

    Args:
        faces: uint8 (n, channels, h, w).
        size: the side of the result.
        augmentation: probabilities and strengths.
        seed: decides everything random, so that a resumed run gets the faces of an undisturbed one.

    Returns:
        float32 (n, channels, size, size), nominally 0..255, on the device of `faces`.
    """
    n, device = len(faces), faces.device
    if augmentation == NO_AUGMENTATION and faces.shape[2:] == (size, size):
        return faces.float()  # resampling would change nothing, and take time
    generator = torch.Generator().manual_seed(seed)

    def draw(low: float, high: float) -> torch.Tensor:
        return torch.empty(n).uniform_(low, high, generator=generator).to(device)

    angle = draw(-augmentation.rotate, augmentation.rotate) * (math.pi / 180)
    zoom = 1 + draw(-augmentation.scale, augmentation.scale)
    flip = 1 - 2 * (draw(0, 1) < augmentation.mirror).float()
    shift = augmentation.shift
    matrix = torch.zeros(n, 2, 3, device=device)
    matrix[:, 0, 0], matrix[:, 0, 1] = flip * torch.cos(angle) * zoom, -torch.sin(angle) * zoom
    matrix[:, 1, 0], matrix[:, 1, 1] = flip * torch.sin(angle) * zoom, torch.cos(angle) * zoom
    matrix[:, 0, 2], matrix[:, 1, 2] = 2 * draw(-shift, shift), 2 * draw(-shift, shift)
    grid = F.affine_grid(matrix, [n, faces.shape[1], size, size], align_corners=False)
    out = F.grid_sample(faces.float(), grid, mode="bilinear", padding_mode="reflection", align_corners=False)
    contrast = 1 + draw(-augmentation.contrast, augmentation.contrast)
    brightness = 255 * draw(-augmentation.brightness, augmentation.brightness) * 0.5
    mean = out.mean(dim=(1, 2, 3))
    level = (mean + brightness)[:, None, None, None]
    out = (out - mean[:, None, None, None]) * contrast[:, None, None, None] + level
    is_erased = draw(0, 1) < augmentation.erase
    rectangles = _Rectangles(draw(0.02, 0.2), draw(-1, 1), draw(0, 1), draw(0, 1), draw(0, 255))
    return _erase(out, is_erased, rectangles).clamp_(0, 255)


def _erase(faces: torch.Tensor, is_erased: torch.Tensor, rectangles: _Rectangles) -> torch.Tensor:
    """Random erasing (Zhong et al. 2017, arXiv:1708.04896): one rectangle of one tone, aspect 1:3 to 3:1."""
    size = faces.shape[-1]
    aspect = torch.exp(rectangles.log_aspect * math.log(3))
    height = torch.sqrt(rectangles.area * aspect).clamp(max=1) * size
    width = torch.sqrt(rectangles.area / aspect).clamp(max=1) * size
    top, left = (size - height) * rectangles.y, (size - width) * rectangles.x
    line = torch.arange(size, device=faces.device)
    rows = (line >= top[:, None]) & (line < (top + height)[:, None])
    columns = (line >= left[:, None]) & (line < (left + width)[:, None])
    hole = (rows[:, :, None] & columns[:, None, :] & is_erased[:, None, None])[:, None]
    return torch.where(hole, rectangles.tone[:, None, None, None], faces)
