"""Files of the report, evals.json and evals.html: checks before a run, and removal of earlier ones."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest

from fer_models.errors import UsageError
from fer_models.plugin import options


def files(config: pytest.Config) -> tuple[Path, Path]:
    """evals.json and evals.html of the run."""
    folder = options.report_dir(config)
    return folder / "evals.json", folder / "evals.html"


def require_writable(config: pytest.Config) -> None:
    """Make the folder of the report.

    Raises:
        UsageError: it cannot be made or written.
    """
    folder = options.report_dir(config)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UsageError(
            f"The report cannot be written to {folder} ({reason}). Choose another folder: --report-dir FOLDER"
        ) from error
    if taken := [path for path in files(config) if path.is_dir()]:
        raise UsageError(
            f"The report cannot be written to {taken[0]}, which is a folder. "
            "Choose another one: --report-dir FOLDER"
        )


def remove(config: pytest.Config) -> None:
    """Remove the report of an earlier run; of several processes (`-n`) each does it before its first test.

    Raises:
        pytest.UsageError: it cannot be removed.
    """
    for path in files(config):
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise pytest.UsageError(
                f"{path}, of an earlier run, cannot be removed ({error.strerror}). Delete it and run again."
            ) from error
