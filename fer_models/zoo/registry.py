"""Registries of models and restorers, with records from Python files and installed packages."""

from __future__ import annotations

import importlib.util
import inspect
import os
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, Generic, TypeVar

from fer_models.errors import UnknownNameError, UsageError, one_line
from fer_models.zoo.spec import ModelSpec, RestorerSpec, defining_records

Spec = TypeVar("Spec", ModelSpec, RestorerSpec)


class Registry(Generic[Spec]):
    """Records by name, in the order in which they were added.

    A refused `add` changes nothing.
    """

    def __init__(self, kind: str, *specs: Spec) -> None:
        self.kind = kind
        self._by_name: dict[str, Spec] = {}
        self.add(*specs)

    def add(self, *specs: Spec) -> None:
        """Add all of `specs`, or none of them.

        Raises:
            UsageError: a name is taken, or given twice.
        """
        by_name = dict(self._by_name)
        for spec in specs:
            if spec.name in by_name:
                raise UsageError(
                    f"A {self.kind} named {spec.name!r} is already registered. Give yours another name."
                )
            by_name[spec.name] = spec
        self._by_name = by_name

    def override(self, *specs: Spec) -> list[str]:
        """Add `specs`, each in place of a record of the same name.

        So one's own `vgg19` is compared with the baseline of the zoo's.

        Returns:
            the names that were replaced.
        """
        replaced = [spec.name for spec in specs if spec.name in self._by_name]
        self._by_name = self._by_name | {spec.name: spec for spec in specs}
        return replaced

    def copy(self) -> Registry[Spec]:
        """An independent registry with the same records."""
        return Registry(self.kind, *self._by_name.values())

    def __getitem__(self, name: str) -> Spec:
        if name not in self._by_name:
            raise UnknownNameError(self.kind, name, self._by_name)
        return self._by_name[name]

    def __contains__(self, name: object) -> bool:
        return name in self._by_name

    def __iter__(self) -> Iterator[Spec]:
        return iter(self._by_name.values())

    def __len__(self) -> int:
        return len(self._by_name)

    @property
    def names(self) -> list[str]:
        """The registered names, in order."""
        return list(self._by_name)


def from_file(path: Path) -> tuple[list[ModelSpec], list[RestorerSpec]]:
    """The records in the lists `MODELS` and `RESTORERS` of a Python file.

    The file's content becomes part of each record's identity, so that an edited model never gets the stored
    predictions of an old one.

    Raises:
        UsageError: no such file, it fails to run, or it defines neither list.
    """
    if not os.path.isfile(path):
        raise UsageError(
            f"There is no model file '{one_line(str(path))}'. "
            "Give a Python file that defines MODELS = [ModelSpec(...)]."
        )
    spec = importlib.util.spec_from_file_location(module_name(path), path)
    if spec is None or spec.loader is None:
        raise UsageError(f"The model file {path} is not a Python file: its name must end in .py.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses and pickling in the user's file need it
    with defining_records(f"The model file {path} fails when run"):
        spec.loader.exec_module(module)
    return _records(module, path.resolve(), f"The model file {path}")


def module_name(path: Path) -> str:
    """The name under which `from_file` imports a file."""
    return f"fer_models_from_{path.stem}"


def from_entry_points() -> tuple[list[ModelSpec], list[RestorerSpec]]:
    """The records of installed packages, from the entry-point group `fer_models.models`.

    An entry point names a module with the lists `MODELS` and/or `RESTORERS`.

    Raises:
        UsageError: an entry point cannot be imported or has no record.
    """
    models: list[ModelSpec] = []
    restorers: list[RestorerSpec] = []
    for point in entry_points(group="fer_models.models"):
        where = f"entry point {point.name!r} ({point.value})"
        with defining_records(f"{where} fails when loaded", "Repair or uninstall that package."):
            module = point.load()
            file = Path(inspect.getfile(module))
        added_models, added_restorers = _records(module, file, where)
        models += added_models
        restorers += added_restorers
    return models, restorers


def _records(module: Any, source: Path, where: str) -> tuple[list[ModelSpec], list[RestorerSpec]]:
    """The records of a module, with the file they come from.

    Raises:
        UsageError: a list has another type, holds something else than records, or two of one name; or there
            is no record.
    """
    models = _record_list(module, "MODELS", ModelSpec, where)
    restorers = _record_list(module, "RESTORERS", RestorerSpec, where)
    if not models and not restorers:
        raise UsageError(
            f"{where} defines no MODELS and no RESTORERS. Add MODELS = [ModelSpec(name=..., load=...)]."
        )
    return [replace(m, source=source) for m in models], [replace(r, source=source) for r in restorers]


def _record_list(module: Any, name: str, kind: type[Spec], where: str) -> list[Spec]:
    with defining_records(f"{where}: {name} cannot be read"):
        records = getattr(module, name, [])
        if not isinstance(records, list | tuple):
            raise UsageError(
                f"{where}: {name} is a {type(records).__name__}. "
                f"Write {name} = [{kind.__name__}(name=..., load=...)]."
            )
        records = list(records)
        for record in records:
            if not isinstance(record, kind):
                raise UsageError(
                    f"{where}: {name} holds something that is not a {kind.__name__}: "
                    f"a {type(record).__name__}."
                )
    counts = Counter(record.name for record in records)
    repeated = [record_name for record_name, count in counts.items() if count > 1]
    if repeated:
        raise UsageError(
            f"{where}: {name} holds {', '.join(map(repr, repeated))} more than once. "
            "Give each record a name of its own."
        )
    return records
