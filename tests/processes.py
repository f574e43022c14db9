"""Python processes of their own that begin with the large libraries imported.

Three of the four seconds that `pytest evals` takes on a few faces are imports of scikit-learn, SciPy and
matplotlib. One process imports these, and nothing of ours or of pytest's, and is forked whenever a test needs
a new one.
"""

import multiprocessing
import os
import runpy
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

_LARGE = [
    "matplotlib.backends.backend_svg",
    "matplotlib.figure",
    "pyarrow.parquet",
    "scipy.stats",
    "sklearn.metrics",
    "statsmodels.stats.multitest",
]
_FORKS = (
    "forkserver" in multiprocessing.get_all_start_methods()
)  # not on Windows, where each process begins with nothing
_CONTEXT = multiprocessing.get_context("forkserver" if _FORKS else "spawn")
if _FORKS:
    _CONTEXT.set_forkserver_preload(_LARGE)


@dataclass(frozen=True)
class Done:
    """How a process ended, and what it said."""

    returncode: int
    stdout: str
    stderr: str


def run_python(arguments: list[str], folder: Path, environment: dict[str, str], timeout: float = 240) -> Done:
    """What `python ARGUMENTS` does in `folder`; `arguments` begin with `-m MODULE` or with a file.

    Raises:
        TimeoutError: it was not done after `timeout` seconds, and was killed.
    """
    with tempfile.TemporaryDirectory() as said:
        out, error = Path(said, "stdout"), Path(said, "stderr")
        process = _CONTEXT.Process(target=_run, args=(arguments, folder, environment, out, error))
        process.start()
        process.join(timeout)
        if process.exitcode is None:
            process.kill()
            process.join()
            raise TimeoutError(
                f"{arguments} took longer than {timeout} s.\n{out.read_text()}{error.read_text()}"
            )
        return Done(process.exitcode, out.read_text(), error.read_text())


def _run(arguments: list[str], folder: Path, environment: dict[str, str], out: Path, error: Path) -> None:
    for path, stream in ((out, 1), (error, 2)):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT), stream)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    module = arguments[0] == "-m"
    sys.argv = arguments[1:] if module else arguments
    sys.path[0] = str(folder if module else Path(arguments[0]).parent)
    if module:
        runpy.run_module(arguments[1], run_name="__main__", alter_sys=True)
    else:
        runpy.run_path(arguments[0], run_name="__main__")
