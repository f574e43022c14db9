"""A file from the network, by its address and its sha256: whole and right under its own name, or not there at
all.
"""

from __future__ import annotations

import http.client
import ssl
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import IO, Any

from filelock import FileLock

from fer_models.artifacts.hashing import sha256_of
from fer_models.errors import WeightsError

_CHUNK = 2**20
#: Seconds without a byte after which a connection counts as lost.
_PATIENCE = 60


def fetch(url: str, path: Path, sha256: str) -> Path:
    """Download `url` to `path`, unless the right file lies there already.

    The bytes go to `NAME.part` beside it. A download that was interrupted leaves that file, and goes on from
    there the next time (where the server can; it starts again where not). Only when the sha256 of the whole
    is right does the file take its own name.

    Raises:
        WeightsError: the network or the disk failed, or the file is not the one that was asked for. The text
            says what to do.
    """
    part = path.with_name(f"{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(part.with_suffix(".lock")):  # a second process waits, and then finds the file
            if not (path.exists() and sha256_of(path) == sha256):
                _download(url, part)
                _take(part, path, url, sha256)
    except OSError as error:
        raise WeightsError(
            f"{path} cannot be written ({error.strerror or error}). Free some space and run the same command again, "
            "or choose another folder: FER_MODELS_WEIGHTS=FOLDER."
        ) from error
    return path


def _take(part: Path, path: Path, url: str, sha256: str) -> None:
    """Let the downloaded file have its name, if it is the right one; else remove it."""
    found = sha256_of(part)
    if found != sha256:
        part.unlink()
        raise WeightsError(
            f"What came from {url} is not the file that was asked for: its sha256 is {found[:12]}…, {sha256[:12]}… was expected. "
            "It was deleted. Try again; if that does not help, something between you and the server changes it."
        )
    part.replace(path)


def _download(url: str, part: Path) -> None:
    """Bring `part` to its full length. Raises OSError where the disk fails, WeightsError where the network
    does.
    """
    have = part.stat().st_size if part.exists() else 0
    try:
        with _opened(url, have) as response:
            resumed = response.status == http.HTTPStatus.PARTIAL_CONTENT
            rest = int(response.headers.get("Content-Length", -1))
            got = _copy(response, part, have if resumed else 0, rest)
    except (
        urllib.error.URLError,
        http.client.HTTPException,
        ssl.SSLError,
        ConnectionError,
        TimeoutError,
        ValueError,
    ) as error:
        reason = getattr(error, "reason", None) or error
        raise WeightsError(
            f"{url} could not be downloaded ({reason}). Check the network and run the same command again."
        ) from error
    if 0 <= got < rest:
        raise WeightsError(
            f"The download of {url} ended after {got} of {rest} bytes. Run the same command again: it goes on from there."
        )


def _opened(url: str, start: int) -> Any:
    """The server's answer from byte `start` on; from the beginning where there is nothing after `start`."""
    headers = {"User-Agent": "fer-models"} | ({"Range": f"bytes={start}-"} if start else {})
    try:
        return urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=_PATIENCE)
    except urllib.error.HTTPError as error:
        if error.code != http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            raise
        error.close()
        return _opened(url, 0)


def _copy(response: IO[bytes], part: Path, start: int, rest: int) -> int:
    """Write what `response` gives behind the first `start` bytes of `part`, with a bar where somebody
    watches; returns how many bytes came.
    """
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TimeRemainingColumn, TransferSpeedColumn

    got, columns = 0, (BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    with (
        part.open("ab") as file,
        Progress(*columns, console=Console(file=sys.stderr), disable=not sys.stderr.isatty()) as bar,
    ):
        file.truncate(start)
        task = bar.add_task("", total=start + rest if rest >= 0 else None, completed=start)
        while chunk := response.read(_CHUNK):
            file.write(chunk)
            got += len(chunk)
            bar.update(task, advance=len(chunk))
    return got
