"""Cost of a step: peak memory, and the cost of a training. pytest-benchmark times single steps."""

from __future__ import annotations

import ctypes
import gc
import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from statistics import fmean, median
from typing import Any

from fer_models.errors import WeightsError

_SELF = Path("/proc/self")
#: How often the reference workload is timed between two steps.
_REFERENCE_REPEATS = 3


def synchronized(step: Callable[[], Any]) -> Callable[[], None]:
    """Wrap `step` so that it waits for the accelerator: a timing then includes the computation."""

    def run() -> None:
        step()
        torch = sys.modules.get("torch")
        if torch is not None and torch.cuda.is_available():
            torch.cuda.synchronize()
        elif torch is not None and torch.backends.mps.is_available():
            torch.mps.synchronize()

    return run


def seconds_of(step: Callable[[], Any]) -> float:
    """Measure the seconds of one call of `step`."""
    started = time.perf_counter()
    step()
    return time.perf_counter() - started


def interleaved_seconds(steps: Sequence[Callable[[], Any]], rounds: int) -> list[float]:
    """Measure the median seconds of each step, all steps in turns: a busy machine slows all of them alike.

    Args:
        steps: each is called once before, as a warm-up.
        rounds: how many times each step is timed.
    """
    timed = [synchronized(step) for step in steps]
    for step in timed:
        step()
    seconds: list[list[float]] = [[] for _ in timed]
    for _ in range(rounds):
        for step, values in zip(timed, seconds, strict=True):
            values.append(seconds_of(step))
    return [median(values) for values in seconds]


def multiples_of_reference(step: Callable[[], Any], reference: Callable[[], Any], rounds: int) -> list[float]:
    """Measure the duration of a step as a multiple of the reference workload's, once per round.

    The reference is timed before and after each step, so that a change of the machine's speed changes both.

    Args:
        step: called once before, as a warm-up, and then once per round.
        reference: the reference workload.
        rounds: how many multiples to measure.
    """
    timed, timed_reference = synchronized(step), synchronized(reference)

    def reference_seconds() -> list[float]:
        return [seconds_of(timed_reference) for _ in range(_REFERENCE_REPEATS)]

    timed()
    timed_reference()
    multiples = []
    before = reference_seconds()
    for _ in range(rounds):
        duration, after = seconds_of(timed), reference_seconds()
        multiples.append(duration / fmean([*before, *after]))
        before = after
    return multiples


def median_interval(values: Sequence[float]) -> tuple[float, float] | None:
    """Compute a 95 % interval of the median from order statistics; None where there are too few values.

    It needs no distribution, but independent values. Even the range of five values covers their median with
    a probability of 94 % only, that of two with 50 %: fewer than six values have no 95 % interval.
    """
    if len(values) < 6:
        return None
    from scipy.stats import binom

    # Below the k-th smallest value is the median with the probability P(Binomial(n, 1/2) < k), at most 2.5 %.
    k = int(binom.ppf(0.025, len(values), 0.5))
    ordered = sorted(values)
    return ordered[k - 1], ordered[-k]


def size_in_bytes(path: Path) -> int:
    """Sum the sizes of a file, or of all files in a folder."""
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files if file.is_file())


def peak_memory_mb(step: Callable[[], Any], device: str = "cpu") -> float | None:
    """Measure the peak memory that one call of `step` adds, in MiB; None where the system does not report it.

    On CUDA it is the allocator's count. Elsewhere it is the resident set's, which Linux resets after a 5 in
    `clear_refs` (proc(5)).

    Args:
        step: called once.
        device: torch's type of the device on which it computes.
    """
    _release_memory()
    if device == "cuda":
        import torch

        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        synchronized(step)()
        added = torch.cuda.max_memory_allocated() - before
        return float(added) / 2**20 if added else None  # torch does not see what other runtimes allocate
    try:
        (_SELF / "clear_refs").write_text("5")
    except OSError:
        step()  # callers rely on the call, which warms up
        return None
    before = _memory_status("VmRSS")
    step()
    return max(0.0, (_memory_status("VmHWM") - before) / 2**20)


def training_cost(provenance: Mapping[str, Any]) -> dict[str, Any]:
    """Sum the cost of training over all runs that led to some weights.

    Args:
        provenance: the record of `fer-models train`: `history` with one record per epoch, `device`, and
            `started_from` with an earlier run; or that of `fer-models weights average`: the records of all
            `averaged` weights, the last run last; or that of weights that were `changed` afterwards. A run
            that several records share counts once.

    Returns:
        epochs, seconds (in total), seconds_per_epoch (the median of the last run's epochs at full size),
        images_per_second over all epochs, peak_memory_mb and joules (each None where an epoch does not have
        it), device (of the last run).

    Raises:
        WeightsError: the record has no times of epochs.
    """
    runs = _runs(provenance)
    epochs = [epoch for run in runs for epoch in run.get("history") or []]
    if not epochs or any(not epoch.get("seconds") or not epoch.get("images_per_second") for epoch in epochs):
        raise WeightsError(
            "The record of this training does not contain how long each epoch took. "
            "Train again: fer-models train"
        )
    total = sum(epoch["seconds"] for epoch in epochs)
    last = runs[0]
    full_size = max(epoch["size"] for epoch in last["history"])
    memory, energy = ([epoch.get(key) for epoch in epochs] for key in ("peak_memory_mb", "joules"))
    return {
        "epochs": len(epochs),
        "seconds": total,
        "seconds_per_epoch": median(e["seconds"] for e in last["history"] if e["size"] == full_size),
        "images_per_second": sum(epoch["seconds"] * epoch["images_per_second"] for epoch in epochs) / total,
        "peak_memory_mb": None if None in memory else max(memory),
        "joules": None if None in energy else sum(energy),
        "device": last.get("device"),
    }


def _runs(provenance: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """List all training runs that led to a record, the last first, each once."""
    if (changed := provenance.get("changed")) is not None:  # a trained network with other odds
        return _runs(changed.get("provenance") or {})
    averaged = provenance.get("averaged")
    sources = reversed(averaged) if averaged else [provenance.get("started_from") or {}]
    earlier = [run for source in sources if source.get("provenance") for run in _runs(source["provenance"])]
    runs = earlier if averaged else [provenance, *earlier]
    unique = {json.dumps(run, sort_keys=True): run for run in runs}.values()
    return [run for run in unique if not any(_is_part_of(run, other) for other in unique)]


def _is_part_of(run: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether a run is the first epochs of another: weights of several epochs of a training were averaged."""
    epochs, more = run.get("history") or [], other.get("history") or []
    return len(epochs) < len(more) and list(more[: len(epochs)]) == list(epochs)


def _release_memory() -> None:
    """Release garbage and the free memory in glibc's heap (malloc_trim(3)).

    A step that reuses such memory would seem to need none.
    """
    _freeze_imported_objects()
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
    if trim is not None:  # other C libraries do not have it
        trim(0)


@lru_cache
def _freeze_imported_objects() -> None:
    """Exclude current objects, half a million of imported libraries, from later garbage collections.

    Each collection would take a quarter of a second, many times as long as most measured steps.
    """
    gc.collect()
    gc.freeze()


def _memory_status(field: str) -> int:
    """Read a field of this process's memory status on Linux, in bytes."""
    line = next(line for line in (_SELF / "status").read_text().splitlines() if line.startswith(f"{field}:"))
    return int(line.split()[1]) * 1024  # "VmHWM:   123456 kB"
