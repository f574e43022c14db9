"""What a file is, by its bytes; and text and JSON from files that may hold anything."""

from __future__ import annotations

import hashlib
import stat
import warnings
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path

from fer_models.errors import DamagedFileWarning, WeightsError

_CHUNK = 2**20
_PACKAGE = Path(__file__).parents[1]
#: Bytes from which a file's sha256 is remembered (GFPGAN's have 350 MB); smaller ones are hashed in a moment,
#: each time.
_LARGE = 2**25


def sha256_of(path: Path) -> str:
    """The sha256 of a file's bytes; of a folder, of what its files are called and hold. A large file that did
    not change is read once per process.

    Raises:
        WeightsError: it cannot be read.
    """
    try:
        if path.is_dir():
            files = sorted(
                file for file in path.iterdir() if file.is_file() and not file.name.startswith(".")
            )
            return hashlib.sha256(
                "".join(f"{file.name} {sha256_of(file)}\n" for file in files).encode()
            ).hexdigest()
        now = path.stat()
        if not stat.S_ISREG(now.st_mode):  # a pipe or a device, which may never end
            raise WeightsError(f"{path} is neither a file nor a folder. Give one of these.")
        return (_sha256 if now.st_size < _LARGE else _sha256_once)(path, now.st_size, now.st_mtime_ns)
    except OSError as error:
        raise WeightsError(f"{path} cannot be read ({error.strerror}).") from error


@lru_cache
def package_sha256() -> str:
    """The sha256 of this package's own source code."""
    return sha256_of_sources(sorted(_PACKAGE.rglob("*.py")))


def sha256_of_sources(files: Iterable[Path]) -> str:
    """The sha256 of modules of this package: their paths and content, the same on every system."""
    digest = hashlib.sha256()
    for file in files:
        source = file.read_bytes().replace(b"\r\n", b"\n")  # as some checkouts write them
        digest.update(
            f"{file.relative_to(_PACKAGE).as_posix()} {hashlib.sha256(source).hexdigest()}\n".encode()
        )
    return digest.hexdigest()


def warn_damaged(path: Path, reason: str) -> None:
    """Warn that a file of a cache is damaged and that its content is computed anew: a warning also where
    warnings are made errors, because nothing is wrong with the run.

    Args:
        reason: completes the sentence "FILE is damaged: …".
    """
    with warnings.catch_warnings():
        warnings.simplefilter("always", DamagedFileWarning)
        warnings.warn(
            f"{path} is damaged: {reason}. Its content is computed anew.", DamagedFileWarning, stacklevel=3
        )


def _sha256(path: Path, size: int, modified: int) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


_sha256_once = lru_cache(maxsize=64)(_sha256)
