"""Reading and writing of evals.json."""

from __future__ import annotations

import json
from pathlib import Path

from fer_models.artifacts.atomic_write import atomic_write
from fer_models.artifacts.json_io import parse_json, read_text
from fer_models.errors import UsageError
from fer_models.report.eval_report import EvalReport

_RUN_AGAIN = "Run `pytest evals` again to write a new one."


def write_report(report: EvalReport, path: Path) -> None:
    """Write evals.json atomically. Its folder is made if it is missing.

    Raises:
        UsageError: a value cannot be in JSON, such as NaN. The message names the field.
    """
    write_text(as_json(report), path)


def as_json(report: EvalReport) -> str:
    """Format a report as the text of evals.json. Raises as `write_report`."""
    return json.dumps(report.to_json(), indent=1, allow_nan=False) + "\n"


def write_text(text: str, path: Path) -> None:
    """Write a file in UTF-8 atomically. Its folder is made if it is missing."""
    with atomic_write(path) as part:
        part.write_text(text, encoding="utf-8", newline="\n")


def read_report(path: Path) -> EvalReport:
    """Read the report that `write_report` wrote.

    Raises:
        UsageError: there is no such file, it is not JSON, or it is not a report of this schema.
    """
    try:
        return EvalReport.from_json(parse_json(read_text(path)))
    except OSError as error:
        raise UsageError(
            f"Cannot read the report {path}: {error.strerror}. `pytest evals` writes one into --report-dir."
        ) from error
    except ValueError as error:  # not UTF-8, not JSON, or NaN in it
        raise UsageError(f"{path} is not a report: {error}. {_RUN_AGAIN}") from error
    except UsageError as error:
        raise UsageError(f"{path} cannot be used. {error} {_RUN_AGAIN}") from error
