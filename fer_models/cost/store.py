"""Store of measured costs per code, library versions and machine, so that each is measured once."""

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

_CONTENTS = "Costs"


class CostStore:
    """A folder with one JSON file per measured step."""

    def __init__(self, folder: Path, *, measure_anew: bool = False) -> None:
        """Store costs in `folder`.

        Args:
            folder: of the files.
            measure_anew: ignore and replace what other stores than this one saved.
        """
        self.folder, self.measure_anew = folder, measure_anew
        self._saved: set[str] = set()

    def find(self, step: Mapping[str, Any]) -> dict[str, Any] | None:
        """Find the stored figures of a step, with `measured_on` (a date), or None.

        Figures of other code, library versions or machines are ignored.

        Args:
            step: the measured step as JSON: the phase, and the identity of each part.
        """
        name = _name(step)
        if self.measure_anew and name not in self._saved:
            return None
        return find(self.folder, name, partial(_parse, step))

    def save(self, step: Mapping[str, Any], figures: Mapping[str, Any]) -> None:
        """Store the figures of a step. If they cannot be written, the next run measures them again."""
        entry = {"step": step, "figures": figures, "measured_on": date.today().isoformat()}
        content, name = json.dumps(entry, indent=1).encode(), _name(step)
        with suppress(StoreError), locked_directory(self.folder, _CONTENTS):
            find(self.folder, name, partial(_parse, step), remove_damaged=True)
            write(self.folder, name, content, _CONTENTS)
            self._saved.add(name)

    def get_or_measure(
        self, step: Mapping[str, Any], measure: Callable[[], Mapping[str, Any]]
    ) -> dict[str, Any]:
        """Return the stored figures of a step, or measure and store them."""
        figures = self.find(step)
        if figures is None:
            figures = dict(measure())
            self.save(step, figures)
        return figures


def _name(step: Mapping[str, Any]) -> str:
    text = json.dumps([step, _environment()], sort_keys=True)
    return f"{hashlib.sha256(text.encode()).hexdigest()[:32]}.json"


def _parse(step: Mapping[str, Any], content: bytes) -> dict[str, Any]:
    """Parse the figures of `step`; raise one of `checksummed_files.INVALID` for another step."""
    entry = json.loads(content)
    if entry["step"] != json.loads(json.dumps(step)):
        raise ValueError("it holds the cost of another step")
    return {**entry["figures"], "measured_on": date.fromisoformat(entry["measured_on"]).isoformat()}


@lru_cache
def _environment() -> dict[str, str]:
    """The code, machine and libraries, on which the duration of a step depends."""
    code = {"code": package_sha256(), "machine": describe_machine(), **library_versions()}
    return {**code, "scikit-learn": version("scikit-learn")}
