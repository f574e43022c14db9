"""Safe calls of third-party code: models, restorers, and the files and packages that define them.

Such code may raise anything, and some exceptions end a test run with success: `SystemExit`, pytest's skip,
xfail and exit. It may also end the process before a verdict is given. Inside `wrap_errors` both become an
error of this project.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from fer_models.errors import FerModelsError, one_line

#: Functions that end or replace the process at once; the others of the `exec` family call these.
_EXIT_FUNCTIONS = ("_exit", "abort", "execv", "execve")
#: `os`, and the module from which it imports these functions (`posix` or `nt`).
_MODULES = (os, sys.modules[os.name])


class ProcessExitError(RuntimeError):
    """Third-party code tried to end the process of the run."""


class _ExitGuard:
    """Replacement of `_EXIT_FUNCTIONS` while at least one thread needs it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._depth = 0
        self._originals: list[tuple[Any, str, Any]] = []

    def enable(self) -> None:
        """Replace the functions, unless another thread did."""
        with self._lock:
            self._depth += 1
            if self._depth > 1:
                return
            pairs = [
                (module, name) for module in _MODULES for name in _EXIT_FUNCTIONS if hasattr(module, name)
            ]
            self._originals = [(module, name, getattr(module, name)) for module, name in pairs]
            for module, name, function in self._originals:
                setattr(module, name, _guard(name, function, os.getpid()))

    def disable(self) -> None:
        """Restore the functions, unless another thread needs the replacement."""
        with self._lock:
            self._depth -= 1
            if self._depth == 0:
                for module, name, function in self._originals:
                    setattr(module, name, function)


def _guard(name: str, function: Callable[..., Any], pid: int) -> Callable[..., Any]:
    def guarded(*args: Any, **kwargs: Any) -> Any:
        # A child of a fork (multiprocessing, loky, a server of workers) inherits this function, and may exit.
        # So may a watchdog in its own thread (pytest-timeout, execnet) that ends a hanging run, but not as a
        # success.
        is_failure = name == "_exit" and bool(args) and isinstance(args[0], int) and args[0] % 256 != 0
        if os.getpid() != pid or (is_failure and not getattr(_thread, "inside", False)):
            return function(*args, **kwargs)
        raise ProcessExitError(f"it called os.{name}, which would end the run without a verdict")

    return guarded


_exit_guard = _ExitGuard()
_thread = threading.local()


@contextmanager
def prevent_exit() -> Iterator[None]:
    """Prevent, in all threads, an exit as a success by `os._exit`, or by `os.abort` or `os.exec*`."""
    _exit_guard.enable()
    try:
        yield
    finally:
        _exit_guard.disable()


@contextmanager
def wrap_errors(error: type[FerModelsError], failed: str, hint: str = "") -> Iterator[None]:
    """Convert exceptions of third-party code to an error with a sentence.

    Args:
        error: the class of that error.
        failed: the beginning of the sentence, such as `Model 'mine' failed on a batch of 64 faces`. A
            description of the exception follows.
        hint: the next step, as a sentence.

    Raises:
        FerModelsError: as the code raised it.
        KeyboardInterrupt: the user interrupted the code.
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
    """Describe an exception of third-party code on one line: its class and its shortened text."""
    if isinstance(raised, MemoryError):
        return "the memory of this machine does not suffice. Close other programs."
    if isinstance(raised, ProcessExitError):
        return f"{raised}."
    try:
        text = one_line(str(raised))
    except KeyboardInterrupt:
        raise
    except BaseException:  # `__str__` is third-party code too
        text = "its text cannot be read"
    is_exit = isinstance(raised, SystemExit) or not isinstance(raised, Exception)
    remark = " (this would end the test or the run without a verdict)" if is_exit else ""
    return f"{type(raised).__name__}: {text}{remark}" if text else f"{type(raised).__name__}{remark}"
