"""How long a run needs to score many subjects after inference.

    python benchmarks/score_speed.py

Simulated predictions of 40 models for 3,589 faces with six properties. It prints the seconds of each part,
for all subjects together: metrics, slices, selective prediction, and the entries of evals.json.
"""

from __future__ import annotations

import argparse
import platform
import time

import numpy as np

from fer_models.result_entries import FaceFacts, scores_json
from fer_models.scoring.metrics import measure_predictions
from fer_models.scoring.selective import selective_prediction
from fer_models.scoring.slices import score_slices
from fer_models.slices.columns import SliceColumns, numeric_column
from fer_models.store.predictions import PredictionTable
from fer_models.store.subject import Subject


def main() -> None:
    """Print the times."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--subjects", type=int, default=40)
    parser.add_argument("--faces", type=int, default=3589)
    args = parser.parse_args()
    rng = np.random.default_rng(0)
    truth = rng.integers(7, size=args.faces)
    tables = [simulated(truth, rng) for _ in range(args.subjects)]
    slices = SliceColumns(
        tuple(
            numeric_column(f"property {i}", rng.random(args.faces), "random", (0.25, 0.5, 0.75))
            for i in range(6)
        )
    )
    print(f"{args.subjects} subjects, {args.faces} faces, {platform.processor() or platform.machine()}")
    measured = timed("metrics", lambda: [measure_predictions(table) for table in tables])
    timed("slices", lambda: [score_slices(table, slices) for table in tables])
    timed("selective prediction", lambda: [selective_prediction(table) for table in tables])
    subject = Subject("simulated", "test", "raw", "model")
    facts = FaceFacts(frozenset(), None, slices)
    pairs = list(zip(tables, measured, strict=True))
    entries = [scores_json(subject, t, m, of=args.faces, faces=facts) for t, m in pairs[:1]]
    print(f"fields of an entry: {', '.join(entries[0])}")
    timed(
        "all entries, metrics apart",
        lambda: [scores_json(subject, t, m, of=args.faces, faces=facts) for t, m in pairs],
    )


def simulated(truth: np.ndarray, rng: np.random.Generator) -> PredictionTable:
    """Predictions of a model that is correct on about two faces of three."""
    n = len(truth)
    logits = rng.normal(size=(n, 7)) + 2.2 * np.eye(7)[truth]
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    faces = tuple(f"{i:064x}" for i in range(n))
    return PredictionTable(faces, np.arange(n), truth, p.argmax(axis=1), p, ("ok",) * n, ("",) * n)


def timed(name, function):
    """Print the seconds of a call; returns its result."""
    start = time.perf_counter()
    result = function()
    print(f"  {name:28} {time.perf_counter() - start:6.2f} s")
    return result


if __name__ == "__main__":
    main()
