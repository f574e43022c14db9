"""Batches of faces: prepared in another thread while the network computes, halved where memory runs out."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from fer_models.artifacts.device import is_out_of_memory, release_memory
from fer_models.datasets.base import FaceSet
from fer_models.errors import FerModelsError, PredictionError, RestorationError
from fer_models.images import Face
from fer_models.progress import Progress
from fer_models.store.partition import SHARD

_Result = TypeVar("_Result")


class SmallerBatchWarning(UserWarning):
    """A batch did not fit into memory, so the run goes on with smaller ones."""


@dataclass(frozen=True)
class Steps(Generic[_Result]):
    """Computation on a batch of faces in two steps.

    Attributes:
        prepare: the first; it may run in another thread while `compute` is at the batch before.
        compute: the second, on what `prepare` returned.
    """

    prepare: Callable[[list[Face]], Any]
    compute: Callable[[Any], _Result]


class BatchLoop(Generic[_Result]):
    """Compute results for rows of a face set, batch by batch.

    While a batch is computed, another thread prepares the next one, also beyond the end of the rows: callers
    ask for one shard after the other. Faces are read in the caller's thread: decoding silences warnings,
    which is not safe in another one (`warnings.catch_warnings`).
    """

    def __init__(self, steps: Steps[_Result], faces: FaceSet, batch_size: int, progress: Progress) -> None:
        """Nothing is computed yet.

        Args:
            steps: what is computed.
            faces: the faces.
            batch_size: the most faces of a batch, at most `SHARD`.
            progress: called with the number of faces of each computed batch.
        """
        self._steps, self._faces, self._progress = steps, faces, progress
        self.batch_size = min(batch_size, SHARD)  # callers pass one shard after the other
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="prepare")
        self._ahead: tuple[range, Future[Any]] | None = None

    def __call__(self, rows: slice) -> list[_Result]:
        """Results of the batches of some rows, in order. No batch crosses their end.

        Raises:
            PredictionError, RestorationError: a single face does not fit into memory; and what the steps
                raise.
        """
        results: list[_Result] = []
        start = rows.start
        while start < rows.stop:
            batch = range(start, min(start + self.batch_size, rows.stop))
            results += self._compute(batch, rows.stop)
            self._progress(len(batch))
            start = batch.stop
        return results

    def _prepare(self, batch: range) -> Any:
        return self._steps.prepare(self._faces.faces(batch))

    def _take(self, batch: range) -> Any:
        """The prepared batch: from the other thread if it has prepared just this one."""
        ahead, self._ahead = self._ahead, None
        if ahead is not None and ahead[0] == batch:
            try:
                return ahead[1].result()
            except (PredictionError, RestorationError) as error:
                if not is_out_of_memory(error.__cause__):
                    raise
            release_memory()  # the batch before was in it, and is computed now
        return self._prepare(batch)

    def _prepare_ahead(self, start: int, stop: int) -> None:
        """Prepare the batch from row `start`; at the end of the rows, the first of the next shard's."""
        stop = len(self._faces) if start == stop else stop
        batch = range(start, min(start + self.batch_size, stop))
        if not batch:
            return
        try:
            faces = self._faces.faces(batch)
        except FerModelsError:  # raised again when it is the turn of this batch
            return
        self._ahead = batch, self._thread.submit(self._steps.prepare, faces)

    def _compute(self, batch: range, stop: int | None = None) -> list[_Result]:
        """Results of a batch; of its halves, one after the other, where the whole does not fit into memory.

        Args:
            batch: its rows.
            stop: the end of the rows, to prepare the next batch meanwhile; None prepares none.
        """
        prepared: list[Any] = []  # emptied where the batch does not fit: nobody keeps it in memory then
        try:
            prepared.append(self._take(batch))
            if stop is not None:
                self._prepare_ahead(batch.stop, stop)
            return [self._steps.compute(prepared[0])]
        except (PredictionError, RestorationError) as error:
            if len(batch) == 1 or not is_out_of_memory(error.__cause__):
                raise
        # Outside of `except`: the traceback would keep the tensors of the failed batch.
        prepared.clear()
        self._drop_ahead()
        release_memory()
        half = -(-len(batch) // 2)
        if half < self.batch_size:
            warnings.warn(
                f"A batch of {len(batch)} faces does not fit into memory. The run goes on with batches of "
                f"{half}; --batch-size {half} would start with them.",
                SmallerBatchWarning,
                stacklevel=2,
            )
            self.batch_size = half
        return [result for part in (batch[:half], batch[half:]) for result in self._compute(part)]

    def _drop_ahead(self) -> None:
        """Forget the batch that the other thread prepares; it has the old size."""
        if self._ahead is not None:
            _, future = self._ahead
            future.cancel()
            wait([future])
        self._ahead = None
