"""Loop over the missing shards of a folder: load once, compute a shard, write it, go on with the next."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, TypeVar

import numpy as np

from fer_models.classifiers.base import Predictions
from fer_models.progress import Progress
from fer_models.store.partition import Partition, ShardedFolder
from fer_models.store.predictions import PredictionTable
from fer_models.text_column import TextColumn

_Content = TypeVar("_Content")
#: A function from the rows of a shard, in canonical order, to the content of the shard.
Compute = Callable[[slice], _Content]
#: A function that computes and writes shards of a folder, by their numbers.
FillShards = Callable[[Sequence[int]], None]


def no_count(n: int) -> None:
    """Ignore the progress."""


@dataclass(frozen=True)
class PredictionRun:
    """Predictions of one subject, and where they come from.

    Attributes:
        predictions: in canonical order.
        seconds: the time of the inference, in this run or when it was stored; None where it is not known.
        from_store: this run computed none of them.
    """

    predictions: PredictionTable
    seconds: float | None
    from_store: bool


def predict_missing_shards(
    partition: Partition,
    load: Callable[[], Compute[Predictions]],
    provenance: Callable[[], Mapping[str, Any]],
    progress: Progress = no_count,
) -> PredictionRun:
    """Predict the faces whose shards are missing, and read all predictions of a subject.

    Args:
        partition: the folder of the subject.
        load: returns the function that predicts the faces of some rows; called only if a shard is missing.
        provenance: returns what is stored with the predictions (versions, device, …); called at most once,
            when the model is loaded. Nothing that differs from run to run.
        progress: called with the number of faces that are stored already; `load`'s function counts its own.

    Raises:
        PredictionError, RestorationError, StoreError: the model, the restorer or the store broke its
            contract. Shards written before stay.
    """
    describe = cache(provenance)  # it hashes weights and code

    def write(shard: int, predictions: Predictions, seconds: float) -> None:
        partition.write(shard, prediction_table(predictions, partition, shard), describe(), seconds)

    is_computed = fill_missing_shards(partition, load, write, progress)
    return PredictionRun(partition.read(), partition.seconds(), from_store=not is_computed)


def predict_with(fill: FillShards, partition: Partition, progress: Progress = no_count) -> PredictionRun:
    """As `predict_missing_shards`, with another engine, which writes the shards itself.

    Args:
        fill: predicts the faces of the missing shards; called only if there are some.
        partition: the folder of the subject.
        progress: called with the number of faces that are stored already; `fill` counts its own.
    """
    is_computed = fill_with(fill, partition, progress)
    return PredictionRun(partition.read(), partition.seconds(), from_store=not is_computed)


def fill_missing_shards(
    folder: ShardedFolder[Any],
    load: Callable[[], Compute[_Content]],
    write: Callable[[int, _Content, float], None],
    progress: Progress = no_count,
) -> bool:
    """Compute and write the missing shards of a folder; whether there were any.

    Args:
        folder: of the shards.
        load: returns the function that computes a shard; called only if one is missing.
        write: writes the content of a shard, which took some seconds to compute.
        progress: called with the number of faces that are stored already.
    """

    def fill(shards: Sequence[int]) -> None:
        compute = load()
        for shard in shards:
            started = time.perf_counter()
            content = compute(folder.rows(shard))
            write(shard, content, time.perf_counter() - started)

    return fill_with(fill, folder, progress)


def fill_with(fill: FillShards, folder: ShardedFolder[Any], progress: Progress = no_count) -> bool:
    """Call `fill` with the missing shards of a folder, under its lock; whether there were any."""
    total = len(folder.faces)
    if not folder.missing():  # without the lock: a store that can only be read is enough
        progress(total)
        return False
    with folder.locked():
        missing = folder.missing(remove_damaged=True)  # another process may have written some meanwhile
        rows = [folder.rows(shard) for shard in missing]
        progress(total - sum(row.stop - row.start for row in rows))
        if missing:
            fill(missing)
    return bool(missing)


def prediction_table(predictions: Predictions, partition: Partition, shard: int) -> PredictionTable:
    """The rows of a shard.

    Probabilities are rounded to float32, as they are stored; the predicted emotion is the most probable of
    the rounded ones.
    """
    rows = partition.rows(shard)
    rounded = predictions.probabilities.astype(np.float32).astype(np.float64)
    p = replace(predictions, probabilities=rounded)
    columns = (partition.index[rows], partition.truth[rows], p.answer, p.probabilities)
    status, text = TextColumn.of(p.status), TextColumn.of(p.text)
    return PredictionTable(partition.faces[rows], *columns, status, text, p.has_probabilities)
