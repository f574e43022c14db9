"""What hostile tests assert of every case: it ends soon, in a result or one sentence, and changes no file."""

from __future__ import annotations

import os
import signal
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fer_models.errors import FerModelsError

SECONDS = 10


@contextmanager
def no_hang(seconds: int = SECONDS) -> Iterator[None]:
    """Fails what is not done after `seconds`, where the system has alarms."""
    if not hasattr(signal, "SIGALRM"):
        yield
        return

    def late(signum: int, frame: object) -> None:
        raise AssertionError(f"not done after {seconds} s")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


@contextmanager
def unchanged(folder: Path) -> Iterator[None]:
    """Fails when a file under `folder` is gone or has other bytes afterwards."""
    before = _content(folder)
    yield
    after = _content(folder)
    assert {name: after.get(name) for name in before} == before


def _content(folder: Path) -> dict[str, bytes | str]:
    found: dict[str, bytes | str] = {}
    for where, _, names in os.walk(folder):
        for name in names:
            path = os.path.join(where, name)
            status = os.lstat(path)
            if stat.S_ISREG(status.st_mode) and status.st_size < 2**20:
                found[path] = Path(path).read_bytes()
            elif stat.S_ISLNK(status.st_mode):
                found[path] = os.readlink(path)
            else:
                found[path] = f"{status.st_mode} {status.st_size}"
    return found


def sentence(error: FerModelsError) -> str:
    """The text of an error, which must be one line that any terminal, page or file can hold."""
    text = str(error)
    assert text == text.strip()
    assert text.isprintable(), text
    assert len(text) > 20, text
    return text


def assert_sentence(error: BaseException, longest: int = 1000) -> None:
    """An error of this project whose text is one line of at most `longest` characters that any terminal, page
    or file can hold.
    """
    assert isinstance(error, FerModelsError)
    text = str(error)
    assert len(text.splitlines()) == 1
    assert len(text) < longest
    assert text.isprintable()
    text.encode("utf-8")


def outcome(call: Callable[[], Any]) -> Any:
    """What `call` returns, or the sentence of its error; any other exception, and a hang, fails the test."""
    with no_hang():
        try:
            return call()
        except FerModelsError as error:
            return sentence(error)
