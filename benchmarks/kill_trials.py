"""Does a killed run lose or change anything? `python benchmarks/kill_trials.py --runs 50 [--seed N] [--work
FOLDER]`.

Each trial starts `pytest evals` on 560 synthetic faces (a class folder that is written first, with a train
split) with two models and a slow restorer in a file of their own, which fill the store, the caches of
embeddings, restored faces and predictions, and those of the faces' audit. They are arithmetic that waits a
little for each batch: a run with networks would spend its time outside what is tested here. The run is killed
at a moment drawn uniformly over the duration of an undisturbed run, by SIGKILL, SIGTERM or SIGINT (Ctrl-C,
sent to the whole process group as a terminal does), with and without `-n 2`, and with and without
`--update-baselines`. Then the same command runs again, undisturbed, and what is on disk is compared with what
a run that was never killed left:

- every file under `.evals`, by name and bytes. Excluded: `.lock` files (empty), and the files named
`seconds-…`, which hold times. In
  `.evals/predictions` each run adds a file with what it computed, and one that Ctrl-C ends saves what it has:
  there all rows of a folder are compared, however many files they are in;
- `baselines.json`, byte for byte (it holds the date of the day: not over midnight);
- in `reports/evals.json` everything, with these exceptions: `environment` (the command has the trial's folder
in it) and, of each result,
  `inference_seconds` and `from_store`. A killed run that had written `baselines.json` already is followed by
  one that is judged against it, so the report is then compared with that of a second undisturbed run.

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
        return np.array([[part.mean() / 255 for part in np.array_split(face, 9)] for face in faces], dtype=np.float32)

    def classify(self, features):
        rows = np.exp(4 * features @ np.random.RandomState(7).normal(size=(9, 7)))
        return Predictions.from_probabilities(rows / rows.sum(axis=1, keepdims=True))

    def predict(self, faces):
        return self.classify(self.embed(faces))


class Negative:
    def restore(self, faces):
        time.sleep(0.01)
        return [255 - face for face in faces]


MODELS = [ModelSpec("stripes", lambda runtime: Stripes()), ModelSpec("embedded", lambda runtime: Stripes(), has_embeddings=True)]
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
#: Seconds after which a run is taken for hanging.
HANGS = 120


@dataclass(frozen=True)
class State:
    """What a run left: the files of the store and the caches by their names, the baselines, and the report
    without times.
    """

    files: dict[str, bytes]
    baselines: bytes | None
    report: object

    def differences(self, other: State) -> list[str]:
        """What differs, in words."""
        names = sorted(
            name for name in {*self.files, *other.files} if self.files.get(name) != other.files.get(name)
        )
        found = [
            f"{name} {'differs' if name in self.files and name in other.files else 'is on one side only'}"
            for name in names
        ]
        found += ["baselines.json differs"] if self.baselines != other.baselines else []
        return found + (["reports/evals.json differs"] if self.report != other.report else [])


def write_inputs(folder: Path) -> None:
    """Write a class folder of synthetic faces, and the file of models in the same parent folder."""
    folder.mkdir(parents=True)
    folder.with_name("models.py").write_text(MODELS)
    for split, n in FACES.items():
        for i in range(n):
            place = folder / split / LABELS[i % len(LABELS)]
            place.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.asarray(synthetic_drawing.draw(split, i))).save(place / f"{i:04d}.png")


def start(work: Path, faces: Path, options: list[str]) -> subprocess.Popen[bytes]:
    """Start a run whose files are in `work`, as a process group of its own."""
    work.mkdir(parents=True, exist_ok=True)
    inputs = [
        "--dataset",
        str(faces),
        "--split",
        "test",
        "--model",
        str(faces.with_name("models.py")),
        "--batch-size",
        "16",
    ]
    outputs = ["--work-dir", str(work), "--html", str(work / "reports" / "evals.html")]
    command = [
        sys.executable,
        "-m",
        "pytest",
        "evals",
        "-p",
        "no:cacheprovider",
        *inputs,
        *outputs,
        "-k",
        TESTS,
        *options,
    ]
    with (work / "output.txt").open("wb") as output:
        return subprocess.Popen(
            command, cwd=ROOT, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
        )


def finish(work: Path, faces: Path, options: list[str]) -> float:
    """Let a run come to its end; its seconds."""
    started = time.perf_counter()
    process = start(work, faces, options)
    if process.wait(HANGS) != 0:
        sys.exit(
            f"{' '.join(process.args)} ended with {process.returncode}:\n{(work / 'output.txt').read_text()[-3000:]}"
        )  # type: ignore[arg-type]
    return time.perf_counter() - started


def state(work: Path) -> State:
    """What is on disk after a run."""
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


def kill(process: subprocess.Popen[bytes], how: signal.Signals) -> bool:
    """Kill a run: its own process, or on Ctrl-C the whole group. Returns whether that ended it."""
    if process.poll() is not None:
        return False
    if how == signal.SIGINT:
        os.killpg(process.pid, how)
    else:
        process.send_signal(how)
    return process.wait(HANGS) != 0


def end_group(process: subprocess.Popen[bytes]) -> None:
    """End what is left of a run's processes (workers that outlived it), after the trial."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def main() -> None:
    """Run the trials, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=50, metavar="N", help="trials (default 50)")
    parser.add_argument(
        "--seed", type=int, default=0, metavar="N", help="of the moments and kinds (default 0)"
    )
    parser.add_argument(
        "--work",
        type=Path,
        metavar="FOLDER",
        help="where everything is written and stays (default: a temporary folder)",
    )
    args = parser.parse_args()
    if args.runs < 1:
        parser.error(f"--runs must be at least 1, got {args.runs}.")
    if args.work is not None and args.work.exists() and any(args.work.iterdir()):
        parser.error(
            f"--work {args.work} is not empty: a trial would find the files of an earlier one. Give a new folder."
        )
    signal.signal(
        signal.SIGINT, signal.default_int_handler
    )  # where a shell started this in the background, Ctrl-C would be ignored
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
    print(
        f"{'trial':>5}  {'signal':<8} {'at':>7}  {'hit':<5} {'files then':>10}  {'trial took':>10}  options, result",
        flush=True,
    )
    different = hits = 0
    for trial in range(runs):
        kind, how = KINDS[trial % len(KINDS)], SIGNALS[trial // len(KINDS) % len(SIGNALS)]
        name, folder = " ".join(kind), work / f"trial-{trial:04d}"
        moment, started = rng.uniform(0, seconds[name]), time.perf_counter()
        process = start(folder, faces, kind)
        with suppress(subprocess.TimeoutExpired):
            process.wait(moment)
        hit = kill(process, how)
        files = sum(path.suffix in (".parquet", ".png", ".txt") for path in (folder / ".evals").rglob("*"))
        recorded = (folder / "baselines.json").exists()
        try:
            finish(folder, faces, kind)
        finally:
            end_group(process)
        found = (second if recorded or not hit else first)[name].differences(state(folder))
        different += bool(found)
        hits += hit
        took, result = time.perf_counter() - started, "; ".join(found) or "the same"
        line = f"{trial:5}  {how.name:<8} {moment:6.2f}s  {'yes' if hit else 'no':<5} {files:10}  {took:9.1f}s  {f'{name}: ' if name else ''}{result}"
        print(line, flush=True)
    print(f"{runs} trials, {hits} of them killed a run; {different} differ from a run that was never killed")
    return 1 if different else 0


if __name__ == "__main__":
    main()
