"""Whole photographs: faces are found and laid straight, restored, and pasted back. The only module that
imports facexlib.

Detection (RetinaFace), alignment to FFHQ's five points, the mask of the skin (ParseNet) and pasting are
facexlib's, as in the authors' `GFPGANer`; it comes with the extra `gfpgan`. What restores is any restorer of
this package: a failure is an error, and not the face itself.
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
from fer_models.errors import UsageError, WeightsError, WeightsMissingError
from fer_models.images import Face, resize
from fer_models.restorers.base import Restorer, restore_checked

_RELEASES = "https://github.com/xinntao/facexlib/releases/download"
#: What finds faces and their skin: the release of each file, and its sha256; facexlib is MIT-licensed.
FILES = {
    "detection_Resnet50_Final.pth": (
        "v0.1.0",
        "6d1de9c2944f2ccddca5f5e010ea5ae64a39845a86311af6fdf30841b0a5a16d",
    ),
    "parsing_parsenet.pth": ("v0.2.2", "3d558d8d0e42c20224f13cf5a29c79eba2d59913419f945545d8cf7b72920de2"),
}
#: How `fer-models weights fetch` calls them.
FACE_DETECTION = "face-detection"
#: The side of a face that was laid straight, in pixels, as GFPGAN takes it.
SIDE = 512
#: Faces whose eyes are nearer to each other than this, in pixels, are left alone, as in `GFPGANer`.
_EYES = 5
#: The before/after picture: the longest side of each half, the side of a face, how many faces, the gap, and
#: the letters, in pixels.
_HALF, _FACE, _FACES, _GAP, _LETTERS = 1024, 192, 5, 8, 18


def folder() -> Path:
    """Where the files lie: a folder in the user's own weights folder."""
    return weights.user_weights_dir() / FACE_DETECTION


def fetch() -> Path:
    """Get the files from the network, 195 MB in all. Raises as `download.fetch`."""
    for name, (release, sha256) in FILES.items():
        download.fetch(f"{_RELEASES}/{release}/{name}", folder() / name, sha256)
    return folder()


@dataclass(frozen=True)
class Restored:
    """One photograph, restored.

    Attributes:
        photograph: enlarged, with its faces pasted back: uint8 RGB.
        faces: each face found, laid straight, before and after: uint8 RGB (512, 512, 3).
    """

    photograph: Face
    faces: tuple[tuple[Face, Face], ...]


class FullImageRestorer:
    """What restores photographs."""

    def __init__(self, restorer: Restorer, name: str, helper: Any) -> None:
        """Around a restorer called `name` and facexlib's `FaceRestoreHelper` (see `helper`)."""
        self.restorer, self.name, self.helper = restorer, name, helper

    def restore(self, photograph: Face) -> Restored:
        """The photograph with its faces restored; enlarged as it is where no face is found.

        Raises:
            RestorationError: the restorer could not.
        """
        helper = self.helper
        helper.clean_all()
        with _old_packages():
            helper.read_image(np.ascontiguousarray(photograph[:, :, ::-1]))  # OpenCV counts colours from blue
            helper.get_face_landmarks_5(eye_dist_threshold=_EYES)
            helper.align_warp_face()
            found = [np.ascontiguousarray(face[:, :, ::-1]) for face in helper.cropped_faces]
            restored = (
                [resize(face, SIDE) for face in restore_checked(self.restorer, self.name, found)]
                if found
                else []
            )
            for face in restored:
                helper.add_restored_face(np.ascontiguousarray(face[:, :, ::-1]))
            helper.get_inverse_affine(None)
            pasted = helper.paste_faces_to_input_image()
        return Restored(np.ascontiguousarray(pasted[:, :, ::-1]), tuple(zip(found, restored, strict=True)))


def helper(upscale: float, device: Any) -> Any:
    """facexlib's helper with its two networks, from files that were fetched before.

    Args:
        upscale: how many times larger the photograph becomes.
        device: torch's.

    Raises:
        UsageError: facexlib is not installed.
        WeightsMissingError: a file is not here.
        WeightsError: one is not the published one.
    """
    with _old_packages():
        try:
            from facexlib.utils.face_restoration_helper import FaceRestoreHelper
        except ImportError as error:
            raise UsageError(
                f"Finding faces in photographs needs facexlib, which comes with GFPGAN's package ({error}): pip install 'fer-models[gfpgan]' "
                "(Python up to 3.12)."
            ) from error
        for name, (_, sha256) in FILES.items():
            path = folder() / name
            if not path.exists():
                raise WeightsMissingError(
                    f"{name}, which finds faces, is not on this machine. Get it: fer-models weights fetch {FACE_DETECTION}"
                )
            if (found := sha256_of(path)) != sha256:
                raise WeightsError(
                    f"{path} has sha256 {found[:12]}…, the published file has {sha256[:12]}…. Delete it and fetch it again."
                )
        # Both files are there, so facexlib fetches nothing; torch (2.6 and later) reads tensors from them and
        # nothing else.
        return FaceRestoreHelper(
            upscale,
            face_size=SIDE,
            det_model="retinaface_resnet50",
            use_parse=True,
            device=device,
            model_rootpath=str(folder()),
        )


def before_after(photograph: Face, restored: Restored) -> Face:
    """One picture to look at: the photograph before and after, and below them the faces that were found, the
    first ones of many.
    """
    height, width = restored.photograph.shape[:2]
    shrink = min(1.0, _HALF / max(height, width))
    size = (max(1, round(width * shrink)), max(1, round(height * shrink)))
    halves = [
        Image.fromarray(picture).resize(size, Image.Resampling.LANCZOS)
        for picture in (photograph, restored.photograph)
    ]
    shown = restored.faces[:_FACES]
    faces = [[Image.fromarray(resize(face, _FACE)) for face in pair] for pair in shown]
    top, below = _LETTERS + 2 * _GAP, len(shown) * (_FACE + _GAP)
    across = max(2 * size[0] + _GAP, 2 * _FACE + _GAP if shown else 0)
    sheet = Image.new("RGB", (across + 2 * _GAP, top + size[1] + _GAP + below), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(_LETTERS)
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
def _old_packages() -> Iterator[None]:
    """Packages that are years old warn of what has changed since; a user can do nothing about it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
