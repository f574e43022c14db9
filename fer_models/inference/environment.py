"""Environment of a run: versions, machine and device."""

from __future__ import annotations

import platform
import sys
from collections.abc import Mapping
from typing import Any

from fer_models.classifiers.base import device_of
from fer_models.store.code_identity import installed_version
from fer_models.zoo.spec import Runtime

_PACKAGES = ("fer-models", "torch", "timm", "numpy", "scikit-learn", "pillow")


def environment() -> dict[str, str]:
    """Versions and machine on which predictions may depend, without importing a heavy library."""
    versions = {"python": sys.version.split()[0], "machine": f"{platform.system()} {platform.machine()}"}
    return versions | {package: installed_version(package) for package in _PACKAGES}


def device_name(model: object, runtime: Runtime) -> str:
    """The device of a loaded model: a GPU by its name.

    A model that does not say where it computes is taken to use torch's device if it has imported torch.
    """
    torch, kind = sys.modules.get("torch"), device_of(model)
    if kind is None and torch is not None and runtime.device != "cpu":
        from fer_models.artifacts.safetensors_io import pick_device  # it imports torch

        kind = pick_device(runtime.device).type
    if kind == "cuda" and torch is not None and torch.cuda.is_available():
        return str(torch.cuda.get_device_name())
    return kind or "cpu"


def provenance(identity: Mapping[str, Any], device: str, batch_size: int) -> dict[str, Any]:
    """What is stored with predictions: nothing that differs from run to run on one machine.

    Args:
        identity: everything that decides the predictions besides the faces.
        device: of the model, as `device_name` returns it.
        batch_size: faces per forward pass.
    """
    return {**identity, "device": device, "batch_size": batch_size, "environment": environment()}
