"""The inputs that the key of a subject is made of, and which of them changed between two runs."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from fer_models.artifacts.checksummed_files import versions
from fer_models.artifacts.object_storage import StorePath
from fer_models.errors import StoreError
from fer_models.history.records import Entry
from fer_models.store.partition import read_shard
from fer_models.store.subject import Subject

#: A third-party model that predicts otherwise although nothing else changed, such as a model on a server.
_BEHAVIOUR = "predictions of the same weights"
#: Where the keys of two runs differ, and the store does not tell by what.
_UNKNOWN = "unknown inputs"
_DATA = "data"
_CODE = "code of fer-models"


def stored_provenance(store: StorePath, subject: Subject, key: str) -> dict[str, Any]:
    """The provenance of stored predictions, from their first shard; empty where that cannot be read.

    Args:
        store: the folder of the store.
        subject: what was evaluated.
        key: the key of its partition.
    """
    folder = store / subject.folder(key)
    for path in versions(folder, "part-00000.parquet"):
        try:
            metadata = read_shard(path)[1]
        except StoreError:
            continue
        if metadata["key"] == key and isinstance(metadata["provenance"], dict):
            return metadata["provenance"]
    return {}


def digests(provenance: Mapping[str, Any]) -> dict[str, str]:
    """Digests of the inputs of predictions by name; empty for a provenance without an identity."""
    try:
        model = provenance["model"]
        inputs = {
            "weights": _of_all(model, "weights"),
            "code of the model": _of_all(model, "code"),
            "settings": _settings(model),
            "restoration": provenance["restorer"],
            "corruption": provenance["corruption"],
            _CODE: provenance["code"]["fer-models"],
            _BEHAVIOUR: provenance["check"],
        }
    except (KeyError, TypeError, AttributeError):  # written by another program
        return {}
    return {name: _digest(content) for name, content in inputs.items()}


def changes(before: Entry, after: Entry) -> tuple[str, ...]:
    """Phrases for what changed between two runs of a series; empty where the key is the same.

    These are `weights`, `data`, `settings` and the like, and `torch 2.9.0 -> 2.9.1` for each package whose
    version changed.
    """
    old, new = before.scores, after.scores
    if old.key == new.key:
        return ()
    names = [_DATA] if old.fingerprint != new.fingerprint else []
    names += [name for name, digest in new.inputs.items() if old.inputs.get(name, digest) != digest]
    versions = _version_changes(before.run.versions, after.run.versions)
    if any(change.startswith("fer-models ") for change in versions):
        names = [name for name in names if name != _CODE]
    if len(names) + len(versions) > 1:  # whatever else changed explains it
        names = [name for name in names if name != _BEHAVIOUR]
    return (*names, *versions) or (_UNKNOWN,)


def _version_changes(before: Mapping[str, str], after: Mapping[str, str]) -> list[str]:
    return [
        f"{name} {before[name]} -> {version}"
        for name, version in after.items()
        if before.get(name, version) != version
    ]


def _of_all(model: Mapping[str, Any], field: str) -> list[Any]:
    """A field of a model's identity, and of those of its components."""
    components = [_of_all(component, field) for component in model.get("components", [])]
    return [model[field], *components]


def _settings(model: Mapping[str, Any]) -> dict[str, Any]:
    """A model's identity without its weights and code."""
    settings = {name: value for name, value in model.items() if name not in ("weights", "code", "components")}
    return {**settings, "components": [_settings(component) for component in model.get("components", [])]}


def _digest(content: Any) -> str:
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]
