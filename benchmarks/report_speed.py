"""How long stored predictions take to be scored, judged and reported, and how much memory.

    python benchmarks/report_speed.py
    python benchmarks/report_speed.py --subjects 40 --rows 3589 --seconds 10

It writes a store of simulated predictions, and records of earlier versions of the models, in a temporary
folder. Then `fer-models report --store` runs in a process of its own. It prints the shares of the limits that
are used, the greater one last.
"""

from __future__ import annotations

import argparse
import hashlib
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from fer_models.artifacts.device import describe_machine
from fer_models.gate import baselines
from fer_models.scoring.metrics import measure_predictions
from fer_models.store.partition import Store
from fer_models.store.predictions import PredictionTable
from fer_models.store.subject import Subject


def main() -> None:
    """Print the shares of both limits."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rows", type=int, default=1_000_000, help="faces (default: 1,000,000)")
    parser.add_argument("--subjects", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=60, help="the limit (default: 60)")
    parser.add_argument("--gigabytes", type=float, default=4, help="the limit (default: 4)")
    args = parser.parse_args()
    print(describe_machine())
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        seconds = timed(lambda: write_inputs(root, args.subjects, args.rows))
        print(f"{args.subjects} x {args.rows:,} simulated predictions written in {seconds:.0f} s")
        command = [sys.executable, "-m", "fer_models.cli", "report", "--store", str(root / "store")]
        command += ["--baselines", str(root / "baselines.json"), "--output", str(root / "page.html")]
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        seconds = timed(lambda: subprocess.run(command, check=True, stdout=subprocess.DEVNULL))
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        page = (root / "page.html").stat().st_size / 1e6
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    memory = after.ru_maxrss * 1024 / 1e9
    print(f"scored, judged and reported in {seconds:.1f} s ({cpu:.1f} s of CPU) with {memory:.2f} GB;")
    print(f"the page has {page:.1f} MB")
    shares = seconds / args.seconds, memory / args.gigabytes
    print(f"share of {args.seconds:g} s: {shares[0]:.2f}; share of {args.gigabytes:g} GB: {shares[1]:.2f}")
    print(f"greater share: {max(shares):.2f}")


def write_inputs(root: Path, subjects: int, n: int) -> None:
    """Write predictions of models, and records of versions as accurate, with a tenth drawn anew."""
    rng = np.random.default_rng(0)
    faces = tuple(sorted(hashlib.sha256(str(i).encode()).hexdigest() for i in range(n)))
    truth, index = rng.integers(7, size=n), np.arange(n)
    for number in range(subjects):
        subject = Subject("simulated", "test", "raw", f"model-{number}")
        now = rng.normal(size=(n, 7)) + 2.2 * np.eye(7)[truth]
        changed = rng.random(n) < 0.1
        drawn = rng.normal(size=(n, 7)) + 2.2 * np.eye(7)[truth]
        before = table(faces, index, truth, np.where(changed[:, None], drawn, now))
        write(Store(root / "store"), subject, table(faces, index, truth, now))
        measured = measure_predictions(before, resamples=1)
        recorded = {"date": "2026-01-01", "device": "cpu"}
        record = baselines.record_of(subject, before.fingerprint, before, measured, recorded)
        baselines.update(root / "baselines.json", [record])


def write(store: Store, subject: Subject, predictions: PredictionTable) -> None:
    """Write all predictions of one subject."""
    columns = predictions.faces, predictions.truth, predictions.index
    partition = store.partition(subject, "0" * 64, *columns)
    with partition.locked():
        for shard in range(partition.shards):
            rows = predictions.index[partition.rows(shard)]
            partition.write(shard, predictions.select(rows), {"device": "cpu", "environment": {}}, 1.0)


def table(
    faces: tuple[str, ...], index: np.ndarray, truth: np.ndarray, logits: np.ndarray
) -> PredictionTable:
    """The predictions of a softmax, in float32 as they are stored."""
    p = np.exp(logits - logits.max(axis=1, keepdims=True))
    p = (p / p.sum(axis=1, keepdims=True)).astype(np.float32).astype(np.float64)
    n = len(faces)
    return PredictionTable(faces, index, truth, p.argmax(axis=1), p, ("ok",) * n, ("",) * n)


def timed(step: Callable[[], object]) -> float:
    """Seconds of one call."""
    started = time.perf_counter()
    step()
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
