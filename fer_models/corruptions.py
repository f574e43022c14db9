"""What befalls pictures before a model sees them: ten corruptions, five severities each, the same ones every
time.

`Corruption("gaussian-noise", 4)`, written `gaussian-noise@4`, changes a face depending on its pixels and a
seed alone: neither order nor batch matters, and the severities of one corruption share their random draws, so
they differ in strength only. A grey face stays grey.

Where Hendrycks & Dietterich (2019, arXiv:1903.12261) have the corruption, the constants are those of their
Tiny-ImageNet-C (`make_tinyimagenet_c.py`), made for pictures of 64 pixels: those of ImageNet-C, for 224
pixels, would leave nothing of a 48-pixel face. Lengths are scaled from 64 pixels to the face's shorter side,
so that a face looks equally bad at any size.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from fer_models.errors import UnknownNameError, UsageError, one_line
from fer_models.images import Face, face_hash

#: Pixel values 0..1, shape (height, width, channels), with one channel for a grey face.
Picture = NDArray[np.float64]
Rng = np.random.Generator

SEVERITIES = (1, 2, 3, 4, 5)
#: The side of the pictures that lengths in pixels are given for.
_SIDE = 64


@dataclass(frozen=True)
class Corruption:
    """One corruption at one severity: 1 to 5, or 0 for none.

    Raises:
        UnknownNameError: no corruption has this name.
        UsageError: no such severity.
    """

    name: str
    severity: int

    def __post_init__(self) -> None:
        if self.name not in _FAMILIES:
            raise UnknownNameError("corruption", self.name, _FAMILIES)
        if self.severity not in (0, *SEVERITIES):
            raise UsageError(
                f"{self.name} has the severities 1 to 5 (and 0: none), got {self.severity}. Write {self.name}@3."
            )

    @property
    def id(self) -> str:
        """As it is written: `gaussian-noise@4`."""
        return f"{self.name}@{self.severity}"

    @classmethod
    def parse(cls, text: str) -> Corruption:
        """The corruption written as `NAME@SEVERITY`.

        Raises:
            UnknownNameError, UsageError: it is none.
        """
        name, at, severity = text.partition("@")
        if not at or not (severity.isascii() and severity.isdecimal()) or len(severity) > 3:
            raise UsageError(
                f"'{one_line(text)}' is no corruption. Write NAME@SEVERITY, such as gaussian-noise@4; names: {', '.join(_FAMILIES)}."
            )
        return cls(name, int(severity))

    def apply(self, face: Face, seed: int = 0) -> Face:
        """`face` corrupted: uint8 RGB of the same size; at severity 0 the face itself."""
        if self.severity == 0:
            return face
        corrupt, strengths = _FAMILIES[self.name]
        rng = np.random.default_rng([seed, *self.name.encode(), int(face_hash(face)[:16], 16)])
        return to_face(corrupt(to_picture(face), strengths[self.severity - 1], rng))


def names() -> list[str]:
    """All corruptions, by name."""
    return list(_FAMILIES)


def to_picture(face: Face) -> Picture:
    """A face as values 0..1, with one channel if it is grey."""
    grey = bool((face[..., :1] == face).all())
    return (face[..., :1] if grey else face) / 255.0


def to_face(picture: Picture) -> Face:
    """`to_picture` undone; what is beyond black or white is cut off."""
    face = np.round(np.clip(picture, 0, 1) * 255).astype(np.uint8)
    return np.ascontiguousarray(np.broadcast_to(face, (*face.shape[:2], 3)))


# -- the corruptions: a picture, a strength (larger or smaller, as its constant is), and where to draw from
# ----------------


def gaussian_noise(picture: Picture, sigma: float, rng: Rng) -> Picture:
    """Normal noise of standard deviation `sigma` in each channel."""
    return picture + rng.normal(scale=sigma, size=picture.shape)


def shot_noise(picture: Picture, photons: float, rng: Rng) -> Picture:
    """Poisson noise, as of a sensor that counts `photons` for white."""
    return rng.poisson(picture * photons) / photons


def defocus(picture: Picture, radius: float, rng: Rng) -> Picture:
    """The blur of a lens out of focus: the mean over a disc with antialiased rim; `radius` in pixels of a
    64-pixel picture.
    """
    return _convolve(picture, _disc(radius * _scale(picture)))


def motion_blur(picture: Picture, sigma: float, rng: Rng) -> Picture:
    """The blur of a movement within 45 degrees of the horizontal: one half of a Gaussian, `sigma` in pixels
    of a 64-pixel picture.
    """
    angle, sigma = np.deg2rad(rng.uniform(-45, 45)), sigma * _scale(picture)
    steps = np.arange(int(np.ceil(4 * sigma)) + 1)  # beyond four sigmas nothing is left to see
    weights = np.exp(-(steps**2) / (2 * sigma**2))
    moved = [
        ndimage.shift(picture, (step * np.sin(angle), step * np.cos(angle), 0), order=1, mode="nearest")
        * weight
        for step, weight in zip(steps, weights, strict=True)
    ]
    return np.asarray(np.sum(moved, axis=0) / weights.sum())


def low_resolution(picture: Picture, side: float, rng: Rng) -> Picture:
    """Shrunk to a shorter side of `side` pixels by the mean over boxes, and enlarged bilinearly, as a small
    face in a large photograph is.
    """
    height, width = picture.shape[:2]
    share = min(1.0, side / min(height, width))
    small = (max(1, round(width * share)), max(1, round(height * share)))
    return resize(resize(picture, small, Image.Resampling.BOX), (width, height), Image.Resampling.BILINEAR)


def jpeg(picture: Picture, quality: float, rng: Rng) -> Picture:
    """Stored as JPEG of this quality (1 to 95), in one channel if grey, and read again."""
    packed, pixels = io.BytesIO(), np.round(np.clip(picture, 0, 1) * 255).astype(np.uint8)
    Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels).save(
        packed, "JPEG", quality=int(quality)
    )
    return np.asarray(np.asarray(Image.open(packed)).reshape(pixels.shape) / 255.0)


def low_light(picture: Picture, gamma: float, rng: Rng) -> Picture:
    """Darkened by a power of its values, with the noise of the few photons that are left."""
    return shot_noise(np.power(picture, gamma), _PHOTONS_IN_THE_DARK, rng)


def contrast(picture: Picture, share: float, rng: Rng) -> Picture:
    """Each channel drawn towards its mean: `share` of the differences stays."""
    mean = picture.mean(axis=(0, 1), keepdims=True)
    return np.asarray((picture - mean) * share + mean)


def mask(picture: Picture, top: float, rng: Rng) -> Picture:
    """A light cloth over mouth and nose, from `top` (a share of the height) down to the chin; its tone is
    drawn.
    """
    y, x = _grid(picture)
    half = 0.42 - 0.14 * np.clip((y - 0.65) / 0.3, 0, 1)  # it follows the jaw
    covered = (y >= top + 0.06 * np.abs(x - 0.5)) & (y <= 0.97) & (np.abs(x - 0.5) <= half)
    return _paint(picture, covered, rng.uniform(0.75, 0.95))


def sunglasses(picture: Picture, radius: float, rng: Rng) -> Picture:
    """Two dark lenses and a bridge over the eyes, `radius` a share of the width; their tone is drawn."""
    y, x = _grid(picture)
    lenses = np.minimum(np.abs(x - 0.31), np.abs(x - 0.69)) ** 2 + ((y - _EYES) * 1.25) ** 2 <= radius**2
    bridge = (np.abs(y - _EYES + 0.03) <= 0.02) & (np.abs(x - 0.5) <= 0.2)
    return _paint(picture, lenses | bridge, rng.uniform(0.02, 0.12))


#: What a sensor counts for white in `low_light`: the second severity of shot noise.
_PHOTONS_IN_THE_DARK = 100
#: The height of the eyes in faces cut out as in FER-2013, as a share of the picture's.
_EYES = 0.38

#: Each corruption and its strengths, by severity.
_FAMILIES: dict[
    str, tuple[Callable[[Picture, float, Rng], Picture], tuple[float, float, float, float, float]]
] = {
    # Tiny-ImageNet-C
    "gaussian-noise": (gaussian_noise, (0.04, 0.08, 0.12, 0.15, 0.18)),
    "shot-noise": (shot_noise, (250, 100, 50, 30, 15)),
    # Tiny-ImageNet-C's discs are too small to be round on whole pixels: these are, and blur as much (radius:
    # twice the deviation of theirs).
    "defocus-blur": (defocus, (1.15, 1.26, 1.63, 2.54, 3.06)),
    # Tiny-ImageNet-C's sigmas. Its radius only cuts the Gaussian off where nothing is left of it.
    "motion-blur": (motion_blur, (1.0, 1.5, 2.0, 2.5, 3.0)),
    # Tiny-ImageNet-C's `pixelate` begins at 0.9, which a face hardly shows, and keeps the pixels' edges,
    # which cameras do not. These are ImageNet-C's shares (0.6, 0.5, 0.4, 0.3 and 0.25) of 48 pixels.
    "low-resolution": (low_resolution, (29, 24, 19, 14, 12)),
    "jpeg": (jpeg, (65, 58, 50, 40, 25)),
    # The darkening of LLNet (Lore et al. 2017, arXiv:1511.03995): gamma from 2 to 5, begun a little earlier.
    "low-light": (low_light, (1.5, 2.0, 2.75, 3.75, 5.0)),
    "contrast": (contrast, (0.4, 0.3, 0.2, 0.1, 0.05)),
    # Ours: from the chin alone to all below the eyes, and from the eyes to the brows and cheeks around them.
    "mask": (mask, (0.82, 0.74, 0.66, 0.58, 0.50)),
    "sunglasses": (sunglasses, (0.08, 0.11, 0.14, 0.17, 0.20)),
}


def resize(picture: Picture, size: tuple[int, int], how: Image.Resampling) -> Picture:
    """`picture` at another (width, height), in floating point."""
    channels: Sequence[Any] = [
        np.asarray(Image.fromarray(c.astype(np.float32)).resize(size, how))
        for c in np.moveaxis(picture, 2, 0)
    ]
    return np.stack(channels, axis=2).astype(np.float64)


def _convolve(picture: Picture, kernel: NDArray[np.float64]) -> Picture:
    return np.asarray(ndimage.convolve(picture, kernel[:, :, None], mode="reflect"))


def _disc(radius: float) -> NDArray[np.float64]:
    """How much of each pixel lies within `radius` of the middle one's centre, as weights that sum to 1."""
    reach, fine = int(np.ceil(radius + 0.5)), 9  # 81 points per pixel
    line = (np.arange((2 * reach + 1) * fine) + 0.5) / fine - (reach + 0.5)
    inside = (line[:, None] ** 2 + line[None, :] ** 2 <= radius**2).astype(np.float64)
    covered = inside.reshape(2 * reach + 1, fine, 2 * reach + 1, fine).sum(axis=(1, 3))
    return np.asarray(covered / covered.sum())


def _scale(picture: Picture) -> float:
    """The factor from pixels of a 64-pixel picture to this one's."""
    height, width = picture.shape[:2]
    return float(min(height, width) / _SIDE)


def _grid(picture: Picture) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The centre of each pixel, as shares of height (n, 1) and width (1, n)."""
    height, width = picture.shape[:2]
    return ((np.arange(height) + 0.5) / height)[:, None], ((np.arange(width) + 0.5) / width)[None, :]


def _paint(picture: Picture, covered: NDArray[np.bool_], tone: float) -> Picture:
    return np.where(covered[:, :, None], tone, picture)
