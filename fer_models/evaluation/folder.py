"""Folders that several processes fill: one at a time, and each file whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock

from fer_models.errors import StoreError


@contextmanager
def locked(folder: Path, what: str) -> Iterator[None]:
    """Hold a folder, made if missing: one process fills it, the others wait and then find the files there.

    Args:
        what: what is kept there, for the message.

    Raises:
        StoreError: it cannot be made, or written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / ".lock")
        lock.acquire()
    except OSError as error:
        raise _unwritable(folder, what, error) from error
    try:
        for left_over in folder.glob("*.part"):  # of a run that was killed while it wrote
            left_over.unlink(missing_ok=True)
        yield
    finally:
        lock.release()


def put(folder: Path, name: str, write: Callable[[Path], object], what: str) -> None:
    """Let `write` make a file, and give it its name in a folder once it is whole. Call it under `locked`.

    Args:
        name: relative to the folder.
        what: as in `locked`.

    Raises:
        StoreError: it cannot be written; what was kept before stays whole.
    """
    path = folder / name
    part = folder / f"{path.stem}.{os.getpid()}.part"
    try:
        path.parent.mkdir(exist_ok=True)
        write(part)
        part.replace(path)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise _unwritable(folder, what, error) from error


def _unwritable(folder: Path, what: str, error: OSError) -> StoreError:
    return StoreError(
        f"{what} cannot be kept in {folder} ({error.strerror}). What was kept before is whole; free some space or choose --store FOLDER, "
        "and run again."
    )
