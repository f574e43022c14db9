"""Device properties: fast precisions, free memory, and a description, without torch where possible."""

from __future__ import annotations

import gc
import os
import platform
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path

#: The flags of processors with bfloat16 matrix instructions: AVX-512 and AMX on x86, `bf16` on ARM.
_BF16_FLAGS = frozenset({"avx512_bf16", "amx_bf16", "bf16"})

#: What Linux has where torch may find a GPU: a driver of NVIDIA or AMD, or that of Windows (WSL).
_GPU_DRIVERS = (Path("/proc/driver/nvidia/version"), Path("/dev/kfd"), Path("/dev/dxg"))

#: Messages of torch's allocators without memory: on accelerators, and on the CPU of Linux and of Windows.
_NO_MEMORY = ("out of memory", "can't allocate memory", "not enough memory")


@lru_cache
def bf16_is_fast(device: str, cpuinfo: Path = Path("/proc/cpuinfo")) -> bool:
    """Whether `device` (`auto`, `cpu`, `cuda` or `mps`) has instructions for bfloat16 products."""
    if device == "cuda" or (device == "auto" and _has_gpu()):
        import torch

        return torch.cuda.is_available() and torch.cuda.get_device_capability() >= (8, 0)  # Ampere and later
    if device == "mps":
        return False
    try:
        lines = cpuinfo.read_text().splitlines()
    except OSError:
        return False
    flags = next((line for line in lines if line.startswith(("flags", "Features"))), "")
    return bool(_BF16_FLAGS & set(flags.split()))


def resolve_precision(precision: str, device: str) -> str:
    """Resolve `auto` to the fast precision of `device`: `bf16` if it has instructions for it, else `float32`.

    Without such instructions a step in bfloat16 takes many times as long as one in float32.
    """
    if precision != "auto":
        return precision
    return "bf16" if bf16_is_fast(device) else "float32"


def default_batch_size(device: str) -> int:
    """Faces per forward pass: 256 on a GPU, which smaller batches do not fill, and 64 elsewhere.

    On processors 128 faces took as long per face as 64, or longer, in `benchmarks/cnn_throughput.py`. A batch
    that does not fit into memory is halved (`inference.batches`).
    """
    return 256 if device == "cuda" or (device == "auto" and _has_gpu()) else 64


def is_out_of_memory(error: BaseException | None) -> bool:
    """Whether an error of Python or of torch (on an accelerator, or on the CPU) says that memory ran out."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    return isinstance(error, RuntimeError) and any(text in str(error) for text in _NO_MEMORY)


@contextmanager
def paused_garbage_collection() -> Iterator[None]:
    """Pause garbage collection while large libraries are imported.

    Their objects live to the end of the process, so collections are useless; they take a quarter of the time
    of importing torch, timm and open_clip.
    """
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
    """Describe the processor, its cores and the NVIDIA GPUs on one line, without importing torch."""
    processor = next(iter(_values(cpuinfo, "model name")), "")
    parts = [processor or platform.processor() or platform.machine(), f"{os.cpu_count()} cores"]
    for information in sorted(gpus.glob("*/information")):
        parts += _values(information, "Model")
    return ", ".join(parts)


def _values(path: Path, key: str) -> list[str]:
    """The values of `key: value` lines of a file in /proc; none where the file cannot be read."""
    try:
        lines = path.read_text().splitlines()
    except OSError:
        return []
    return [line.partition(":")[2].strip() for line in lines if line.startswith(key)]


def _has_gpu() -> bool:
    if sys.platform == "linux" and not any(driver.exists() for driver in _GPU_DRIVERS):
        return False  # without the seconds of importing torch
    import torch

    return bool(torch.cuda.is_available())


def free_memory(device: str, meminfo: Path = Path("/proc/meminfo")) -> int | None:
    """Free memory of `device` (`cpu`, `cuda`, `mps`) in bytes; None where the system does not report it."""
    if device == "cuda":
        import torch

        return int(torch.cuda.mem_get_info()[0])
    available = _values(meminfo, "MemAvailable:")  # "MemAvailable:   23456789 kB"
    return int(available[0].split()[0]) * 1024 if available else None


def release_memory() -> None:
    """Free what is no longer referenced, also on a GPU."""
    gc.collect()
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        torch.cuda.empty_cache()
