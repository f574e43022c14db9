"""How long a million stored predictions take to be scored, judged and reported, and how much memory.

    python benchmarks/million_rows.py

It writes a store of simulated predictions, and a record of an earlier version of the model, in a temporary
folder. Then `fer-models report --store` runs in a process of its own. The limits are 60 seconds and 4 GB; it
prints how much of each is used.
"""

from __future__ import annotations

import argparse
import hashlib
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from fer_models.artifacts.device import describe_machine
from fer_models.gate import baselines
from fer_models.scoring.metrics import measure_predictions
from fer_models.store.partition import Store
from fer_models.store.predictions import PredictionTable
from fer_models.store.subject import Subject

SUBJECT = Subject("simulated", "test", "raw", "model")
SECONDS, GIGABYTES = 60, 4


def main() -> None:
    """Print the shares of both limits, the greater one last."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    args = parser.parse_args()
    print(describe_machine())
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        seconds = timed(lambda: write_inputs(root, args.rows))
        print(f"{args.rows:,} simulated predictions written in {seconds:.0f} s")
        command = [sys.executable, "-m", "fer_models.cli", "report", "--store", str(root / "store")]
        command += ["--baselines", str(root / "baselines.json"), "--output", str(root / "page.html")]
        seconds = timed(lambda: subprocess.run(command, check=True))
        page = (root / "page.html").stat().st_size / 1e6
    memory = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024 / 1e9
    print(f"scored, judged and reported in {seconds:.1f} s with {memory:.2f} GB; page of {page:.1f} MB")
    print(f"share of {SECONDS} s: {seconds / SECONDS:.2f}; share of {GIGABYTES} GB: {memory / GIGABYTES:.2f}")
    print(f"ratio to the limits: {max(seconds / SECONDS, memory / GIGABYTES):.2f}")


def write_inputs(root: Path, n: int) -> None:
    """Write the store of a model, and the record of a version with as many errors, a tenth of them others."""
    rng = np.random.default_rng(0)
    faces = tuple(sorted(hashlib.sha256(str(i).encode()).hexdigest() for i in range(n)))
    truth, index = rng.integers(7, size=n), np.arange(n)
    logits = rng.normal(size=(n, 7)) + 2.2 * np.eye(7)[truth]
    changed = rng.random(n) < 0.1
    earlier = np.where(changed[:, None], rng.normal(size=(n, 7)) + 2.2 * np.eye(7)[truth], logits)
    before, now = (table(faces, index, truth, rows) for rows in (earlier, logits))
    partition = Store(root / "store").partition(SUBJECT, "0" * 64, faces, truth, index)
    with partition.locked():
        for shard in range(partition.shards):
            rows = np.arange(n)[partition.rows(shard)]
            partition.write(shard, now.select(rows), {"device": "cpu", "environment": {}}, 1.0)
    recorded = {"date": "2026-01-01", "device": "cpu"}
    record = baselines.record_of(
        SUBJECT, before.fingerprint, before, measure_predictions(before, resamples=1), recorded
    )
    baselines.update(root / "baselines.json", [record])


def table(
    faces: tuple[str, ...], index: np.ndarray, truth: np.ndarray, logits: np.ndarray
) -> PredictionTable:
    """The predictions of a softmax, in float32 as they are stored."""
    p = np.exp(logits - logits.max(axis=1, keepdims=True))
    p = (p / p.sum(axis=1, keepdims=True)).astype(np.float32).astype(np.float64)
    n = len(faces)
    return PredictionTable(faces, index, truth, p.argmax(axis=1), p, ("ok",) * n, ("",) * n)


def timed(step: object) -> float:
    """Seconds of one call."""
    started = time.perf_counter()
    step()  # type: ignore[operator]
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
