"""Prediction pipeline: corruption, restoration and classification of a batch of faces."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from fer_models.classifiers.base import Classifier, Embedding, Predictions, Prefetchable
from fer_models.corruptions import Corruption
from fer_models.errors import FerModelsError, PredictionError, PromptTooLongError
from fer_models.images import Face
from fer_models.inference.batches import Steps
from fer_models.restorers.base import Bicubic, Raw, Restorer, restore_validated
from fer_models.third_party_code import wrap_errors
from fer_models.zoo.spec import ModelSpec


@dataclass(frozen=True)
class Pipeline:
    """Corruption, restoration and classification of a batch of faces.

    Attributes:
        corruption: applied to each face first; None for none.
        restorer: restores the corrupted faces.
        classifier: the loaded model.
        model: its specification: the name for messages, and the label order that it must keep.
        restoration: the restorer's name, for messages.
    """

    corruption: Corruption | None
    restorer: Restorer
    classifier: Classifier
    model: ModelSpec
    restoration: str

    def predict(self, faces: Sequence[Face]) -> Predictions:
        """Validated predictions, one per face.

        Raises:
            PredictionError, RestorationError, StoreError: the model or the restorer broke its contract.
        """
        restored = restore_corrupted(self.corruption, self.restorer, self.restoration, faces)
        return predict_validated(self.classifier, self.model.name, self.model.labels, restored)

    def embed(self, faces: Sequence[Face]) -> NDArray[np.float32]:
        """Validated embeddings by a model that has them, float32 (n, d). Raises as `predict`."""
        restored = restore_corrupted(self.corruption, self.restorer, self.restoration, faces)
        embedding = cast(Embedding, self.classifier)
        return validate_embeddings(lambda: embedding.embed(restored), self.model.name, len(restored))

    def prediction_steps(self) -> Steps[Predictions]:
        """The two steps of `predict`: what needs no network, and the rest."""
        if not self._is_prefetchable:
            return Steps(lambda faces: faces, self.predict)
        network = cast(Prefetchable, self.classifier)

        def compute(batch: _Batch) -> Predictions:
            predict = partial(network.infer, batch.inputs)
            return validate_predictions(predict, self.model.name, self.model.labels, batch.n)

        return Steps(self._preprocess, compute)

    def embedding_steps(self) -> Steps[NDArray[np.float32]]:
        """The two steps of `embed`, as `prediction_steps`."""
        encode = getattr(self.classifier, "encode", None)
        if not self._is_prefetchable or encode is None:
            return Steps(lambda faces: faces, self.embed)

        def compute(batch: _Batch) -> NDArray[np.float32]:
            return validate_embeddings(partial(encode, batch.inputs), self.model.name, batch.n)

        return Steps(self._preprocess, compute)

    @property
    def _is_prefetchable(self) -> bool:
        """Whether restoration and preprocessing may run in another thread.

        Not with a restoration network, which would compete with the model for the same cores, nor with
        third-party code, which need not be safe there.
        """
        is_light = isinstance(self.restorer, Raw | Bicubic)
        classifier = self.classifier
        is_safe = isinstance(classifier, Prefetchable) and classifier.is_prefetchable
        return is_light and is_safe and self.model.source is None

    def _preprocess(self, faces: Sequence[Face]) -> _Batch:
        restored = restore_corrupted(self.corruption, self.restorer, self.restoration, faces)
        network = cast(Prefetchable, self.classifier)
        failed = f"Model {self.model.name!r} failed to preprocess {len(restored)} faces"
        with wrap_errors(PredictionError, failed):
            return _Batch(network.preprocess(restored), len(restored))


class _Batch(NamedTuple):
    """Preprocessed faces.

    Attributes:
        inputs: of the network.
        n: the number of faces.
    """

    inputs: Any
    n: int


def restore_corrupted(
    corruption: Corruption | None, restorer: Restorer, name: str, faces: Sequence[Face]
) -> list[Face]:
    """The faces after corruption and restoration. Raises as `restore_validated`."""
    images = faces if corruption is None else [corruption.apply(face) for face in faces]
    return restore_validated(restorer, name, images)


def predict_validated(
    classifier: Classifier, name: str, labels: tuple[str, ...], faces: list[Face]
) -> Predictions:
    """`classifier.predict(faces)`, validated. Raises as `validate_predictions`."""
    return validate_predictions(lambda: classifier.predict(faces), name, labels, len(faces))


def validate_predictions(
    predict: Callable[[], Predictions], name: str, labels: tuple[str, ...], n: int
) -> Predictions:
    """The predictions that `predict` returns, checked against the contract of a classifier.

    Args:
        predict: predicts some faces.
        name: of the model.
        labels: the label order that the model declares.
        n: the number of faces.

    Raises:
        PredictionError: it raised, or what it returned is not one valid prediction per face in the declared
            label order.
    """
    with wrap_errors(PredictionError, f"Model {name!r} failed on a batch of {n} faces"):
        try:
            predictions = predict()
            if not isinstance(predictions, Predictions):
                raise PredictionError(
                    f"it returned {type(predictions).__name__}; "
                    "return Predictions.from_probabilities(rows, labels) (from fer_models)."
                )
            # A copy: every field is checked, and the model may use its arrays again.
            predictions = replace(predictions)
        except PromptTooLongError:
            raise
        except FerModelsError as error:
            raise PredictionError(f"Model {name!r}: {error}") from error
    if len(predictions) != n:
        raise PredictionError(f"Model {name!r} was given {n} faces and returned {len(predictions)}.")
    if predictions.labels != labels:
        raise PredictionError(
            f"Model {name!r} declares the label order {', '.join(labels)}, "
            f"but predicts in the order {', '.join(predictions.labels)}. "
            "Make ModelSpec(labels=...) and Predictions.from_probabilities(rows, labels) agree."
        )
    return predictions


def validate_embeddings(embed: Callable[[], NDArray[np.float32]], name: str, n: int) -> NDArray[np.float32]:
    """The embeddings of `n` faces that `embed` returns, as a float32 copy (n, d).

    Raises:
        PredictionError: it raised, or what it returned is not one vector of finite numbers per face.
    """
    with wrap_errors(PredictionError, f"Model {name!r} failed to embed {n} faces"):
        returned = np.asarray(embed())
    if returned.dtype.kind not in "fiu":
        raise PredictionError(
            f"Model {name!r} embedded {n} faces as an array of {returned.dtype}; "
            "an embedding is float32 (n, d)."
        )
    with np.errstate(over="ignore"):  # a number too large for float32 becomes infinite, and is refused below
        embeddings = returned.astype(np.float32)  # a copy: a model may use its array again
    shape = embeddings.shape
    if len(shape) != 2 or shape[0] != n or shape[1] < 1 or not np.isfinite(embeddings).all():
        raise PredictionError(
            f"Model {name!r} embedded {n} faces as an array of shape {shape}, "
            "or with values that are not finite numbers."
        )
    return embeddings
