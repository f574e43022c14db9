"""Provenance of trained weights: the parts of the record in their file that all recipes share."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterable
from datetime import datetime, timezone
from importlib.metadata import version
from typing import Any

import torch

from fer_models.artifacts.hashing import package_sha256
from fer_models.datasets.base import FaceSet


def describe_faces(faces: FaceSet) -> dict[str, Any]:
    """Name, size and fingerprint of a face set."""
    return {"name": faces.name, "n": len(faces), "fingerprint": faces.fingerprint}


def row_order(faces: FaceSet) -> str:
    """The sha256 of the pixel hashes in the order of the rows, which decides batches and random splits."""
    return hashlib.sha256("".join(faces.hashes).encode()).hexdigest()


def describe_environment(device: torch.device, packages: Iterable[str]) -> dict[str, Any]:
    """Device, package versions, the hash of this package's code and the time of day, as JSON.

    Args:
        device: the device that trained.
        packages: the distributions whose versions the weights may depend on.
    """
    threads = f"{device.type}, {torch.get_num_threads()} threads"
    return {
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else threads,
        "versions": {package: version(package) for package in packages} | {"python": sys.version.split()[0]},
        "code": package_sha256(),
        "finished": datetime.now(timezone.utc).isoformat(timespec="seconds"),
    }
