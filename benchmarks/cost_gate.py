"""How often the cost gate fails a model that did not change, and one that became slower.

    python benchmarks/cost_gate.py
    python benchmarks/cost_gate.py --model clip-nano --slowdown 0.3 --runs 50 --output runs.jsonl

In each run a model is measured as it is, and slowed down, because it waits after each prediction. The gate
compares both with a baseline, which is recorded anew for each run, or for several. It prints how many of the
unchanged models fail, and last how many of the slowed ones. With --output it adds each run to a file, and
continues with the runs that are there: 100 runs take hours.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from fer_models.artifacts.device import describe_machine
from fer_models.classifiers.base import Classifier, Predictions
from fer_models.config import EvalConfig
from fer_models.cost.ratio import CostRatio
from fer_models.cost_ratios import MEASUREMENTS, CostRatios
from fer_models.gate.baselines import BaselineRecord
from fer_models.gate.cost_gate import CostVerdict
from fer_models.images import Face
from fer_models.inference.runner import Combination, Runner
from fer_models.scoring.intervals import wilson_interval
from fer_models.zoo import models, restorers
from fer_models.zoo.registry import Registry
from fer_models.zoo.spec import Runtime

#: Status and relative change by kind of model.
Run = dict[str, tuple[str, float]]


def main() -> None:
    """Print the verdicts on unchanged and on slowed models."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--model", default="efficientnet_b0", choices=models.MODELS.names)
    parser.add_argument("--slowdown", type=float, default=0.2, help="such as 0.2 for 20 %% longer")
    parser.add_argument("--runs", type=int, default=20, help="runs of each kind")
    parser.add_argument("--runs-per-baseline", type=int, default=1, help="runs that share a baseline")
    parser.add_argument("--output", type=Path, help="JSON lines of the runs; those in it are not repeated")
    args = parser.parse_args()
    if args.runs_per_baseline < 1:
        parser.error("--runs-per-baseline must be at least 1")
    conditions = {"machine": describe_machine(), "model": args.model, "slowdown": args.slowdown}
    conditions["measurements"] = MEASUREMENTS
    print(f"{conditions['machine']}; {args.model}, {args.runs} runs of each kind")
    runs = [] if args.output is None or not args.output.exists() else read(args.output, conditions)
    baseline = None
    while len(runs) < args.runs:
        baseline = baseline or measured(args.model, 0.0, None).now
        run = run_once(args.model, args.slowdown, baseline)
        if baseline.is_disturbed or (run is not None and (len(runs) + 1) % args.runs_per_baseline == 0):
            baseline = None
        if run is None:
            print("  other processes disturbed a measurement, which the gate does not judge", flush=True)
            continue
        runs.append(run)
        verdicts = (f"{kind} {status} {change:+.1%}" for kind, (status, change) in run.items())
        print("  " + ", ".join(verdicts), flush=True)
        if args.output is not None:
            with args.output.open("a") as file:
                file.write(json.dumps({**conditions, "run": runs[-1]}) + "\n")
    for kind in ("unchanged", "slowed"):
        counts = Counter(run[kind][0] for run in runs)
        changes = sorted(run[kind][1] for run in runs)
        print(f"{kind}: {dict(counts)}, change {changes[0]:+.1%} to {changes[-1]:+.1%}")
        share = wilson_interval(counts["FAIL"], len(runs))
        print(f"{kind}: FAIL in {share.value:.1%} [{share.low:.1%}, {share.high:.1%}] of {len(runs)}")


def read(path: Path, conditions: dict[str, Any]) -> list[Run]:
    """The runs in a file, which must be of the same machine, model and slowdown."""
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    other = [line for line in lines if {name: line.get(name) for name in conditions} != conditions]
    if other:
        raise SystemExit(f"{path} has runs of {other[0]}, not of {conditions}. Choose another --output.")
    return [line["run"] for line in lines]


def run_once(model: str, slowdown: float, baseline: CostRatio) -> Run | None:
    """Judge the model as it is and slowed down, against a baseline; None where one cannot be judged."""
    if baseline.is_disturbed:
        return None
    run = {}
    for kind, share in {"unchanged": 0.0, "slowed": slowdown}.items():
        verdict = measured(model, share, baseline)
        if verdict.change is None:
            return None
        run[kind] = (verdict.status, verdict.change.value)
    return run


def measured(model: str, slowdown: float, recorded: CostRatio | None) -> CostVerdict:
    """Measure and judge a model as `pytest evals` does; without a record, measure one."""
    with tempfile.TemporaryDirectory() as folder:
        ratios = CostRatios(
            runner_of(folder, model, slowdown),
            lambda _: None if recorded is None else record(model, recorded),
        )
        verdict = ratios.judge(Combination(model, "raw"))
        assert verdict is not None
        if recorded is None:
            ratio = ratios.recorded(Combination(model, "raw"))
            verdict = verdict if ratio is None else replace(verdict, now=ratio)
        return verdict


def runner_of(folder: str, model: str, slowdown: float) -> Runner:
    """A run of a model, slowed down or as it is; no measurement is read from disk."""
    spec = models.MODELS[model]
    if slowdown:
        spec = replace(spec, load=partial(load_slowed, spec.load, slowdown))
    options = EvalConfig(store=Path(folder) / "store", runtime=Runtime(), measure_costs=True)
    return Runner(options, Registry("model", spec), Registry("restorer", restorers.RAW))


def record(model: str, ratio: CostRatio) -> BaselineRecord:
    """A baseline with a cost ratio; the gate uses nothing else of it."""
    return BaselineRecord(
        "synthetic", "test", None, "raw", model, None, "", 0, 0, {}, "", "", cost_ratio=ratio
    )


def load_slowed(load: Callable[[Runtime], Any], slowdown: float, runtime: Runtime) -> Slowed:
    """Load a model that waits after each prediction."""
    return Slowed(load(runtime), slowdown)


@dataclass(frozen=True)
class Slowed:
    """A model that waits after each prediction, for a share of the time that it took.

    More faces instead would not do: 38 faces take a network half as long again as 32.
    """

    classifier: Classifier
    share: float

    def predict(self, faces: Sequence[Face]) -> Predictions:
        """The predictions of the model."""
        started = time.perf_counter()
        predictions = self.classifier.predict(faces)
        time.sleep(self.share * (time.perf_counter() - started))
        return predictions


if __name__ == "__main__":
    main()
