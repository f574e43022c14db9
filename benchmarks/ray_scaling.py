"""How the Ray engine scales with the number of its actors, on one machine.

    python benchmarks/ray_scaling.py
    python benchmarks/ray_scaling.py --model vgg19 --actors 1 --actors 2 --data-root CLASS_FOLDERS

One model predicts the same faces again and again into an empty store: with the local engine, and with 1, 2
and 4 actors, which share the cores of the machine. The cluster is started once, before the first timing. The
time of a run is that of `Runner.predict`: it includes the start of the actors, the loading of the dataset and
the model in each of them, and the writing of the shards. The script prints a Markdown table of medians, and
checks that each run has written the same bytes.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from statistics import median

from fer_models.artifacts.device import describe_machine
from fer_models.config import EvalConfig
from fer_models.inference import ray_engine
from fer_models.inference.runner import Combination, Runner
from fer_models.zoo.models import MODELS
from fer_models.zoo.registry import Registry
from fer_models.zoo.restorers import RESTORERS
from fer_models.zoo.spec import Runtime

#: The engine of this process, in the list of numbers of actors.
LOCAL = 0


def main() -> None:
    """Print a table with one row per number of actors."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument(
        "--model", default="efficientnet_b0", help="a model of the zoo (default: %(default)s)"
    )
    parser.add_argument("--data-root", type=Path, help="a class-folder dataset; by default synthetic faces")
    parser.add_argument("--actors", type=int, action="append", help="numbers of actors (default: 1, 2 and 4)")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--ray-address", help="a cluster that runs already")
    args = parser.parse_args()
    config = EvalConfig(
        dataset="synthetic" if args.data_root is None else str(args.data_root),
        runtime=Runtime(args.device),
        batch_size=args.batch_size,
        ray_address=args.ray_address,
    )
    counts = [LOCAL, *(args.actors or (1, 2, 4))]
    print(describe_machine())
    ray_engine.connect(args.ray_address)
    times: dict[int, list[tuple[float, float]]] = {count: [] for count in counts}
    contents, n = set(), 0
    for number in range(args.rounds):
        for count in counts:
            with tempfile.TemporaryDirectory() as folder:
                wall, inference, n, content = predict(config, args.model, count, Path(folder))
            times[count].append((wall, inference))
            contents.add(content)
            print(f"round {number + 1}, {describe(count)}: {wall:.1f} s", flush=True)
    print_table(times, n)
    print(f"\n{args.model}, {n} faces, {args.rounds} rounds; ", end="")
    print("every run wrote the same bytes" if len(contents) == 1 else "THE RUNS WROTE DIFFERENT BYTES")


def predict(config: EvalConfig, model: str, actors: int, folder: Path) -> tuple[float, float, int, bytes]:
    """Seconds of a run, seconds of inference in all processes, number of faces, and all shards."""
    engine = {"engine": "local"} if actors == LOCAL else {"engine": "ray", "ray_actors": actors}
    config = replace(config, store=folder / "store", **engine)  # type: ignore[arg-type]
    runner = Runner(config, Registry("model", MODELS[model]), RESTORERS)
    assert runner.data.faces.hashes  # read before the time starts: both engines need them
    started = time.perf_counter()
    run = runner.predict(Combination(model, "raw"))
    wall = time.perf_counter() - started
    content = b"".join(path.read_bytes() for path in sorted(folder.rglob("part-*.parquet")))
    return wall, run.seconds or 0.0, len(run.predictions), content


def describe(actors: int) -> str:
    """The name of a row."""
    return "local engine" if actors == LOCAL else f"{actors} actor{'s' if actors > 1 else ''}"


def print_table(times: dict[int, list[tuple[float, float]]], n: int) -> None:
    """Print the medians as a Markdown table."""
    print("\n| engine | run (s) | faces/s | speed-up | predicting, sum of all processes (s) |")
    print("|---|---|---|---|---|")
    base = median(wall for wall, _ in next(iter(times.values())))
    for actors, rounds in times.items():
        wall, inference = (median(column) for column in zip(*rounds, strict=True))
        print(f"| {describe(actors)} | {wall:.1f} | {n / wall:.0f} | {base / wall:.2f} | {inference:.1f} |")


if __name__ == "__main__":
    main()
