"""Time to the first verdict, relative to the inference time of the networks.

    python benchmarks/first_verdict.py [--full]

It times, one after the other in one run on this machine:

1. the bare forward passes: each of the five shipped networks predicts the 1,050 synthetic test faces, in
   batches of 64, loaded and warmed up before;
2. `pytest evals` from nothing: a process of its own, no store, no synthetic faces in the user's cache folder;
3. the same again, from the store of the first run;
4. `pytest evals --depth quick` from nothing.

The last lines are the ratios to the sum of 1. Run it on an idle machine; `--full` adds `--depth full`.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from fer_models.artifacts.device import describe_machine
from fer_models.datasets import synthetic
from fer_models.images import Face
from fer_models.zoo import models
from fer_models.zoo.spec import Runtime

BATCH = 64


def forward_pass(model: str, faces: list[Face]) -> float:
    """Time one shipped model on `faces`, in seconds."""
    spec = models.MODELS[model]
    classifier = spec.load(spec.resolve(Runtime()))
    classifier.predict(faces[:BATCH])
    started = time.perf_counter()
    for start in range(0, len(faces), BATCH):
        classifier.predict(faces[start : start + BATCH])
    return time.perf_counter() - started


def evals(work: Path, *options: str) -> float:
    """Time one `pytest evals` with its store, reports and home folder in `work`, in seconds."""
    home = work / "home"
    home.mkdir(parents=True, exist_ok=True)
    folders = ["--store", str(work / ".evals/store"), "--report-dir", str(work / "reports")]
    command = [sys.executable, "-m", "pytest", "evals", *folders, *options]
    root, environment = Path(__file__).parents[1], {**os.environ, "HOME": str(home)}
    started = time.perf_counter()
    result = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True)
    seconds = time.perf_counter() - started
    if result.returncode:
        output = f"{result.stdout[-3000:]}{result.stderr[-3000:]}"
        sys.exit(f"{' '.join(command)} ended with {result.returncode}:\n{output}")
    return seconds


def main() -> None:
    """Print the times and their ratios."""
    print(describe_machine())
    faces = synthetic.load("test").faces(range(synthetic.SPLITS["test"]))
    passes = {model: forward_pass(model, faces) for model in models.FASTEST}
    total = sum(passes.values())
    for model, seconds in passes.items():
        print(f"{model:<28} {seconds:6.1f} s")
    print(f"{'five bare forward passes':<28} {total:6.1f} s")
    rows: list[tuple[str, float]] = []

    def row(name: str, seconds: float) -> None:
        rows.append((name, seconds))
        print(f"{name:<28} {seconds:6.1f} s", flush=True)

    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        row("pytest evals", evals(work / "standard"))
        row("again, from the store", evals(work / "standard"))
        row("pytest evals --depth quick", evals(work / "quick", "--depth", "quick"))
        if "--full" in sys.argv[1:]:
            row("pytest evals --depth full", evals(work / "full", "--depth", "full"))
    for name, seconds in rows:
        print(f"ratio {seconds / total:5.2f}  {name}")


if __name__ == "__main__":
    main()
