"""Prediction functions for faces outside the dataset and for other prompts, with their caches on disk."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from typing import cast

import numpy as np
from numpy.typing import NDArray

from fer_models.classifiers.base import Classifier, Predictions, Promptable
from fer_models.classifiers.network_format import NetworkFormat
from fer_models.classifiers.prompts import PromptSet
from fer_models.classifiers.vlm.questions import Question
from fer_models.config import EvalConfig
from fer_models.images import Face
from fer_models.inference.dataset import EvalDataset
from fer_models.inference.identity import Identities
from fer_models.inference.loader import Loader
from fer_models.inference.loop import no_count
from fer_models.inference.pipeline import validate_predictions
from fer_models.inference.prediction_cache import Classify, Predict, PredictionCache, PromptCache
from fer_models.progress import Progress
from fer_models.store.predictions import PredictionTable
from fer_models.zoo.spec import ModelSpec, RestorerSpec, Runtime, derive


class CachedPredictors:
    """Prediction functions whose results are read from disk or computed once."""

    def __init__(self, options: EvalConfig, loader: Loader, identities: Identities) -> None:
        self.options, self._loader, self._identities = options, loader, identities
        self._caches: dict[str, PredictionCache] = {}

    @contextmanager
    def predictor(
        self,
        model: ModelSpec,
        restorer: RestorerSpec,
        dataset_predictions: PredictionTable | None = None,
        *,
        question: Question | None = None,
        precision: str | None = None,
        network_format: NetworkFormat | None = None,
        variant: str = "",
        progress: Progress = no_count,
    ) -> Iterator[Predict]:
        """A function from faces to predictions.

        Args:
            model: the model.
            restorer: the restorer before it.
            dataset_predictions: the model's predictions for the dataset, which are not computed again.
            question: see `Runner.predictor`.
            precision: see `Runner.predictor`.
            network_format: see `Runner.predictor`.
            variant: see `Runner.predictor`.
            progress: called with the number of faces predicted.
        """
        other_question = question if question is not None and question != model.question else None
        spec = model
        if other_question is not None and model.with_question is not None:
            spec = derive(model, model.with_question, other_question)
        if precision is not None and not (other_question is None and network_format is None):
            raise ValueError("Another question or format is answered in the precision of the run only.")
        runtime = (
            self.options.runtime if precision is None else replace(self.options.runtime, precision=precision)
        )
        identity = self._identities.identity(spec, restorer, runtime=spec.resolve(runtime), checked=model)
        if network_format is not None:
            identity = {**identity, "network_format": network_format.as_json()}

        def compute(faces: Sequence[Face]) -> Predictions:
            classifier = self._classifier(model, runtime, other_question, network_format)
            pipeline, size = self._loader.pipeline(spec, restorer, classifier), self.options.batch_size
            batches = (faces[start : start + size] for start in range(0, len(faces), size))
            return Predictions.joined([pipeline.predict(batch) for batch in batches])

        name, folder = f"{spec.name}-{restorer.name}", self.options.predictions
        new = PredictionCache(folder, name, {**identity, "variant": variant}, spec.labels, compute)
        cached = self._caches.setdefault(new.key, new)
        is_changed = bool(other_question or precision or network_format or variant)
        if cached is new and dataset_predictions is not None and not is_changed:
            cached.add(dataset_predictions.faces, dataset_predictions.to_predictions())

        def predict(faces: Sequence[Face]) -> Predictions:
            predictions = cached.predict(faces)
            progress(len(faces))
            return predictions

        try:
            yield predict
        finally:
            cached.save()

    def _classifier(
        self,
        model: ModelSpec,
        runtime: Runtime,
        question: Question | None,
        network_format: NetworkFormat | None,
    ) -> Classifier:
        """The loaded model, or the same with another question or another format of its input."""
        if question is not None:
            return self._loader.with_question(model, question)
        if network_format is not None:
            return self._loader.with_format(model, network_format)
        return self._loader.classifier(model, runtime)

    def reread(self) -> None:
        """Read the caches from disk again at their next use: another process has added predictions."""
        self._caches.clear()

    @contextmanager
    def prompt_classifier(
        self,
        model: ModelSpec,
        restorer: RestorerSpec,
        data: EvalDataset,
        load_embeddings: Callable[[], NDArray[np.float32]],
    ) -> Iterator[Classify]:
        """A function from a prompt set to the predicted emotion of each face of `data`.

        Args:
            model: a zero-shot model.
            restorer: the restorer before it.
            data: the faces.
            load_embeddings: returns the embeddings of the faces; called at most once.
        """
        identity = self._identities.identity(model, restorer, embedding=True)
        embeddings = cache(load_embeddings)

        def classify(prompts: PromptSet) -> NDArray[np.int64]:
            promptable, rows = cast(Promptable, self._loader.embedding(model)), embeddings()
            return validate_predictions(
                lambda: promptable.classify(rows, prompts), model.name, model.labels, len(rows)
            ).answer

        name, faces = f"prompts-{model.name}-{restorer.name}", list(data.faces.hashes)
        cached = PromptCache(self.options.predictions, name, {**identity, "faces": faces}, classify)
        try:
            yield cached.classify
        finally:
            cached.save()
