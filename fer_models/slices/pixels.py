"""Slices from pixels: brightness, contrast, sharpness, size and colour, for datasets without metadata."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TypeAlias

import numpy as np
from scipy.ndimage import laplace

from fer_models.images import Face, grey
from fer_models.slices.columns import SliceColumn, categorical_column, numeric_column, quartiles_of

#: The properties that are numbers, and what they are.
PROPERTIES: Mapping[str, str] = {
    "brightness": "mean grey level, 0..255",
    "contrast": "standard deviation of the grey levels",
    "sharpness": "variance of the Laplacian of the grey levels",
    "size": "shorter side of the image in pixels",
}
#: Values of each face by property: those of `PROPERTIES` and `colour` (0 grey, 1 colour).
PixelValues: TypeAlias = dict[str, list[float]]
#: Quartiles by property.
Cuts: TypeAlias = dict[str, tuple[float, ...]]

#: The quartiles of the 4,200 synthetic training faces, so that no run draws them for its slices.
#: `tests/slices/test_pixels.py` compares them with the faces.
SYNTHETIC_CUTS: Mapping[str, tuple[float, ...]] = {
    "brightness": (103.9716796875, 123.53038194444444, 143.17133246527777),
    "contrast": (39.63610266332272, 47.02464644870297, 55.01648505717256),
    "sharpness": (308.8470052083333, 693.2947048611111, 1408.5425347222222),
    "size": (48.0, 48.0, 48.0),
}


def pixel_values(faces: Iterable[Face]) -> PixelValues:
    """Measure the properties of faces, uint8 RGB (H, W, 3).

    The sharpness is that of Pech-Pacheco et al. (Diatom autofocusing in brightfield microscopy, ICPR 2000):
    the variance of the 4-neighbour Laplacian. It grows with the resolution of the image.
    """
    values: PixelValues = {name: [] for name in (*PROPERTIES, "colour")}
    for face in faces:
        levels = grey(face).astype(np.float64)
        values["brightness"].append(float(levels.mean()))
        values["contrast"].append(float(levels.std()))
        values["sharpness"].append(float(laplace(levels, mode="nearest").var()))
        values["size"].append(float(min(face.shape[:2])))
        values["colour"].append(float((face != face[..., :1]).any()))
    return values


def cuts_of(values: PixelValues) -> Cuts:
    """The quartiles of each property."""
    return {name: quartiles_of(values[name]) for name in PROPERTIES}


def pixel_columns(
    values: PixelValues, cuts: Mapping[str, Sequence[float]], reference: str
) -> list[SliceColumn]:
    """The columns of faces with these values.

    Args:
        values: of each face.
        cuts: the quartiles of each property in a reference.
        reference: its name, such as `the train split`.
    """
    columns = [
        numeric_column(
            name, values[name], f"{meaning}; cut at the quartiles of {reference}", cuts[name], quartiles=True
        )
        for name, meaning in PROPERTIES.items()
    ]
    colour = ["colour" if value else "grey" for value in values["colour"]]
    return [*columns, categorical_column("colour", colour, "whether all three channels are equal")]
