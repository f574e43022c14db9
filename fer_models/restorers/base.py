"""What a restorer is: faces in, faces out, or an error. Never the input in place of a failure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np
from PIL import Image

from fer_models.errors import RestorationError
from fer_models.images import Face
from fer_models.third_party_code import contained


class Restorer(Protocol):
    """Anything with a deterministic `restore`."""

    def restore(self, faces: Sequence[Face], /) -> Sequence[Face]:
        """As many faces, uint8 RGB, of any size; raises where it cannot."""
        ...


class Raw:
    """No restoration: the faces as they are."""

    def restore(self, faces: Sequence[Face], /) -> Sequence[Face]:
        """The same faces."""
        return faces


class Bicubic:
    """Enlargement without a model: the control that tells what a restoration network adds beyond size."""

    def __init__(self, size: int = 512) -> None:
        self.size = size

    def restore(self, faces: Sequence[Face], /) -> Sequence[Face]:
        """Each face at `size` x `size`, by Pillow's bicubic filter."""
        return [
            np.asarray(Image.fromarray(f).resize((self.size, self.size), Image.Resampling.BICUBIC))
            for f in faces
        ]


class CorruptThenRestore:
    """A restorer that meets faces after something befell them."""

    def __init__(self, transform: Callable[[Face], Face], restorer: Restorer) -> None:
        self.transform, self.restorer = transform, restorer

    def restore(self, faces: Sequence[Face], /) -> Sequence[Face]:
        """What the restorer makes of the spoilt faces."""
        return self.restorer.restore([self.transform(face) for face in faces])


def restore_checked(restorer: Restorer, name: str, faces: Sequence[Face]) -> list[Face]:
    """`restorer.restore(faces)`, held to its contract.

    Raises:
        RestorationError: it raised, or returned another number of faces or something that is not a face.
        FerModelsError: what it raised, where that is an error of this package (a StoreError of kept faces).
    """
    with contained(RestorationError, f"Restorer {name!r} failed on a batch of {len(faces)} faces"):
        restored = list(restorer.restore(faces))
    if len(restored) != len(faces):
        raise RestorationError(
            f"Restorer {name!r} was given {len(faces)} faces and returned {len(restored)}."
        )
    for i, face in enumerate(restored):
        if (
            not isinstance(face, np.ndarray)
            or face.dtype != np.uint8
            or face.ndim != 3
            or face.shape[2] != 3
            or 0 in face.shape
        ):
            what = f"{face.dtype} {face.shape}" if isinstance(face, np.ndarray) else type(face).__name__
            raise RestorationError(
                f"Restorer {name!r} returned {what} for face {i} of the batch; a face is uint8 RGB (H, W, 3)."
            )
    return restored
