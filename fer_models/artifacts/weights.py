"""From a model's name to its weights file on this machine, verified. Nothing here downloads.

Shipped files lie in the package, with their sha256 in `weights/manifest.json`. Files that `fer-models train`
wrote lie in the user's own folder: `$FER_MODELS_WEIGHTS`, or `~/.cache/fer-models/weights`.
"""

from __future__ import annotations

import hashlib
import json
import os
from functools import lru_cache
from pathlib import Path

from fer_models.artifacts.json_io import parse_json
from fer_models.artifacts.resources import ASSETS
from fer_models.errors import WeightsError, one_line

SHIPPED = ASSETS / "weights"
_LARGEST_HEADER = 100_000_000  # the format's own limit
MANIFEST = SHIPPED / "manifest.json"


def user_weights_dir() -> Path:
    """Where trained and fetched weights are kept."""
    given = os.environ.get("FER_MODELS_WEIGHTS")
    return Path(given) if given else Path.home() / ".cache" / "fer-models" / "weights"


def manifest() -> dict[str, str]:
    """The shipped files and their sha256: file name -> hexadecimal digest."""
    return dict(json.loads(MANIFEST.read_text())) if MANIFEST.exists() else {}


def find(name: str, suffix: str = ".safetensors") -> Path | None:
    """The weights of `name`: the shipped file, else the user's own, else None. A fusion's are `.json`.

    Raises:
        WeightsError: the shipped file is not the one that was shipped.
    """
    file = f"{name}{suffix}"
    shipped = SHIPPED / file
    if shipped.exists():
        _verify(shipped, shipped.stat().st_mtime_ns)
        return shipped
    own = user_weights_dir() / file
    return own if own.exists() else None


def find_folder(name: str) -> Path | None:
    """The weights of a model that has a folder of files: the shipped one, else the user's own, else None.

    Raises:
        WeightsError: a shipped file is not the one that was shipped.
    """
    shipped = SHIPPED / name
    if shipped.is_dir():
        for path in sorted(shipped.iterdir()):
            _verify(path, path.stat().st_mtime_ns)
        return shipped
    own = user_weights_dir() / name
    return own if (own / "config.json").exists() else None


def metadata(path: Path) -> dict[str, str]:
    """What a safetensors file says of itself (architecture, labels, provenance), read without its tensors.

    Raises:
        WeightsError: it is not a sound safetensors file.
    """
    try:
        with path.open("rb") as file:  # 8 bytes of length, then a JSON header (the safetensors format)
            length = int.from_bytes(file.read(8), "little")
            if length > min(_LARGEST_HEADER, path.stat().st_size - 8):
                raise ValueError(f"its header claims {length} bytes")
            said = parse_json(file.read(length)).get("__metadata__", {})
            if not all(isinstance(value, str) for value in said.values()):
                raise ValueError("its metadata holds something that is not a text")
            return dict(said)
    except (OSError, ValueError, AttributeError, TypeError) as error:
        raise WeightsError(
            f"{path} cannot be read as safetensors ({one_line(str(error))}). Get a sound copy."
        ) from error


@lru_cache(maxsize=64)
def _verify(path: Path, modified: int) -> None:
    digest, expected = (
        hashlib.sha256(path.read_bytes()).hexdigest(),
        manifest().get(path.relative_to(SHIPPED).as_posix()),
    )
    if digest != expected:
        raise WeightsError(
            f"{path} has sha256 {digest[:12]}…, {(expected or 'none')[:12]}… was shipped. Reinstall fer-models."
        )
