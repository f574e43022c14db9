"""Measured costs, kept per code, versions and machine: a time that was measured once is shown as stored, not measured again."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import date
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

from fer_models.errors import StoreError
from fer_models.evaluation.code_identity import library_versions
from fer_models.evaluation.folder import locked, put
from fer_models.files import package_sha256
from fer_models.machine import describe_machine

_WHAT = "Costs"


class CostStore:
    """A folder with one JSON file per measured step."""

    def __init__(self, folder: Path, *, measure_anew: bool = False) -> None:
        """Keep costs in `folder`; `measure_anew` ignores and replaces what is there."""
        self.folder, self.measure_anew = folder, measure_anew

    def find(self, step: Mapping[str, Any]) -> dict[str, Any] | None:
        """The figures of a step as measured on this machine by this code, with `measured_on` (a date); None where there are none.

        Args:
            step: what is measured, as JSON: the phase, and the identity of each part.
        """
        if self.measure_anew:
            return None
        try:
            entry = json.loads(self._path(step).read_text(encoding="utf-8"))
            return {**entry["figures"], "measured_on": entry["measured_on"]}
        except (OSError, ValueError, KeyError, TypeError):  # not measured yet, or a damaged file: measured anew
            return None

    def keep(self, step: Mapping[str, Any], figures: Mapping[str, Any]) -> None:
        """Keep the figures of a step. If they cannot be written, they are measured again in the next run."""
        entry = {"step": step, "figures": figures, "measured_on": date.today().isoformat()}
        text = json.dumps(entry, indent=1)
        with suppress(StoreError), locked(self.folder, _WHAT):
            put(self.folder, self._path(step).name, lambda part: part.write_text(text, encoding="utf-8"), _WHAT)

    def measured(self, step: Mapping[str, Any], measure: Callable[[], Mapping[str, Any]]) -> dict[str, Any]:
        """The stored figures of a step, or those that `measure` returns, which are kept."""
        figures = self.find(step)
        if figures is None:
            figures = dict(measure())
            self.keep(step, figures)
        return figures

    def _path(self, step: Mapping[str, Any]) -> Path:
        text = json.dumps([step, _environment()], sort_keys=True)
        return self.folder / f"{hashlib.sha256(text.encode()).hexdigest()[:32]}.json"


@lru_cache
def _environment() -> dict[str, str]:
    """What decides how long a step takes, beside the step: the code, the machine and the libraries."""
    code = {"code": package_sha256(), "machine": describe_machine(), **library_versions()}
    return {**code, "scikit-learn": version("scikit-learn")}
