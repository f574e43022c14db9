"""Cache of texts that are slow to compute, in a folder."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from fer_models.artifacts.checksummed_files import find, locked_directory, write
from fer_models.errors import StoreError

_CONTENTS = "Facts about the faces"
_Value = TypeVar("_Value")


def cached_text(
    folder: Path, name: str, cache_key: str, make: Callable[[], str], parse: Callable[[str], _Value]
) -> _Value:
    """Parse the cached text for `name` and `cache_key`, which is made if it is missing or damaged.

    One process makes the text, the others wait. Where the folder cannot be written, each run makes it anew.

    Args:
        folder: created if it is missing; each name has its own folder in it.
        name: the kind of text.
        cache_key: all that the text depends on.
        make: returns the text.
        parse: converts the text; raises ValueError, KeyError or TypeError for an invalid one.

    """
    cache, file = folder / name, f"{hashlib.sha256(cache_key.encode()).hexdigest()[:32]}.txt"

    def parse_bytes(content: bytes) -> _Value:
        return parse(content.decode())

    value = find(cache, file, parse_bytes)
    if value is not None:
        return value
    text: str | None = None
    with suppress(StoreError), locked_directory(cache, _CONTENTS):
        # Another process may have made it meanwhile.
        value = find(cache, file, parse_bytes, remove_damaged=True)
        if value is not None:
            return value
        text = make()
        write(cache, file, text.encode(), _CONTENTS)
    return parse(make() if text is None else text)
