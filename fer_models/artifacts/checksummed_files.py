"""Cache folders of files that are written atomically, under a lock, with a checksum in their names.

A file that the code calls `part-00000.parquet` is `part-00000-0123456789abcdef.parquet` on disk. Every reader
computes the checksum again, so it detects a flipped bit, a cut or an edit in any format. A damaged file is
never used: the process that holds the lock removes it with a warning, and its content is computed again.

A folder can also be in object storage, which has no locks and needs none (see `object_storage`).
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from filelock import FileLock

from fer_models.artifacts.hashing import warn_damaged
from fer_models.artifacts.object_storage import ObjectPath, StorePath
from fer_models.errors import StoreError

if TYPE_CHECKING:
    import pyarrow as pa

#: Hexadecimal digits of the sha256 in a file's name.
CHECKSUM_DIGITS = 16
#: Exceptions of reading and parsing an invalid file.
INVALID = (OSError, ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError)

_Content = TypeVar("_Content")


@contextmanager
def locked_directory(folder: StorePath, contents: str) -> Iterator[None]:
    """Lock a folder: one process writes its files, the others wait and then use them.

    Nothing is locked in object storage: several processes may write there.

    Args:
        folder: it is created if it is missing.
        contents: the kind of its files, for the message.

    Raises:
        StoreError: it cannot be created, or written.
    """
    if isinstance(folder, ObjectPath):
        yield
        return
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


def write(folder: StorePath, name: str, content: bytes, contents: str) -> StorePath:
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
    if isinstance(path, ObjectPath):
        # Those that another process writes meanwhile stay: it would remove this one in turn.
        earlier = [version for version in versions(path.parent, plain.name) if version != path]
        path.write_bytes(content)
        for version in earlier:
            version.unlink(missing_ok=True)  # another process may have removed it
    elif isinstance(folder, Path):
        _replace_local(path, plain.name, content, folder, contents)
    return path


def _replace_local(path: Path, name: str, content: bytes, folder: Path, contents: str) -> None:
    """Write a local file atomically; its earlier versions are removed."""
    part = folder / f"{Path(name).stem}.{os.getpid()}.part"
    try:
        path.parent.mkdir(exist_ok=True)
        part.write_bytes(content)
        part.replace(path)  # first: a kill in between leaves two versions, and not none
        for earlier in versions(path.parent, name):
            if earlier != path:
                with suppress(IsADirectoryError, PermissionError):  # not a file of this cache
                    earlier.unlink(missing_ok=True)
    except OSError as error:
        with suppress(OSError):
            part.unlink(missing_ok=True)
        raise _write_error(folder, contents, error) from error


def find(
    folder: StorePath, name: str, parse: Callable[[bytes], _Content], *, remove_damaged: bool = False
) -> _Content | None:
    """Find and parse a file; None where there is no valid version of it.

    Args:
        folder: the file's folder.
        name: the file's name, without the checksum.
        parse: converts the file's bytes; raises one of `INVALID` for bytes that it does not accept.
        remove_damaged: remove invalid versions, each with a warning, because the caller computes the content
            again. One that cannot be read stays. Only under `locked_directory`.
    """
    return first_valid(versions(folder, name), parse, remove_damaged=remove_damaged)


def first_valid(
    paths: Iterable[StorePath], parse: Callable[[bytes], _Content], *, remove_damaged: bool = False
) -> _Content | None:
    """Parse the first valid version of a file; None where there is none. As `find`.

    Raises:
        StoreError: object storage cannot be used.
    """
    for path in paths:
        try:
            return parse(read(path))
        except FileNotFoundError:  # another process has just replaced it
            continue
        except INVALID as error:
            if remove_damaged:
                # What cannot be read now may be valid: no rights, too many open files, a network drive. And a
                # folder of that name does not block the new file.
                if not isinstance(error, OSError):
                    with suppress(OSError):
                        path.unlink()
                warn_damaged(path, reason(error))
    return None


def versions(folder: StorePath, name: str) -> list[StorePath]:
    """List the versions of a file in the folder, valid or not, sorted; usually one."""
    stem, suffix = os.path.splitext(name)
    pattern = re.compile(f"{re.escape(stem)}(-.{{{CHECKSUM_DIGITS}}})?{re.escape(suffix)}", re.DOTALL)
    return [folder / listed for listed in _list(folder) if pattern.fullmatch(listed)]


def versions_by_name(folder: StorePath) -> Mapping[str, list[StorePath]]:
    """List the folder once, for many files: the `versions` of each file, by its name without the checksum."""
    by_name: dict[str, list[StorePath]] = {}
    for listed in _list(folder):
        stem, suffix = os.path.splitext(listed)
        plain, _, digest = stem.rpartition("-")
        for name in {listed, plain + suffix if len(digest) == CHECKSUM_DIGITS else listed}:
            by_name.setdefault(name, []).append(folder / listed)
    return by_name


def _list(folder: StorePath) -> list[str]:
    """The names in a folder, sorted; none where it is missing or cannot be read."""
    if isinstance(folder, ObjectPath):
        return [path.name for path in folder.iterdir()]
    try:
        with os.scandir(folder) as entries:
            return sorted(entry.name for entry in entries)
    except OSError:
        return []


def read(path: StorePath) -> bytes:
    """Read and verify the bytes of a file.

    Raises:
        OSError: it cannot be read.
        ValueError: it is not a file, or its bytes do not have the checksum in its name.
    """
    if isinstance(path, Path) and path.exists() and not path.is_file():  # reading a pipe would block
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
