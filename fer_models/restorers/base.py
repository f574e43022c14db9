"""Restorer interface: faces in, faces out, or an error; never the input in place of a failure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from PIL import Image

from fer_models.errors import RestorationError
from fer_models.images import Face
from fer_models.third_party_code import wrap_errors


class Restorer(Protocol):
    """Anything with a deterministic `restore`."""

    def restore(self, faces: Sequence[Face], /) -> Sequence[Face]:
        """Restore each face to uint8 RGB of any size; raise where that fails."""
        ...


class Raw:
    """No restoration: the faces as they are."""

    device = "cpu"

    def restore(self, faces: Sequence[Face], /) -> Sequence[Face]:
        """Return the same faces."""
        return faces


class Bicubic:
    """Enlargement without a model: the control for what a restoration network adds beyond size."""

    device = "cpu"

    def __init__(self, size: int = 512) -> None:
        self.size = size

    def restore(self, faces: Sequence[Face], /) -> Sequence[Face]:
        """Resize each face to `size` x `size`, by Pillow's bicubic filter."""
        return [
            np.asarray(Image.fromarray(f).resize((self.size, self.size), Image.Resampling.BICUBIC))
            for f in faces
        ]


def restore_validated(restorer: Restorer, name: str, faces: Sequence[Face]) -> list[Face]:
    """Restore faces, and check the contract of the restorer.

    Raises:
        RestorationError: it raised, or returned another number of faces or something that is not a face.
        FerModelsError: it raised an error of this package (such as a StoreError of cached faces).
    """
    with wrap_errors(RestorationError, f"Restorer {name!r} failed on a batch of {len(faces)} faces"):
        restored = list(restorer.restore(faces))
    if len(restored) != len(faces):
        raise RestorationError(
            f"Restorer {name!r} was given {len(faces)} faces and returned {len(restored)}."
        )
    for i, face in enumerate(restored):
        if not _is_face(face):
            kind = f"{face.dtype} {face.shape}" if isinstance(face, np.ndarray) else type(face).__name__
            raise RestorationError(
                f"Restorer {name!r} returned {kind} for face {i} of the batch; a face is uint8 RGB (H, W, 3)."
            )
    return restored


def _is_face(face: object) -> bool:
    if not isinstance(face, np.ndarray) or face.dtype != np.uint8:
        return False
    return face.ndim == 3 and face.shape[2] == 3 and 0 not in face.shape
