"""What a step costs: the memory it adds at its peak, and the figures around a timing. Times themselves are pytest-benchmark's."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

_STATM = Path("/proc/self/statm")


def synchronised(step: Callable[[], Any]) -> Callable[[], None]:
    """`step`, waiting for the accelerator at its end, so that a timing holds the work and not only its launch."""

    def run() -> None:
        step()
        torch = sys.modules.get("torch")
        if torch is not None and torch.cuda.is_available():
            torch.cuda.synchronize()

    return run


def peak_memory_mb(step: Callable[[], Any]) -> float | None:
    """The memory that one call of `step` adds at its peak, in MiB: on CUDA the allocator's count, else the resident set, sampled
    every millisecond. None where the system tells neither."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        synchronised(step)()
        return float(torch.cuda.max_memory_allocated() - before) / 2**20
    if not _STATM.exists():
        return None
    before, peak, done = _resident(), [0], threading.Event()

    def watch() -> None:
        while not done.is_set():
            peak[0] = max(peak[0], _resident())
            time.sleep(0.001)

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        step()
    finally:
        done.set()
        watcher.join()
    return max(0.0, (max(peak[0], _resident()) - before) / 2**20)


def _resident() -> int:
    import resource

    return int(_STATM.read_text().split()[1]) * resource.getpagesize()
