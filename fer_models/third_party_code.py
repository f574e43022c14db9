"""One way to call code that is not of this project: models, restorers, and the files and packages that define
them.

Such code may raise anything, and some exceptions end a test run with success: `SystemExit`, pytest's skip,
xfail and exit. It may also end the process itself, before a verdict is given. Inside `contained` the first
becomes an error of this project, and so does the second.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from fer_models.errors import FerModelsError, one_line

#: What ends or replaces the process at once; the other functions of the `exec` family call these.
_ENDINGS = ("_exit", "abort", "execv", "execve")
#: `os`, and the module that it takes these functions from (`posix` or `nt`).
_MODULES = (os, sys.modules[os.name])


class ProcessExitError(RuntimeError):
    """Third-party code tried to end the process of the run."""


class _Endings:
    """The functions of `_ENDINGS`, replaced while at least one thread needs that."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._depth = 0
        self._own: list[tuple[Any, str, Any]] = []

    def refuse(self) -> None:
        with self._lock:
            self._depth += 1
            if self._depth == 1:
                self._own = [
                    (m, name, getattr(m, name)) for m in _MODULES for name in _ENDINGS if hasattr(m, name)
                ]
                for module, name, function in self._own:
                    setattr(module, name, _refused(name, function, os.getpid()))

    def allow(self) -> None:
        with self._lock:
            self._depth -= 1
            if self._depth == 0:
                for module, name, function in self._own:
                    setattr(module, name, function)


def _refused(name: str, function: Callable[..., Any], pid: int) -> Callable[..., Any]:
    def refused(*args: Any, **kwargs: Any) -> Any:
        # A child of a fork (multiprocessing, loky, a server of workers) inherits this function, and may end
        # as it likes. So may a watchdog in a thread of its own (pytest-timeout, execnet) that ends a run
        # which hangs, unless it would end it as a success.
        failure = name == "_exit" and bool(args) and isinstance(args[0], int) and args[0] % 256 != 0
        if os.getpid() != pid or (failure and not getattr(_thread, "inside", False)):
            return function(*args, **kwargs)
        raise ProcessExitError(f"it called os.{name}, which would end the run without a verdict")

    return refused


_endings = _Endings()
_thread = threading.local()


@contextmanager
def prevent_exit() -> Iterator[None]:
    """Refuse, in this process and in all its threads, to end the process as a success by `os._exit`, or by
    `os.abort` or `os.exec*`.
    """
    _endings.refuse()
    try:
        yield
    finally:
        _endings.allow()


@contextmanager
def contained(error: type[FerModelsError], failed: str, hint: str = "") -> Iterator[None]:
    """Call third-party code; what it raises becomes an error with a sentence.

    Args:
        error: the class of that error.
        failed: the beginning of the sentence, such as `Model 'mine' failed on a batch of 64 faces`. What was
            raised follows.
        hint: what to do next, as a sentence of its own.

    Raises:
        FerModelsError: as the code raised it.
        KeyboardInterrupt: the user's.
        error: the code raised anything else, `SystemExit` and the outcomes of pytest included, or it tried to
            end this process.
    """
    outer, _thread.inside = getattr(_thread, "inside", False), True
    try:
        with prevent_exit():
            try:
                yield
            except (FerModelsError, KeyboardInterrupt):
                raise
            except BaseException as raised:
                sentence = f"{failed}: {describe_exception(raised)}"
                raise error(f"{sentence.rstrip('.')}. {hint}" if hint else sentence) from raised
    finally:
        _thread.inside = outer


def describe_exception(raised: BaseException) -> str:
    """An exception of third-party code as the end of a sentence: its class and its text, shortened, in one
    line.
    """
    if isinstance(raised, MemoryError):
        return "the memory of this machine does not suffice. Use a smaller --batch-size, or free some memory."
    if isinstance(raised, ProcessExitError):
        return f"{raised}."
    try:
        text = one_line(str(raised))
    except KeyboardInterrupt:
        raise
    except BaseException:  # its text is third-party code too
        text = "its text cannot be read"
    ends = isinstance(raised, SystemExit) or not isinstance(raised, Exception)
    why = " (this would end the test or the run without a verdict)" if ends else ""
    return f"{type(raised).__name__}: {text}{why}" if text else f"{type(raised).__name__}{why}"
