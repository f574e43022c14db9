"""What a face costs in the store, in memory and before the first prediction.

    python benchmarks/store_size.py

The predictions are random probabilities. The faces are written
as a class folder of PNG files, and are decoded and hashed by one process.
"""

from __future__ import annotations

import argparse
import hashlib
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

from fer_models import datasets
from fer_models.artifacts.device import describe_machine
from fer_models.datasets import synthetic_drawing
from fer_models.emotions import LABELS
from fer_models.store.partition import SHARD, Partition, Store
from fer_models.store.predictions import PredictionTable
from fer_models.store.subject import Subject

_PAGE = 4096


def main() -> None:
    """Print one line per figure."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--shards", type=int, default=400)
    parser.add_argument("--faces", type=int, default=1000, help="faces that are decoded")
    args = parser.parse_args()
    n = args.shards * SHARD
    print(f"{describe_machine()}; {args.shards} shards of {SHARD} faces")
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        partition = write_random(root / "store", n)
        size = sum(path.stat().st_size for path in partition.folder.iterdir())
        print(f"{size / n:.0f} bytes per face in the store")
        before, started = memory(), time.perf_counter()
        predictions = partition.read()
        seconds = time.perf_counter() - started
        print(f"{(memory() - before) / n:.0f} bytes per face in memory, {n / seconds:.0f} faces/s read")
        assert len(predictions) == n
        print(f"{decoding_speed(root / 'faces', args.faces):.0f} faces/s decoded and hashed")


def write_random(root: Path, n: int) -> Partition:
    """Write random predictions; the same partition, of which nothing is read yet."""
    rng = np.random.default_rng(0)
    p = rng.dirichlet(np.full(7, 0.35), n)
    faces = tuple(sorted(hashlib.sha256(str(i).encode()).hexdigest() for i in range(n)))
    truth = rng.integers(0, 7, n)
    table = PredictionTable(faces, np.arange(n), truth, p.argmax(axis=1), p, ("ok",) * n, ("",) * n)
    subject = Subject("random", "test", "raw", "random")
    partition = Store(root).partition(subject, "k" * 64, faces, truth, table.index)
    with partition.locked():
        for shard in range(partition.shards):
            rows = partition.rows(shard)
            partition.write_predictions(shard, table.select(np.arange(rows.start, rows.stop)), {})
    return partition


def decoding_speed(folder: Path, n: int) -> float:
    """Faces per second that are read from PNG files and hashed."""
    for i in range(n):
        path = folder / LABELS[i % 7] / f"{i:05d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(synthetic_drawing.draw("validation", i)).save(path)
    faces = datasets.load(str(folder), None, None)
    started = time.perf_counter()
    assert len(faces.hashes) == n
    return n / (time.perf_counter() - started)


def memory() -> int:
    """Resident memory of this process in bytes (Linux)."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * _PAGE


if __name__ == "__main__":
    main()
