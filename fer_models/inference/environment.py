"""Environment of a run: versions, machine and device."""

from __future__ import annotations

import platform
import sys
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from fer_models.zoo.spec import Runtime

_PACKAGES = ("fer-models", "torch", "timm", "numpy", "scikit-learn", "pillow")


def environment() -> dict[str, str]:
    """Versions and machine on which predictions may depend, without importing a heavy library."""
    versions = {"python": sys.version.split()[0], "machine": f"{platform.system()} {platform.machine()}"}
    for package in _PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = "not installed"
    return versions


def device_name(runtime: Runtime) -> str:
    """The device on which a model that is loaded now runs; models without torch run on the CPU."""
    torch = sys.modules.get("torch")
    if runtime.device == "cpu" or torch is None:
        return "cpu"
    if torch.cuda.is_available():
        return str(torch.cuda.get_device_name())
    return "mps" if torch.backends.mps.is_available() else "cpu"


def provenance(identity: Mapping[str, Any], runtime: Runtime, batch_size: int) -> dict[str, Any]:
    """What is stored with predictions: nothing that differs from run to run on one machine.

    Args:
        identity: everything that decides the predictions besides the faces.
        runtime: that of the model, with its precision; the model is loaded.
        batch_size: faces per forward pass.
    """
    return {
        **identity,
        "device": device_name(runtime),
        "batch_size": batch_size,
        "environment": environment(),
    }
