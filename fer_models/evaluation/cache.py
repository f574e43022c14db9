"""Text that is slow to make, kept in a folder until what it was made of changes."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path

from filelock import FileLock


def kept(folder: Path, name: str, made_of: str, make: Callable[[], str]) -> str:
    """What `make` returns, or returned earlier for the same `name` and `made_of`; one process makes it, the others wait.

    Args:
        folder: made if it is missing.
        made_of: everything that the text depends on.
    """
    stem = f"{name}-{hashlib.sha256(made_of.encode()).hexdigest()[:32]}"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{stem}.txt"
    with FileLock(folder / f".{stem}.lock"):
        if not path.exists():
            part = folder / f"{stem}.{os.getpid()}.part"
            part.write_text(make(), encoding="utf-8")
            part.replace(path)
    return path.read_text(encoding="utf-8")
