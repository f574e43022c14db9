"""Run models over a dataset, and store every prediction.

`Runner` turns names of models and restorations into subjects and predicts each of them once, now or in an
earlier run. Scores, robustness checks, restoration effects and verdicts are computed from its predictions.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from fer_models.classifiers import fusion
from fer_models.classifiers.base import Classifier, Predictions
from fer_models.classifiers.network_format import NetworkFormat
from fer_models.classifiers.vlm.questions import Question
from fer_models.config import EvalConfig, ShowProgress, no_progress
from fer_models.cost.store import CostStore
from fer_models.errors import FerModelsError, WeightsMissingError
from fer_models.images import Face
from fer_models.inference.batches import BatchLoop
from fer_models.inference.dataset import EvalDataset
from fer_models.inference.embeddings import embed_missing_shards, embedding_partition
from fer_models.inference.environment import device_name, provenance
from fer_models.inference.identity import Combination, Identities
from fer_models.inference.loader import Loader
from fer_models.inference.loop import Compute, PredictionRun, no_count, predict_missing_shards, predict_with
from fer_models.inference.model_check import SAMPLE
from fer_models.inference.pipeline import validate_predictions
from fer_models.inference.prediction_cache import Classify, Predict
from fer_models.inference.predictors import CachedPredictors
from fer_models.inference.references import References
from fer_models.progress import Progress
from fer_models.restorers.base import Restorer
from fer_models.store.partition import Partition, ShardedFolder, Store
from fer_models.store.predictions import PredictionTable
from fer_models.store.subject import Subject
from fer_models.zoo.model_name import ModelName
from fer_models.zoo.registry import Registry
from fer_models.zoo.spec import ModelSpec, RestorerSpec, Runtime

__all__ = ["Combination", "Runner"]


class Runner:
    """The subjects of one run and their predictions.

    Attributes:
        options: what the run evaluates, and where files are stored.
        models, restorers: by name.
        references: the models that others were exported from.
        data: the faces.
        costs: measured costs.
        show: shows the progress of a step.
    """

    def __init__(
        self,
        options: EvalConfig,
        models: Registry[ModelSpec],
        restorers: Registry[RestorerSpec],
        show: ShowProgress = no_progress,
        available_models: Registry[ModelSpec] | None = None,
    ) -> None:
        """A run over `models` and `restorers`; `available_models` are all known models, else `models`."""
        self.options, self.models, self.restorers, self.show = options, models, restorers, show
        self.references = References(self, models if available_models is None else available_models)
        self.data = EvalDataset(options, show)
        self.costs = CostStore(options.costs, measure_anew=options.measure_costs)
        self._variant_data: EvalDataset | None = None
        self._loader = Loader(options, self._sample)
        self._identities = Identities(options, self._loader, self._dataset)
        self._predictors = CachedPredictors(options, self._loader, self._identities)
        self._runs: dict[Combination, PredictionRun | FerModelsError] = {}
        #: Also of components of fusions that the run does not evaluate.
        self._predicted: dict[Combination, PredictionRun] = {}

    def _sample(self) -> list[Face]:
        return self.data.faces.faces(self.data.sample(SAMPLE))

    def _specs(self, combination: Combination) -> tuple[ModelSpec, RestorerSpec]:
        model, restoration = combination
        return self.models[model], self.restorers[restoration]

    # -- subjects ---------------------------------------------------------------------------------

    def subject(self, combination: Combination) -> Subject:
        """The subject of a combination on this run's faces."""
        return self._subject(*self._specs(combination))

    def _subject(self, model: ModelSpec, restorer: RestorerSpec) -> Subject:
        split = self.data.full_split
        names = (split.dataset, split.split, restorer.name, model.name)
        return Subject(*names, self.options.corruption_id, model.prompt)

    def dataset_of(self, combination: Combination) -> EvalDataset:
        """The faces of a combination: all, or those that the depth allows for the variants of a model."""
        return self._dataset(*self._specs(combination))

    def _dataset(self, model: ModelSpec, restorer: RestorerSpec) -> EvalDataset:
        limit = self.options.depth.variant_limit
        if limit is None or self.options.whole_variants or not self._is_variant(model, restorer):
            return self.data
        if self._variant_data is None:
            self._variant_data = self.data.subsample(limit)
        return self._variant_data

    def is_variant(self, combination: Combination) -> bool:
        """Whether it is a model after a restoration, or a further answer mode of a model of this run."""
        return self._is_variant(*self._specs(combination))

    def _is_variant(self, model: ModelSpec, restorer: RestorerSpec) -> bool:
        name = ModelName.parse(model.name)
        is_answer_mode = bool(name.variants) and str(name.base) in self.models
        return restorer.name != "raw" or (is_answer_mode and not self.options.named_models)

    def is_served(self, model: str) -> bool:
        """Whether a server runs the model, on another machine perhaps."""
        spec = self.models[model]
        return spec.weights is None and spec.question is not None

    def unavailable_reason(self, combination: Combination) -> str | None:
        """Why this machine cannot predict, with the command that changes it; None if it can.

        Raises:
            FerModelsError: weights are there and cannot be used.
        """
        return self.unavailable_reason_of(self.models[combination[0]], combination)

    def unavailable_reason_of(self, model: ModelSpec, combination: Combination) -> str | None:
        """As `unavailable_reason`, for any model on the faces of a combination and after its restoration."""
        try:
            model.weights_path()
        except WeightsMissingError as missing:
            return str(missing)
        reason = self.restorer_unavailable_reason(combination[1])
        if reason is None and self.options.cached_only:
            partition = self._partition(model, self.restorers[combination[1]], self.dataset_of(combination))
            if absent := len(partition.missing()):
                return (
                    f"{partition.subject.id}: {absent} of {partition.shards} shards are not in the store, "
                    "or damaged. Leave out --cached-only to predict them."
                )
        return reason

    def restorer_unavailable_reason(self, restoration: str) -> str | None:
        """Why a restorer cannot run on this machine, with the command that changes it; None if it can."""
        try:
            self.restorers[restoration].weights_path()
        except WeightsMissingError as missing:
            return str(missing)
        return None

    def is_available(self, combination: Combination) -> bool:
        """Whether this machine has the weights. Invalid weights count: prediction raises their error."""
        try:
            return self.unavailable_reason(combination) is None
        except FerModelsError:
            return True

    @property
    def changed_models(self) -> dict[Combination, str]:
        """A message for each third-party model that changed since the run before."""
        return self._identities.changed_models

    # -- models and restorers ---------------------------------------------------------------------

    def classifier(self, model: str) -> Classifier:
        """The model, loaded once. Raises as `Loader.classifier`."""
        return self.load_model(self.models[model])

    def load_model(self, model: ModelSpec, runtime: Runtime | None = None) -> Classifier:
        """As `classifier`, for any model, and with another runtime than that of the run if given."""
        return self._loader.classifier(model, runtime)

    def restorer(self, restoration: str) -> Restorer:
        """The restorer itself, without a cache, loaded once. Raises as `classifier`."""
        return self._loader.restorer(self.restorers[restoration])

    def cached_restorer(self, restoration: str) -> Restorer:
        """The restorer, with its cache on disk if it is slow. Raises as `classifier`."""
        return self._loader.cached_restorer(self.restorers[restoration])

    def restore(self, restoration: str, faces: list[Face]) -> list[Face]:
        """The faces after the corruption of this run and a restoration: the input of models.

        Raises:
            PredictionError, RestorationError, StoreError: as `predict`.
        """
        return self._loader.restore(self.restorers[restoration], faces)

    # -- predictions ------------------------------------------------------------------------------

    def predict(self, combination: Combination) -> PredictionRun:
        """The predictions of a combination, computed now or read from the store; once per run.

        Raises:
            PredictionError, RestorationError, StoreError: the same one each time.
        """
        combination = Combination(*combination)
        if combination not in self._runs:
            try:
                self._runs[combination] = self.predict_model(
                    *self._specs(combination), self.dataset_of(combination)
                )
            except FerModelsError as error:
                self._runs[combination] = error
        run = self._runs[combination]
        if isinstance(run, FerModelsError):
            raise run
        return run

    def completed(self) -> list[Combination]:
        """The combinations that were predicted in this run."""
        return [c for c, run in self._runs.items() if isinstance(run, PredictionRun)]

    def failed(self) -> dict[Combination, FerModelsError]:
        """The combinations that could not be predicted, and why."""
        return {c: run for c, run in self._runs.items() if not isinstance(run, PredictionRun)}

    def predictions_on(self, combination: Combination, data: EvalDataset) -> PredictionTable:
        """The predictions of a combination for `data`, a subset of its faces. Raises as `predict`."""
        predictions, own_data = self.predict(combination).predictions, self.dataset_of(combination)
        return predictions if own_data is data else predictions.select(own_data.positions_of(data))

    def partition(self, combination: Combination) -> Partition:
        """The folder of the store with the predictions of a combination."""
        return self._partition(*self._specs(combination), self.dataset_of(combination))

    def _partition(self, model: ModelSpec, restorer: RestorerSpec, data: EvalDataset) -> Partition:
        subject, faces = self._subject(model, restorer), data.faces
        key = subject.key({"faces": faces.fingerprint, **self._identities.identity(model, restorer)})
        return Store(self.options.store).partition(subject, key, faces.hashes, faces.labels, data.index)

    def _predict(self, model: ModelSpec, restorer: RestorerSpec, data: EvalDataset) -> PredictionRun:
        partition = self._partition(model, restorer, data)
        describe = partial(self._provenance, model, restorer)
        if model.has_embeddings:
            load = partial(self._load_embedding_classifier, model, restorer, data)
            return predict_missing_shards(partition, load, describe)
        if model.is_fusion:
            return self._fuse(model, restorer, data, partition)
        faces, size = data.faces, self.options.batch_size
        with self._shown(f"predicting {partition.subject.id}", partition) as progress:
            if self.options.engine == "ray":
                return self._predict_with_ray(model, restorer, partition, progress)

            def load_pipeline() -> Compute[Predictions]:
                steps = self._loader.pipeline(model, restorer).prediction_steps()
                loop = BatchLoop(steps, faces, size, progress)
                return lambda rows: Predictions.joined(loop(rows))

            return predict_missing_shards(partition, load_pipeline, describe, progress)

    def _predict_with_ray(
        self, model: ModelSpec, restorer: RestorerSpec, partition: Partition, progress: Progress
    ) -> PredictionRun:
        """The predictions of a model, whose missing shards are predicted by the actors of a Ray cluster."""
        from fer_models.inference.ray_engine import Task, fill_with_ray

        identity = self._identities.identity(model, restorer, runtime=model.resolve(self.options.runtime))
        task = Task(self.options, model, restorer, partition, identity)
        return predict_with(partial(fill_with_ray, task, progress), partition, progress)

    def _load_embedding_classifier(
        self, model: ModelSpec, restorer: RestorerSpec, data: EvalDataset
    ) -> Compute[Predictions]:
        """A function that classifies the stored embeddings of rows; the first call computes missing ones."""
        classifier, embeddings = self._loader.embedding(model), None

        def classify(rows: slice) -> Predictions:
            nonlocal embeddings
            embeddings = self._embeddings(model, restorer, data) if embeddings is None else embeddings
            batch = embeddings[rows]
            predict = partial(classifier.classify, batch)
            return validate_predictions(predict, model.name, model.labels, len(batch))

        return classify

    def _fuse(
        self, model: ModelSpec, restorer: RestorerSpec, data: EvalDataset, partition: Partition
    ) -> PredictionRun:
        """The late fusion of the predictions of several models."""
        exponents = fusion.read(cast(Path, model.weights_path())).exponents
        runs = [self.predict_model(component, restorer, data) for component in model.components]

        def pool(rows: slice) -> Predictions:
            return fusion.pool([run.predictions.to_predictions(rows) for run in runs], exponents)

        def describe() -> dict[str, Any]:
            parts = [self._partition(component, restorer, data) for component in model.components]
            devices = sorted({str(part.provenance()["device"]) for part in parts})
            return self._provenance(model, restorer, " and ".join(devices))

        fused = predict_missing_shards(partition, lambda: pool, describe)
        seconds = [run.seconds for run in (fused, *runs)]
        measured = [s for s in seconds if s is not None]
        total = sum(measured) if len(measured) == len(seconds) else None
        return replace(fused, seconds=total, from_store=all(run.from_store for run in runs))

    def predict_model(self, model: ModelSpec, restorer: RestorerSpec, data: EvalDataset) -> PredictionRun:
        """The predictions of another model for `data`; those of this run where it evaluates the model too."""
        combination = Combination(model.name, restorer.name)
        is_of_run = model.name in self.models and self.models[model.name] is model
        if not is_of_run or self._dataset(model, restorer) is not data:
            return self._predict(model, restorer, data)
        run = self._runs.get(combination)
        if isinstance(run, PredictionRun):
            return run
        if combination not in self._predicted:
            self._predicted[combination] = self._predict(model, restorer, data)
        return self._predicted[combination]

    def _provenance(
        self, model: ModelSpec, restorer: RestorerSpec, device: str | None = None
    ) -> dict[str, Any]:
        """What is stored with predictions; by default with the device of the loaded model."""
        runtime = model.resolve(self.options.runtime)
        identity = self._identities.identity(model, restorer, runtime=runtime)
        if device is None:
            device = device_name(self._loader.classifier(model), runtime)
        return provenance(identity, device, self.options.batch_size)

    def _shown(self, title: str, folder: ShardedFolder[Any]) -> AbstractContextManager[Progress]:
        """The progress of a step that fills a folder; none where nothing is missing."""
        return self.show(title, len(folder.faces)) if folder.missing() else nullcontext(no_count)

    # -- embeddings -------------------------------------------------------------------------------

    def embeddings(self, combination: Combination) -> NDArray[np.float32]:
        """The embeddings of the faces by a model that has them, (n, d), computed now or read from disk.

        Raises:
            PredictionError, RestorationError, StoreError: as `predict`.
        """
        return self._embeddings(*self._specs(combination), self.dataset_of(combination))

    def _embeddings(self, model: ModelSpec, restorer: RestorerSpec, data: EvalDataset) -> NDArray[np.float32]:
        faces = data.faces
        model = model.components[0] if model.components else model  # a linear probe has its base's embeddings
        partition = embedding_partition(
            self.options.embeddings,
            f"{faces.dataset[:99]}-{faces.split}",
            self._identities.identity(model, restorer, embedding=True),
            faces.hashes,
        )
        title = f"embedding {faces.name} ({restorer.name}) with {model.name}"
        with self._shown(title, partition) as progress:
            load = partial(self._loader.embedding_pipeline, model, restorer)
            return embed_missing_shards(partition, faces, load, self.options.batch_size, progress)

    # -- faces outside the dataset, and other prompts ---------------------------------------------

    @contextmanager
    def predictor(
        self,
        combination: Combination,
        *,
        question: Question | None = None,
        precision: str | None = None,
        network_format: NetworkFormat | None = None,
        variant: str = "",
        progress: Progress = no_count,
    ) -> Iterator[Predict]:
        """A function from faces to predictions; each image is predicted once, now or in an earlier run.

        Args:
            combination: a model after a restoration.
            question: another question than the model's own, for a model that has one.
            precision: another precision than the model's own.
            network_format: another preprocessing than the declared one, for a `Reformattable` model, in the
                precision of the run.
            variant: a name for predictions that must not be taken from others, such as those of reversed
                batches.
            progress: called with the number of faces predicted.

        Raises:
            PredictionError, RestorationError, StoreError: when it is called; as `predict`.
        """
        run = self._runs.get(Combination(*combination))
        known = run.predictions if isinstance(run, PredictionRun) else None
        with self._predictors.predictor(
            *self._specs(combination),
            known,
            question=question,
            precision=precision,
            network_format=network_format,
            variant=variant,
            progress=progress,
        ) as predict:
            yield predict

    def prompt_classifier(self, combination: Combination) -> AbstractContextManager[Classify]:
        """A function from a prompt set to the predicted emotion of each face; cached like `predictor`."""
        model, restorer = self._specs(combination)
        data = self.dataset_of(combination)
        load = partial(self._embeddings, model, restorer, data)
        return self._predictors.prompt_classifier(model, restorer, data, load)

    def reread_predictions(self) -> None:
        """Read cached predictions from disk again at their next use: another process has added some."""
        self._predictors.reread()
