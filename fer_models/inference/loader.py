"""Models, restorers and pipelines of a run, each loaded once."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from fer_models.artifacts.device import paused_garbage_collection, release_memory
from fer_models.classifiers.base import Classifier, Embedding, QuestionAnswering, Reformattable
from fer_models.classifiers.network_format import NetworkFormat
from fer_models.classifiers.vlm.questions import Question
from fer_models.config import EvalConfig
from fer_models.errors import NotEnoughMemoryError, PredictionError
from fer_models.images import Face, face_hash
from fer_models.inference.pipeline import Pipeline, restore_corrupted
from fer_models.inference.restoration_cache import CachedRestorer
from fer_models.restorers.base import Restorer, restore_validated
from fer_models.store.code_identity import code_identity
from fer_models.third_party_code import wrap_errors
from fer_models.zoo.spec import ModelSpec, RestorerSpec, Runtime

_Loaded = TypeVar("_Loaded")


class Loader:
    """Loaded models and restorers, by name."""

    def __init__(self, options: EvalConfig, sample: Callable[[], list[Face]]) -> None:
        """Nothing is loaded before its first use.

        Args:
            options: device, precision and folders.
            sample: returns faces of this run, by which a changed third-party restorer is detected.
        """
        self.options, self._sample = options, sample
        self._models: dict[tuple[str, str, Runtime], Any] = {}
        self._restorers: dict[str, Any] = {}
        self._restorer_tokens: dict[str, str] = {}

    def classifier(self, model: ModelSpec, runtime: Runtime | None = None) -> Classifier:
        """The loaded model.

        Args:
            model: its specification.
            runtime: another one than that of the run, such as another precision.

        Raises:
            PredictionError: it cannot be loaded; or the error of this package that its `load` raises.
        """
        resolved = model.resolve(runtime or self.options.runtime)
        # Two models can have one name: a model with the prompts of this run, and the reference of an export.
        key = (model.name, json.dumps(dict(model.settings), sort_keys=True), resolved)
        if key not in self._models:
            self._models[key] = self._load(f"model {model.name!r}", lambda: model.load(resolved))
        loaded: Classifier = self._models[key]
        return loaded

    def embedding(self, model: ModelSpec) -> Embedding:
        """The loaded model as one with embeddings.

        Raises:
            PredictionError: as `classifier`, or it has no embeddings.
        """
        classifier = self.classifier(model)
        if not isinstance(classifier, Embedding):
            raise PredictionError(
                f"Model {model.name!r} declares has_embeddings=True, but has no embed and classify."
            )
        return classifier

    def with_question(self, model: ModelSpec, question: Question) -> Classifier:
        """The loaded model with another question.

        Raises:
            PredictionError: as `classifier`, or it takes no other question.
        """
        classifier = self.classifier(model)
        if not isinstance(classifier, QuestionAnswering):
            raise PredictionError(
                f"Model {model.name!r} declares a question, but takes no other: "
                "it has no method with_question."
            )
        with wrap_errors(PredictionError, f"Model {model.name!r} failed to take another question"):
            return classifier.with_question(question)

    def with_format(self, model: ModelSpec, network_format: NetworkFormat) -> Classifier:
        """The loaded model with another preprocessing.

        Raises:
            PredictionError: as `classifier`, or it has no declared format.
        """
        classifier = self.classifier(model)
        if not isinstance(classifier, Reformattable):
            raise PredictionError(
                f"Model {model.name!r} takes no other input format: it has no method with_format."
            )
        with wrap_errors(PredictionError, f"Model {model.name!r} failed to take another input format"):
            return classifier.with_format(network_format)

    def restorer(self, restorer: RestorerSpec) -> Restorer:
        """The loaded restorer itself, without a cache. Raises as `classifier`."""
        if restorer.name not in self._restorers:
            runtime = restorer.resolve(self.options.runtime)
            loaded = self._load(f"restorer {restorer.name!r}", lambda: restorer.load(runtime))
            self._restorers[restorer.name] = loaded
        loaded_restorer: Restorer = self._restorers[restorer.name]
        return loaded_restorer

    def cached_restorer(self, restorer: RestorerSpec) -> Restorer:
        """The restorer, with its cache on disk if it is slow. Raises as `classifier`."""
        if not restorer.cached:
            return self.restorer(restorer)
        identity: dict[str, Any] = {
            "code": code_identity(),
            "restorer": restorer.identity(self.options.runtime),
        }
        if restorer.source is not None:
            identity["check"] = self._restorer_token(restorer)
        name, folder = restorer.name, self.options.restored
        return CachedRestorer(folder, name, identity, lambda: self.restorer(restorer))

    def restore(self, restorer: RestorerSpec, faces: Sequence[Face]) -> list[Face]:
        """The faces after the corruption of this run and a restoration.

        Raises:
            RestorationError: the restorer broke its contract.
            StoreError: a restored face cannot be written.
        """
        cached = self.cached_restorer(restorer)
        return restore_corrupted(self.options.corruption, cached, restorer.name, faces)

    def pipeline(
        self, model: ModelSpec, restorer: RestorerSpec, classifier: Classifier | None = None
    ) -> Pipeline:
        """The pipeline of a model after a restoration. Raises as `classifier`.

        Args:
            model: its specification.
            restorer: the restorer before it.
            classifier: a variant of the loaded model, such as one with another question.
        """
        cached = self.cached_restorer(restorer)
        loaded = self.classifier(model) if classifier is None else classifier
        return Pipeline(self.options.corruption, cached, loaded, model, restorer.name)

    def embedding_pipeline(self, model: ModelSpec, restorer: RestorerSpec) -> Pipeline:
        """The pipeline of a model that has embeddings. Raises as `embedding`."""
        self.embedding(model)
        return self.pipeline(model, restorer)

    def _load(self, name: str, load: Callable[[], _Loaded]) -> _Loaded:
        """Load a model or a restorer; where memory is short, without those that were loaded before."""
        try:
            return _loaded(name, load)
        except NotEnoughMemoryError:
            if not self._models and not self._restorers:
                raise
        # Outside of `except`: the traceback would keep what is released.
        self._models.clear()
        self._restorers.clear()
        release_memory()
        return _loaded(name, load)

    def _restorer_token(self, restorer: RestorerSpec) -> str:
        """Digest of a third-party restorer's output for a sample: part of the key of its cached faces."""
        if self.options.cached_only:
            return ""
        if restorer.name not in self._restorer_tokens:
            restored = restore_validated(self.restorer(restorer), restorer.name, self._sample())
            digest = hashlib.sha256("".join(face_hash(face) for face in restored).encode())
            self._restorer_tokens[restorer.name] = digest.hexdigest()
        return self._restorer_tokens[restorer.name]


def _loaded(name: str, load: Callable[[], _Loaded]) -> _Loaded:
    """The result of a `load` function of third-party code.

    Raises:
        PredictionError: it raised something; an error of this package passes as it is.
    """
    with paused_garbage_collection(), wrap_errors(PredictionError, f"The {name} cannot be loaded"):
        return load()
