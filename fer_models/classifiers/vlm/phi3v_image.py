"""Image preprocessing of Phi-3.5-vision: a resized view of the complete image, and square crops of it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch.nn import functional as F

from fer_models.images import Face

#: Mean and standard deviation of the pixels that CLIP was trained on (Radford et al. 2021).
_MEAN, _STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)


@dataclass(frozen=True)
class Views:
    """Input of the image encoder for one image.

    Attributes:
        pixels: float32 (1 + down * across, 3, side, side), normalised: the complete image, then its crops
            row by row. A single crop is the complete image, and is held once.
        down, across: the numbers of crops.
    """

    pixels: torch.Tensor
    down: int
    across: int

    def tokens(self, patches: int) -> int:
        """Number of tokens, where a view has `patches` x `patches` patches.

        Two by two patches are one token, and each row ends with another token.
        """
        side = patches // 2
        return (self.down * self.across + 1) * side * side + 1 + (self.down + 1) * side


def hd_transform(face: Face, num_crops: int, side: int) -> Views:
    """Enlarge an image until at most `num_crops` squares of `side` pixels cover it; pad it with white.

    As in the original: Pillow's bilinear filter for the enlargement, torch's bicubic filter for the view of
    the complete image.
    """
    is_tall = face.shape[0] > face.shape[1]
    enlarged = _enlarge(face.transpose(1, 0, 2) if is_tall else face, num_crops, side)
    image = enlarged.transpose(1, 0, 2) if is_tall else enlarged
    pixels = torch.from_numpy(image.transpose(2, 0, 1).copy()).float() / 255.0
    pixels = (pixels - torch.tensor(_MEAN)[:, None, None]) / torch.tensor(_STD)[:, None, None]
    down, across = image.shape[0] // side, image.shape[1] // side
    crops = pixels.reshape(3, down, side, across, side).permute(1, 3, 0, 2, 4).reshape(-1, 3, side, side)
    if len(crops) == 1:
        return Views(crops, 1, 1)
    resized = F.interpolate(pixels[None], size=(side, side), mode="bicubic")
    return Views(torch.cat([resized, crops]), down, across)


def _enlarge(wide: NDArray[np.uint8], num_crops: int, side: int) -> NDArray[np.uint8]:
    """An image at least as wide as high, at a multiple of `side` in both directions."""
    ratio, scale = wide.shape[1] / wide.shape[0], 1
    while (scale + 1) * math.ceil((scale + 1) / ratio) <= num_crops:
        scale += 1
    width = scale * side
    height = max(1, int(width / ratio))
    resized = np.asarray(Image.fromarray(wide).resize((width, height), Image.Resampling.BILINEAR))
    padding = -height % side
    return np.pad(resized, ((padding // 2, padding - padding // 2), (0, 0), (0, 0)), constant_values=255)
