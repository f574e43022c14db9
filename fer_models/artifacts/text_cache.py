"""Text that is slow to make, kept in a folder until what it was made of changes."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from fer_models.artifacts.checksummed_files import find, locked_directory, write

_WHAT = "What is known of the faces"
_Value = TypeVar("_Value")


def cached_text(
    folder: Path, name: str, cache_key: str, make: Callable[[], str], parse: Callable[[str], _Value]
) -> _Value:
    """What `parse` makes of the text that `make` returns, or returned earlier for the same `name` and
    `made_of`; one process makes the text, the others wait. A damaged file is made again.

    Args:
        folder: made if it is missing; each name has a folder of its own in it.
        made_of: everything that the text depends on.
        parse: raises ValueError, KeyError or TypeError for a text that `make` cannot have returned.

    Raises:
        StoreError: the text cannot be written.
    """
    own, file = folder / name, f"{hashlib.sha256(cache_key.encode()).hexdigest()[:32]}.txt"

    def parse_bytes(content: bytes) -> _Value:
        return parse(content.decode())

    value = find(own, file, parse_bytes)
    if value is None:
        with locked_directory(own, _WHAT):
            value = find(
                own, file, parse_bytes, remove_damaged=True
            )  # another process may have made it meanwhile
            if value is None:
                text = make()
                write(own, file, text.encode(), _WHAT)
                value = parse(text)
    return value
