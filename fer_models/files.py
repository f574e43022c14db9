"""What a file is, by its bytes; and text and JSON from files that may hold anything."""

from __future__ import annotations

import hashlib
import json
import math
import os
import stat
import warnings
from collections import Counter
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from typing import Any, NoReturn

from fer_models.errors import DamagedFileWarning, WeightsError, one_line

_CHUNK = 2**20
_PACKAGE = Path(__file__).parent
#: Bytes from which a file's sha256 is remembered (GFPGAN's have 350 MB); smaller ones are hashed in a moment, each time.
_LARGE = 2**25


def sha256_of(path: Path) -> str:
    """The sha256 of a file's bytes; of a folder, of what its files are called and hold. A large file that did not change is read once per process.

    Raises:
        WeightsError: it cannot be read.
    """
    try:
        if path.is_dir():
            files = sorted(file for file in path.iterdir() if file.is_file() and not file.name.startswith("."))
            return hashlib.sha256("".join(f"{file.name} {sha256_of(file)}\n" for file in files).encode()).hexdigest()
        now = path.stat()
        if not stat.S_ISREG(now.st_mode):  # a pipe or a device, which may never end
            raise WeightsError(f"{path} is neither a file nor a folder. Give one of these.")
        return (_sha256 if now.st_size < _LARGE else _sha256_once)(path, now.st_size, now.st_mtime_ns)
    except OSError as error:
        raise WeightsError(f"{path} cannot be read ({error.strerror}).") from error


#: The largest JSON file that a user writes or a run keeps, in bytes.
LARGEST_JSON = 100_000_000
#: The longest integer in JSON, in digits: no count, version or seed has more.
_LONGEST_INTEGER = 30


def read_text(path: Path, largest: int = LARGEST_JSON) -> str:
    """The text of a file in UTF-8.

    Raises:
        OSError: it cannot be read.
        ValueError: it is no regular file (a pipe would wait for ever, a device never end), is too large, or is not UTF-8.
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
        ValueError: not JSON (then a `json.JSONDecodeError`), a key twice in one object, a number that is none or has no end, or too
            deeply nested.
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


@lru_cache
def package_sha256() -> str:
    """The sha256 of this package's own source code."""
    return sha256_of_sources(sorted(_PACKAGE.rglob("*.py")))


def sha256_of_sources(files: Iterable[Path]) -> str:
    """The sha256 of modules of this package: their paths and content, the same on every system."""
    digest = hashlib.sha256()
    for file in files:
        source = file.read_bytes().replace(b"\r\n", b"\n")  # as some checkouts write them
        digest.update(f"{file.relative_to(_PACKAGE).as_posix()} {hashlib.sha256(source).hexdigest()}\n".encode())
    return digest.hexdigest()


def warn_damaged(path: Path, reason: str) -> None:
    """Warn that a file of a cache is damaged and that its content is computed anew: a warning also where warnings are made errors, because
    nothing is wrong with the run.

    Args:
        reason: completes the sentence "FILE is damaged: …".
    """
    with warnings.catch_warnings():
        warnings.simplefilter("always", DamagedFileWarning)
        warnings.warn(f"{path} is damaged: {reason}. Its content is computed anew.", DamagedFileWarning, stacklevel=3)


def _sha256(path: Path, size: int, modified: int) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


_sha256_once = lru_cache(maxsize=64)(_sha256)
