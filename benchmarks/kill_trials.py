"""Kill trials: whether a killed run loses or changes anything.

    python benchmarks/kill_trials.py --runs 50 [--seed N] [--work FOLDER]

Each trial starts `pytest evals` on 560 synthetic faces (a class folder that is written first, with a train
split) with two models and a slow restorer in a file of their own, which fill the store, the caches of
embeddings, restored faces and predictions, and those of the audit. They are arithmetic that waits a little
for each batch: a run with networks would spend its time outside of what is tested here. The run is killed at
a time drawn uniformly over the duration of an undisturbed run, by SIGKILL, SIGTERM or SIGINT (Ctrl-C, sent to
the process group as a terminal does), with and without `-n 2`, and with and without `--update-baselines`.
Then the same command runs again, undisturbed, and its files are compared with those of a run that was never
killed:

- every file under `.evals`, by name and bytes. Excluded: `.lock` files (empty), and the files named
  `seconds-…`, which hold times. In `.evals/predictions` each run adds a file with what it computed, and one
  that Ctrl-C ends saves what it has: there all rows of a folder are compared, in any number of files;
- `baselines.json`, byte for byte (it has the date of the day: do not run it over midnight);
- `reports/evals.json`, except for `environment` (the command has the trial's folder in it) and, of each
  result, `inference_seconds` and `from_store`. A killed run that had written `baselines.json` already is
  followed by one that is judged against it, so its report is compared with that of a second undisturbed run.

Prints a table and exits with 1 on any difference. A trial takes about one and a half times as long as an
undisturbed run.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np
from PIL import Image

from fer_models.artifacts.checksummed_files import from_parquet, read
from fer_models.datasets import synthetic_drawing
from fer_models.emotions import LABELS

ROOT = Path(__file__).parents[1]
SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
#: The models and the restorer of a run.
MODELS = '''
import time

import numpy as np

from fer_models import ModelSpec, Predictions
from fer_models.zoo.spec import RestorerSpec


class Stripes:
    """Embeds a face as the brightness of its stripes."""

    def embed(self, faces):
        time.sleep(0.015)
        rows = [[part.mean() / 255 for part in np.array_split(face, 9)] for face in faces]
        return np.array(rows, dtype=np.float32)

    def classify(self, features):
        rows = np.exp(4 * features @ np.random.RandomState(7).normal(size=(9, 7)))
        return Predictions.from_probabilities(rows / rows.sum(axis=1, keepdims=True))

    def predict(self, faces):
        return self.classify(self.embed(faces))


class Negative:
    def restore(self, faces):
        time.sleep(0.01)
        return [255 - face for face in faces]


MODELS = [
    ModelSpec("stripes", lambda runtime: Stripes()),
    ModelSpec("embedded", lambda runtime: Stripes(), has_embeddings=True),
]
RESTORERS = [RestorerSpec("negative", lambda runtime: Negative(), cached=True)]
'''
#: The tests that run.
TESTS = "accuracy and (raw or negative) or data or metamorphic and stripes"
#: Every kind of run: options that a trial adds.
KINDS = [
    [*processes, *update] for processes, update in product(([], ["-n", "2"]), ([], ["--update-baselines"]))
]
#: Faces per split of the class folder.
FACES = {"train": 70, "test": 560}
#: What may differ between two results that are the same.
TIMES = ("inference_seconds", "from_store")
#: Seconds after which a run counts as hanging.
TIMEOUT = 120


@dataclass(frozen=True)
class State:
    """Files of a run: store and caches by their names, the baselines, and the report without times."""

    files: dict[str, bytes]
    baselines: bytes | None
    report: object

    def differences(self, other: State) -> list[str]:
        """Describe the differences."""
        differences = []
        for name in sorted({*self.files, *other.files}):
            if self.files.get(name) != other.files.get(name):
                is_on_both = name in self.files and name in other.files
                differences.append(f"{name} {'differs' if is_on_both else 'is on one side only'}")
        if self.baselines != other.baselines:
            differences.append("baselines.json differs")
        if self.report != other.report:
            differences.append("reports/evals.json differs")
        return differences


def write_inputs(folder: Path) -> None:
    """Write a class folder of synthetic faces, and the file of models in the same parent folder."""
    folder.mkdir(parents=True)
    folder.with_name("models.py").write_text(MODELS)
    for split, n in FACES.items():
        for i in range(n):
            class_folder = folder / split / LABELS[i % len(LABELS)]
            class_folder.mkdir(parents=True, exist_ok=True)
            face = Image.fromarray(np.asarray(synthetic_drawing.draw(split, i)))
            face.save(class_folder / f"{i:04d}.png")


def start(work: Path, faces: Path, options: list[str]) -> subprocess.Popen[bytes]:
    """Start a run whose files are in `work`, as a process group of its own."""
    work.mkdir(parents=True, exist_ok=True)
    models = faces.with_name("models.py")
    inputs = ["--dataset", str(faces), "--split", "test", "--model", str(models), "--batch-size", "16"]
    outputs = ["--work-dir", str(work), "--html", str(work / "reports" / "evals.html")]
    command = [sys.executable, "-m", "pytest", "evals", "-p", "no:cacheprovider"]
    command += [*inputs, *outputs, "-k", TESTS, *options]
    with (work / "output.txt").open("wb") as output:
        return subprocess.Popen(
            command, cwd=ROOT, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
        )


def finish(work: Path, faces: Path, options: list[str]) -> float:
    """Run to the end; returns the seconds."""
    started = time.perf_counter()
    process = start(work, faces, options)
    try:
        code = process.wait(TIMEOUT)
    except subprocess.TimeoutExpired:
        end_group(process)
        sys.exit(f"{process.args} did not end within {TIMEOUT} seconds.")
    if code != 0:
        output = (work / "output.txt").read_text()[-3000:]
        sys.exit(f"{process.args} ended with {process.returncode}:\n{output}")
    return time.perf_counter() - started


def state(work: Path) -> State:
    """Read the files of a run."""
    paths = [
        p
        for p in (work / ".evals").rglob("*")
        if p.is_file() and p.name != ".lock" and not p.name.startswith("seconds-")
    ]
    added = {p for p in paths if p.is_relative_to(work / ".evals" / "predictions") and p.suffix == ".parquet"}
    files = {str(p.relative_to(work)): p.read_bytes() for p in paths if p not in added}
    for folder in {p.parent for p in added}:
        rows = [
            tuple(row.values())
            for p in added
            if p.parent == folder
            for row in from_parquet(read(p)).to_pylist()
        ]
        files[f"{folder.relative_to(work)}, rows"] = "\n".join(sorted(map(repr, rows))).encode()
    report = json.loads((work / "reports" / "evals.json").read_text())
    del report["environment"]
    report["results"] = [{k: v for k, v in result.items() if k not in TIMES} for result in report["results"]]
    baselines = work / "baselines.json"
    return State(files, baselines.read_bytes() if baselines.exists() else None, report)


def kill(process: subprocess.Popen[bytes], number: signal.Signals) -> bool:
    """Kill a run: its process, or on Ctrl-C its group. Returns whether that ended it."""
    if process.poll() is not None:
        return False
    if number == signal.SIGINT:
        os.killpg(process.pid, number)
    else:
        process.send_signal(number)
    return process.wait(TIMEOUT) != 0


def end_group(process: subprocess.Popen[bytes]) -> None:
    """End the remaining processes of a run (its workers), after the trial."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def main() -> None:
    """Run the trials, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=50, metavar="N", help="trials (default 50)")
    parser.add_argument(
        "--seed", type=int, default=0, metavar="N", help="seed of times and kinds (default 0)"
    )
    parser.add_argument(
        "--work",
        type=Path,
        metavar="FOLDER",
        help="a new folder for all files, which stay (default: a temporary folder)",
    )
    args = parser.parse_args()
    if args.runs < 1:
        parser.error(f"--runs must be at least 1, got {args.runs}.")
    if args.work is not None and args.work.exists() and any(args.work.iterdir()):
        parser.error(f"--work {args.work} is not empty: a trial would use earlier files. Give a new folder.")
    # A shell that starts this in the background makes it ignore Ctrl-C.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with tempfile.TemporaryDirectory() as temporary:
        sys.exit(trials(args.runs, random.Random(args.seed), (args.work or Path(temporary)).absolute()))


def trials(runs: int, rng: random.Random, work: Path) -> int:
    """Run the trials in `work`. Returns the exit code."""
    faces = work / "faces"
    write_inputs(faces)
    finish(work / "warm-up", faces, [])  # the first run of a machine reads its libraries from disk
    seconds, first, second = {}, {}, {}
    for kind in KINDS:
        name, folder = " ".join(kind), work / f"undisturbed{''.join(kind)}"
        seconds[name] = finish(folder, faces, kind)
        first[name] = state(folder)
        finish(folder, faces, kind)
        second[name] = state(folder)
        print(f"undisturbed{f' {name}' if name else ''}: {seconds[name]:.1f} s", flush=True)
    columns = f"{'trial':>5}  {'signal':<8} {'at':>7}  {'hit':<5} {'files then':>10}  {'trial took':>10}"
    print(f"{columns}  options, result", flush=True)
    different = hits = 0
    for trial in range(runs):
        kind, number = KINDS[trial % len(KINDS)], SIGNALS[trial // len(KINDS) % len(SIGNALS)]
        name, folder = " ".join(kind), work / f"trial-{trial:04d}"
        delay, started = rng.uniform(0, seconds[name]), time.perf_counter()
        hit, n_files, is_recorded = run_and_kill(folder, faces, kind, number, delay)
        differences = (second if is_recorded or not hit else first)[name].differences(state(folder))
        different += bool(differences)
        hits += hit
        result = "; ".join(differences) or "the same"
        row = f"{trial:5}  {number.name:<8} {delay:6.2f}s  {'yes' if hit else 'no':<5} {n_files:10}"
        prefix = f"{name}: " if name else ""
        print(f"{row}  {time.perf_counter() - started:9.1f}s  {prefix}{result}", flush=True)
    print(f"{runs} trials, {hits} of them killed a run; {different} differ from a run that was never killed")
    return 1 if different else 0


def run_and_kill(
    folder: Path, faces: Path, kind: list[str], number: signal.Signals, delay: float
) -> tuple[bool, int, bool]:
    """Kill a run after `delay` seconds, then run again to the end.

    Returns:
        whether the signal ended the run, how many files there were then, and whether baselines were recorded.
    """
    process = start(folder, faces, kind)
    with suppress(subprocess.TimeoutExpired):
        process.wait(delay)
    try:
        hit = kill(process, number)
    except subprocess.TimeoutExpired:
        end_group(process)
        sys.exit(f"{process.args} did not end within {TIMEOUT} seconds of {number.name}.")
    n_files = sum(path.suffix in (".parquet", ".png", ".txt") for path in (folder / ".evals").rglob("*"))
    is_recorded = (folder / "baselines.json").exists()
    try:
        finish(folder, faces, kind)
    finally:
        end_group(process)
    return hit, n_files, is_recorded


if __name__ == "__main__":
    main()
