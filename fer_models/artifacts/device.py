"""What this machine is fast at, and has room for, found without importing torch where that can be helped."""

from __future__ import annotations

import gc
import os
import platform
import sys
from collections.abc import Iterator
from contextlib import contextmanager
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
        flags = next(
            (line for line in cpuinfo.read_text().splitlines() if line.startswith(("flags", "Features"))), ""
        )
    except OSError:
        return False
    return bool(_BF16_FLAGS & set(flags.split()))


def resolve_precision(precision: str, device: str) -> str:
    """`precision`, or for `auto` what `device` is fast at: `bf16` where it has instructions for it, else
    `float32`.

    Without such instructions a step in bfloat16 takes many times as long as one in float32.
    """
    if precision != "auto":
        return precision
    return "bf16" if bf16_is_fast(device) else "float32"


@contextmanager
def paused_garbage_collection() -> Iterator[None]:
    """Import large libraries without garbage collections among their objects, which live to the end: a
    quarter of the time of torch's import, and of all that timm and open_clip import with it."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


@lru_cache
def describe_machine(
    cpuinfo: Path = Path("/proc/cpuinfo"), gpus: Path = Path("/proc/driver/nvidia/gpus")
) -> str:
    """The processor, its cores and the NVIDIA GPUs, in one line, without importing torch."""
    try:
        names = (
            line.partition(":")[2].strip()
            for line in cpuinfo.read_text().splitlines()
            if line.startswith("model name")
        )
        processor = next(names, "")
    except OSError:
        processor = ""
    parts = [processor or platform.processor() or platform.machine(), f"{os.cpu_count()} cores"]
    for information in sorted(gpus.glob("*/information")):
        lines = information.read_text().splitlines()
        parts += [line.partition(":")[2].strip() for line in lines if line.startswith("Model")]
    return ", ".join(parts)


def _has_gpu() -> bool:
    if sys.platform == "linux" and not Path("/proc/driver/nvidia/version").exists():
        return False
    import torch

    return bool(torch.cuda.is_available())


def free_memory(device: str, meminfo: Path = Path("/proc/meminfo")) -> int | None:
    """Bytes that a model may still take on `device` (`cpu`, `cuda`, `mps`); None where the system does not
    tell.
    """
    if device == "cuda":
        import torch

        return int(torch.cuda.mem_get_info()[0])
    try:
        line = next(line for line in meminfo.read_text().splitlines() if line.startswith("MemAvailable:"))
    except (OSError, StopIteration):
        return None
    return int(line.split()[1]) * 1024  # "MemAvailable:   23456789 kB"
