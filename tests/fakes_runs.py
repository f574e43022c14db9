"""Stored runs and baselines with known predictions, for tests of comparisons."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from fakes import prediction_table

from fer_models.gate import baselines
from fer_models.scoring.metrics import measure
from fer_models.store.partition import Store
from fer_models.store.predictions import PredictionTable
from fer_models.store.subject import Subject

SUBJECT = Subject("toy", "validation", "raw", "net")
OTHER = Subject("toy", "validation", "bicubic", "net")


def predictions_of(wrong: int = 0, n: int = 490, seed: int | None = None) -> PredictionTable:
    """Predictions of which two in three are correct, less `wrong`; with a seed, their certainty is random."""
    truth = np.arange(n) % 7
    predicted = truth.copy()
    predicted[::3] = (truth[::3] + 1) % 7
    rows = np.flatnonzero(predicted == truth)[:wrong]
    predicted[rows] = (truth[rows] + 1) % 7
    table = prediction_table(truth, predicted)
    if seed is None:
        return table
    certainty = np.random.default_rng(seed).uniform(0.3, 0.9, n)
    p = np.repeat(((1 - certainty) / 6)[:, None], 7, axis=1)
    p[np.arange(n), predicted] = certainty
    return replace(table, probabilities=p)


def write_partition(
    root: Path, table: PredictionTable, subject: Subject = SUBJECT, key: str = "k", age: float = 0
) -> Path:
    """Write the folder of a subject into the store at `root`, `age` seconds old."""
    partition = Store(root).partition(subject, key * 64, table.faces, table.truth, table.index)
    with partition.locked():
        for shard in partition.missing():
            rows = partition.rows(shard)
            partition.write(shard, table.select(np.arange(rows.start, rows.stop)), {}, 1.0)
    for path in partition.folder.glob("part-*.parquet"):
        modified = path.stat().st_mtime - age
        os.utime(path, (modified, modified))
    return partition.folder


def shard_file(folder: Path, number: int) -> Path:
    """The file of one shard."""
    (path,) = folder.glob(f"part-{number:05d}-*.parquet")
    return path


def record_of(table: PredictionTable, subject: Subject = SUBJECT, **changes: Any) -> baselines.BaselineRecord:
    measured = measure(table.truth, table.answer, table.probabilities, resamples=100)
    return replace(baselines.record_of(subject, table.fingerprint, table, measured, {}), **changes)


def write_baselines(path: Path, *records: baselines.BaselineRecord) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    baselines.Baselines(records).write(path)
    return path
