"""Energy of a computation: processor packages by RAPL (Linux), an NVIDIA GPU by NVML."""

from __future__ import annotations

import importlib
import re
from pathlib import Path
from typing import Any

#: https://www.kernel.org/doc/html/latest/power/powercap/powercap.html
POWERCAP = Path("/sys/class/powercap")


class EnergyMeter:
    """Energy since its creation. The processor's part includes all processes of the machine."""

    def __init__(self, device: str, powercap: Path = POWERCAP) -> None:
        """Start counting; `device` is torch's type of the device in use, or `server` for another machine."""
        self._device = device
        # `intel-rapl:0` is a package (on AMD too). `intel-rapl:0:0` is a part of it, and a zone with the name
        # `psys` is the whole machine: both would count twice.
        zones = sorted(powercap.glob("intel-rapl:*"))
        self._packages = [zone for zone in zones if _is_package(zone)]
        self._gpu = _gpu_millijoules if device == "cuda" else lambda: None
        self._before, self._gpu_before = self._read(), self._gpu()

    def joules(self) -> float | None:
        """The energy in joules; None where a device in use has no readable counter."""
        after, gpu = self._read(), self._gpu()
        if self._before is None or after is None or self._device == "server":
            return None
        if self._device == "cuda" and (self._gpu_before is None or gpu is None):
            return None
        joules = 0.0
        for package, first, last in zip(self._packages, self._before, after, strict=True):
            # The counter restarts at its maximum; an epoch is too short for that to happen twice.
            restart = 0 if last >= first else int((package / "max_energy_range_uj").read_text())
            joules += (last - first + restart) / 1e6
        return joules + (0.0 if gpu is None or self._gpu_before is None else (gpu - self._gpu_before) / 1e3)

    def _read(self) -> list[int] | None:
        try:
            return [int((package / "energy_uj").read_text()) for package in self._packages] or None
        except (OSError, ValueError):  # since CVE-2020-8694 only the superuser may read it
            return None


def _is_package(zone: Path) -> bool:
    try:
        name = (zone / "name").read_text()
    except OSError:
        return False
    return re.fullmatch(r"intel-rapl:\d+", zone.name) is not None and name.startswith("package")


def _gpu_millijoules() -> float | None:
    try:
        nvml: Any = importlib.import_module("pynvml")
        nvml.nvmlInit()
        import torch

        # NVML numbers all GPUs of the machine, CUDA only the visible ones: an index would not do.
        uuid = torch.cuda.get_device_properties(torch.cuda.current_device()).uuid
        handle = nvml.nvmlDeviceGetHandleByUUID(f"GPU-{uuid}")
        return float(nvml.nvmlDeviceGetTotalEnergyConsumption(handle))
    except Exception:  # not installed, or a GPU without a counter: no energy is reported
        return None
