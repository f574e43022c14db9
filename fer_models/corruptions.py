"""Image corruptions: ten kinds at five severities, seeded and deterministic.

`Corruption("gaussian-noise", 4)`, written `gaussian-noise@4`, changes a face depending on its pixels and a
seed alone: neither order nor batch matters. The severities of one corruption share their random numbers, so
they differ in strength only. A grey face stays grey.

Where Hendrycks & Dietterich (2019, arXiv:1903.12261) have the corruption, the constants are those of their
Tiny-ImageNet-C (`make_tinyimagenet_c.py`), made for images of 64 pixels: those of ImageNet-C, for 224 pixels,
would destroy a 48-pixel face. Lengths are scaled from 64 pixels to the face's shorter side, so a corruption
is equally strong at any size.

Each corruption has a version number, which is part of the keys of stored predictions (`versioned_id`). A
change of its pixels needs a higher version: `tests/test_corruptions.py` pins the distortion of each version.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fer_models.errors import UnknownNameError, UsageError, one_line
from fer_models.images import Face, face_hash

#: Pixel values 0..1, shape (height, width, channels), with one channel for a grey face.
Picture = NDArray[np.float64]
Rng = np.random.Generator

SEVERITIES = (1, 2, 3, 4, 5)
#: The side in pixels of the images that lengths are given for.
_REFERENCE_SIDE = 64


class _Kind(NamedTuple):
    """One corruption at all severities.

    Attributes:
        transform: a function of a picture, a strength and a random generator.
        strengths: one per severity.
        version: raised whenever the pixels change.
    """

    transform: Callable[[Picture, float, Rng], Picture]
    strengths: tuple[float, float, float, float, float]
    version: int = 1


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
        if self.name not in _KINDS:
            raise UnknownNameError("corruption", self.name, _KINDS)
        if self.severity not in (0, *SEVERITIES):
            allowed = "the severities 1 to 5 (and 0: none)"
            raise UsageError(f"{self.name} has {allowed}, got {self.severity}. Write {self.name}@3.")

    @property
    def id(self) -> str:
        """The corruption as users write it: `gaussian-noise@4`."""
        return f"{self.name}@{self.severity}"

    @property
    def versioned_id(self) -> str:
        """The corruption as keys of stored predictions hold it: `gaussian-noise@4 version 1`."""
        return f"{self.id} version {_KINDS[self.name].version}"

    @classmethod
    def parse(cls, text: str) -> Corruption:
        """Parse `NAME@SEVERITY`.

        Raises:
            UnknownNameError, UsageError: no such corruption or severity.
        """
        name, at, severity = text.partition("@")
        if not at or not (severity.isascii() and severity.isdecimal()) or len(severity) > 3:
            raise UsageError(
                f"'{one_line(text)}' is no corruption. Write NAME@SEVERITY, such as gaussian-noise@4; "
                f"names: {', '.join(_KINDS)}."
            )
        return cls(name, int(severity))

    def apply(self, face: Face, seed: int = 0) -> Face:
        """Corrupt `face`: uint8 RGB of the same size; at severity 0 the face itself."""
        if self.severity == 0:
            return face
        kind = _KINDS[self.name]
        rng = np.random.default_rng([seed, *self.name.encode(), int(face_hash(face)[:16], 16)])
        return to_face(kind.transform(to_picture(face), kind.strengths[self.severity - 1], rng))


def names() -> list[str]:
    """The names of all corruptions."""
    return list(_KINDS)


def to_picture(face: Face) -> Picture:
    """Convert a face to values 0..1, with one channel if it is grey."""
    grey = bool((face[..., :1] == face).all())
    return (face[..., :1] if grey else face) / 255.0


def to_face(picture: Picture) -> Face:
    """Convert a picture to a face, the inverse of `to_picture`; values outside 0..1 are clipped."""
    face = np.round(np.clip(picture, 0, 1) * 255).astype(np.uint8)
    return np.ascontiguousarray(np.broadcast_to(face, (*face.shape[:2], 3)))


# -- transforms -----------------------------------------------------------------------------------------


def gaussian_noise(picture: Picture, sigma: float, rng: Rng) -> Picture:
    """Add normal noise of standard deviation `sigma` to each channel."""
    return picture + rng.normal(scale=sigma, size=picture.shape)


def shot_noise(picture: Picture, photons: float, rng: Rng) -> Picture:
    """Add Poisson noise, as of a sensor that counts `photons` for white."""
    return rng.poisson(picture * photons) / photons


def defocus(picture: Picture, radius: float, rng: Rng) -> Picture:
    """Blur as a lens out of focus: the mean over an antialiased disc.

    `radius` is in pixels of a 64-pixel picture.
    """
    return _convolve(picture, _disc(radius * _scale(picture)))


def motion_blur(picture: Picture, sigma: float, rng: Rng) -> Picture:
    """Blur along a line within 45 degrees of the horizontal by one half of a Gaussian.

    `sigma` is in pixels of a 64-pixel picture.
    """
    from scipy import ndimage  # most commands corrupt no picture, and need not wait for the import

    angle, sigma = np.deg2rad(rng.uniform(-45, 45)), sigma * _scale(picture)
    steps = np.arange(int(np.ceil(4 * sigma)) + 1)  # weights beyond four sigmas are negligible
    weights = np.exp(-(steps**2) / (2 * sigma**2))
    direction = np.array([np.sin(angle), np.cos(angle), 0])
    shifted = [
        ndimage.shift(picture, tuple(step * direction), order=1, mode="nearest") * weight
        for step, weight in zip(steps, weights, strict=True)
    ]
    return np.asarray(np.sum(shifted, axis=0) / weights.sum())


def low_resolution(picture: Picture, side: float, rng: Rng) -> Picture:
    """Shrink to a shorter side of `side` pixels by box means, and enlarge bilinearly.

    A small face in a large photograph looks like this.
    """
    height, width = picture.shape[:2]
    factor = min(1.0, side / min(height, width))
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    small = resize(picture, size, Image.Resampling.BOX)
    return resize(small, (width, height), Image.Resampling.BILINEAR)


def jpeg(picture: Picture, quality: float, rng: Rng) -> Picture:
    """Encode as JPEG of this quality (1 to 95), in one channel if grey, and decode."""
    file, pixels = io.BytesIO(), np.round(np.clip(picture, 0, 1) * 255).astype(np.uint8)
    image = Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)
    image.save(file, "JPEG", quality=int(quality))
    return np.asarray(np.asarray(Image.open(file)).reshape(pixels.shape) / 255.0)


def low_light(picture: Picture, gamma: float, rng: Rng) -> Picture:
    """Darken by a power of the values, with the shot noise of few photons."""
    return shot_noise(np.power(picture, gamma), _LOW_LIGHT_PHOTONS, rng)


def contrast(picture: Picture, factor: float, rng: Rng) -> Picture:
    """Reduce contrast: each channel's differences from its mean are multiplied by `factor`."""
    mean = picture.mean(axis=(0, 1), keepdims=True)
    return np.asarray((picture - mean) * factor + mean)


def mask(picture: Picture, top: float, rng: Rng) -> Picture:
    """Cover mouth and nose with a light mask of random tone.

    `top` is a share of the height; the mask ends at the chin.
    """
    y, x = _grid(picture)
    half = 0.42 - 0.14 * np.clip((y - 0.65) / 0.3, 0, 1)  # narrower at the jaw
    covered = (y >= top + 0.06 * np.abs(x - 0.5)) & (y <= 0.97) & (np.abs(x - 0.5) <= half)
    return _paint(picture, covered, rng.uniform(0.75, 0.95))


def sunglasses(picture: Picture, radius: float, rng: Rng) -> Picture:
    """Cover the eyes with two dark lenses and a bridge of random tone, `radius` a share of the width."""
    y, x = _grid(picture)
    lenses = (
        np.minimum(np.abs(x - 0.31), np.abs(x - 0.69)) ** 2 + ((y - _EYE_HEIGHT) * 1.25) ** 2 <= radius**2
    )
    bridge = (np.abs(y - _EYE_HEIGHT + 0.03) <= 0.02) & (np.abs(x - 0.5) <= 0.2)
    return _paint(picture, lenses | bridge, rng.uniform(0.02, 0.12))


#: What a sensor counts for white in `low_light`: the second severity of shot noise.
_LOW_LIGHT_PHOTONS = 100
#: The height of the eyes in faces that are cropped as in FER-2013, as a share of the picture's.
_EYE_HEIGHT = 0.38

_KINDS: dict[str, _Kind] = {
    # Tiny-ImageNet-C
    "gaussian-noise": _Kind(gaussian_noise, (0.04, 0.08, 0.12, 0.15, 0.18)),
    "shot-noise": _Kind(shot_noise, (250, 100, 50, 30, 15)),
    # Tiny-ImageNet-C's discs are too small to be round on full pixels. These are antialiased and blur as much
    # (radius: twice the standard deviation of theirs).
    "defocus-blur": _Kind(defocus, (1.15, 1.26, 1.63, 2.54, 3.06)),
    # Tiny-ImageNet-C's sigmas. Its radius only cuts the Gaussian off where it is negligible.
    "motion-blur": _Kind(motion_blur, (1.0, 1.5, 2.0, 2.5, 3.0)),
    # Tiny-ImageNet-C's `pixelate` begins at 0.9, which hardly changes a face, and keeps the edges of pixels,
    # which cameras do not. These are ImageNet-C's shares (0.6, 0.5, 0.4, 0.3 and 0.25) of 48 pixels.
    "low-resolution": _Kind(low_resolution, (29, 24, 19, 14, 12)),
    "jpeg": _Kind(jpeg, (65, 58, 50, 40, 25)),
    # The darkening of LLNet (Lore et al. 2017, arXiv:1511.03995): gamma from 2 to 5, begun a little earlier.
    "low-light": _Kind(low_light, (1.5, 2.0, 2.75, 3.75, 5.0)),
    "contrast": _Kind(contrast, (0.4, 0.3, 0.2, 0.1, 0.05)),
    # Our own: from the chin alone to all below the eyes; from the eyes to the brows and cheeks.
    "mask": _Kind(mask, (0.82, 0.74, 0.66, 0.58, 0.50)),
    "sunglasses": _Kind(sunglasses, (0.08, 0.11, 0.14, 0.17, 0.20)),
}


def resize(picture: Picture, size: tuple[int, int], filter_: Image.Resampling) -> Picture:
    """Resize `picture` to another (width, height), in floating point."""
    images = (Image.fromarray(channel.astype(np.float32)) for channel in np.moveaxis(picture, 2, 0))
    channels: Sequence[Any] = [np.asarray(image.resize(size, filter_)) for image in images]
    return np.stack(channels, axis=2).astype(np.float64)


def _convolve(picture: Picture, kernel: NDArray[np.float64]) -> Picture:
    from scipy import ndimage  # most commands corrupt no picture, and need not wait for the import

    return np.asarray(ndimage.convolve(picture, kernel[:, :, None], mode="reflect"))


def _disc(radius: float) -> NDArray[np.float64]:
    """Antialiased disc as a kernel: the share of each pixel within `radius` of the centre, of sum 1."""
    reach, fine = int(np.ceil(radius + 0.5)), 9  # 81 points per pixel
    line = (np.arange((2 * reach + 1) * fine) + 0.5) / fine - (reach + 0.5)
    inside = (line[:, None] ** 2 + line[None, :] ** 2 <= radius**2).astype(np.float64)
    covered = inside.reshape(2 * reach + 1, fine, 2 * reach + 1, fine).sum(axis=(1, 3))
    return np.asarray(covered / covered.sum())


def _scale(picture: Picture) -> float:
    """Scale factor from pixels of a 64-pixel picture to those of this one."""
    height, width = picture.shape[:2]
    return float(min(height, width) / _REFERENCE_SIDE)


def _grid(picture: Picture) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Pixel centres as shares of the height, shape (height, 1), and of the width, shape (1, width)."""
    height, width = picture.shape[:2]
    return ((np.arange(height) + 0.5) / height)[:, None], ((np.arange(width) + 0.5) / width)[None, :]


def _paint(picture: Picture, covered: NDArray[np.bool_], tone: float) -> Picture:
    return np.where(covered[:, :, None], tone, picture)
