"""From a model's name to its weights file on this machine, verified. Nothing here downloads.

Shipped files lie in the package, with their sha256 in `weights/manifest.json`. Files that `fer-models train` wrote lie in the user's
own folder: `$FER_MODELS_WEIGHTS`, or `~/.cache/fer-models/weights`.
"""

from __future__ import annotations

import hashlib
import json
import os
from functools import lru_cache
from pathlib import Path

from fer_models.errors import WeightsError

SHIPPED = Path(__file__).parent / "weights"
MANIFEST = SHIPPED / "manifest.json"


def user_folder() -> Path:
    """Where trained and fetched weights are kept."""
    given = os.environ.get("FER_MODELS_WEIGHTS")
    return Path(given) if given else Path.home() / ".cache" / "fer-models" / "weights"


def manifest() -> dict[str, str]:
    """The shipped files and their sha256: file name -> hexadecimal digest."""
    return dict(json.loads(MANIFEST.read_text())) if MANIFEST.exists() else {}


def find(name: str) -> Path | None:
    """The weights of `name`: the shipped file, else the user's own, else None.

    Raises:
        WeightsError: the shipped file is not the one that was shipped.
    """
    file = f"{name}.safetensors"
    shipped = SHIPPED / file
    if shipped.exists():
        _verify(shipped, shipped.stat().st_mtime_ns)
        return shipped
    own = user_folder() / file
    return own if own.exists() else None


@lru_cache(maxsize=64)
def _verify(path: Path, modified: int) -> None:
    digest, expected = hashlib.sha256(path.read_bytes()).hexdigest(), manifest().get(path.name)
    if digest != expected:
        raise WeightsError(f"{path} has sha256 {digest[:12]}…, {(expected or 'none')[:12]}… was shipped. Reinstall fer-models.")
