"""Cache folders of files that are written atomically, under a lock, with a checksum in their names.

A file that the code calls `part-00000.parquet` is `part-00000-0123456789abcdef.parquet` on disk. Every reader
computes the checksum again, so it detects a flipped bit, a cut or an edit in any format. A damaged file is
never used: the process that holds the lock removes it with a warning, and its content is computed again.
"""

from __future__ import annotations

import hashlib
import os
import re
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
#: Exceptions of reading and parsing an invalid file.
INVALID = (OSError, ValueError, KeyError, TypeError, AttributeError, IndexError)

_Content = TypeVar("_Content")


@contextmanager
def locked_directory(folder: Path, contents: str) -> Iterator[None]:
    """Lock a folder: one process writes its files, the others wait and then use them.

    Args:
        folder: it is created if it is missing.
        contents: the kind of its files, for the message.

    Raises:
        StoreError: it cannot be created, or written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / ".lock")
        lock.acquire()
    except OSError as error:
        raise _write_error(folder, contents, error) from error
    try:
        for part in folder.glob("*.part"):  # of a run that was killed while it wrote
            with suppress(OSError):
                part.unlink()
        yield
    finally:
        lock.release()


def write(folder: Path, name: str, content: bytes, contents: str) -> Path:
    """Write a file atomically in place of its earlier versions, under `locked_directory`.

    Args:
        folder: the locked folder.
        name: the file's path in the folder, without the checksum.
        content: the file's bytes.
        contents: as in `locked_directory`.

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
                with suppress(IsADirectoryError, PermissionError):  # not a file of this cache
                    earlier.unlink(missing_ok=True)
        part.replace(path)
    except OSError as error:
        with suppress(OSError):
            part.unlink(missing_ok=True)
        raise _write_error(folder, contents, error) from error
    return path


def find(
    folder: Path, name: str, parse: Callable[[bytes], _Content], *, remove_damaged: bool = False
) -> _Content | None:
    """Find and parse a file; None where there is no valid version of it.

    Args:
        folder: the file's folder.
        name: the file's name, without the checksum.
        parse: converts the file's bytes; raises one of `INVALID` for bytes that it does not accept.
        remove_damaged: remove invalid versions, each with a warning, because the caller computes the content
            again. Only under `locked_directory`.
    """
    for path in versions(folder, name):
        try:
            return parse(read(path))
        except FileNotFoundError:  # another process has just replaced it
            continue
        except INVALID as error:
            if remove_damaged:
                with suppress(OSError):  # such as a folder of that name, which does not block the new file
                    path.unlink()
                warn_damaged(path, reason(error))
    return None


def versions(folder: Path, name: str) -> list[Path]:
    """List the versions of a file on disk, valid or not, sorted; usually one."""
    stem, suffix = os.path.splitext(name)
    pattern = re.compile(f"{re.escape(stem)}(-.{{{CHECKSUM_DIGITS}}})?{re.escape(suffix)}", re.DOTALL)
    try:
        with os.scandir(folder) as entries:
            return sorted(folder / entry.name for entry in entries if pattern.fullmatch(entry.name))
    except OSError:  # no such folder, or an unreadable one
        return []


def read(path: Path) -> bytes:
    """Read and verify the bytes of a file.

    Raises:
        OSError: it cannot be read.
        ValueError: it is not a file, or its bytes do not have the checksum in its name.
    """
    if path.exists() and not path.is_file():  # reading a pipe would block
        raise ValueError("it is not a file")
    content = path.read_bytes()
    if path.stem.rpartition("-")[2] != checksum(content):
        raise ValueError("its bytes do not have the checksum in its name")
    return content


def checksum(content: bytes) -> str:
    """The first `CHECKSUM_DIGITS` hexadecimal digits of the sha256 of some bytes."""
    return hashlib.sha256(content).hexdigest()[:CHECKSUM_DIGITS]


def reason(error: Exception) -> str:
    """The reason why a file is not valid, on one line."""
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return next(iter(text.splitlines()), type(error).__name__)


def to_parquet(table: pa.Table) -> bytes:
    """Convert a table to the bytes of a Parquet file."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd")
    return bytes(sink.getvalue())


def from_parquet(content: bytes) -> pa.Table:
    """Read a table from the bytes of a Parquet file.

    Raises:
        ValueError: they are not such a file.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return pq.ParquetFile(pa.BufferReader(content)).read(use_threads=False)
    except (OSError, pa.ArrowException) as error:
        raise ValueError(f"it is not a Parquet file: {reason(error)}") from error


def _write_error(folder: Path, contents: str, error: OSError) -> StoreError:
    return StoreError(
        f"{contents} cannot be stored in {folder} ({error.strerror}). All earlier files stay valid. "
        "Free some space or choose --store FOLDER, and run again."
    )
