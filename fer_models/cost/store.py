"""Measured costs, kept per code, versions and machine: a time that was measured once is shown as stored, not
measured again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import date
from functools import lru_cache, partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

from fer_models.artifacts.checksummed_files import find, locked_directory, write
from fer_models.artifacts.device import describe_machine
from fer_models.artifacts.hashing import package_sha256
from fer_models.errors import StoreError
from fer_models.store.code_identity import library_versions

_WHAT = "Costs"


class CostStore:
    """A folder with one JSON file per measured step."""

    def __init__(self, folder: Path, *, measure_anew: bool = False) -> None:
        """Keep costs in `folder`; `measure_anew` ignores and replaces what is there."""
        self.folder, self.measure_anew = folder, measure_anew

    def find(self, step: Mapping[str, Any]) -> dict[str, Any] | None:
        """The figures of a step as measured on this machine by this code, with `measured_on` (a date); None
        where there are none.

        Args:
            step: what is measured, as JSON: the phase, and the identity of each part.
        """
        if self.measure_anew:
            return None
        return find(self.folder, _name(step), partial(_parse, step))

    def save(self, step: Mapping[str, Any], figures: Mapping[str, Any]) -> None:
        """Keep the figures of a step. If they cannot be written, they are measured again in the next run."""
        entry = {"step": step, "figures": figures, "measured_on": date.today().isoformat()}
        content = json.dumps(entry, indent=1).encode()
        with suppress(StoreError), locked_directory(self.folder, _WHAT):
            find(self.folder, _name(step), partial(_parse, step), remove_damaged=True)
            write(self.folder, _name(step), content, _WHAT)

    def get_or_measure(
        self, step: Mapping[str, Any], measure: Callable[[], Mapping[str, Any]]
    ) -> dict[str, Any]:
        """The stored figures of a step, or those that `measure` returns, which are kept."""
        figures = self.find(step)
        if figures is None:
            figures = dict(measure())
            self.save(step, figures)
        return figures


def _name(step: Mapping[str, Any]) -> str:
    text = json.dumps([step, _environment()], sort_keys=True)
    return f"{hashlib.sha256(text.encode()).hexdigest()[:32]}.json"


def _parse(step: Mapping[str, Any], content: bytes) -> dict[str, Any]:
    """The figures in the bytes of a file. Raises one of `folder.INVALID` unless they are those of this
    step.
    """
    entry = json.loads(content)
    if entry["step"] != json.loads(json.dumps(step)):
        raise ValueError("it holds the cost of another step")
    return {**entry["figures"], "measured_on": date.fromisoformat(entry["measured_on"]).isoformat()}


@lru_cache
def _environment() -> dict[str, str]:
    """What decides how long a step takes, besides the step: the code, the machine and the libraries."""
    code = {"code": package_sha256(), "machine": describe_machine(), **library_versions()}
    return {**code, "scikit-learn": version("scikit-learn")}
