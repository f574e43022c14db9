"""One run of the evals: which faces, which subjects, their answers, and the verdicts over all of them.

`Suite` is what the pytest fixtures stand on. It fills the store with everything the selected tests need, then judges the run as a
whole; each test reads its part. It knows nothing of pytest.
"""

from __future__ import annotations

import platform
import sys
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import nullcontext, suppress
from dataclasses import replace
from datetime import date
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from fer_models.classifiers import fusion, prompts
from fer_models.classifiers.base import Classifier, Embedding, Predictions, Questioned
from fer_models.classifiers.questions import Question
from fer_models.emotions import LABELS
from fer_models.errors import FerModelsError, PredictionError, WeightsMissingError
from fer_models.evaluation import baselines as records
from fer_models.evaluation import features, gate, leaks, metamorphic, metrics, prompting, questioning, raters, restoration, robustness
from fer_models.evaluation.data import Data
from fer_models.evaluation.ledger import ledger
from fer_models.evaluation.options import Options, ShowProgress, no_progress
from fer_models.evaluation.restored import Kept
from fer_models.evaluation.run import Progress, Run, answer, classified, pooled, predict_checked
from fer_models.evaluation.store import Shelf, Store
from fer_models.evaluation.subject import Subject
from fer_models.images import Face, data_url, resize
from fer_models.registry import ModelSpec, Registry, RestorerSpec, Runtime, is_known
from fer_models.restorers.base import After, Restorer, restore_checked

Pair = tuple[str, str]  # model, restoration
#: How many faces are looked at for the time and the likeness of a restoration, and the side of its pictures on the page, in pixels.
_LOOKED_AT, _SHOWN = 14, 96


class Suite:
    """The answers and verdicts of one run."""

    def __init__(
        self,
        options: Options,
        models: Registry[ModelSpec],
        restorers: Registry[RestorerSpec],
        show: ShowProgress = no_progress,
        known: Collection[str] | None = None,
    ) -> None:
        """A run over `models` and `restorers`; `known` are the names of all models there are, if this run is about fewer."""
        self.options, self.models, self.restorers, self.show = options, models, restorers, show
        self.data = Data(options, show)
        self.known = models.names if known is None else known
        self.baselines = records.read(options.baselines)
        self.pairs: tuple[Pair, ...] = ()
        self._turn: tuple[Pair, ...] = ()
        self._runs: dict[Pair, Run | FerModelsError] = {}
        self._metrics: dict[Pair, metrics.Metrics] = {}
        self._verdicts: dict[Pair, gate.Verdict | FerModelsError] = {}
        self._loaded: dict[tuple[str, str], Any] = {}
        self.prompted: dict[str, prompting.Robustness] = {}
        self.questioned: dict[str, questioning.Wording] = {}
        self.changed: dict[str, metamorphic.Metamorphic] = {}
        self.spoilt_faces: dict[Pair, robustness.Robustness] = {}
        self.compared = False  # whether a question was about what restorations do
        self._effects: dict[tuple[str, str, str], restoration.Effect] = {}
        self._measured: dict[str, tuple[float, float]] = {}

    # -- subjects ---------------------------------------------------------------------------------

    def select(self, pairs: Iterable[Pair], start: int = 0) -> None:
        """Say which (model, restoration) pairs this run is about: they are judged together.

        Args:
            start: which pair to ask first; processes that share a store begin at different ones.
        """
        self.pairs = tuple(dict.fromkeys(pairs))
        turn = start % len(self.pairs) if self.pairs else 0
        self._turn = (*self.pairs[turn:], *self.pairs[:turn])

    def subject(self, pair: Pair) -> Subject:
        """The subject of a pair on this run's faces."""
        return self._subject(self.models[pair[0]], self.restorers[pair[1]])

    def _subject(self, model: ModelSpec, restorer: RestorerSpec) -> Subject:
        return Subject(self.data.faces.dataset, self.data.faces.split, restorer.name, model.name, self.spoilt, model.prompt)

    @property
    def spoilt(self) -> str | None:
        """What befell the faces of this run, as subjects call it."""
        return self.options.corruption.id if self.options.corruption is not None else None

    def unavailable(self, pair: Pair) -> str | None:
        """Why a pair cannot be asked on this machine, with the command that changes it; None if it can."""
        try:
            self.models[pair[0]].weights_path()
        except WeightsMissingError as missing:
            return str(missing)
        reason = self.restorer_unavailable(pair[1])
        if reason is None and self.options.from_store_only:
            shelf = self.shelf(pair)
            if absent := len(shelf.missing()):
                return f"{shelf.subject.id}: {absent} of {shelf.shards} shards are not in the store. Leave out --from-store-only to ask."
        return reason

    def restorer_unavailable(self, restoration: str) -> str | None:
        """Why a restorer cannot run on this machine, with the command that changes it; None if it can."""
        try:
            self.restorers[restoration].weights_path()
        except WeightsMissingError as missing:
            return str(missing)
        return None

    def classifier(self, model: str) -> Classifier:
        """The model, loaded once. Raises what its `load` raises, as PredictionError if it is not of this package."""
        return self._classifier(self.models[model])

    def _classifier(self, spec: ModelSpec) -> Classifier:
        found: Classifier = self._load("model", spec.name, lambda: spec.load(spec.resolve(self.options.runtime)))
        return found

    def restorer(self, restoration: str) -> Restorer:
        """The restorer itself, loaded once; it restores whatever it is given, kept or not. Raises as `classifier`."""
        spec = self.restorers[restoration]
        found: Restorer = self._load("restorer", restoration, lambda: spec.load(spec.resolve(self.options.runtime)))
        return found

    def _restorer(self, spec: RestorerSpec) -> Restorer:
        """The restorer as models meet it: one that is slow is asked only for faces that are not kept; before it, what befalls the faces."""
        own = self.restorer(spec.name) if not spec.kept else self._kept(spec)
        return own if self.options.corruption is None else After(self.options.corruption.apply, own)

    def _kept(self, spec: RestorerSpec) -> Kept:
        return Kept(self.options.restored, spec.name, spec.identity(self.options.runtime), lambda: self.restorer(spec.name))

    def _restoration(self, restorer: RestorerSpec) -> dict[str, Any]:
        """All that decides the pixels that models see, beside the faces themselves."""
        own = restorer.identity(self.options.runtime)
        return own if self.options.corruption is None else {**own, "corruption": self.options.corruption.identity()}

    def _load(self, kind: str, name: str, load: Callable[[], Any]) -> Any:
        if (kind, name) not in self._loaded:
            try:
                self._loaded[kind, name] = load()
            except FerModelsError:
                raise
            except Exception as error:
                raise PredictionError(f"The {kind} {name!r} cannot be loaded: {type(error).__name__}: {error}") from error
        return self._loaded[kind, name]

    # -- answers ----------------------------------------------------------------------------------

    def run(self, pair: Pair) -> Run:
        """The answers of a pair, asked now or read from the store; once per run.

        Raises:
            PredictionError, RestorationError, StoreError: the same one each time.
        """
        if pair not in self._runs:
            try:
                self._runs[pair] = self._answer(self.models[pair[0]], self.restorers[pair[1]])
            except FerModelsError as error:
                self._runs[pair] = error
        found = self._runs[pair]
        if isinstance(found, FerModelsError):
            raise found
        return found

    def shelf(self, pair: Pair) -> Shelf:
        """Where the store keeps the answers of a pair."""
        return self._shelf(self.models[pair[0]], self.restorers[pair[1]])

    def _shelf(self, model: ModelSpec, restorer: RestorerSpec, data: Data | None = None) -> Shelf:
        asked, subject = data or self.data, self._subject(model, restorer)
        faces, order = asked.faces, asked.order
        runtime = self.options.runtime
        key = subject.key({"faces": faces.fingerprint, "answers": model.identity(runtime), "restorer": self._restoration(restorer)})
        return Store(self.options.store).shelf(subject, key, tuple(faces.hashes[i] for i in order), faces.labels[order])

    def _answer(self, model: ModelSpec, restorer: RestorerSpec) -> Run:
        shelf = self._shelf(model, restorer)

        def provenance() -> dict[str, Any]:
            return self._provenance(model, restorer)

        if model.embeds:
            return classified(
                shelf,
                self.data.order,
                lambda: self._features(model.parts[0] if model.parts else model, restorer),
                lambda: self._embedding(model),
                labels=model.labels,
                provenance=provenance,
            )
        if model.pools:
            exponents = fusion.read(cast(Path, model.weights_path())).exponents
            return pooled(shelf, [self._part(part, restorer) for part in model.parts], lambda said: fusion.pool(said, exponents), provenance)
        title = f"asking {shelf.subject.id}"
        with self.show(title, len(self.data.faces)) if shelf.missing() else nullcontext(lambda n: None) as progress:
            return answer(
                shelf,
                self.data.faces,
                self.data.order,
                lambda: (self._restorer(restorer), self._classifier(model)),
                labels=model.labels,
                batch_size=self.options.batch_size,
                provenance=provenance,
                progress=progress,
            )

    def _provenance(self, model: ModelSpec, restorer: RestorerSpec) -> dict[str, Any]:
        runtime = model.resolve(self.options.runtime)
        return {
            "identity": model.identity(runtime),
            "restorer": self._restoration(restorer),
            "device": _device(runtime),
            "batch_size": self.options.batch_size,
            "environment": environment(),
        }

    def features(self, pair: Pair) -> NDArray[np.float32]:
        """The directions that a model which `embeds` gives to the faces, (n, d) in canonical order; looked at now, or read from disk.

        Raises:
            PredictionError, RestorationError, StoreError: as `run`.
        """
        model = self.models[pair[0]]
        return self._features(model.parts[0] if model.parts else model, self.restorers[pair[1]])

    def _features(self, model: ModelSpec, restorer: RestorerSpec) -> NDArray[np.float32]:
        faces, order = self.data.faces, self.data.order
        parts = {"model": model.embedding_identity(self.options.runtime), "restorer": self._restoration(restorer)}
        shelf = features.shelf(self.options.features, f"{faces.dataset}-{faces.split}", parts, tuple(faces.hashes[i] for i in order))
        title = f"looking at {faces.name} ({restorer.name}) as {model.name} sees it"
        with self.show(title, len(faces)) if shelf.missing() else nullcontext(lambda n: None) as progress:
            return features.embed(
                shelf,
                faces,
                order,
                lambda: (self._restorer(restorer), self._embedding(model)),
                name=model.name,
                restoration=restorer.name,
                batch_size=self.options.batch_size,
                progress=progress,
            )

    def _embedding(self, model: ModelSpec) -> Embedding:
        found = self._classifier(model)
        if not isinstance(found, Embedding):
            raise PredictionError(f"Model {model.name!r} declares embeds=True, but has no embed and classify.")
        return found

    def _part(self, model: ModelSpec, restorer: RestorerSpec) -> Run:
        """What a fusion's part answers; the same answers serve the part's own verdict, if this run is about it too."""
        known = self._runs.get((model.name, restorer.name))
        return known if isinstance(known, Run) and self.models[model.name] is model else self._answer(model, restorer)

    def asked(self) -> list[Pair]:
        """The pairs that were answered in this run."""
        return [p for p, run in self._runs.items() if isinstance(run, Run)]

    def failed(self) -> dict[Pair, FerModelsError]:
        """The pairs that could not be answered, and why."""
        return {p: run for p, run in self._runs.items() if not isinstance(run, Run)}

    def metrics(self, pair: Pair) -> metrics.Metrics:
        """What the answers of a pair measure. Raises as `run`."""
        if pair not in self._metrics:
            answers = self.run(pair).answers
            self._metrics[pair] = metrics.measure(answers.truth, answers.answer, answers.probabilities)
        return self._metrics[pair]

    # -- prompts ----------------------------------------------------------------------------------

    def prompting(self, model: str) -> prompting.Robustness:
        """How much the answers of a model that is asked in words hang on them, on the faces as they are; once per run.

        Raises:
            PredictionError, StoreError: as `run`.
        """
        if model not in self.prompted:
            spec, pair = self.models[model], (model, "raw")
            self.run(pair)  # what is recorded of prompts stands beside the accuracy
            asked, words = self._embedding(spec), prompts.parse(spec.settings["prompts"], spec.prompt or model)
            grammar = [prompts.load(name) for name in prompts.names() if name != words.name]
            title = f"writing {self.options.prompt_examples} prompts for {model}"
            with self.show(title, 1) as progress:
                self.prompted[model] = prompting.robustness(
                    prompting.asker(cast(prompting.Asked, asked), self.features(pair)),
                    words,
                    self.data.faces.labels[self.data.order],
                    grammar=grammar,
                    examples=self.options.prompt_examples,
                    kept=self.options.store.parent / "prompts" / f"{self.shelf(pair).key[:16]}.json",
                )
                progress(1)
        return self.prompted[model]

    def questioning(self, model: str) -> questioning.Wording:
        """How much the answers of a model that writes hang on how it is asked, on some of the faces as they are; once per run.

        Raises:
            PredictionError, StoreError: as `run`.
        """
        if model not in self.questioned:
            spec, raw = self.models[model], self.restorers["raw"]
            own, asked = spec.question, spec.asked
            assert own is not None  # only models that write are asked this
            assert asked is not None
            self.run((model, "raw"))  # what is recorded of questions stands beside the accuracy
            few = self.data.few(self.options.question_faces)

            def answers_to(question: Question) -> NDArray[np.int64]:
                one = asked(question)
                shelf = self._shelf(one, raw, few)
                run = answer(
                    shelf,
                    few.faces,
                    few.order,
                    lambda: (self.restorer("raw"), self._questioned(spec).asked(question)),
                    labels=spec.labels,
                    batch_size=self.options.batch_size,
                    provenance=lambda: self._provenance(one, raw),
                    progress=progress,
                )
                return run.answers.answer

            ways = questioning.variants(own)
            with self.show(f"asking {model} in {len(ways)} ways", len(ways) * len(few.faces)) as progress:
                self.questioned[model] = questioning.wording(answers_to, own, few.faces.labels[few.order])
        return self.questioned[model]

    def _questioned(self, model: ModelSpec) -> Questioned:
        found = self._classifier(model)
        if not isinstance(found, Questioned):
            raise PredictionError(f"Model {model.name!r} declares a question, but cannot be asked another one (it has no method asked).")
        return found

    def metamorphic(self, model: str) -> metamorphic.Metamorphic:
        """How many answers small changes of the faces change, on some of the faces as they are; once per run.

        Raises:
            PredictionError, StoreError: as `run`.
        """
        if model not in self.changed:
            spec, few = self.models[model], self.data.few(self.options.changed_faces)
            self.run((model, "raw"))  # what is recorded of changes stands beside the accuracy
            classifier, pictures = self.classifier(model), few.faces.faces(few.order)

            with self.show(f"changing faces a little for {model}", metamorphic.COPIES * len(pictures)) as progress:
                ask = self._asking(spec, self.restorers["raw"], classifier, progress)
                self.changed[model] = metamorphic.measure(ask, pictures, [(few.faces.hashes[i], int(i)) for i in few.order])
        return self.changed[model]

    def robustness(self, pair: Pair) -> robustness.Robustness:
        """How much worse the answers of a pair become on bad pictures, on some of the faces; once per run. Raises as `run`."""
        if pair not in self.spoilt_faces:
            spec, restorer, few = self.models[pair[0]], self.restorers[pair[1]], self.data.few(self.options.corrupted_faces)
            self.run(pair)  # what is recorded of corruptions stands beside the accuracy
            faces, truth = few.faces.faces(few.order), few.faces.labels[few.order]
            with self.show(f"spoiling faces for {pair[0]}-{pair[1]}", robustness.COPIES * len(faces)) as progress:
                ask = self._asking(spec, restorer, self.classifier(pair[0]), progress)
                self.spoilt_faces[pair] = robustness.measure(ask, faces, truth)
        return self.spoilt_faces[pair]

    def _asking(
        self, model: ModelSpec, restorer: RestorerSpec, classifier: Classifier, progress: Progress
    ) -> Callable[[Sequence[Face]], Predictions]:
        """A model behind its restoration, for faces that are no one's: nothing is kept but what was restored."""
        restoring = self._restorer(restorer)

        def ask(faces: Sequence[Face]) -> Predictions:
            parts = []
            for start in range(0, len(faces), self.options.batch_size):
                restored = restore_checked(restoring, restorer.name, faces[start : start + self.options.batch_size])
                parts.append(predict_checked(classifier, model.name, model.labels, restored))
            progress(len(faces))
            return Predictions.joined(parts)

        return ask

    def figures_record(self, pair: Pair) -> Mapping[str, float]:
        """What was recorded of a pair on these faces; nothing where only some of them are asked."""
        record = None if self.data.kept_rows is not None else self.baselines.find(self.subject(pair))
        return {} if record is None else record.metrics

    # -- restorations -----------------------------------------------------------------------------

    def effect(self, pair: Pair, against: str = "raw") -> restoration.Effect:
        """What a restoration does to a model's answers, against another one; alone, so p is not adjusted for others. Raises as `run`."""
        key = (*pair, against)
        if key not in self._effects:
            before, after = self.run((pair[0], against)).answers, self.run(pair).answers
            found = restoration.effect(*pair, against, before, after)
            seconds, alike = self._restored(pair[1])
            self._effects[key] = replace(found, seconds_per_face=seconds, likeness=alike)
        return self._effects[key]

    def effects(self) -> list[restoration.Effect]:
        """Every effect between pairs that were answered in this run, for each model and over all of them, adjusted for being many."""
        asked = set(self.asked())
        found = []
        for name in self.restorers.names:
            for against in ("raw", restoration.CONTROL):
                if name in ("raw", against) or (against, name) == (restoration.CONTROL, restoration.CONTROL):
                    continue
                models = [m for m in self.models.names if {(m, name), (m, against)} <= asked]
                own = [self.effect((model, name), against) for model in models]
                if len(own) > 1:
                    answers = {m: (self.run((m, against)).answers, self.run((m, name)).answers) for m in models}
                    seconds, alike = self._restored(name)
                    found.append(replace(restoration.over_all_models(own, answers), seconds_per_face=seconds, likeness=alike))
                found += own
        return restoration.adjusted(found)

    def _restored(self, name: str) -> tuple[float, float]:
        """What a restorer takes for a face, in seconds, and how much its faces are like what they were; on a few faces, once per run."""
        if name not in self._measured:
            few = self.data.few(_LOOKED_AT)
            faces = self._restorer(self.restorers["raw"]).restore(few.faces.faces(few.order))  # as models meet them
            restorer = self.restorer(name)
            restorer.restore(faces[:1])  # the first face pays for what is made once
            started = time.perf_counter()
            restored = restore_checked(restorer, name, faces)
            self._measured[name] = (time.perf_counter() - started) / len(faces), restoration.likeness(faces, restored)
        return self._measured[name]

    def turned(self, effect: restoration.Effect, most: int = 4) -> dict[str, list[dict[str, Any]]]:
        """Some of the faces that a restoration helped and hurt, with pictures, for the page."""
        model, own = effect.model, self.restorers[effect.restoration]
        before, after = self.run((model, effect.against)).answers, self.run((model, effect.restoration)).answers
        found = {}
        for kind, places in zip(("helped", "hurt"), restoration.turned(before, after, most), strict=True):
            faces = self.data.faces.faces(before.index[places])
            as_before, as_after = (self._restorer(self.restorers[name]).restore(faces) for name in (effect.against, own.name))
            found[kind] = [
                {
                    "index": int(before.index[i]),
                    "truth": LABELS[before.truth[i]],
                    "answers": [LABELS[a.answer[i]] if a.answer[i] >= 0 else None for a in (before, after)],
                    "pictures": [data_url(resize(one, _SHOWN)) for one in (as_before[k], as_after[k])],
                }
                for k, i in enumerate(places)
            ]
        return found

    # -- verdicts ---------------------------------------------------------------------------------

    def verdict(self, pair: Pair) -> gate.Verdict:
        """What the gate says of a pair, judged together with all selected pairs that can be asked.

        Raises:
            PredictionError, RestorationError, StoreError, FacesDifferError, BaselinesError: this pair cannot be judged.
        """
        if not self._verdicts:
            self._judge()
        if pair not in self._verdicts:  # outside the selection, as all that was asked without a gate
            self.select([*self.pairs, *self.asked(), pair])
            self._judge()
        found = self._verdicts[pair]
        if isinstance(found, FerModelsError):
            raise found
        return found

    def _judge(self) -> None:
        self._verdicts = {}
        for pair in self._turn:
            if self.unavailable(pair) is None:
                with suppress(FerModelsError):  # raised again below, where it is kept for the pair's own tests
                    self.run(pair)
        pairs = [p for p in self.pairs if self.unavailable(p) is None]
        # Holm's first step multiplies by the number of comparisons: the bootstrap must be able to show a p that small.
        resamples = max(9999, 200 * 2 * len(pairs))
        comparisons: dict[Pair, gate.Comparison] = {}
        for pair in pairs:
            try:
                comparisons[pair] = self._compare(pair, resamples)
            except FerModelsError as error:
                self._verdicts[pair] = error
        self._verdicts |= dict(zip(comparisons, gate.judge(list(comparisons.values())), strict=True))

    def _compare(self, pair: Pair, resamples: int) -> gate.Comparison:
        subject = self.subject(pair)
        return gate.compare(
            subject,
            self.run(pair).answers,
            self.metrics(pair),
            self.baselines.find(subject),
            fingerprint=self.data.whole.fingerprint,
            total=len(self.data.whole),
            kept=self.data.kept_rows,
            resamples=resamples,
        )

    def orphans(self) -> list[Subject]:
        """The subjects of this dataset and split that have a record but whose model or restoration nobody knows any more."""
        return [
            r.subject
            for r in self.baselines.measured
            if (r.dataset, r.split) == (self.data.whole.dataset, self.data.whole.split)
            and (not is_known(r.model, self.known) or r.restoration not in self.restorers)
        ]

    # -- what it leaves ---------------------------------------------------------------------------

    def record(self, pair: Pair) -> records.Record:
        """What would be recorded of a pair. Call it on whole splits only."""
        run, made = self.run(pair), self.shelf(pair).provenance()
        measured = {"date": date.today().isoformat(), "device": made["device"], **made["environment"]}
        record = records.make(self.subject(pair), self.data.whole.fingerprint, run.answers, self.metrics(pair), measured)
        beside: list[Any] = [found[pair[0]] for found in (self.prompted, self.questioned, self.changed) if pair[1] == "raw" and pair[0] in found]
        beside += [self.spoilt_faces[pair]] if pair in self.spoilt_faces else []
        return replace(record, metrics={**record.metrics, **{k: v for found in beside for k, v in found.figures().items()}})

    def result(self, pair: Pair, message: str = "") -> dict[str, Any]:
        """The entry of a pair in evals.json. Raises as `run`; the verdict is null where it cannot be judged."""
        run, measured, subject = self.run(pair), self.metrics(pair), self.subject(pair)
        try:
            verdict = self.verdict(pair)
        except FerModelsError as error:
            verdict, message = None, message or str(error)
        record = self.baselines.find(subject)
        described = measured.as_json()
        leaked = None if self.data.seen is None else leaks.score(run.answers, self.data.seen)
        if leaked is not None and leaked.without is not None:
            described["metrics"]["accuracy_without_leaks"] = {**leaked.without.as_json(), "n": leaked.without.n}
        votes = self.data.faces.votes
        return {
            "subject": subject.as_json(),
            "id": subject.id,
            **described,
            "leaks": leaked.as_json() if leaked else None,
            "ledger": ledger(run.answers, self.models[pair[0]].question),
            "votes": None if votes is None else raters.score(run.answers, votes[self.data.order]).as_json(),
            "verdict": verdict.status if verdict else "ERROR",
            "message": message,
            "baseline": {"metrics": dict(record.metrics), "recorded": dict(record.recorded)} if record else None,
            "changes": verdict.changes_json() if verdict else None,
            "drift": verdict.comparison.drift.as_json() if verdict and verdict.comparison.drift else None,
            "inference_seconds": round(run.seconds, 3),
            "from_store": run.from_store,
            "notes": self._notes(pair),
            "key": self.shelf(pair).key,
        }

    def _notes(self, pair: Pair) -> list[str]:
        """What a reader of this result must know."""
        fitted = self.models[pair[0]].settings.get("fitted_on", {})
        chosen = fitted.get("fingerprint") == self.data.whole.fingerprint
        own = [f"{pair[0]}: its parts were weighed on these very faces, so its score is not an independent one"] if chosen else []
        return [*self.data.faces.notes, *own, *([self.data.not_seen] if self.data.not_seen else [])]


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
