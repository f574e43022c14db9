"""Environment of a run: versions, machine and device."""

from __future__ import annotations

import platform
import sys
from importlib.metadata import PackageNotFoundError, version

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
