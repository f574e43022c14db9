"""One run of the evals: which faces, which subjects, their answers, and the verdicts over all of them.

`Suite` is what the pytest fixtures stand on. It fills the store with everything the selected tests need, then judges the run as a
whole; each test reads its part. It knows nothing of pytest.
"""

from __future__ import annotations

import json
import platform
import sys
from collections.abc import Callable, Collection, Iterable
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass, field
from datetime import date
from functools import cached_property
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fer_models import datasets
from fer_models.classifiers.base import Classifier
from fer_models.datasets import audit
from fer_models.datasets.base import FaceSet
from fer_models.errors import DatasetError, FerModelsError, PredictionError, WeightsMissingError
from fer_models.evaluation import baselines as records
from fer_models.evaluation import gate, leaks, metrics, raters
from fer_models.evaluation.cache import kept
from fer_models.evaluation.run import Progress, Run, answer
from fer_models.evaluation.statistics import wilson
from fer_models.evaluation.store import Shelf, Store, canonical_order
from fer_models.evaluation.subject import Subject
from fer_models.registry import ModelSpec, Registry, RestorerSpec, Runtime, base_name
from fer_models.restorers.base import Restorer

#: A context manager factory: (title, faces in all) -> what to tell how many were answered.
ShowProgress = Callable[[str, int], AbstractContextManager[Progress]]


def no_progress(title: str, total: int) -> AbstractContextManager[Progress]:
    """Show nothing."""
    return nullcontext(lambda n: None)


@dataclass(frozen=True)
class Options:
    """What the user asked of a run.

    Attributes:
        dataset, data_root, split, download: see `datasets.load`.
        limit: at most this many faces, stratified; None for all.
        runtime: device, precision, download.
        batch_size: faces per forward pass.
        store: the folder of stored answers.
        baselines: the baselines file.
        from_store_only: ask nobody; what is not in the store is skipped.
    """

    dataset: str = "synthetic"
    data_root: Path | None = None
    split: str | None = None
    limit: int | None = None
    runtime: Runtime = field(default_factory=Runtime)
    batch_size: int = 64
    store: Path = Path(".evals/store")
    baselines: Path = Path("baselines.json")
    from_store_only: bool = False

    @property
    def cache(self) -> Path:
        """Where what is slow to find out about the faces is kept."""
        return self.store.parent / "cache"


Pair = tuple[str, str]  # model, restoration


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
        self.known = models.names if known is None else known
        self.baselines = records.read(options.baselines)
        self.pairs: tuple[Pair, ...] = ()
        self._turn: tuple[Pair, ...] = ()
        self._runs: dict[Pair, Run | FerModelsError] = {}
        self._metrics: dict[Pair, metrics.Metrics] = {}
        self._verdicts: dict[Pair, gate.Verdict | FerModelsError] = {}
        self._loaded: dict[tuple[str, str], Any] = {}
        self.not_seen = ""
        self.audited: dict[str, Any] | None = None

    # -- faces ------------------------------------------------------------------------------------

    @cached_property
    def whole(self) -> FaceSet:
        """All faces of the split.

        Raises:
            DatasetError, UsageError: see `datasets.load`.
        """
        o = self.options
        return datasets.load(o.dataset, o.split, o.data_root, download=o.runtime.download)

    @cached_property
    def faces(self) -> FaceSet:
        """The faces that are asked: all, or `--limit` of them."""
        return self.whole if self.options.limit is None else self.whole.limit(self.options.limit)

    @cached_property
    def order(self) -> NDArray[np.int64]:
        """The rows of `faces` in canonical order."""
        return canonical_order(self.faces.hashes, self.faces.labels)

    @cached_property
    def _kept(self) -> NDArray[np.int64] | None:
        """Where the asked faces stand in the canonical order of the whole split; None for all."""
        if self.options.limit is None or len(self.faces) == len(self.whole):
            return None
        place = np.empty(len(self.whole), dtype=np.int64)
        place[canonical_order(self.whole.hashes, self.whole.labels)] = np.arange(len(self.whole))
        return np.sort(place[self.whole.stratified(self.options.limit)])

    @cached_property
    def train(self) -> FaceSet | None:
        """The faces of `train`; None where the dataset has no such split, or this run asks about it.

        Raises:
            DatasetError: it cannot be read.
        """
        o = self.options
        if self.faces.split == leaks.TRAIN or leaks.TRAIN not in datasets.splits(o.dataset, o.data_root):
            return None
        return datasets.load(o.dataset, leaks.TRAIN, o.data_root, download=o.runtime.download)

    @cached_property
    def seen(self) -> frozenset[str] | None:
        """The pixel hashes of the faces in `train`, kept until a file changes; None where there is no train, or `not_seen` says why not."""
        try:
            hashes = self._kept_text("train", lambda: "\n".join(sorted(self.train.hashes)) if self.train else "none")
        except DatasetError as error:
            self.not_seen = f"not checked for leaks from train: {error}"
            return None
        return None if hashes == "none" else frozenset(hashes.split())

    def audit(self) -> dict[str, Any]:
        """What is wrong with these faces, by themselves and against `train`: `datasets.audit` as JSON; kept until a file changes.

        Raises:
            DatasetError: `train` cannot be read.
        """
        if self.audited is None:
            self.audited = json.loads(self._kept_text("audit", self._audit))
        return self.audited

    def _audit(self) -> str:
        sets = [faces for faces in (self.train, self.whole) if faces is not None]
        with self.show(f"auditing {self.whole.name}", sum(map(len, sets))) as advance:
            return json.dumps(audit.audit(sets, progress=_ReadingOnly(advance)).as_json())

    def _kept_text(self, name: str, make: Callable[[], str]) -> str:
        """Text about the files of this run's dataset, made once until they change: it takes a look at tens of thousands of faces."""
        o = self.options
        made_of = leaks.stamp(datasets.folder(o.dataset, o.data_root, download=o.runtime.download))
        return kept(o.cache, name, f"{made_of}\n{self.whole.name}", make)

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
        model, restoration = pair
        return Subject(self.faces.dataset, self.faces.split, restoration, model, prompt=self.models[model].prompt)

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
        spec = self.models[model]
        found: Classifier = self._load("model", model, lambda: spec.load(spec.resolve(self.options.runtime)))
        return found

    def restorer(self, restoration: str) -> Restorer:
        """The restorer, loaded once. Raises as `classifier`."""
        found: Restorer = self._load("restorer", restoration, lambda: self.restorers[restoration].load(self.options.runtime))
        return found

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
                self._runs[pair] = self._answer(pair)
            except FerModelsError as error:
                self._runs[pair] = error
        found = self._runs[pair]
        if isinstance(found, FerModelsError):
            raise found
        return found

    def shelf(self, pair: Pair) -> Shelf:
        """Where the store keeps the answers of a pair."""
        model, restorer = self.models[pair[0]], self.restorers[pair[1]]
        key = self.subject(pair).key(
            {"faces": self.faces.fingerprint, "answers": model.identity(self.options.runtime), "restorer": restorer.identity()}
        )
        hashes = tuple(self.faces.hashes[i] for i in self.order)
        return Store(self.options.store).shelf(self.subject(pair), key, hashes, self.faces.labels[self.order])

    def _answer(self, pair: Pair) -> Run:
        shelf, spec = self.shelf(pair), self.models[pair[0]]
        runtime = spec.resolve(self.options.runtime)

        def provenance() -> dict[str, Any]:
            return {
                "identity": spec.identity(runtime),
                "restorer": self.restorers[pair[1]].identity(),
                "device": _device(runtime),
                "batch_size": self.options.batch_size,
                "environment": environment(),
            }

        title = f"asking {self.subject(pair).id}"
        with self.show(title, len(self.faces)) if shelf.missing() else nullcontext(lambda n: None) as progress:
            return answer(
                shelf,
                self.faces,
                self.order,
                lambda: (self.restorer(pair[1]), self.classifier(pair[0])),
                labels=spec.labels,
                batch_size=self.options.batch_size,
                provenance=provenance,
                progress=progress,
            )

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
            fingerprint=self.whole.fingerprint,
            total=len(self.whole),
            kept=self._kept,
            resamples=resamples,
        )

    def orphans(self) -> list[Subject]:
        """The subjects of this dataset and split that have a record but whose model or restoration nobody knows any more."""
        return [
            r.subject
            for r in self.baselines.measured
            if (r.dataset, r.split) == (self.whole.dataset, self.whole.split)
            and (base_name(r.model) not in self.known or r.restoration not in self.restorers)
        ]

    # -- what it leaves ---------------------------------------------------------------------------

    def record(self, pair: Pair) -> records.Record:
        """What would be recorded of a pair. Call it on whole splits only."""
        run, made = self.run(pair), self.shelf(pair).provenance()
        measured = {"date": date.today().isoformat(), "device": made["device"], **made["environment"]}
        return records.make(self.subject(pair), self.whole.fingerprint, run.answers, self.metrics(pair), measured)

    def result(self, pair: Pair, message: str = "") -> dict[str, Any]:
        """The entry of a pair in evals.json. Raises as `run`; the verdict is null where it cannot be judged."""
        run, measured, subject = self.run(pair), self.metrics(pair), self.subject(pair)
        try:
            verdict = self.verdict(pair)
        except FerModelsError as error:
            verdict, message = None, message or str(error)
        record = self.baselines.find(subject)
        described = measured.as_json()
        leaked = None if self.seen is None else leaks.score(run.answers, self.seen)
        if leaked is not None and leaked.without is not None:
            described["metrics"]["accuracy_without_leaks"] = {**leaked.without.as_json(), "n": leaked.without.n}
        votes = self.faces.votes
        return {
            "subject": subject.as_json(),
            "id": subject.id,
            **described,
            "leaks": leaked.as_json() if leaked else None,
            "votes": None if votes is None else raters.score(run.answers, votes[self.order]).as_json(),
            "verdict": verdict.status if verdict else "ERROR",
            "message": message,
            "baseline": {"metrics": dict(record.metrics), "recorded": dict(record.recorded)} if record else None,
            "changes": verdict.changes_json() if verdict else None,
            "drift": verdict.comparison.drift.as_json() if verdict and verdict.comparison.drift else None,
            "inference_seconds": round(run.seconds, 3),
            "from_store": run.from_store,
            "notes": [*self.faces.notes, *([self.not_seen] if self.not_seen else [])],
            "key": self.shelf(pair).key,
        }

    def data_json(self) -> dict[str, Any]:
        """The entry `data` in evals.json."""
        f = self.faces
        return {
            f.name: {
                "n": len(f),
                "of": len(self.whole),
                "fingerprint": self.whole.fingerprint,
                "counts": f.counts,
                "notes": list(f.notes),
                "references": self.references(),
                "audit": self.audited,
            }
        }

    def references(self) -> list[dict[str, Any]]:
        """What answers without a model score on these faces: always the most frequent emotion, and the raters where their votes are known."""
        labels, votes = self.faces.labels, self.faces.votes
        emotion, k = max(self.faces.counts.items(), key=lambda item: item[1])
        rows = [{"name": f"always {emotion}", "n": len(labels), "accuracy": wilson(k, len(labels)).as_json()}]
        return rows if votes is None else [raters.reference(labels, votes), *rows]


class _ReadingOnly:
    """Turns the audit's stages into faces read, of which a bar can show the share."""

    def __init__(self, advance: Progress) -> None:
        self.advance, self.stage, self.told = advance, "", 0

    def __call__(self, stage: str, done: int, total: int) -> None:
        if stage.startswith("reading"):
            self.told = self.told if stage == self.stage else 0
            self.advance(done - self.told)
            self.stage, self.told = stage, done


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
