"""The only loop: faces -> restorer -> classifier -> store."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from fer_models.classifiers.base import Classifier, Embedding, Predictions
from fer_models.datasets.base import FaceSet
from fer_models.errors import FerModelsError, PredictionError, PromptTooLongError
from fer_models.images import Face
from fer_models.progress import Progress as Progress
from fer_models.restorers.base import Restorer, restore_checked
from fer_models.store.partition import Partition, ShardedFolder
from fer_models.store.predictions import PredictionTable
from fer_models.third_party_code import contained

_Model = TypeVar("_Model")
_Part = TypeVar("_Part")


def no_count(n: int) -> None:
    """A progress that is shown to nobody."""


@dataclass(frozen=True)
class PredictionRun:
    """One subject's answers, and where they came from.

    Attributes:
        answers: in canonical order.
        seconds: the time of the inference, now or when it was stored; None where it is not known.
        from_store: no face was asked now.
    """

    predictions: PredictionTable
    seconds: float | None
    from_store: bool


def predict_dataset(
    shelf: Partition,
    faces: FaceSet,
    order: np.ndarray[Any, np.dtype[np.int64]],
    load: Callable[[], tuple[Restorer, Classifier]],
    *,
    labels: tuple[str, ...],
    batch_size: int,
    provenance: Callable[[], Mapping[str, Any]],
    progress: Progress = lambda n: None,
) -> PredictionRun:
    """Answer what `shelf` misses, and read it all.

    Args:
        shelf: where the answers go.
        faces: the face set; `order` are its rows in canonical order.
        load: makes the restorer and the classifier; called only when a face must be asked.
        labels: the label order that the model's record declares.
        batch_size: faces per forward pass; batches never cross a shard, so a resumed run has the same ones.
        provenance: tells, once the model is loaded, what to write down beside the answers (versions, device,
            …); nothing that differs from run to run.
        progress: told how many faces were answered.

    Raises:
        PredictionError, RestorationError, StoreError: the model, the restorer or the store broke its
            contract; shards written before stay.
    """

    def ask(classifier: Classifier, batch: list[Face]) -> Predictions:
        return predict_validated(classifier, shelf.subject.model, labels, batch)

    def write(shard: int, parts: list[Predictions], seconds: float) -> None:
        shelf.write(shard, _collect(parts, shelf, shard), provenance(), seconds)

    asked = look(
        shelf,
        faces,
        order,
        load,
        ask,
        write,
        restoration=shelf.subject.restoration,
        batch_size=batch_size,
        progress=progress,
    )
    return PredictionRun(shelf.read(), shelf.seconds(), from_store=not asked)


def look(
    shelf: ShardedFolder[Any],
    faces: FaceSet,
    order: NDArray[np.int64],
    load: Callable[[], tuple[Restorer, _Model]],
    ask: Callable[[_Model, list[Face]], _Part],
    write: Callable[[int, list[_Part], float], None],
    *,
    restoration: str,
    batch_size: int,
    progress: Progress,
) -> bool:
    """Show a model the faces whose shards are missing: the loop under all that looks at a whole face set.

    Args:
        shelf, faces, order, load, batch_size, progress: as in `answer`.
        ask: what the model makes of a restored batch.
        write: keeps what it made of a shard's batches, and the seconds that took.
        restoration: the restorer's name, for its errors.

    Returns:
        Whether any face was looked at.
    """
    if not shelf.missing():  # nothing to write: a store that can only be read is enough
        progress(len(faces))
        return False
    with shelf.locked():
        missing = shelf.missing(
            remove_damaged=True
        )  # another process may have filled it while this one waited
        progress(len(faces) - sum(shelf.rows(s).stop - shelf.rows(s).start for s in missing))
        if missing:
            restorer, model = load()
        for shard in missing:
            started, rows, parts = time.perf_counter(), order[shelf.rows(shard)], []
            for start in range(0, len(rows), batch_size):
                batch = faces.faces(rows[start : start + batch_size])
                parts.append(ask(model, restore_checked(restorer, restoration, batch)))
                progress(len(batch))
            write(shard, parts, time.perf_counter() - started)
    return bool(missing)


def fuse_predictions(
    shelf: Partition,
    parts: Sequence[PredictionRun],
    pool: Callable[[Sequence[Predictions]], Predictions],
    provenance: Callable[[], Mapping[str, Any]],
) -> PredictionRun:
    """Fill `shelf` from the answers of several subjects to the same faces, and read it all. No face is asked.

    Args:
        parts: the runs whose answers are pooled.
        pool: one `Predictions` from those of the parts.
        provenance: as in `answer`.

    Raises:
        StoreError: the store broke its contract.
    """
    if shelf.missing():
        with shelf.locked():
            for shard in shelf.missing(remove_damaged=True):
                started, rows = time.perf_counter(), shelf.rows(shard)
                said = pool([part.predictions.to_predictions(rows) for part in parts])
                shelf.write(
                    shard, _collect([said], shelf, shard), provenance(), time.perf_counter() - started
                )
    asked = all(part.from_store for part in parts)
    seconds = [s for s in (shelf.seconds(), *(part.seconds for part in parts)) if s is not None]
    return PredictionRun(
        shelf.read(), sum(seconds) if len(seconds) == 1 + len(parts) else None, from_store=asked
    )


def classify_embeddings(
    shelf: Partition,
    features: Callable[[], NDArray[np.float32]],
    load: Callable[[], Embedding],
    *,
    labels: tuple[str, ...],
    provenance: Callable[[], Mapping[str, Any]],
) -> PredictionRun:
    """Fill `shelf` from the stored directions of its faces, and read it all.

    Args:
        features: gets the directions, (n, d) in canonical order; called only when an answer is missing, as
            `load` is.
        labels, provenance: as in `answer`.

    Raises:
        PredictionError, RestorationError, StoreError: as `answer`.
    """
    missing = shelf.missing()
    if missing:
        started = time.perf_counter()
        known = features()
        looked = time.perf_counter() - started
        with shelf.locked():
            for shard in shelf.missing(remove_damaged=True):
                started, rows = time.perf_counter(), shelf.rows(shard)
                model, some = load(), known[rows]
                predict = partial(model.classify, some)
                said = validate_predictions(predict, shelf.subject.model, labels, len(some))
                share = looked * len(some) / len(shelf.faces)
                shelf.write(
                    shard, _collect([said], shelf, shard), provenance(), time.perf_counter() - started + share
                )
    return PredictionRun(shelf.read(), shelf.seconds(), from_store=not missing)


def predict_validated(
    classifier: Classifier, name: str, labels: tuple[str, ...], faces: list[Face]
) -> Predictions:
    """`classifier.predict(faces)`, held to its contract. Raises as `checked`."""
    return validate_predictions(lambda: classifier.predict(faces), name, labels, len(faces))


def validate_predictions(
    ask: Callable[[], Predictions], name: str, labels: tuple[str, ...], n: int
) -> Predictions:
    """What `ask` says of `n` faces, held to the contract of a classifier.

    Raises:
        PredictionError: it raised, or what it returned is not one sound prediction per face in the declared
            label order.
    """
    with contained(PredictionError, f"Model {name!r} failed on a batch of {n} faces"):
        try:
            predictions = ask()
            if not isinstance(predictions, Predictions):
                what = f"it returned {type(predictions).__name__}"
                raise PredictionError(
                    f"{what}; return Predictions.from_probabilities(rows, labels) (from fer_models)."
                )
            # Made anew, so that every field is checked, and none changes when the model uses its arrays
            # again.
            predictions = replace(predictions)
        except PromptTooLongError:
            raise
        except FerModelsError as error:
            raise PredictionError(f"Model {name!r}: {error}") from error
    if len(predictions) != n:
        raise PredictionError(f"Model {name!r} was given {n} faces and answered {len(predictions)}.")
    if predictions.labels != labels:
        raise PredictionError(
            f"Model {name!r} declares the label order {', '.join(labels)} but answers in the order {', '.join(predictions.labels)}. "
            "Make ModelSpec(labels=...) and Predictions.from_probabilities(rows, labels) agree."
        )
    return predictions


def _collect(parts: list[Predictions], shelf: Partition, shard: int) -> PredictionTable:
    """The answers of a shard. Probabilities are rounded to float32, as they are stored, and the answers are
    the greatest of the rounded.
    """
    at, said = shelf.rows(shard), Predictions.joined(parts)
    said = replace(said, probabilities=said.probabilities.astype(np.float32).astype(np.float64))
    columns = (shelf.index[at], shelf.truth[at], said.answer, said.probabilities)
    return PredictionTable(shelf.faces[at], *columns, said.status, said.text, said.has_probabilities)
