"""What a piece of work drew in energy, where the machine tells: processor packages by RAPL (Linux), an NVIDIA
GPU by NVML.
"""

from __future__ import annotations

import importlib
import re
from pathlib import Path
from typing import Any

#: https://www.kernel.org/doc/html/latest/power/powercap/powercap.html
POWERCAP = Path("/sys/class/powercap")


class EnergyMeter:
    """Counts from its making on. The processor's share is that of the whole machine, whoever else was at
    work.
    """

    def __init__(self, device: str, powercap: Path = POWERCAP) -> None:
        """Start counting; `device` is torch's type of the device at work (`cpu`, `cuda`, …)."""
        # `intel-rapl:0` is a package (on AMD too); `intel-rapl:0:0` is a part of it and would count twice.
        self._packages = [
            p for p in sorted(powercap.glob("intel-rapl:*")) if re.fullmatch(r"intel-rapl:\d+", p.name)
        ]
        self._gpu = _gpu_millijoules if device == "cuda" else lambda: None
        self._before, self._gpu_before = self._read(), self._gpu()

    def joules(self) -> float | None:
        """Since the start; None where a part of the machine that was at work does not tell."""
        after, gpu = self._read(), self._gpu()
        if self._before is None or after is None or (self._gpu_before is None) != (gpu is None):
            return None
        drawn = 0.0
        for package, first, last in zip(self._packages, self._before, after, strict=True):
            # The counter starts again at its maximum; an epoch is too short for that to happen twice.
            drawn += (
                last - first
                if last >= first
                else last - first + int((package / "max_energy_range_uj").read_text())
            ) / 1e6
        return drawn + (0.0 if gpu is None or self._gpu_before is None else (gpu - self._gpu_before) / 1e3)

    def _read(self) -> list[int] | None:
        try:
            return [int((package / "energy_uj").read_text()) for package in self._packages] or None
        except (OSError, ValueError):  # since CVE-2020-8694 only the superuser may read it
            return None


def _gpu_millijoules() -> float | None:
    try:
        nvml: Any = importlib.import_module("pynvml")
        nvml.nvmlInit()
        import torch

        handle = nvml.nvmlDeviceGetHandleByIndex(torch.cuda.current_device())
        return float(nvml.nvmlDeviceGetTotalEnergyConsumption(handle))
    except Exception:  # not installed, or a GPU without a counter: a figure less, nothing more
        return None
