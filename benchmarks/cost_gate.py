"""How often the cost gate fails a model that did not change, and one that became slower.

    python benchmarks/cost_gate.py
    python benchmarks/cost_gate.py --model clip-nano --slowdown 0.3 --processes 50

Each process measures a model several times: as it is, and slowed down, because it predicts a share of the
faces twice. The gate compares every measurement with the baseline that the process before it recorded. It
prints how many of the unchanged models fail, and last how many of the slowed ones.
"""

from __future__ import annotations

import argparse
import multiprocessing
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from fer_models.artifacts.device import describe_machine
from fer_models.classifiers.base import Classifier, Predictions
from fer_models.config import EvalConfig
from fer_models.cost.ratio import CostRatio
from fer_models.cost_ratios import CostRatios
from fer_models.gate.baselines import BaselineRecord
from fer_models.gate.cost_gate import CostVerdict
from fer_models.images import Face
from fer_models.inference.runner import Combination, Runner
from fer_models.scoring.intervals import wilson_interval
from fer_models.zoo import models, restorers
from fer_models.zoo.registry import Registry
from fer_models.zoo.spec import Runtime

#: The name of the slowed model.
SLOWED = "slowed"


def main() -> None:
    """Print the verdicts on unchanged and on slowed models."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--model", default="efficientnet_b0", choices=models.MODELS.names)
    parser.add_argument("--slowdown", type=float, default=0.2, help="such as 0.2 for 20 % longer")
    parser.add_argument("--processes", type=int, default=25)
    parser.add_argument("--runs", type=int, default=4, help="measurements of each kind in one process")
    args = parser.parse_args()
    print(f"{describe_machine()}; {args.model}, {args.processes} processes, {args.runs} runs of each kind")
    recorded = in_new_process(baseline, args.model)
    changes: dict[str, list[CostVerdict]] = {"unchanged": [], "slowed": []}
    for _ in range(args.processes):
        unchanged, slowed, recorded = in_new_process(measured, args.model, args.slowdown, args.runs, recorded)
        changes["unchanged"] += unchanged
        changes["slowed"] += slowed
    for name, verdicts in changes.items():
        counts = Counter(verdict.status for verdict in verdicts)
        values = sorted(verdict.change.value for verdict in verdicts if verdict.change is not None)
        print(f"{name}: {dict(counts)}, change {values[0]:+.1%} to {values[-1]:+.1%}, "
              f"median {values[len(values) // 2]:+.1%}")  # fmt: skip
        share = wilson_interval(counts["FAIL"], len(verdicts))
        print(f"{name}: FAIL in {share.value:.1%} [{share.low:.1%}, {share.high:.1%}] of {len(verdicts)}")


def in_new_process(function: Any, *arguments: Any) -> Any:
    """The result of a function in a process of its own."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(function, arguments)


def baseline(model: str) -> CostRatio:
    """Measure a baseline."""
    with tempfile.TemporaryDirectory() as folder:
        return judge(runner_of(folder, model), model, None).now


def measured(
    model: str, slowdown: float, runs: int, recorded: CostRatio
) -> tuple[list[CostVerdict], list[CostVerdict], CostRatio]:
    """The verdicts on an unchanged and on a slowed model, and a new baseline."""
    with tempfile.TemporaryDirectory() as folder:
        runner = runner_of(folder, model, slowdown)
        pairs = [(judge(runner, model, recorded), judge(runner, SLOWED, recorded)) for _ in range(runs)]
        unchanged, slowed = map(list, zip(*pairs, strict=True))
        return unchanged, slowed, judge(runner, model, None).now


def runner_of(folder: str, model: str, slowdown: float = 0.0) -> Runner:
    """A run of a model, and of the same model slowed down; no measurement is read from disk."""
    spec = models.MODELS[model]
    slowed = replace(spec, name=SLOWED, load=lambda runtime: Slowed(spec.load(runtime), slowdown))
    options = EvalConfig(store=Path(folder) / "store", runtime=Runtime(), measure_costs=True)
    return Runner(options, Registry("model", spec, slowed), Registry("restorer", restorers.RAW))


def judge(runner: Runner, model: str, recorded: CostRatio | None) -> CostVerdict:
    """Measure a model, and judge it as `pytest evals` does."""
    ratios = CostRatios(runner, lambda _: None if recorded is None else record(model, recorded))
    verdict = ratios.judge(Combination(model, "raw"))
    assert verdict is not None
    return verdict


def record(model: str, ratio: CostRatio) -> BaselineRecord:
    """A baseline with a cost ratio; the gate uses nothing else of it."""
    return BaselineRecord(
        "synthetic", "test", None, "raw", model, None, "", 0, 0, {}, "", "", cost_ratio=ratio
    )


@dataclass(frozen=True)
class Slowed:
    """A model that predicts a share of the faces twice."""

    classifier: Classifier
    share: float

    def predict(self, faces: Sequence[Face]) -> Predictions:
        """The predictions of the model."""
        n = len(faces)
        twice = [*faces, *faces[: round(self.share * n)]]
        predictions = self.classifier.predict(twice)
        return replace(
            predictions,
            probabilities=predictions.probabilities[:n],
            status=predictions.status[:n],
            text=predictions.text[:n],
        )


if __name__ == "__main__":
    main()
