"""Restoration cache: a slow restorer restores each face once for all models, splits and runs.

One PNG per face, named by the sha256 of the face's pixels and the checksum of the file, in a folder named by
everything that decides the restored pixels. A face is written to a temporary file and renamed, so a killed
run loses at most the few faces in flight; a lock per folder lets processes share it. A damaged file is
restored anew.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, PngImagePlugin

from fer_models.artifacts.checksummed_files import find, locked_directory, write
from fer_models.artifacts.file_names import unique_name
from fer_models.images import Face, face_hash
from fer_models.restorers.base import Restorer, restore_validated

#: Faces that are restored before they are written: what a killed run can lose, and one batch of a GPU.
BATCH_SIZE = 16
#: Metadata field of each PNG: the key of the folder and the hash of the face.
_METADATA = "fer-models-restored"


class CachedRestorer:
    """A restorer with a cache on disk. It is a `Restorer` itself."""

    def __init__(
        self, root: Path, name: str, identity: Mapping[str, Any], load: Callable[[], Restorer]
    ) -> None:
        """Cache restored faces in a folder.

        Args:
            root: its parent.
            name: the restorer's, for messages and the folder.
            identity: everything that decides the restored pixels (weights, settings, precision), as JSON.
            load: loads the restorer; called only if a face is missing.
        """
        self.name, self.load = name, load
        self.key = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()
        self._what = f"Faces restored by {name}"
        self.folder = root / unique_name(name, self.key)

    def restore(self, faces: Sequence[Face], /) -> list[Face]:
        """The restored faces, read from the cache or restored now.

        Raises:
            RestorationError: the restorer failed.
            StoreError: a new face cannot be written. Those written before stay.
        """
        hashes = [face_hash(face) for face in faces]
        cached = self._find_all(hashes)
        if missing := {h: face for h, face in zip(hashes, faces, strict=True) if h not in cached}:
            cached |= self._fill(missing)
        return [cached[h] for h in hashes]

    def _fill(self, faces: Mapping[str, Face]) -> dict[str, Face]:
        """Restore missing faces, a few at a time."""
        with locked_directory(self.folder, self._what):
            cached = self._find_all(faces, remove_damaged=True)  # another process may have written some
            missing = [h for h in faces if h not in cached]
            restorer = self.load() if missing else None
            for start in range(0, len(missing), BATCH_SIZE):
                batch = missing[start : start + BATCH_SIZE]
                assert restorer is not None
                restored = restore_validated(restorer, self.name, [faces[h] for h in batch])
                for face, pixels in zip(batch, restored, strict=True):
                    self._write(face, pixels)
                    cached[face] = pixels.copy()  # a restorer may use its array again
        return cached

    def _write(self, face: str, restored: Face) -> None:
        metadata, png = PngImagePlugin.PngInfo(), io.BytesIO()
        metadata.add_text(_METADATA, f"{self.key} {face}")
        # Level 1: higher ones take several times as long and save a few per cent.
        Image.fromarray(np.ascontiguousarray(restored)).save(png, "PNG", compress_level=1, pnginfo=metadata)
        write(self.folder, f"{face[:2]}/{face}.png", png.getvalue(), self._what)

    def _find_all(self, faces: Iterable[str], *, remove_damaged: bool = False) -> dict[str, Face]:
        """The cached faces by pixel hash, without missing and damaged ones."""
        return {
            face: restored
            for face in dict.fromkeys(faces)
            if (restored := self._find(face, remove_damaged)) is not None
        }

    def _find(self, face: str, remove_damaged: bool) -> Face | None:
        """One cached face, or None."""

        def parse(content: bytes) -> Face:
            try:
                with Image.open(io.BytesIO(content), formats=("PNG",)) as picture:
                    picture.load()
                    metadata, restored = picture.info.get(_METADATA), np.array(picture)
            except SyntaxError as error:  # Pillow raises it for a damaged file
                raise ValueError(str(error)) from error
            if metadata != f"{self.key} {face}" or restored.ndim != 3:
                raise ValueError("it holds another face, or what another restorer made of it")
            return restored

        return find(self.folder / face[:2], f"{face}.png", parse, remove_damaged=remove_damaged)
