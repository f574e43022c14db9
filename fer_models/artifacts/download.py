"""Download of one file, verified by its sha256, resumable, and renamed atomically."""

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
_NETWORK_ERRORS = (
    *(urllib.error.URLError, http.client.HTTPException, ssl.SSLError),
    *(ConnectionError, TimeoutError, ValueError),
)
#: Seconds without a byte after which a connection counts as lost.
_TIMEOUT = 60


def fetch(url: str, path: Path, sha256: str) -> Path:
    """Download `url` to `path`, unless a file with this sha256 is there.

    The bytes are written to `NAME.part` in the same folder. An interrupted download leaves that file, and the
    next one resumes from it, or starts again where the server does not support that. The file gets its final
    name only when its sha256 is the expected one.

    Raises:
        WeightsError: the network or the disk failed, or the file has another sha256. The text names the next
            step.
    """
    part = path.with_name(f"{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(part.with_suffix(".lock")):  # a second process waits, and then uses the file
            if not (path.exists() and sha256_of(path) == sha256):
                if not (part.exists() and sha256_of(part) == sha256):  # killed before the file was renamed
                    _download(url, part)
                _verify_and_rename(part, path, url, sha256)
    except OSError as error:
        raise WeightsError(
            f"{path} cannot be written ({error.strerror or error}). Free some space and run the same command "
            "again, or choose another folder: FER_MODELS_WEIGHTS=FOLDER."
        ) from error
    return path


def _verify_and_rename(part: Path, path: Path, url: str, sha256: str) -> None:
    """Give the downloaded file its final name if it has the expected sha256; else remove it."""
    actual = sha256_of(part)
    if actual != sha256:
        part.unlink()
        raise WeightsError(
            f"The file from {url} is not the expected one: its sha256 is {actual[:12]}…, "
            f"{sha256[:12]}… was expected. It was deleted. Try again. "
            "If that does not help, something between you and the server changes it."
        )
    part.replace(path)


def _download(url: str, part: Path) -> None:
    """Download the missing bytes of `part`.

    Raises:
        OSError: the disk failed.
        WeightsError: the network failed.
    """
    size = part.stat().st_size if part.exists() else 0
    try:
        with _open_url(url, size) as response:
            is_resumed = response.status == http.HTTPStatus.PARTIAL_CONTENT
            expected = int(response.headers.get("Content-Length", -1))
            received = _append(response, part, size if is_resumed else 0, expected)
    except _NETWORK_ERRORS as error:
        reason = getattr(error, "reason", None) or error
        raise WeightsError(
            f"{url} could not be downloaded ({reason}). Check the network and run the same command again."
        ) from error
    if 0 <= received < expected:
        raise WeightsError(
            f"The download of {url} ended after {received} of {expected} bytes. "
            "Run the same command again: it resumes there."
        )


def _open_url(url: str, start: int) -> Any:
    """Request `url` from byte `start` on; from the beginning where the file ends before."""
    headers = {"User-Agent": "fer-models"} | ({"Range": f"bytes={start}-"} if start else {})
    try:
        return urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=_TIMEOUT)
    except urllib.error.HTTPError as error:
        if error.code != http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            raise
        error.close()
        return _open_url(url, 0)


def _append(response: IO[bytes], part: Path, start: int, expected: int) -> int:
    """Write the response after the first `start` bytes of `part`, and return the number of received bytes.

    A terminal shows a progress bar.
    """
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TimeRemainingColumn, TransferSpeedColumn

    received, console = 0, Console(file=sys.stderr)
    columns = (BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    with part.open("ab") as file, Progress(*columns, console=console, disable=not sys.stderr.isatty()) as bar:
        file.truncate(start)
        task = bar.add_task("", total=start + expected if expected >= 0 else None, completed=start)
        while chunk := response.read(_CHUNK):
            file.write(chunk)
            received += len(chunk)
            bar.update(task, advance=len(chunk))
    return received
