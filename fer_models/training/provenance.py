"""What a training run's weights are and how they came about: the record that stands in their file."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from datetime import datetime, timezone
from importlib.metadata import version
from typing import Any

import torch

from fer_models.datasets.base import FaceSet


def described(faces: FaceSet) -> dict[str, Any]:
    """Which faces: their set's name, how many they are, and the fingerprint of all of them."""
    return {"name": faces.name, "n": len(faces), "fingerprint": faces.fingerprint}


def record(
    model: str,
    recipe: Any,
    *,
    seed: int,
    training: Iterable[Mapping[str, Any]],
    validation: Mapping[str, Any],
    history: list[dict[str, float]],
    device: torch.device,
    packages: Iterable[str],
    **more: Any,
) -> dict[str, Any]:
    """The provenance of one run, to be kept as JSON.

    Args:
        recipe: a dataclass, whole.
        training, validation: as `described`.
        packages: whose versions the weights may depend on.
        more: what this kind of training has besides.
    """
    return {
        "model": model,
        "recipe": asdict(recipe),
        "seed": seed,
        "training_data": list(training),
        "validation_data": validation,
        **more,
        "history": history,
        "device": torch.cuda.get_device_name(device)
        if device.type == "cuda"
        else f"{device.type}, {torch.get_num_threads()} threads",
        "versions": {package: version(package) for package in packages} | {"python": sys.version.split()[0]},
        "finished": datetime.now(timezone.utc).isoformat(timespec="seconds"),
    }
