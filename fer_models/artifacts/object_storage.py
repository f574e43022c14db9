"""Folders and files in object storage, with those methods of `pathlib.Path` that the store uses.

`pyarrow.fs` opens `s3://BUCKET/FOLDER`, with its parameters after a question mark:
`s3://BUCKET/FOLDER?endpoint_override=HOST:PORT&scheme=http`. Credentials come from the environment, as the
AWS command line reads them.

An object is written atomically: a reader sees the old content or the new one, and a killed writer leaves
nothing. So there are no temporary files. There are no locks either. Two writers of one shard write equally
valid predictions, perhaps of different devices: the name holds the checksum, and a reader takes one of them.
"""

from __future__ import annotations

import re
from argparse import ArgumentTypeError
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeAlias

from fer_models.errors import StoreError, UsageError, one_line

#: The scheme of the addresses: that of S3 and of all servers with its interface.
SCHEME = "s3"
_URI = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]+)://(?P<path>[^?]*)(\?(?P<query>.*))?", re.DOTALL)
#: Parameters that hold a password.
_SECRET = re.compile(r"(secret|password|token|access_key)[^&=]*=", re.IGNORECASE)
#: What is wrong, and what helps, by a word in the error of the storage client; the first that occurs.
_CAUSES = (
    ("NO_SUCH_BUCKET", "there is no such bucket", "Check its name, or create it."),
    (
        "ACCESS_DENIED|INVALID_ACCESS_KEY|SIGNATURE_DOES_NOT_MATCH|INVALID_CLIENT_TOKEN|MISSING_AUTH|UNRECOGNIZED"
        "|HTTP response code 40[13]|[Cc]redentials",
        "the credentials are missing, or do not permit it",
        "Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE.",
    ),
    (
        "NETWORK_CONNECTION|[Tt]imeout|resolve host",
        "the server cannot be reached",
        "Check the network, and endpoint_override in the address.",
    ),
)


class LocationError(UsageError, ArgumentTypeError):
    """Invalid address of a store. It is also an error of the option that argparse reads."""


@dataclass(frozen=True, order=True)
class ObjectPath:
    """A folder or a file in object storage.

    Each method raises `StoreError` where the storage cannot be used, and `FileNotFoundError` where only the
    file is missing: a network error never looks like a damaged file.

    Attributes:
        bucket: the name of the bucket.
        key: the path in the bucket, without slashes at its ends.
        query: parameters of `pyarrow.fs`, as in an address.
    """

    bucket: str
    key: str = ""
    query: str = ""
    _info: Any = field(default=None, compare=False, repr=False)

    def __str__(self) -> str:
        folder = f"{SCHEME}://{self.bucket}/{self.key}".rstrip("/")
        return f"{folder}?{self.query}" if self.query else folder

    def __truediv__(self, name: str) -> ObjectPath:
        return replace(self, key=f"{self.key}/{name}".strip("/"), _info=None)

    @property
    def name(self) -> str:
        """The last part of the path."""
        return self.key.rpartition("/")[2]

    @property
    def stem(self) -> str:
        """The name without its suffix."""
        return Path(self.name).stem

    @property
    def suffix(self) -> str:
        """The suffix of the name, with its dot."""
        return Path(self.name).suffix

    @property
    def parent(self) -> ObjectPath:
        """The folder that holds it."""
        return replace(self, key=self.key.rpartition("/")[0], _info=None)

    def with_name(self, name: str) -> ObjectPath:
        """The same path with another last part."""
        return self.parent / name

    def check(self) -> None:
        """Check that the bucket can be used.

        Raises:
            StoreError: it does not exist, the server cannot be reached, or credentials are missing.
        """
        with self._errors("opened"):
            if self._found(self.bucket).type == _file_type().NotFound:
                raise OSError("NO_SUCH_BUCKET")

    def exists(self) -> bool:
        """Whether there is such a file or folder."""
        return bool(self._type() != _file_type().NotFound)

    def is_file(self) -> bool:
        """Whether it is a file."""
        return bool(self._type() == _file_type().File)

    def is_dir(self) -> bool:
        """Whether it is a folder: whether the names of files begin with it. Raises also as `check`."""
        if (kind := self._type()) == _file_type().NotFound:
            self.check()
        return bool(kind == _file_type().Directory)

    def modified_ns(self) -> int:
        """When the file was written, in nanoseconds; 0 where it is missing."""
        with self._errors("read"):
            info = self._info or self._found(self._path)
        return int(info.mtime_ns or 0)

    def iterdir(self) -> Iterator[ObjectPath]:
        """The files and folders in this folder, sorted; none where it is missing."""
        from pyarrow.fs import FileSelector

        with self._errors("listed"):
            infos = self._filesystem.get_file_info(FileSelector(self._path, allow_not_found=True))
        for info in sorted(infos, key=lambda info: str(info.base_name)):
            if info.base_name:
                yield replace(self / info.base_name, _info=info)

    def glob(self, pattern: str) -> Iterator[ObjectPath]:
        """The files and folders in this folder whose name matches."""
        return (path for path in self.iterdir() if fnmatchcase(path.name, pattern))

    def read_bytes(self) -> bytes:
        """The content of the file."""
        with self._errors("read"), self._filesystem.open_input_stream(self._path) as stream:
            return bytes(stream.read())

    def write_bytes(self, content: bytes) -> None:
        """Write the file atomically."""
        with self._errors("written"), self._filesystem.open_output_stream(self._path) as stream:
            stream.write(content)

    def unlink(self, missing_ok: bool = False) -> None:
        """Remove the file."""
        with self._errors("removed"), suppress(FileNotFoundError) if missing_ok else nullcontext():
            self._filesystem.delete_file(self._path)

    @property
    def _path(self) -> str:
        return f"{self.bucket}/{self.key}".rstrip("/")

    @property
    def _filesystem(self) -> Any:
        return _open(self.bucket, self.query)

    def _found(self, path: str) -> Any:
        return self._filesystem.get_file_info([path])[0]

    def _type(self) -> Any:
        with self._errors("read"):
            return (self._info or self._found(self._path)).type

    @contextmanager
    def _errors(self, action: str) -> Iterator[None]:
        """Convert errors of the storage client to errors of this project."""
        import pyarrow as pa

        try:
            yield
        except FileNotFoundError:
            raise
        except (OSError, pa.ArrowException) as error:
            text = str(error)
            for pattern, problem, advice in _CAUSES:
                if re.search(pattern, text):
                    raise StoreError(f"{self} cannot be {action}: {problem}. {advice}") from error
            raise StoreError(
                f"{self} cannot be {action}: {one_line(text)}. Check the address and the storage."
            ) from error


#: A folder or file of the store: on a local disk, or in object storage.
StorePath: TypeAlias = Path | ObjectPath


def store_path(text: str) -> StorePath:
    """Parse the address of a store: a folder, or a URI such as `s3://BUCKET/FOLDER`.

    Raises:
        LocationError: the scheme is unknown, no bucket is named, or the URI holds credentials.
    """
    if re.match(rf"{SCHEME}:/?(?!/)", text, re.IGNORECASE):  # what is left of an address made a path
        raise LocationError(f"'{one_line(text)}' has too few slashes. Write {SCHEME}://BUCKET/FOLDER.")
    match = _URI.fullmatch(text)
    if match is None:
        return Path(text)
    if match["scheme"].lower() != SCHEME:
        raise LocationError(
            f"'{one_line(text)}': stores with {match['scheme']}:// are not supported. "
            f"Give a folder, or {SCHEME}://BUCKET/FOLDER."
        )
    bucket, _, key = match["path"].partition("/")
    query = match["query"] or ""
    if "@" in bucket or _SECRET.search(query):
        raise LocationError(
            "An address must not hold credentials, because reports show it. "
            "Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY in the environment."
        )
    if not bucket:
        raise LocationError(f"'{one_line(text)}' names no bucket. Write {SCHEME}://BUCKET/FOLDER.")
    return ObjectPath(bucket, "/".join(part for part in key.split("/") if part), query)


def modified_ns(path: StorePath) -> int:
    """When a file was written, in nanoseconds."""
    return path.modified_ns() if isinstance(path, ObjectPath) else path.stat().st_mtime_ns


@lru_cache
def _open(bucket: str, query: str) -> Any:
    """The file system of a bucket."""
    import pyarrow as pa
    from pyarrow.fs import FileSystem

    address = f"{SCHEME}://{bucket}?{query}"
    try:  # a small file is written by one request instead of three
        return FileSystem.from_uri(f"{address}{'&' if query else ''}allow_delayed_open=true")[0]
    except pa.ArrowInvalid:  # an older pyarrow, or an invalid parameter of the user's
        return FileSystem.from_uri(address)[0]


def _file_type() -> Any:
    from pyarrow.fs import FileType

    return FileType
