"""Identities of subjects: everything that decides their predictions besides the faces, as part of a key."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from fer_models.classifiers.base import Predictions
from fer_models.config import EvalConfig
from fer_models.inference.batches import BatchLoop
from fer_models.inference.dataset import EvalDataset
from fer_models.inference.loader import Loader
from fer_models.inference.loop import no_count
from fer_models.inference.model_check import SAMPLE, TOLERANCE, ModelCheck
from fer_models.store.code_identity import code_identity
from fer_models.zoo.spec import ModelSpec, RestorerSpec, Runtime


class Combination(NamedTuple):
    """A model and a restoration, by name."""

    model: str
    restoration: str

    def __str__(self) -> str:
        return f"{self.model}-{self.restoration}"


class Identities:
    """Identities of models after restorations.

    Attributes:
        changed_models: a message for each third-party model that changed since the run before.
    """

    def __init__(
        self,
        options: EvalConfig,
        loader: Loader,
        dataset_of: Callable[[ModelSpec, RestorerSpec], EvalDataset],
    ) -> None:
        """`dataset_of` returns the faces that a model is evaluated on after a restoration."""
        self.options, self._loader, self._dataset_of = options, loader, dataset_of
        self._tokens: dict[Combination, str] = {}
        self.changed_models: dict[Combination, str] = {}

    def identity(
        self,
        model: ModelSpec,
        restorer: RestorerSpec,
        *,
        embedding: bool = False,
        runtime: Runtime | None = None,
        checked: ModelSpec | None = None,
    ) -> dict[str, Any]:
        """Everything that decides the predictions of a model after a restoration, besides the faces; as JSON.

        Args:
            model: the model.
            restorer: the restorer before it.
            embedding: for the face embeddings, which do not depend on the prompts and the name of the model.
            runtime: another one than that of this run.
            checked: the model that is predicted with if third-party code must be checked: `model`, or the
                loaded one that it was derived from.

        Raises:
            PredictionError, RestorationError: a third-party model cannot predict the sample of its check.
        """
        identity_of = model.embedding_identity if embedding else model.identity
        content = self._content(identity_of(runtime or self.options.runtime), restorer)
        return {**content, "check": self._checked(checked or model, restorer)}

    def _content(self, model: dict[str, Any], restorer: RestorerSpec) -> dict[str, Any]:
        """Code, model, restoration and corruption, by content."""
        corruption = self.options.corruption
        return {
            "code": code_identity(),
            "model": model,
            "restorer": restorer.identity(self.options.runtime),
            "corruption": None if corruption is None else corruption.versioned_id,
        }

    def _checked(self, model: ModelSpec, restorer: RestorerSpec) -> list[str]:
        """One token per third-party model that takes part (see `model_check`)."""
        if model.source is None and restorer.source is None:
            return [token for part in model.components for token in self._checked(part, restorer)]
        combination = Combination(model.name, restorer.name)
        if combination not in self._tokens:
            self._tokens[combination] = self._check(model, restorer)
        return [self._tokens[combination]]

    def _check(self, model: ModelSpec, restorer: RestorerSpec) -> str:
        """The token of a third-party model as it predicts now."""
        data, runtime = self._dataset_of(model, restorer), model.resolve(self.options.runtime)
        rows = data.sample(SAMPLE)
        sample = data.faces.select(rows)

        def predict() -> Predictions:
            pipeline, size = self._loader.pipeline(model, restorer), self.options.batch_size
            loop = BatchLoop(pipeline.prediction_steps(), sample, size, no_count)
            return Predictions.joined(loop(slice(0, len(sample))))

        faces = [data.faces.hashes[i] for i in rows]
        identity = {**self._content(model.identity(runtime), restorer), "faces": faces}
        check = ModelCheck(self.options.checks, f"{model.name}-{restorer.name}", identity)
        predict_now = None if self.options.cached_only else predict
        token, changed = check.token(predict_now, TOLERANCE.get(runtime.precision, max(TOLERANCE.values())))
        if changed:
            self.changed_models[Combination(model.name, restorer.name)] = (
                f"{model.name}-{restorer.name} changed since the last run, "
                "although its file, weights and settings did not: "
                f"{changed} of {len(rows)} predictions for the same faces differ. "
                "No stored prediction is used; all faces are predicted again."
            )
        return token
