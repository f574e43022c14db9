"""Strict JSON: no duplicate keys, no NaN, no huge integers, no deep nesting."""

from __future__ import annotations

import json
import math
import os
import stat
from collections import Counter
from pathlib import Path
from typing import Any, NoReturn

from fer_models.errors import one_line

#: The largest JSON file that a user writes or a run keeps, in bytes.
LARGEST_JSON = 100_000_000
#: The longest integer in JSON, in digits: no count, version or seed has more.
_LONGEST_INTEGER = 30


def read_text(path: Path, largest: int = LARGEST_JSON) -> str:
    """The text of a file in UTF-8.

    Raises:
        OSError: it cannot be read.
        ValueError: it is no regular file (a pipe would wait for ever, a device never end), is too large, or
            is not UTF-8.
    """
    size = os.stat(path)
    if not stat.S_ISREG(size.st_mode):
        raise ValueError("it is not a regular file")
    if size.st_size > largest:
        raise ValueError(f"it has {size.st_size:,} bytes, {largest:,} are allowed")
    return path.read_text(encoding="utf-8")


def parse_json(text: str | bytes) -> Any:
    """What a JSON text holds, which may come from anybody.

    Raises:
        ValueError: not JSON (then a `json.JSONDecodeError`), a key twice in one object, a number that is none
            or has no end, or too deeply nested.
    """
    try:
        return json.loads(
            text, object_pairs_hook=_object, parse_int=_integer, parse_float=_float, parse_constant=_constant
        )
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        (key, times), *_ = Counter(key for key, _ in pairs).most_common(1)
        raise ValueError(f"it has the key '{one_line(key, 60)}' {times} times in one object")
    return found


def _integer(text: str) -> int:
    if len(text) > _LONGEST_INTEGER:
        raise ValueError(f"it holds an integer of {len(text):,} digits")
    return int(text)


def _float(text: str) -> float:
    if not math.isfinite(number := float(text)):
        raise ValueError(f"it holds {one_line(text, 60)}, which is too large for a number")
    return number


def _constant(name: str) -> NoReturn:
    raise ValueError(f"it holds {name}, which is not JSON")
