"""Restored faces, kept on disk by their content: a slow restorer sees each face once, whichever models, splits and runs ask for it.

One PNG per face, named by the sha256 of the face's pixels, in a folder named by everything that decides the restored pixels. A face
is written to a temporary file and renamed, so a killed run loses at most the few faces in flight; a lock per folder lets processes share it.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, PngImagePlugin

from fer_models.errors import StoreError
from fer_models.evaluation.folder import locked, put
from fer_models.images import Face, face_hash
from fer_models.restorers.base import Restorer, restore_checked

#: How many faces are restored before they are written: what a killed run can lose. As many as a GPU is given at once.
AT_ONCE = 16
#: What each file says of itself: whose restoration of which face it is.
_SAYS = "fer-models-restored"


class Kept:
    """A restorer that looks on disk first. It is a `Restorer` itself."""

    def __init__(self, root: Path, name: str, identity: Mapping[str, Any], load: Callable[[], Restorer]) -> None:
        """Keep faces under `root`.

        Args:
            name: the restorer's, for messages and the folder.
            identity: what decides the restored pixels (weights, settings, precision), as JSON.
            load: makes the restorer; called only when a face is not kept yet.
        """
        self.name, self.load = name, load
        self.key = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()
        self._what = f"Faces restored by {name}"
        self.folder = root / f"{re.sub(r'[^A-Za-z0-9._-]+', '-', name)}-{self.key[:16]}"

    def restore(self, faces: Sequence[Face], /) -> list[Face]:
        """The restored faces: read where they are kept, restored and kept where not.

        Raises:
            RestorationError: the restorer could not.
            StoreError: a kept face is corrupt, or a new one cannot be written. Those kept before stay whole.
        """
        hashes = [face_hash(face) for face in faces]
        if any(not self.path(h).exists() for h in hashes):
            self._fill(dict(zip(hashes, faces, strict=True)))
        return [self._read(h) for h in hashes]

    def path(self, face: str) -> Path:
        """Where the restored form of the face with this pixel hash is kept."""
        return self.folder / face[:2] / f"{face}.png"

    def _fill(self, faces: Mapping[str, Face]) -> None:
        """Restore what is missing, a few faces at a time."""
        with locked(self.folder, self._what):
            missing = [h for h in faces if not self.path(h).exists()]  # another process may have been here while we waited
            restorer = self.load() if missing else None
            for start in range(0, len(missing), AT_ONCE):
                some = missing[start : start + AT_ONCE]
                assert restorer is not None
                restored = restore_checked(restorer, self.name, [faces[h] for h in some])
                for face, pixels in zip(some, restored, strict=True):
                    self._write(face, pixels)

    def _write(self, face: str, restored: Face) -> None:
        said, png = PngImagePlugin.PngInfo(), io.BytesIO()
        said.add_text(_SAYS, f"{self.key} {face}")
        # Level 1: the higher ones take several times as long for a few per cent.
        Image.fromarray(np.ascontiguousarray(restored)).save(png, "PNG", compress_level=1, pnginfo=said)
        put(self.folder, str(self.path(face).relative_to(self.folder)), lambda part: part.write_bytes(png.getvalue()), self._what)

    def _read(self, face: str) -> Face:
        path = self.path(face)
        try:
            with Image.open(path, formats=("PNG",)) as picture:
                picture.load()
                said, restored = picture.info.get(_SAYS), np.asarray(picture)
        except (OSError, SyntaxError, ValueError) as error:
            raise StoreError(f"{path} is no sound picture ({error}). Delete it and run again: only this face is restored anew.") from error
        if said != f"{self.key} {face}":
            raise StoreError(f"{path} holds another face, or what another restorer made of it. Delete it and run again.")
        return restored
