"""Assertions of hostile tests: each case ends soon, with a result or one sentence, and changes no file."""

from __future__ import annotations

import os
import signal
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fer_models.errors import FerModelsError

#: Much longer than any case takes on a slow machine: it only ends what would never end.
SECONDS = 120


@contextmanager
def no_hang(seconds: int = SECONDS) -> Iterator[None]:
    """Fail if the body takes longer than `seconds`, where the system has alarms."""
    if not hasattr(signal, "SIGALRM"):
        yield
        return

    def time_out(signum: int, frame: object) -> None:
        raise AssertionError(f"not done after {seconds} s")

    before = signal.signal(signal.SIGALRM, time_out)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


@contextmanager
def unchanged(folder: Path) -> Iterator[None]:
    """Fail if the body removes or changes a file under `folder`."""
    before = _content(folder)
    yield
    after = _content(folder)
    assert {name: after.get(name) for name in before} == before


def _content(folder: Path) -> dict[str, bytes | str]:
    contents: dict[str, bytes | str] = {}
    for directory, _, names in os.walk(folder):
        for name in names:
            path = os.path.join(directory, name)
            status = os.lstat(path)
            if stat.S_ISREG(status.st_mode) and status.st_size < 2**20:
                contents[path] = Path(path).read_bytes()
            elif stat.S_ISLNK(status.st_mode):
                contents[path] = os.readlink(path)
            else:
                contents[path] = f"{status.st_mode} {status.st_size}"
    return contents


def sentence(error: FerModelsError) -> str:
    """The text of an error, which must be one printable line."""
    text = str(error)
    assert text == text.strip()
    assert text.isprintable(), text
    assert len(text) > 20, text
    return text


def assert_sentence(error: BaseException, longest: int = 1000) -> None:
    """Assert that `error` is one of this project with one printable line of at most `longest` characters."""
    assert isinstance(error, FerModelsError)
    text = str(error)
    assert len(text.splitlines()) == 1
    assert len(text) < longest
    assert text.isprintable()
    text.encode("utf-8")


def outcome(call: Callable[[], Any]) -> Any:
    """The result of `call`, or the sentence of its error; other exceptions and hangs fail the test."""
    with no_hang():
        try:
            return call()
        except FerModelsError as error:
            return sentence(error)
