"""Hashes of files and of the package's source code, and the warning for damaged cache files."""

from __future__ import annotations

import hashlib
import stat
import warnings
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path

from fer_models.errors import DamagedFileWarning, WeightsError

_CHUNK = 2**20
#: The folder of this package.
PACKAGE = Path(__file__).parents[1]
#: The size in bytes from which the sha256 of a file is cached: weights, for which a run asks many times.
_LARGE = 2**20


def sha256_of(path: Path) -> str:
    """Compute the sha256 of a file, or of the names and contents of a folder's files.

    A large file is read once per process, unless it changes.

    Raises:
        WeightsError: it cannot be read.
    """
    try:
        if path.is_dir():
            files = sorted(f for f in path.iterdir() if f.is_file() and not f.name.startswith("."))
            listing = "".join(f"{file.name} {sha256_of(file)}\n" for file in files)
            return hashlib.sha256(listing.encode("utf-8", "surrogateescape")).hexdigest()
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):  # a pipe or a device, which may never end
            raise WeightsError(f"{path} is neither a file nor a folder. Give one of these.")
        compute = _sha256 if status.st_size < _LARGE else _cached_sha256
        return compute(path, status.st_size, status.st_mtime_ns)
    except OSError as error:
        raise WeightsError(f"{path} cannot be read ({error.strerror}).") from error


@lru_cache
def package_sha256() -> str:
    """Compute the sha256 of the source code of this package."""
    return sha256_of_sources(sorted(PACKAGE.rglob("*.py")))


def sha256_of_sources(files: Iterable[Path]) -> str:
    """Compute the sha256 of the paths and contents of modules, the same on every system."""
    digest = hashlib.sha256()
    for file in files:
        source = file.read_bytes().replace(b"\r\n", b"\n")  # as some checkouts write them
        path = file.relative_to(PACKAGE).as_posix()
        digest.update(f"{path} {hashlib.sha256(source).hexdigest()}\n".encode())
    return digest.hexdigest()


def warn_damaged(path: object, reason: str) -> None:
    """Warn that a cache file is damaged and that its content is computed again.

    It stays a warning where warnings are errors, because the run is valid.

    Args:
        path: the file.
        reason: completes the sentence "FILE is damaged: …".
    """
    text = f"{path} is damaged: {reason}. Its content is computed anew."
    with warnings.catch_warnings():
        warnings.simplefilter("always", DamagedFileWarning)
        warnings.warn(text, DamagedFileWarning, stacklevel=3)


def _sha256(path: Path, size: int, modified: int) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


_cached_sha256 = lru_cache(maxsize=64)(_sha256)
