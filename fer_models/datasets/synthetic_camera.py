"""The camera of synthetic faces: blur, noise and JPEG artefacts."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
SIZE = 48


def photograph(tones: Array, rng: np.random.RandomState) -> NDArray[np.uint8]:
    """Simulate exposure, blur, noise and JPEG: tones (48, 48) to grey uint8."""
    low, high = np.percentile(tones, [1, 99])
    tones = np.clip((tones - low) / max(high - low, 1e-6), 0.0, 1.0) ** rng.uniform(0.7, 1.45)
    black = rng.uniform(0.0, 0.22)
    picture = 255.0 * (black + tones * (rng.uniform(0.72, 1.0) - black))
    picture = _blur(picture, rng.uniform(0.25, 0.65) if rng.uniform() < 0.75 else rng.uniform(0.65, 1.25))
    picture = picture + rng.normal(0.0, 1.0, picture.shape) * rng.choice([1.5, 4.0, 9.0], p=[0.6, 0.3, 0.1])
    return _jpeg(np.clip(picture, 0.0, 255.0), rng.choice([92, 75, 50, 28], p=[0.35, 0.35, 0.2, 0.1]))


def _blur(picture: Array, sigma: float) -> Array:
    """Gaussian blur, separable, edges repeated."""
    offsets = np.arange(-4, 5)
    kernel = np.exp(-0.5 * (offsets / sigma) ** 2)
    kernel /= kernel.sum()
    for axis in (0, 1):
        padded = np.pad(picture, [(4, 4) if a == axis else (0, 0) for a in (0, 1)], mode="edge")
        windows = (np.take(padded, np.arange(SIZE) + 4 + offset, axis=axis) for offset in offsets)
        picture = sum(weight * window for weight, window in zip(kernel, windows, strict=True))
    return picture


#: The luminance table of the JPEG standard (ITU-T T.81, annex K.1).
_QUANTA = np.array([
    16, 11, 10, 16, 24, 40, 51, 61,
    12, 12, 14, 19, 26, 58, 60, 55,
    14, 13, 16, 24, 40, 57, 69, 56,
    14, 17, 22, 29, 51, 87, 80, 62,
    18, 22, 37, 56, 68, 109, 103, 77,
    24, 35, 55, 64, 81, 104, 113, 92,
    49, 64, 78, 87, 103, 121, 120, 101,
    72, 92, 95, 98, 112, 100, 103, 99,
], dtype=np.float64).reshape(8, 8)  # fmt: skip
_K = np.arange(8.0)
_COSINES = 0.5 * np.cos((2 * _K[None, :] + 1) * _K[:, None] * np.pi / 16)
_DCT = np.where(_K[:, None] == 0, np.sqrt(1 / 8), _COSINES)


def _jpeg(picture: Array, quality: int) -> NDArray[np.uint8]:
    """Quantize a grey picture as JPEG at `quality` does.

    It is computed here, because encoders differ between library versions.
    """
    scale = 5000 / quality if quality < 50 else 200 - 2 * quality
    quanta = np.clip(np.floor((_QUANTA * scale + 50) / 100), 1, 255)
    blocks = (picture - 128.0).reshape(SIZE // 8, 8, SIZE // 8, 8).transpose(0, 2, 1, 3)
    coefficients = np.round(np.einsum("ij,abjk,lk->abil", _DCT, blocks, _DCT) / quanta) * quanta
    decoded = np.einsum("ji,abjk,kl->abil", _DCT, coefficients, _DCT)
    pixels = decoded.transpose(0, 2, 1, 3).reshape(SIZE, SIZE) + 128.0
    grey: NDArray[np.uint8] = np.clip(np.round(pixels), 0, 255).astype(np.uint8)
    return grey
