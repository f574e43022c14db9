"""Strict JSON parsing: no duplicate keys, no NaN, no huge integers, no deep nesting."""

from __future__ import annotations

import json
import math
import os
import stat
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

from fer_models.errors import one_line

#: The largest JSON file that is read, in bytes.
LARGEST_JSON = 100_000_000
#: The longest integer in JSON, in digits: no count, version or seed has more.
_LONGEST_INTEGER = 30


def read_text(path: Path, largest: int = LARGEST_JSON) -> str:
    """Read a text file in UTF-8.

    Raises:
        OSError: it cannot be read.
        ValueError: it is no regular file (reading a pipe may block, a device may never end), is too large,
            or is not UTF-8.
    """
    status = os.stat(path)
    if not stat.S_ISREG(status.st_mode):
        raise ValueError("it is not a regular file")
    if status.st_size > largest:
        raise ValueError(f"it has {status.st_size:,} bytes, {largest:,} are allowed")
    return path.read_text(encoding="utf-8")


def parse_json(text: str | bytes) -> Any:
    """Parse untrusted JSON.

    Raises:
        ValueError: not JSON (then a `json.JSONDecodeError`), a key twice in one object, NaN, an infinite or
            too long number, or too deep nesting.
    """
    parse = partial(json.loads, parse_int=_parse_integer, parse_float=_parse_float)
    try:
        return parse(text, object_pairs_hook=_unique_keys, parse_constant=_refuse_constant)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    items = dict(pairs)
    if len(items) < len(pairs):
        (key, times), *_ = Counter(key for key, _ in pairs).most_common(1)
        raise ValueError(f"it has the key '{one_line(key, 60)}' {times} times in one object")
    return items


def _parse_integer(text: str) -> int:
    if len(text) > _LONGEST_INTEGER:
        raise ValueError(f"it holds an integer of {len(text):,} digits")
    return int(text)


def _parse_float(text: str) -> float:
    if not math.isfinite(number := float(text)):
        raise ValueError(f"it holds {one_line(text, 60)}, which is too large for a number")
    return number


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"it holds {name}, which is not JSON")
