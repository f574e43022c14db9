"""File names that a person can read, and that no two contents share."""

from __future__ import annotations

import re

#: File systems allow 255 bytes; a checksum and a suffix follow.
_LONGEST = 200


def readable_name(text: str) -> str:
    """The text with `-` for what a file name should not contain."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", text)


def unique_name(text: str, key: str) -> str:
    """A readable file name, unique to `key`, a hexadecimal sha256."""
    return f"{readable_name(text)[:_LONGEST]}-{key[:16]}"
