"""Whom a run asks about which faces, and what they answer: each answer once, now or from the store.

`Asking` turns the names of models and restorations into subjects, loads what must be asked, and keeps what
was answered. What is made of the answers stands on it: `beside` (other words, small changes, bad pictures),
`effects` (of restorations), `suite` (verdicts).
"""

from __future__ import annotations

import hashlib
import platform
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from functools import cache, cached_property
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from fer_models.artifacts.device import paused_garbage_collection
from fer_models.classifiers import fusion
from fer_models.classifiers.base import Classifier, Embedding, Predictions, Promptable, QuestionAnswering
from fer_models.classifiers.prompts import PromptSet
from fer_models.classifiers.vlm.questions import Question
from fer_models.config import EvalConfig, ShowProgress, no_progress
from fer_models.cost.store import CostStore
from fer_models.errors import FerModelsError, PredictionError, WeightsMissingError
from fer_models.images import Face, face_hash
from fer_models.inference import embeddings as features
from fer_models.inference.dataset import EvalDataset
from fer_models.inference.loop import (
    PredictionRun,
    Progress,
    classify_embeddings,
    fuse_predictions,
    no_count,
    predict_dataset,
    predict_validated,
    validate_predictions,
)
from fer_models.inference.model_check import SAMPLE, TOLERANCE, ModelCheck
from fer_models.inference.prediction_cache import Classify, Predict, PredictionCache, PromptCache
from fer_models.inference.restoration_cache import CachedRestorer
from fer_models.restorers.base import CorruptThenRestore, Restorer, restore_checked
from fer_models.scoring import metrics
from fer_models.store.code_identity import code_identity
from fer_models.store.partition import Partition, Store
from fer_models.store.predictions import PredictionTable
from fer_models.store.subject import Subject
from fer_models.third_party_code import contained
from fer_models.zoo.model_name import ModelName
from fer_models.zoo.registry import Registry
from fer_models.zoo.spec import ModelSpec, RestorerSpec, Runtime, derive

Combination = tuple[str, str]  # model, restoration


class Runner:
    """The subjects of one run and their answers."""

    def __init__(
        self,
        options: EvalConfig,
        models: Registry[ModelSpec],
        restorers: Registry[RestorerSpec],
        show: ShowProgress = no_progress,
    ) -> None:
        """A run over `models` and `restorers`."""
        self.options, self.models, self.restorers, self.show = options, models, restorers, show
        self.data = EvalDataset(options, show)
        self.costs = CostStore(options.costs, measure_anew=options.measure_costs)
        self._runs: dict[Combination, PredictionRun | FerModelsError] = {}
        self._metrics: dict[Combination, metrics.Metrics] = {}
        self._loaded: dict[tuple[str, str], Any] = {}
        self._caches: dict[str, PredictionCache] = {}
        self._checked: dict[Combination, str] = {}
        self._restorer_tokens: dict[str, str] = {}
        self.changed_models: dict[Combination, str] = {}  # a message for each third-party model that changed

    # -- subjects ---------------------------------------------------------------------------------

    def dataset_of(self, pair: Combination) -> EvalDataset:
        """The faces that a pair is evaluated on: all, or those that the depth allows for the variants of a
        model.
        """
        return self._data_of(self.models[pair[0]], self.restorers[pair[1]])

    def is_variant(self, pair: Combination) -> bool:
        """Whether a pair is a variant of another: the model after a restoration, or a further answer mode of
        a model of this run.
        """
        return self._is_variant(self.models[pair[0]], self.restorers[pair[1]])

    def _is_variant(self, model: ModelSpec, restorer: RestorerSpec) -> bool:
        name = ModelName.parse(model.name)
        answer_mode = bool(name.variants) and str(name.base) in self.models and not self.options.named_models
        return restorer.name != "raw" or answer_mode

    def _data_of(self, model: ModelSpec, restorer: RestorerSpec) -> EvalDataset:
        return self._variant_data if self._is_variant(model, restorer) else self.data

    @cached_property
    def _variant_data(self) -> EvalDataset:
        limit = self.options.depth.variant_limit
        return self.data if limit is None or self.options.whole_variants else self.data.subsample(limit)

    def subject(self, pair: Combination) -> Subject:
        """The subject of a pair on this run's faces."""
        return self._subject(self.models[pair[0]], self.restorers[pair[1]])

    def _subject(self, model: ModelSpec, restorer: RestorerSpec) -> Subject:
        return Subject(
            self.data.faces.dataset,
            self.data.faces.split,
            restorer.name,
            model.name,
            self.corruption_id,
            model.prompt,
        )

    @property
    def corruption_id(self) -> str | None:
        """The id of the corruption of this run's faces, or None."""
        return self.options.corruption.id if self.options.corruption is not None else None

    def unavailable_reason(self, pair: Combination) -> str | None:
        """Why a pair cannot be asked on this machine, with the command that changes it; None if it can."""
        try:
            self.models[pair[0]].weights_path()
        except WeightsMissingError as missing:
            return str(missing)
        reason = self.restorer_unavailable_reason(pair[1])
        if reason is None and self.options.cached_only:
            shelf = self.partition(pair)
            if absent := len(shelf.missing()):
                return f"{shelf.subject.id}: {absent} of {shelf.shards} shards are not in the store, or damaged. Leave out --cached-only to ask."
        return reason

    def restorer_unavailable_reason(self, restoration: str) -> str | None:
        """Why a restorer cannot run on this machine, with the command that changes it; None if it can."""
        try:
            self.restorers[restoration].weights_path()
        except WeightsMissingError as missing:
            return str(missing)
        return None

    def classifier(self, model: str) -> Classifier:
        """The model, loaded once. Raises what its `load` raises, as PredictionError if it is not of this
        package.
        """
        return self._classifier(self.models[model])

    def _classifier(self, spec: ModelSpec) -> Classifier:
        found: Classifier = self._load(
            "model", spec.name, lambda: spec.load(spec.resolve(self.options.runtime))
        )
        return found

    def restorer(self, restoration: str) -> Restorer:
        """The restorer itself, loaded once; it restores whatever it is given, kept or not. Raises as
        `classifier`.
        """
        spec = self.restorers[restoration]
        found: Restorer = self._load(
            "restorer", restoration, lambda: spec.load(spec.resolve(self.options.runtime))
        )
        return found

    def restoration_pipeline(self, restoration: str) -> Restorer:
        """The restorer with its cache on disk, after the corruption of this run. Raises as `classifier`."""
        own = self.cached_restorer(restoration)
        return (
            own if self.options.corruption is None else CorruptThenRestore(self.options.corruption.apply, own)
        )

    def cached_restorer(self, restoration: str) -> Restorer:
        """The restorer, with its cache on disk if it is slow. Raises as `classifier`."""
        spec = self.restorers[restoration]
        return self._kept(spec) if spec.cached else self.restorer(spec.name)

    def _kept(self, spec: RestorerSpec) -> CachedRestorer:
        identity: dict[str, Any] = {"code": code_identity(), "restorer": spec.identity(self.options.runtime)}
        if spec.source is not None:
            identity["check"] = self._restorer_token(spec)
        return CachedRestorer(self.options.restored, spec.name, identity, lambda: self.restorer(spec.name))

    # -- identities -------------------------------------------------------------------------------

    def _identity(
        self,
        model: ModelSpec,
        restorer: RestorerSpec,
        *,
        embedding: bool = False,
        runtime: Runtime | None = None,
    ) -> dict[str, Any]:
        """All that decides the predictions of a model behind a restoration, besides the faces; as JSON, for a
        key.

        Args:
            embedding: of the face embeddings, which the prompts and the name of the model do not decide.
            runtime: another one than that of this run.
        """
        own = (model.embedding_identity if embedding else model.identity)(runtime or self.options.runtime)
        return {**self._known_identity(own, restorer), "check": self._tokens(model, restorer)}

    def _known_identity(self, model: dict[str, Any], restorer: RestorerSpec) -> dict[str, Any]:
        """Code, model, restoration and corruption, by content."""
        corruption = self.options.corruption
        return {
            "code": code_identity(),
            "model": model,
            "restorer": restorer.identity(self.options.runtime),
            "corruption": None if corruption is None else corruption.versioned_id,
        }

    def _tokens(self, model: ModelSpec, restorer: RestorerSpec) -> list[str]:
        """One token for each third-party model that takes part (see `model_check`); none where all code is
        this package's.
        """
        if model.source is None and restorer.source is None and model.components:
            return [token for part in model.components for token in self._tokens(part, restorer)]
        if model.source is None and restorer.source is None:
            return []
        pair = (model.name, restorer.name)
        if pair not in self._checked:
            data, runtime = self._data_of(model, restorer), model.resolve(self.options.runtime)
            rows = data.sample(SAMPLE)

            def predict() -> Predictions:
                return self._predict(self._classifier(model), model, restorer, data.faces.faces(rows))

            identity = self._known_identity(model.identity(runtime), restorer) | {
                "faces": [data.faces.hashes[i] for i in rows]
            }
            check = ModelCheck(self.options.checks, f"{model.name}-{restorer.name}", identity)
            token, changed = check.token(
                None if self.options.cached_only else predict, TOLERANCE[runtime.precision]
            )
            self._checked[pair] = token
            if changed:
                self.changed_models[pair] = (
                    f"{model.name}-{restorer.name} changed since the last run, although its file, weights and settings did not: "
                    f"{changed} of {len(rows)} predictions for the same faces differ. Nothing stored is used; all faces are predicted again."
                )
        return [self._checked[pair]]

    def _restorer_token(self, spec: RestorerSpec) -> str:
        """What a third-party restorer makes of a sample of faces, as a digest: part of the key of its cached
        faces.
        """
        if self.options.cached_only:
            return ""
        if spec.name not in self._restorer_tokens:
            faces = self.data.faces.faces(self.data.sample(SAMPLE))
            restored = restore_checked(self.restorer(spec.name), spec.name, faces)
            self._restorer_tokens[spec.name] = hashlib.sha256(
                "".join(face_hash(face) for face in restored).encode()
            ).hexdigest()
        return self._restorer_tokens[spec.name]

    def _load(self, kind: str, name: str, load: Callable[[], Any]) -> Any:
        if (kind, name) not in self._loaded:
            with (
                paused_garbage_collection(),
                contained(PredictionError, f"The {kind} {name!r} cannot be loaded"),
            ):
                self._loaded[kind, name] = load()
        return self._loaded[kind, name]

    # -- answers ----------------------------------------------------------------------------------

    def predict(self, pair: Combination) -> PredictionRun:
        """The answers of a pair, asked now or read from the store; once per run.

        Raises:
            PredictionError, RestorationError, StoreError: the same one each time.
        """
        if pair not in self._runs:
            try:
                self._runs[pair] = self._answer(
                    self.models[pair[0]], self.restorers[pair[1]], self.dataset_of(pair)
                )
            except FerModelsError as error:
                self._runs[pair] = error
        found = self._runs[pair]
        if isinstance(found, FerModelsError):
            raise found
        return found

    def partition(self, pair: Combination) -> Partition:
        """Where the store keeps the answers of a pair."""
        return self._shelf(self.models[pair[0]], self.restorers[pair[1]], self.dataset_of(pair))

    def _shelf(self, model: ModelSpec, restorer: RestorerSpec, data: EvalDataset) -> Partition:
        subject, faces, order = self._subject(model, restorer), data.faces, data.order
        key = subject.key({"faces": faces.fingerprint, **self._identity(model, restorer)})
        return Store(self.options.store).partition(
            subject, key, tuple(faces.hashes[i] for i in order), faces.labels[order], data.index
        )

    def _answer(self, model: ModelSpec, restorer: RestorerSpec, data: EvalDataset) -> PredictionRun:
        shelf = self._shelf(model, restorer, data)

        def provenance() -> dict[str, Any]:
            return self._provenance(model, restorer)

        if model.has_embeddings:
            return classify_embeddings(
                shelf,
                lambda: self._features(model.components[0] if model.components else model, restorer, data),
                lambda: self.embedding(model),
                labels=model.labels,
                provenance=provenance,
            )
        if model.is_fusion:
            exponents = fusion.read(cast(Path, model.weights_path())).exponents
            parts = [self._part(part, restorer, data) for part in model.components]
            return fuse_predictions(
                shelf, parts, lambda predictions: fusion.pool(predictions, exponents), provenance
            )
        title = f"predicting {shelf.subject.id}"
        with (
            self.show(title, len(data.faces)) if shelf.missing() else nullcontext(lambda n: None) as progress
        ):
            return predict_dataset(
                shelf,
                data.faces,
                data.order,
                lambda: (self.restoration_pipeline(restorer.name), self._classifier(model)),
                labels=model.labels,
                batch_size=self.options.batch_size,
                provenance=provenance,
                progress=progress,
            )

    def _provenance(self, model: ModelSpec, restorer: RestorerSpec) -> dict[str, Any]:
        runtime = model.resolve(self.options.runtime)
        return {
            **self._identity(model, restorer, runtime=runtime),
            "device": _device(runtime),
            "batch_size": self.options.batch_size,
            "environment": environment(),
        }

    def embeddings(self, pair: Combination) -> NDArray[np.float32]:
        """The directions that a model which `embeds` gives to the faces, (n, d) in canonical order; looked at
        now, or read from disk.

        Raises:
            PredictionError, RestorationError, StoreError: as `run`.
        """
        model = self.models[pair[0]]
        return self._features(
            model.components[0] if model.components else model, self.restorers[pair[1]], self.dataset_of(pair)
        )

    def _features(self, model: ModelSpec, restorer: RestorerSpec, data: EvalDataset) -> NDArray[np.float32]:
        faces, order = data.faces, data.order
        parts = self._identity(model, restorer, embedding=True)
        shelf = features.shelf(
            self.options.embeddings,
            f"{faces.dataset[:99]}-{faces.split}",
            parts,
            tuple(faces.hashes[i] for i in order),
        )
        title = f"embedding {faces.name} ({restorer.name}) with {model.name}"
        with self.show(title, len(faces)) if shelf.missing() else nullcontext(lambda n: None) as progress:
            return features.embed(
                shelf,
                faces,
                order,
                lambda: (self.restoration_pipeline(restorer.name), self.embedding(model)),
                name=model.name,
                restoration=restorer.name,
                batch_size=self.options.batch_size,
                progress=progress,
            )

    def embedding(self, model: ModelSpec) -> Embedding:
        """A model that gives directions to faces, loaded once. Raises as `classifier`, and PredictionError
        where it gives none.
        """
        found = self._classifier(model)
        if not isinstance(found, Embedding):
            raise PredictionError(
                f"Model {model.name!r} declares has_embeddings=True, but has no embed and classify."
            )
        return found

    def _part(self, model: ModelSpec, restorer: RestorerSpec, data: EvalDataset) -> PredictionRun:
        """What a fusion's part answers; the same answers serve the part's own verdict, if this run is about
        it too.
        """
        known = self._runs.get((model.name, restorer.name))
        same = (
            model.name in self.models
            and self.models[model.name] is model
            and self._data_of(model, restorer) is data
        )
        return known if same and isinstance(known, PredictionRun) else self._answer(model, restorer, data)

    def answers_among(self, pair: Combination, data: EvalDataset) -> PredictionTable:
        """The answers of a pair to some of its faces, in their canonical order. Raises as `run`."""
        answers, own = self.predict(pair).predictions, self.dataset_of(pair)
        return answers if own is data else answers.select(own.places_of(data))

    def asked(self) -> list[Combination]:
        """The pairs that were answered in this run."""
        return [p for p, run in self._runs.items() if isinstance(run, PredictionRun)]

    def failed(self) -> dict[Combination, FerModelsError]:
        """The pairs that could not be answered, and why."""
        return {p: run for p, run in self._runs.items() if not isinstance(run, PredictionRun)}

    def metrics(self, pair: Combination) -> metrics.Metrics:
        """What the answers of a pair measure. Raises as `run`."""
        if pair not in self._metrics:
            answers = self.predict(pair).predictions
            self._metrics[pair] = metrics.measure_predictions(answers)
        return self._metrics[pair]

    # -- faces outside the dataset ----------------------------------------------------------------

    @contextmanager
    def predictor(
        self,
        pair: Combination,
        *,
        question: Question | None = None,
        precision: str | None = None,
        variant: str = "",
        progress: Progress = no_count,
    ) -> Iterator[Predict]:
        """A function from faces to predictions, by a model behind its restoration; each image is predicted
        once, now or in an earlier run.

        Args:
            question: another question than the model's own, for a model that has one.
            precision: another precision than the model's own.
            variant: a name for predictions that must not be taken from others, such as those of reversed
                batches.
            progress: called with the number of faces predicted.

        Raises:
            PredictionError, RestorationError, StoreError: when it is called; as `run`.
        """
        own, other = self.models[pair[0]], question is not None and self.models[pair[0]].question != question
        spec = (
            derive(own, own.with_question, question)
            if other and question is not None and own.with_question is not None
            else own
        )
        runtime = spec.resolve(
            self.options.runtime if precision is None else replace(self.options.runtime, precision=precision)
        )
        restorer = self.restorers[pair[1]]
        identity = {**self._identity(spec, restorer, runtime=runtime), "variant": variant}

        def load() -> Classifier:
            if other and question is not None:
                return self._with_question(pair[0], question)
            if runtime != spec.resolve(self.options.runtime):
                found: Classifier = self._load(f"{precision} model", spec.name, lambda: spec.load(runtime))
                return found
            return self.classifier(pair[0])

        def compute(faces: Sequence[Face]) -> Predictions:
            return self._predict(load(), spec, restorer, faces)

        new = PredictionCache(
            self.options.predictions, f"{spec.name}-{restorer.name}", identity, spec.labels, compute
        )
        memory = self._caches.setdefault(new.key, new)
        known = self._runs.get(pair)
        if memory is new and isinstance(known, PredictionRun) and not (other or precision or variant):
            memory.add(known.predictions.faces, known.predictions.to_predictions())

        def predict(faces: Sequence[Face]) -> Predictions:
            predictions = memory.predict(faces)
            progress(len(faces))
            return predictions

        try:
            yield predict
        finally:
            memory.save()

    def _predict(
        self, classifier: Classifier, spec: ModelSpec, restorer: RestorerSpec, faces: Sequence[Face]
    ) -> Predictions:
        """The predictions of a loaded model for restored faces, in batches."""
        restoring, parts = self.restoration_pipeline(restorer.name), []
        for start in range(0, len(faces), self.options.batch_size):
            restored = restore_checked(
                restoring, restorer.name, list(faces[start : start + self.options.batch_size])
            )
            parts.append(predict_validated(classifier, spec.name, spec.labels, restored))
        return Predictions.joined(parts)

    def reread_predictions(self) -> None:
        """Read cached predictions from disk again when they are next needed: another process has added
        some.
        """
        self._caches.clear()

    def _with_question(self, model: str, question: Question) -> Classifier:
        classifier = self.classifier(model)
        if not isinstance(classifier, QuestionAnswering):
            raise PredictionError(
                f"Model {model!r} declares a question, but takes no other (it has no method asked)."
            )
        with contained(PredictionError, f"Model {model!r} failed to take another question"):
            return classifier.with_question(question)

    @contextmanager
    def prompt_classifier(self, pair: Combination) -> Iterator[Classify]:
        """A function from a prompt set to the predicted emotion of each of the pair's faces in canonical
        order; cached like `predictor`.
        """
        model, restorer, data = self.models[pair[0]], self.restorers[pair[1]], self.dataset_of(pair)
        identity = {
            **self._identity(model, restorer, embedding=True),
            "faces": [data.faces.hashes[i] for i in data.order],
        }

        embeddings = cache(lambda: self.embeddings(pair))  # read at most once

        def classify(prompts: PromptSet) -> NDArray[np.int64]:
            promptable, known = cast(Promptable, self.embedding(model)), embeddings()
            return validate_predictions(
                lambda: promptable.classify(known, prompts), model.name, model.labels, len(known)
            ).answer

        memory = PromptCache(
            self.options.predictions, f"prompts-{model.name}-{restorer.name}", identity, classify
        )
        try:
            yield memory.classify
        finally:
            memory.save()


def _device(runtime: Runtime) -> str:
    """Where a model that is loaded now runs, in words; models without torch run on the CPU."""
    torch = sys.modules.get("torch")
    if runtime.device == "cpu" or torch is None:
        return "cpu"
    if torch.cuda.is_available():
        return str(torch.cuda.get_device_name())
    return "mps" if torch.backends.mps.is_available() else "cpu"


def environment() -> dict[str, str]:
    """What the numbers may depend on: versions and the machine, without importing anything heavy."""
    found = {"python": sys.version.split()[0], "machine": f"{platform.system()} {platform.machine()}"}
    for package in ("fer-models", "torch", "timm", "numpy", "scikit-learn", "pillow"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found
