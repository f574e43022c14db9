"""Pixels of a dataset in a temporary file, so that a dataset may be larger than the memory."""

from __future__ import annotations

import os
import tempfile
import weakref
from threading import Lock

import numpy as np
from numpy.typing import NDArray

from fer_models.errors import DatasetError


class PixelFile:
    """Grey images of one size in a temporary file without a name, which ends with this object.

    Any image is read in the same short time, so faces can be predicted in another order than that of their
    source. The system keeps in memory what it has room for.
    """

    def __init__(self, height: int, width: int) -> None:
        """An empty file in the system's temporary folder (`TMPDIR`).

        Raises:
            DatasetError: it cannot be created.
        """
        self._shape, self._n, self._lock = (height, width), 0, Lock()
        try:
            self._file = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115 - it is closed with this object
        except OSError as error:
            raise _write_error(error) from error
        weakref.finalize(self, self._file.close)

    def __len__(self) -> int:
        return self._n

    def add(self, pixels: bytes) -> None:
        """Append one image.

        Raises:
            DatasetError: the temporary folder is full.
        """
        try:
            with self._lock:
                self._file.seek(self._n * len(pixels))
                written = self._file.write(pixels)
        except OSError as error:
            raise _write_error(error) from error
        if written != len(pixels):
            raise _write_error(OSError(0, "No space left on device"))
        self._n += 1

    def __getitem__(self, index: int) -> NDArray[np.uint8]:
        """Read image `index`, read-only (height, width)."""
        if not 0 <= index < self._n:
            raise IndexError(index)
        size = self._shape[0] * self._shape[1]
        return np.frombuffer(self._read(index * size, size), dtype=np.uint8).reshape(self._shape)

    def _read(self, start: int, size: int) -> bytes:
        if hasattr(os, "pread"):  # also right in a forked process, which shares the position of the file
            return os.pread(self._file.fileno(), size, start)
        with self._lock:
            self._file.seek(start)
            return self._file.read(size)


def _write_error(error: OSError) -> DatasetError:
    return DatasetError(
        f"The pixels of the dataset cannot be written to the temporary folder {tempfile.gettempdir()} "
        f"({error.strerror}). Free some space, or choose another folder: TMPDIR=FOLDER."
    )
