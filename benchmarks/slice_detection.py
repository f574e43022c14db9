"""How often the gate finds a fall in one slice, and how often it fails without one.

    python benchmarks/slice_detection.py --dataset fer2013 --data-root FOLDER --split private_test

Reads the predictions of a finished `pytest evals` from the store. In each null run every model has two
versions without a difference: its logits with independent noise, as large as makes `--discordant` of the
faces change between correct and wrong. In each planted run one model is also made worse on the darkest
quarter of the faces (8 points of accuracy) and a little better on the others (2 points), so that accuracy
over all faces falls by less than 2 points on average.
"""

from __future__ import annotations

import argparse
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import numpy as np

from fer_models.config import EvalConfig
from fer_models.gate import gate, power
from fer_models.gate.metric_checks import adjust_for_multiplicity, paired_checks
from fer_models.gate.slice_checks import slice_checks
from fer_models.inference.dataset import EvalDataset
from fer_models.scoring.intervals import wilson_interval
from fer_models.store.partition import load_partition

SLICE_FALL, GAIN_ELSEWHERE = 0.08, 0.02
WITHOUT, BY_SLICE = "without slices", "FAIL by the slice"


def main() -> None:
    """Print the detection rate and the share of false alarms."""
    args = parse_arguments()
    data = EvalDataset(EvalConfig(args.dataset, args.data_root, args.split, store=args.store))
    tables = find_predictions(args.store, args.dataset, args.split, len(data.faces))
    if args.model not in tables:
        raise SystemExit(f"{args.store} has no predictions of {args.model} for all faces. Run pytest evals.")
    models = {name: Model.of(table, args.discordant) for name, table in tables.items()}
    print(f"{len(models)} models, {len(data.faces)} faces, {args.discordant:.0%} discordant faces")
    brightness = next(column for column in data.slices.columns if column.name == "brightness")
    place, found, changes = list(models).index(args.model), Counter(), []
    for run in range(args.planted):
        rng = np.random.default_rng((1, run))
        versions = [model.versions(rng) for model in models.values()]
        truth, before, after = versions[place]
        versions[place] = truth, before, plant(truth, after, brightness.members(0), rng)
        changes.append(float((versions[place][2] == truth).mean() - (before == truth).mean()))
        found.update(outcome(judge(versions, data)[place]))
    print(f"planted: overall change {np.mean(changes):+.4f} on average, from {min(changes):+.4f}")
    for name in (*(f"{status} {WITHOUT}" for status in (gate.PASS, gate.INCONCLUSIVE, gate.FAIL)), BY_SLICE):
        print(f"  {name:28} {share(found[name], args.planted)}")
    alarms: Counter[str] = Counter()
    for run in range(args.null):
        rng = np.random.default_rng((2, run))
        run_checks = judge([model.versions(rng) for model in models.values()], data)
        failed = {c.family for checks in run_checks for c in checks if c.failed}
        alarms.update(failed | ({"any"} if failed else set()))
    print("null runs: the share that fails")
    for name in ("overall", "recall", "slice", "any"):
        print(f"  {name:28} {share(alarms[name], args.null)}")


def parse_arguments() -> argparse.Namespace:
    """The arguments of the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--dataset", default="synthetic")
    parser.add_argument("--data-root", type=Path)
    parser.add_argument("--split", default="test")
    parser.add_argument("--store", type=Path, default=Path(".evals/store"))
    parser.add_argument("--model", default="vgg19")
    parser.add_argument("--discordant", type=float, default=0.10)
    parser.add_argument("--planted", type=int, default=200)
    parser.add_argument("--null", type=int, default=1000)
    return parser.parse_args()


def find_predictions(store, dataset, split, n):
    """The predictions with probabilities of each model on the unrestored faces, by name."""
    found = {}
    for folder in sorted(store.glob(f"{dataset}-{split}-raw-*/")):
        table, subject = load_partition(folder)
        is_raw = subject.corruption is None and subject.restoration == "raw"
        if len(table) == n and is_raw and table.has_probabilities:
            found[subject.model] = table
    return found


class Model(NamedTuple):
    """Logits (n, 7) and labels (n,) of a model, and the noise of its versions."""

    logits: np.ndarray
    truth: np.ndarray
    noise: float

    @classmethod
    def of(cls, table, discordant):
        """The model that made these predictions."""
        source = power.Source.from_predictions(table)
        return cls(
            source.logits, source.truth, power.calibrate(source, power.Scenario(0.0, discordant)).noise
        )

    def versions(self, rng):
        """Labels, and predictions of two versions."""
        first, second = (power.version(self.logits, self.truth, self.noise, rng)[0] for _ in range(2))
        return self.truth, first, second


def plant(truth, answer, is_worse, rng):
    """Make predictions worse on some faces, and a little better on the others."""
    answer, correct = answer.copy(), answer == truth
    wrong = rng.permutation(np.flatnonzero(is_worse & correct))[: round(SLICE_FALL * is_worse.sum())]
    right = rng.permutation(np.flatnonzero(~is_worse & ~correct))[: round(GAIN_ELSEWHERE * (~is_worse).sum())]
    answer[wrong] = (truth[wrong] + rng.integers(1, 7, size=len(wrong))) % 7
    answer[right] = truth[right]
    return answer


def judge(versions, data):
    """The checks of all models of a run, judged together.

    Macro-F1 gets its bootstrap only where it fell by the gate's margin: nothing else can fail.
    """
    run = []
    for arrays in versions:
        checks = paired_checks(*arrays, resamples=0)
        if any(c.regressed for c in checks if c.metric == "macro_f1"):
            checks = paired_checks(*arrays, resamples=gate.resamples_for(len(versions)))
        run.append(checks + slice_checks(*arrays, data.slices))
    return adjust_for_multiplicity(run)


def outcome(checks):
    """What the gate says of a model without its slices, and by its darkest slice."""
    others = [c for c in checks if c.family != "slice"]
    if any(c.failed for c in others):
        status = gate.FAIL
    elif any(c.regressed for c in others if c.family == "overall"):
        status = gate.INCONCLUSIVE
    else:
        status = gate.PASS
    is_found = any(c.failed and c.metric == "slice:brightness=lowest quarter" for c in checks)
    return [f"{status} {WITHOUT}", *([BY_SLICE] if is_found else [])]


def share(k, n):
    """`0.985 [0.957, 0.995]`."""
    measured = wilson_interval(k, n)
    return f"{measured.value:.3f} [{measured.low:.3f}, {measured.high:.3f}]"


if __name__ == "__main__":
    main()
