"""Python processes that start with most of what `pytest evals` imports.

One process imports `preloaded`, and is forked for each new process of a test. Where Python must not write
compiled modules next to the sources (PYTHONDONTWRITEBYTECODE), pytest would compile its plugins and the evals
anew in each process: these processes share a folder of compiled modules.
"""

import multiprocessing
import os
import runpy
import sys
import tempfile
from dataclasses import dataclass
from multiprocessing import forkserver
from pathlib import Path
from typing import Any
from unittest import mock

_FORKS = "forkserver" in multiprocessing.get_all_start_methods()  # not on Windows
_CONTEXT: Any = multiprocessing.get_context("forkserver" if _FORKS else "spawn")
#: Where these processes keep compiled modules; None for Python's own choice.
_compiled: Path | None = None


def share_compiled_modules(folder: Path) -> None:
    """Let new processes share compiled modules in `folder`, where Python is told not to write any."""
    global _compiled
    if sys.dont_write_bytecode:
        _compiled = folder


def start_server() -> None:
    """Start the process that is forked, if it is not there yet."""
    path = os.pathsep.join(filter(None, (str(Path(__file__).parent), os.environ.get("PYTHONPATH"))))
    with mock.patch.dict(os.environ, {"PYTHONPATH": path}):  # where it finds `preloaded`
        _CONTEXT.set_forkserver_preload(["preloaded"])
        forkserver.ensure_running()


@dataclass(frozen=True)
class Done:
    """Exit code and output of a process."""

    returncode: int
    stdout: str
    stderr: str


def run_python(arguments: list[str], folder: Path, environment: dict[str, str], timeout: float = 240) -> Done:
    """Run `python ARGUMENTS` in `folder`; `arguments` start with `-m MODULE` or with a file.

    Raises:
        TimeoutError: it took longer than `timeout` seconds, and was killed.
    """
    if _FORKS:
        start_server()
    with tempfile.TemporaryDirectory() as streams:
        out, error = Path(streams, "stdout"), Path(streams, "stderr")
        process = _CONTEXT.Process(target=_run, args=(arguments, folder, environment, out, error, _compiled))
        process.start()
        process.join(timeout)
        if process.exitcode is None:
            process.kill()
            process.join()
            raise TimeoutError(
                f"{arguments} took longer than {timeout} s.\n{out.read_text()}{error.read_text()}"
            )
        return Done(process.exitcode, out.read_text(), error.read_text())


def _run(
    arguments: list[str],
    folder: Path,
    environment: dict[str, str],
    out: Path,
    error: Path,
    compiled: Path | None,
) -> None:
    for path, stream in ((out, 1), (error, 2)):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT), stream)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    if compiled is not None:
        sys.dont_write_bytecode, sys.pycache_prefix = False, str(compiled)
    module = arguments[0] == "-m"
    sys.argv = arguments[1:] if module else arguments
    sys.path[0] = str(folder if module else Path(arguments[0]).parent)
    if module:
        runpy.run_module(arguments[1], run_name="__main__", alter_sys=True)
    else:
        runpy.run_path(arguments[0], run_name="__main__")
