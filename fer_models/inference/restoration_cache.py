"""Restored faces, kept on disk by their content: a slow restorer sees each face once, whichever models,
splits and runs ask for it.

One PNG per face, named by the sha256 of the face's pixels and the checksum of the file, in a folder named by
everything that decides the restored pixels. A face is written to a temporary file and renamed, so a killed
run loses at most the few faces in flight; a lock per folder lets processes share it. A damaged file is
restored anew.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, PngImagePlugin

from fer_models.artifacts.checksummed_files import find, locked_directory, write
from fer_models.images import Face, face_hash
from fer_models.restorers.base import Restorer, restore_checked

#: How many faces are restored before they are written: what a killed run can lose. As many as a GPU is given
#: at once.
BATCH_SIZE = 16
#: What each file says of itself: whose restoration of which face it is.
_SAYS = "fer-models-restored"


class CachedRestorer:
    """A restorer that looks on disk first. It is a `Restorer` itself."""

    def __init__(
        self, root: Path, name: str, identity: Mapping[str, Any], load: Callable[[], Restorer]
    ) -> None:
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
            StoreError: a new face cannot be written. Those kept before stay whole.
        """
        hashes = [face_hash(face) for face in faces]
        kept = self._find_all(hashes)
        if missing := {h: face for h, face in zip(hashes, faces, strict=True) if h not in kept}:
            kept |= self._fill(missing)
        return [kept[h] for h in hashes]

    def _fill(self, faces: Mapping[str, Face]) -> dict[str, Face]:
        """Restore what is missing, a few faces at a time."""
        with locked_directory(self.folder, self._what):
            kept = self._find_all(
                faces, remove_damaged=True
            )  # another process may have been here while we waited
            missing = [h for h in faces if h not in kept]
            restorer = self.load() if missing else None
            for start in range(0, len(missing), BATCH_SIZE):
                some = missing[start : start + BATCH_SIZE]
                assert restorer is not None
                restored = restore_checked(restorer, self.name, [faces[h] for h in some])
                for face, pixels in zip(some, restored, strict=True):
                    self._write(face, pixels)
                    kept[face] = pixels
        return kept

    def _write(self, face: str, restored: Face) -> None:
        said, png = PngImagePlugin.PngInfo(), io.BytesIO()
        said.add_text(_SAYS, f"{self.key} {face}")
        # Level 1: the higher ones take several times as long for a few per cent.
        Image.fromarray(np.ascontiguousarray(restored)).save(png, "PNG", compress_level=1, pnginfo=said)
        write(self.folder, f"{face[:2]}/{face}.png", png.getvalue(), self._what)

    def _find_all(self, faces: Iterable[str], *, remove_damaged: bool = False) -> dict[str, Face]:
        """The restored forms of the faces with these pixel hashes, without those that are not kept, or
        damaged.
        """
        return {
            face: found
            for face in dict.fromkeys(faces)
            if (found := self._find(face, remove_damaged)) is not None
        }

    def _find(self, face: str, remove_damaged: bool) -> Face | None:

        def parse(content: bytes) -> Face:
            try:
                with Image.open(io.BytesIO(content), formats=("PNG",)) as picture:
                    picture.load()
                    said, restored = picture.info.get(_SAYS), np.array(picture)
            except SyntaxError as error:  # Pillow's word for a damaged file
                raise ValueError(str(error)) from error
            if said != f"{self.key} {face}" or restored.ndim != 3:
                raise ValueError("it holds another face, or what another restorer made of it")
            return restored

        return find(self.folder / face[:2], f"{face}.png", parse, remove_damaged=remove_damaged)
