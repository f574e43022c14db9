"""Atomic writing of files: readers see the earlier content or the whole new one."""

from __future__ import annotations

import errno
import os
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from glob import escape
from pathlib import Path

#: The age in seconds from which a temporary file is that of a killed process.
_ABANDONED = 24 * 3600


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Yield a temporary path next to `path`, and rename the file written there to `path` at the end.

    The folder is made if it is missing. Of a link, the file that it leads to is replaced. Where the block
    raises, the temporary file is removed and `path` stays as it is. A killed process leaves its temporary
    file; a write of the same file a day later removes it.

    Raises:
        OSError: `path` is a device or a pipe; or the folder cannot be made, or the file cannot be renamed.
    """
    path = Path(os.path.realpath(path))
    if path.exists() and not (path.is_file() or path.is_dir()):  # a rename would replace /dev/null
        raise OSError(errno.EINVAL, "it is not a regular file", str(path))
    path.parent.mkdir(parents=True, exist_ok=True)
    # Not the number of the process: two containers that share a folder may have the same.
    part = path.with_name(f".{path.name}.{secrets.token_hex(8)}.part")
    try:
        yield part
        with part.open("rb+") as file:
            os.fsync(file.fileno())  # else a power failure could leave an empty file
        part.replace(path)
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)
        _remove_abandoned(path)


def _remove_abandoned(path: Path) -> None:
    """Remove the temporary files of killed processes that wrote this file."""
    for part in path.parent.glob(f".{escape(path.name)}.*.part"):
        with suppress(OSError):
            if time.time() - part.stat().st_mtime > _ABANDONED:
                part.unlink()
