"""Weights files on this machine by model name, verified; nothing is downloaded here.

Shipped files are in the package, with their sha256 in `weights/manifest.json`. Files that `fer-models train`
wrote are in the user's folder: `$FER_MODELS_WEIGHTS`, or `~/.cache/fer-models/weights`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fer_models.artifacts.hashing import sha256_of
from fer_models.artifacts.json_io import parse_json
from fer_models.artifacts.resources import ASSETS
from fer_models.errors import UsageError, WeightsError, WeightsMissingError, one_line

SHIPPED = ASSETS / "weights"
_LARGEST_HEADER = 100_000_000  # the format's own limit
MANIFEST = SHIPPED / "manifest.json"


def user_weights_dir() -> Path:
    """The folder of trained and downloaded weights.

    Raises:
        UsageError: this user has no home folder, and `FER_MODELS_WEIGHTS` names none.
    """
    folder = os.environ.get("FER_MODELS_WEIGHTS")
    if folder:
        return Path(folder)
    try:
        return Path.home() / ".cache" / "fer-models" / "weights"
    except RuntimeError as error:
        raise UsageError(
            "This user has no home folder, in which weights would be. "
            "Name another folder in the environment: FER_MODELS_WEIGHTS=FOLDER"
        ) from error


def manifest() -> dict[str, str]:
    """Read the manifest of shipped files: file name -> hexadecimal sha256."""
    return dict(json.loads(MANIFEST.read_text())) if MANIFEST.exists() else {}


def find(name: str, suffix: str = ".safetensors") -> Path | None:
    """Find the weights file of `name`: the shipped one, else the user's, else None.

    Raises:
        WeightsError: the shipped file was changed.
    """
    file = f"{name}{suffix}"
    shipped = SHIPPED / file
    if shipped.exists():
        _verify(shipped)
        return shipped
    user_file = user_weights_dir() / file
    return user_file if user_file.exists() else None


def is_shipped(file: str) -> bool:
    """Whether a file of that name is shipped: it is used before one in the user's folder."""
    return (SHIPPED / file).exists()


def find_trained(name: str, problem: str) -> Path:
    """Find the weights file of `name`, which another training made.

    Args:
        name: of the model.
        problem: the sentence of the error that says what needs it.

    Raises:
        WeightsMissingError: it is not on this machine.
        WeightsError: the shipped file was changed.
    """
    path = find(name)
    if path is None:
        raise WeightsMissingError(f"{problem} Train it first: fer-models train {name}")
    return path


def find_folder(name: str) -> Path | None:
    """Find the weights folder of a model with several files: the shipped one, else the user's, else None.

    Raises:
        WeightsError: a shipped file was changed.
    """
    shipped = SHIPPED / name
    if shipped.is_dir():
        for path in sorted(shipped.iterdir()):
            _verify(path)
        return shipped
    user_folder = user_weights_dir() / name
    return user_folder if (user_folder / "config.json").exists() else None


def metadata(path: Path) -> dict[str, str]:
    """Read the metadata of a safetensors file (architecture, labels, provenance) without its tensors.

    Raises:
        WeightsError: it is not a valid safetensors file.
    """
    try:
        with path.open("rb") as file:  # 8 bytes of length, then a JSON header (the safetensors format)
            length = int.from_bytes(file.read(8), "little")
            if length > min(_LARGEST_HEADER, path.stat().st_size - 8):
                raise ValueError(f"its header claims {length} bytes")
            values = parse_json(file.read(length)).get("__metadata__", {})
            if not all(isinstance(value, str) for value in values.values()):
                raise ValueError("its metadata holds something that is not a text")
            return dict(values)
    except (OSError, ValueError, AttributeError, TypeError) as error:
        raise WeightsError(
            f"{path} cannot be read as safetensors ({one_line(str(error))}). Get a new copy."
        ) from error


def training_record(metadata: Mapping[str, str], path: Path) -> dict[str, Any] | None:
    """The training record in the metadata of a safetensors file; None where it has none.

    Raises:
        WeightsError: it is no JSON object.
    """
    try:
        record = parse_json(metadata.get("provenance", "null"))
    except ValueError as error:
        raise WeightsError(f"{path}: its training record is no JSON ({one_line(str(error))}).") from error
    if record is not None and not isinstance(record, dict):
        raise WeightsError(f"{path}: its training record is no JSON object.")
    return record


def _verify(path: Path) -> None:
    digest = sha256_of(path)
    expected = manifest().get(path.relative_to(SHIPPED).as_posix(), "none")
    if digest != expected:
        raise WeightsError(
            f"{path} has sha256 {digest[:12]}…, {expected[:12]}… was shipped. Reinstall fer-models."
        )
