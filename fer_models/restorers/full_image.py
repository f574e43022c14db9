"""Restoration of full images: faces are detected, aligned, restored, and pasted back.

The only module that imports facexlib. Detection (RetinaFace), alignment to FFHQ's five points, the mask of
the skin (ParseNet) and pasting are facexlib's, as in the authors' `GFPGANer`; it comes with the extra
`gfpgan`. Any restorer of this package can be used: a failure is an error, and not the unrestored face.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from fer_models.artifacts import download, weights
from fer_models.artifacts.hashing import sha256_of
from fer_models.errors import RestorationError, UsageError, WeightsError, WeightsMissingError
from fer_models.images import Face, resize
from fer_models.restorers.base import Restorer, restore_validated
from fer_models.third_party_code import wrap_errors

_RELEASES = "https://github.com/xinntao/facexlib/releases/download"
#: Weights of face detection and parsing: release and sha256 of each file; facexlib is MIT-licensed.
FILES = {
    "detection_Resnet50_Final.pth": (
        "v0.1.0",
        "6d1de9c2944f2ccddca5f5e010ea5ae64a39845a86311af6fdf30841b0a5a16d",
    ),
    "parsing_parsenet.pth": ("v0.2.2", "3d558d8d0e42c20224f13cf5a29c79eba2d59913419f945545d8cf7b72920de2"),
}
#: Their name for `fer-models weights fetch`.
FACE_DETECTION = "face-detection"
#: The side of an aligned face, in pixels, as GFPGAN takes it.
SIDE = 512
#: Faces with a smaller distance between the eyes, in pixels, are not restored, as in `GFPGANer`.
_MIN_EYE_DISTANCE = 5
#: The before/after image: the longest side of each half, the side of a face, the number of faces, the gap
#: and the font size, in pixels.
_HALF, _FACE, _FACES, _GAP, _FONT_SIZE = 1024, 192, 5, 8, 18


def folder() -> Path:
    """The folder of the files, in the user's weights folder."""
    return weights.user_weights_dir() / FACE_DETECTION


def fetch() -> Path:
    """Download the files, 195 MB in all. Raises as `download.fetch`."""
    for name, (release, sha256) in FILES.items():
        download.fetch(f"{_RELEASES}/{release}/{name}", folder() / name, sha256)
    return folder()


@dataclass(frozen=True)
class Restored:
    """Restored photograph and its faces.

    Attributes:
        photograph: enlarged, with its faces pasted back: uint8 RGB.
        faces: each detected face, aligned, before and after: uint8 RGB (512, 512, 3).
    """

    photograph: Face
    faces: tuple[tuple[Face, Face], ...]


class FullImageRestorer:
    """Restorer of photographs."""

    def __init__(self, restorer: Restorer, name: str, helper: Any) -> None:
        """`name` is the restorer's; `helper` is facexlib's `FaceRestoreHelper` (see `helper`)."""
        self.restorer, self.name, self.helper = restorer, name, helper

    def restore(self, photograph: Face) -> Restored:
        """Restore the faces of a photograph; it is only enlarged where no face is detected.

        Raises:
            RestorationError: the restorer, the detection of faces or the pasting failed.
        """
        helper = self.helper
        with _ignore_warnings(), wrap_errors(RestorationError, "The photograph's faces cannot be restored"):
            helper.clean_all()
            helper.read_image(np.ascontiguousarray(photograph[:, :, ::-1]))  # OpenCV counts colours from blue
            helper.get_face_landmarks_5(eye_dist_threshold=_MIN_EYE_DISTANCE)
            helper.align_warp_face()
            faces = [np.ascontiguousarray(face[:, :, ::-1]) for face in helper.cropped_faces]
            restored = restore_validated(self.restorer, self.name, faces) if faces else []
            restored = [resize(face, SIDE) for face in restored]
            for face in restored:
                helper.add_restored_face(np.ascontiguousarray(face[:, :, ::-1]))
            helper.get_inverse_affine(None)
            pasted = helper.paste_faces_to_input_image()
        return Restored(np.ascontiguousarray(pasted[:, :, ::-1]), tuple(zip(faces, restored, strict=True)))


def load_helper(upscale: float, device: Any) -> Any:
    """Load facexlib's helper with its two networks, from files that were downloaded before.

    Args:
        upscale: the factor by which the photograph is enlarged.
        device: a device of torch.

    Raises:
        UsageError: facexlib is not installed.
        WeightsMissingError: a file is not on this machine.
        WeightsError: one is not the published one.
    """
    with _ignore_warnings():
        try:
            from facexlib.utils.face_restoration_helper import FaceRestoreHelper
        except ImportError as error:
            raise UsageError(
                f"Face detection needs facexlib, which comes with GFPGAN's package ({error}): "
                "pip install 'fer-models[gfpgan]' (Python up to 3.12)."
            ) from error
        for name, (_, sha256) in FILES.items():
            path = folder() / name
            if not path.exists():
                raise WeightsMissingError(
                    f"{name}, a file of face detection, is not on this machine. "
                    f"Get it: fer-models weights fetch {FACE_DETECTION}"
                )
            if (actual := sha256_of(path)) != sha256:
                raise WeightsError(
                    f"{path} has sha256 {actual[:12]}…, the published file has {sha256[:12]}…. "
                    "Delete it and fetch it again."
                )
        # Both files exist, so facexlib downloads nothing; torch (2.6 and later) loads only tensors from them.
        return FaceRestoreHelper(
            upscale,
            face_size=SIDE,
            det_model="retinaface_resnet50",
            use_parse=True,
            device=device,
            model_rootpath=str(folder()),
        )


def before_after(photograph: Face, restored: Restored) -> Face:
    """Image of a photograph before and after, with the first of its detected faces below."""
    height, width = restored.photograph.shape[:2]
    shrink = min(1.0, _HALF / max(height, width))
    size = (max(1, round(width * shrink)), max(1, round(height * shrink)))
    halves = [
        Image.fromarray(picture).resize(size, Image.Resampling.LANCZOS)
        for picture in (photograph, restored.photograph)
    ]
    shown = restored.faces[:_FACES]
    faces = [[Image.fromarray(resize(face, _FACE)) for face in pair] for pair in shown]
    top, below = _FONT_SIZE + 2 * _GAP, len(shown) * (_FACE + _GAP)
    across = max(2 * size[0] + _GAP, 2 * _FACE + _GAP if shown else 0)
    sheet = Image.new("RGB", (across + 2 * _GAP, top + size[1] + _GAP + below), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(_FONT_SIZE)
    for column, (title, half) in enumerate(zip(("before", "after"), halves, strict=True)):
        left = _GAP + column * (size[0] + _GAP)
        draw.text((left, _GAP // 2), title, fill="black", font=font)
        sheet.paste(half, (left, top))
        for row, pair in enumerate(faces):
            sheet.paste(
                pair[column], (_GAP + column * (_FACE + _GAP), top + size[1] + _GAP + row * (_FACE + _GAP))
            )
    return np.asarray(sheet)


@contextmanager
def _ignore_warnings() -> Iterator[None]:
    """Silence the deprecation warnings of old packages, which a user cannot fix."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
