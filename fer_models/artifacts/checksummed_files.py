"""Cache folders: one process writes at a time, each file appears atomically, and its name holds the checksum
of its bytes.

A file called `part-00000.parquet` by the code is `part-00000-0123456789abcdef.parquet` on disk. Every reader
computes the checksum again, so a flipped bit, a cut or an edit is noticed whatever the format is. A damaged
file is never used: the process that holds the lock removes it with a warning, and its content is computed
anew.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from filelock import FileLock

from fer_models.artifacts.hashing import warn_damaged
from fer_models.errors import StoreError

if TYPE_CHECKING:
    import pyarrow as pa

#: Hexadecimal digits of the sha256 in a file's name.
CHECKSUM_DIGITS = 16
#: What reading and parsing a file raises where the file is not valid.
INVALID = (OSError, ValueError, KeyError, TypeError, AttributeError, IndexError)

_Content = TypeVar("_Content")


@contextmanager
def locked_directory(folder: Path, what: str) -> Iterator[None]:
    """Hold a folder, made if missing: one process fills it, the others wait and then find the files there.

    Args:
        what: what the folder holds, for the message.

    Raises:
        StoreError: it cannot be made, or written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / ".lock")
        lock.acquire()
    except OSError as error:
        raise _unwritable(folder, what, error) from error
    try:
        for left_over in folder.glob("*.part"):  # of a run that was killed while it wrote
            with suppress(OSError):
                left_over.unlink()
        yield
    finally:
        lock.release()


def write(folder: Path, name: str, content: bytes, what: str) -> Path:
    """Write a file atomically, in place of all earlier versions of it. Call it under `locked`.

    Args:
        name: relative to the folder, without the checksum.
        what: as in `locked`.

    Returns:
        The path, with the checksum.

    Raises:
        StoreError: it cannot be written; other files stay valid.
    """
    plain = folder / name
    path = plain.with_name(f"{plain.stem}-{checksum(content)}{plain.suffix}")
    part = folder / f"{plain.stem}.{os.getpid()}.part"
    try:
        path.parent.mkdir(exist_ok=True)
        part.write_bytes(content)
        for earlier in versions(path.parent, plain.name):
            if earlier != path:
                with suppress(IsADirectoryError, PermissionError):  # not one of our files
                    earlier.unlink(missing_ok=True)
        part.replace(path)
    except OSError as error:
        with suppress(OSError):
            part.unlink(missing_ok=True)
        raise _unwritable(folder, what, error) from error
    return path


def find(
    folder: Path, name: str, parse: Callable[[bytes], _Content], *, remove_damaged: bool = False
) -> _Content | None:
    """The content of a file, or None where there is no valid version of it.

    Args:
        name: in this folder, without the checksum.
        parse: makes the content from the file's bytes; raises one of `INVALID` for bytes that it does not
            accept.
        remove_damaged: remove versions that are not valid, each with a warning, because the caller computes
            the content anew. Only under `locked`.
    """
    for path in versions(folder, name):
        try:
            return parse(read(path))
        except FileNotFoundError:  # another process has just replaced it
            continue
        except INVALID as error:
            if remove_damaged:
                with suppress(
                    OSError
                ):  # a folder of that name, say: it does not stand in the way of the new file
                    path.unlink()
                warn_damaged(path, reason(error))
    return None


def versions(folder: Path, name: str) -> list[Path]:
    """The files on disk that are called `name` by the code, valid or not, sorted; usually one."""
    stem, suffix = os.path.splitext(name)
    try:
        with os.scandir(folder) as entries:
            names = [
                entry.name for entry in entries if entry.name.startswith(stem) and entry.name.endswith(suffix)
            ]
    except OSError:  # no such folder, or none that can be read
        return []
    marks = {name: name[len(stem) : len(name) - len(suffix)] for name in names}
    return sorted(
        folder / name
        for name, mark in marks.items()
        if not mark or (mark[0] == "-" and len(mark) == 1 + CHECKSUM_DIGITS)
    )


def read(path: Path) -> bytes:
    """The bytes of a file.

    Raises:
        OSError: it cannot be read.
        ValueError: it is not a file, or its bytes do not have the checksum in its name.
    """
    if path.exists() and not path.is_file():  # a pipe would be waited for
        raise ValueError("it is not a file")
    content = path.read_bytes()
    if path.stem.rpartition("-")[2] != checksum(content):
        raise ValueError("its bytes do not have the checksum in its name")
    return content


def checksum(content: bytes) -> str:
    """The first `CHECKSUM_DIGITS` hexadecimal digits of the sha256 of some bytes."""
    return hashlib.sha256(content).hexdigest()[:CHECKSUM_DIGITS]


def reason(error: Exception) -> str:
    """Why a file is not valid, in a few words on one line."""
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return next(iter(text.splitlines()), type(error).__name__)


def to_parquet(table: pa.Table) -> bytes:
    """A table as the bytes of a Parquet file."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd")
    return bytes(sink.getvalue())


def from_parquet(content: bytes) -> pa.Table:
    """The table in the bytes of a Parquet file.

    Raises:
        ValueError: they are not such a file.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return pq.ParquetFile(pa.BufferReader(content)).read(use_threads=False)
    except (OSError, pa.ArrowException) as error:
        raise ValueError(f"it is not a Parquet file: {reason(error)}") from error


def _unwritable(folder: Path, what: str, error: OSError) -> StoreError:
    return StoreError(
        f"{what} cannot be kept in {folder} ({error.strerror}). What was kept before is whole; free some space or choose --store FOLDER, "
        "and run again."
    )
