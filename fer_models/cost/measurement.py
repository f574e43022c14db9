"""What a step costs: the memory it adds at its peak, and the figures around a timing. Times themselves are
pytest-benchmark's.
"""

from __future__ import annotations

import ctypes
import gc
import json
import sys
from collections.abc import Callable, Mapping
from functools import lru_cache
from pathlib import Path
from statistics import median
from typing import Any

from fer_models.errors import WeightsError

_SELF = Path("/proc/self")


def synchronized(step: Callable[[], Any]) -> Callable[[], None]:
    """`step`, waiting for the accelerator at its end, so that a timing holds the work and not only its
    launch.
    """

    def run() -> None:
        step()
        torch = sys.modules.get("torch")
        if torch is not None and torch.cuda.is_available():
            torch.cuda.synchronize()

    return run


def peak_memory_mb(step: Callable[[], Any]) -> float | None:
    """The memory that one call of `step` adds at its peak, in MiB: on CUDA the allocator's count, elsewhere
    the resident set's, which Linux counts anew after a 5 in `clear_refs` (proc(5)). None where the system
    does not tell."""
    _free()
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        synchronized(step)()
        return float(torch.cuda.max_memory_allocated() - before) / 2**20
    try:
        (_SELF / "clear_refs").write_text("5")
    except OSError:
        return None
    before = _status("VmRSS")
    step()
    return max(0.0, (_status("VmHWM") - before) / 2**20)


def training_cost(provenance: Mapping[str, Any]) -> dict[str, Any]:
    """What training a network took, from the record in its weights, over all runs that led to them.

    Args:
        provenance: what `fer-models train` wrote: `history`, one record per epoch, `device`, and
            `started_from` an earlier run; or what `fer-models weights average` wrote: the records of all that
            was `averaged`, the last run last. A run that several go back to counts once.

    Returns:
        epochs, seconds (in all), seconds_per_epoch (the median of the last run's epochs at full size),
        images_per_second over everything, peak_memory_mb and joules (each None where the machine did not tell
        for every epoch), device (of the last run).

    Raises:
        WeightsError: the record does not say how long each epoch took.
    """
    runs = _runs(provenance)
    epochs = [epoch for run in runs for epoch in run.get("history") or []]
    if not epochs or any(not epoch.get("seconds") or not epoch.get("images_per_second") for epoch in epochs):
        raise WeightsError(
            "The record of this training does not say how long each epoch took. Train anew: fer-models train"
        )
    total = sum(epoch["seconds"] for epoch in epochs)
    last = runs[0]
    largest = max(epoch["size"] for epoch in last["history"])
    memory, energy = ([epoch.get(figure) for epoch in epochs] for figure in ("peak_memory_mb", "joules"))
    return {
        "epochs": len(epochs),
        "seconds": total,
        "seconds_per_epoch": median(
            epoch["seconds"] for epoch in last["history"] if epoch["size"] == largest
        ),
        "images_per_second": sum(epoch["seconds"] * epoch["images_per_second"] for epoch in epochs) / total,
        "peak_memory_mb": None if None in memory else max(memory),
        "joules": None if None in energy else sum(energy),
        "device": last.get("device"),
    }


def _runs(provenance: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """All training runs behind a record, the last first, each once."""
    averaged = provenance.get("averaged")
    made = reversed(averaged) if averaged else [provenance.get("started_from") or {}]
    earlier = [run for weights in made if weights.get("provenance") for run in _runs(weights["provenance"])]
    runs = earlier if averaged else [provenance, *earlier]
    return list({json.dumps(run, sort_keys=True): run for run in runs}.values())


def _free() -> None:
    """Give back what nobody uses: garbage, and what glibc's heap keeps for later (malloc_trim(3)). Else a
    step that takes it again seems to take nothing."""
    _ignore_libraries()
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
    if trim is not None:  # other C libraries have none
        trim(0)


@lru_cache
def _ignore_libraries() -> None:
    """Leave the objects of now, half a million of them from imported libraries, out of all later garbage
    collections: each would take a quarter of a second, many times what most measured steps take."""
    gc.collect()
    gc.freeze()


def _status(field: str) -> int:
    """What Linux says of this process's memory, in bytes."""
    line = next(line for line in (_SELF / "status").read_text().splitlines() if line.startswith(f"{field}:"))
    return int(line.split()[1]) * 1024  # "VmHWM:   123456 kB"
