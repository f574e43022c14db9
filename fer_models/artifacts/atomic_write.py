"""Atomic writing of files: readers see the earlier content or the whole new one."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Yield a temporary path next to `path`, and rename the file written there to `path` at the end.

    The folder is made if it is missing. Of a link, the file that it leads to is replaced. Where the block
    raises, the temporary file is removed and `path` stays as it is.

    Raises:
        OSError: the folder cannot be made, or the file cannot be renamed.
    """
    path = Path(os.path.realpath(path))
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        yield part
        with part.open("rb+") as file:
            os.fsync(file.fileno())  # else a power failure could leave an empty file
        part.replace(path)
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)
