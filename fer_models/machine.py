"""What this machine is fast at, and has room for, found without importing torch where that can be helped."""

from __future__ import annotations

import sys
from functools import lru_cache
from pathlib import Path

#: What processors call their bfloat16 matrix instructions: AVX-512 and AMX on x86, `bf16` on ARM.
_BF16_FLAGS = frozenset({"avx512_bf16", "amx_bf16", "bf16"})


@lru_cache
def bf16_is_fast(device: str, cpuinfo: Path = Path("/proc/cpuinfo")) -> bool:
    """Whether `device` (`auto`, `cpu`, `cuda` or `mps`) multiplies in bfloat16 by instructions of its own."""
    if device == "cuda" or (device == "auto" and _has_gpu()):
        import torch

        return torch.cuda.is_available() and torch.cuda.get_device_capability() >= (8, 0)  # Ampere and later
    if device == "mps":
        return False
    try:
        flags = next((line for line in cpuinfo.read_text().splitlines() if line.startswith(("flags", "Features"))), "")
    except OSError:
        return False
    return bool(_BF16_FLAGS & set(flags.split()))


def _has_gpu() -> bool:
    if sys.platform == "linux" and not Path("/proc/driver/nvidia/version").exists():
        return False
    import torch

    return bool(torch.cuda.is_available())


def free_memory(device: str, meminfo: Path = Path("/proc/meminfo")) -> int | None:
    """Bytes that a model may still take on `device` (`cpu`, `cuda`, `mps`); None where the system does not tell."""
    if device == "cuda":
        import torch

        return int(torch.cuda.mem_get_info()[0])
    try:
        line = next(line for line in meminfo.read_text().splitlines() if line.startswith("MemAvailable:"))
    except (OSError, StopIteration):
        return None
    return int(line.split()[1]) * 1024  # "MemAvailable:   23456789 kB"
