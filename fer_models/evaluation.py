"""One evaluation run: predictions, scores, robustness, restoration effects, and one judge of them all.

`Evaluation` is what the pytest fixtures use. It is composed of parts that know nothing of pytest: the runner
predicts, the others compute from its predictions, and the judge compares them with the baselines.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import date
from typing import Any

from fer_models.changed_faces import flip_examples
from fer_models.config import EvalConfig, ShowProgress, no_progress
from fer_models.cost_ratios import CostRatios
from fer_models.emotions import LabelSpace
from fer_models.errors import FerModelsError, one_line
from fer_models.gate import baselines as records
from fer_models.gate import gate
from fer_models.gate.judge import Judge
from fer_models.inference.runner import Combination, Runner
from fer_models.result_entries import FaceFacts, scores_json, verdict_json
from fer_models.robustness.checks import RobustnessRun
from fer_models.robustness.parity_run import ParityRun
from fer_models.robustness.restorations import RestorationEffects
from fer_models.scoring import metrics
from fer_models.zoo.model_name import ModelName, Source
from fer_models.zoo.registry import Registry
from fer_models.zoo.spec import ModelSpec, RestorerSpec

__all__ = ["Combination", "Evaluation", "Requested"]


@dataclass(frozen=True)
class Requested:
    """The combinations whose accuracy the user wants judged, whether or not this machine can evaluate them.

    Attributes:
        combinations: those of the selected tests that use the gate.
        complete: the restorations with which the user requested every model: none was left out by `-k`,
            `--model`, a test id or a depth.
        is_everything: `complete` has all restorations of the run.
    """

    combinations: frozenset[Combination] = frozenset()
    complete: frozenset[str] = frozenset()
    is_everything: bool = False


class Evaluation:
    """One run: its runner, what is computed from the predictions, and the verdicts.

    Attributes:
        runner: predicts; the faces, models and restorers of the run.
        baselines: the records that predictions are compared with.
        scores: metrics of the predictions.
        effects: effects of restorations.
        robustness: robustness checks, with a judge of their own.
        parity: exports next to the models that they were exported from, with a judge of their own.
        cost_ratios: times of models relative to the reference workload, next to their baselines.
        judge: judges accuracy, macro-F1, recalls and log loss of the selected combinations as one family.
        coverage: which baselines this run judges.
    """

    def __init__(
        self,
        options: EvalConfig,
        models: Registry[ModelSpec],
        restorers: Registry[RestorerSpec],
        show: ShowProgress = no_progress,
        available_models: Registry[ModelSpec] | None = None,
    ) -> None:
        """A run over some models and restorers.

        Args:
            options: what is evaluated.
            models: the models of this run.
            restorers: the restorations of this run.
            show: shows the progress of each step.
            available_models: all available models; None if they are those of this run.
        """
        self.runner = Runner(options, models, restorers, show, available_models)
        self.baselines = records.read(options.baselines_source)
        self.scores = Scores(self.runner)
        self.effects = RestorationEffects(self.runner)
        self.robustness = RobustnessRun(self.runner, self.find_record)
        self.parity = ParityRun(self.runner, self.robustness, self.scores.metrics, self.find_record)
        self.cost_ratios = CostRatios(self.runner, self.find_record)
        self.judge: Judge[Combination, gate.GateComparison, gate.Verdict] = Judge(
            self._predict_available, self._compare, gate.judge
        )
        available = models if available_models is None else available_models
        self.coverage = BaselineCoverage(self.runner, self.baselines, available.names)

    def select(
        self, combinations: Iterable[Combination], requested: Requested | None = None, start: int = 0
    ) -> None:
        """Set the combinations that this run judges, together and once. Call it before the first verdict.

        Args:
            combinations: those that selected tests use.
            requested: those whose accuracy the user wants judged, for `coverage`.
            start: which combination to predict first; processes that share a store begin at different ones.
        """
        self.judge.select((Combination(*combination) for combination in combinations), start)
        self.coverage.requested = requested or Requested()

    def find_record(self, combination: Combination) -> records.BaselineRecord | None:
        """The baseline of a combination, or None."""
        return self.baselines.find(self.runner.subject(combination))

    def verdict(self, combination: Combination) -> gate.Verdict:
        """The verdict of the gate on a selected combination. The first call judges all of them.

        Raises:
            UsageError: the combination was not selected, so it has no verdict.
            PredictionError, RestorationError, StoreError, FacesDifferError, BaselinesError: it cannot be
                judged.
        """
        (verdict,) = self.judge.verdicts(Combination(*combination))
        return verdict

    def is_judged(self, combination: Combination) -> bool:
        """Whether a combination gets a verdict in this run: it was selected."""
        return combination in self.judge.family

    def _predict_available(self, combinations: Sequence[Combination]) -> list[Combination]:
        """Predict the combinations that this machine can, and return them."""
        available = [c for c in combinations if self.runner.is_available(c)]
        for combination in available:
            with suppress(FerModelsError):  # raised again by the comparison, for the combination's own tests
                self.runner.predict(combination)
        return available

    def _compare(self, combination: Combination) -> list[gate.GateComparison]:
        data, predicted = self.runner.data, self.runner.dataset_of(combination)
        comparison = gate.compare(
            self.runner.subject(combination),
            self.runner.predict(combination).predictions,
            self.scores.metrics(combination),
            self.find_record(combination),
            gate.ComparedFaces(
                data.full_split.fingerprint, data.labels, predicted.subset_indices, predicted.slices
            ),
            resamples=gate.resamples_for(len(self.judge.family)),
        )
        return [comparison]

    def finish(self) -> None:
        """Judge each family of which this process predicted or measured a member."""
        self.robustness.results()
        if any(self.is_judged(combination) for combination in self.runner.completed()):
            self.judge.outcomes()

    def record(self, combination: Combination) -> records.BaselineRecord:
        """The record of a combination for baselines.json. Call it on full splits only.

        A combination that is not judged, such as the control of a restoration, keeps the predictions of its
        record: nothing has compared the new ones with them.
        """
        record = self.find_record(combination)
        fingerprint = self.runner.data.full_split.fingerprint
        if record is None or record.dataset_fingerprint != fingerprint or self.is_judged(combination):
            record = self._record_predictions(combination)
        figures, face_counts = self.robustness.recorded(combination)
        return replace(
            record,
            metrics={**record.metrics, **figures},
            face_counts={**record.face_counts, **face_counts},
            cost_ratio=self.cost_ratios.recorded(combination),
        )

    def _record_predictions(self, combination: Combination) -> records.BaselineRecord:
        predictions = self.runner.predict(combination).predictions
        provenance = self.runner.partition(combination).provenance()
        recorded = {
            "date": date.today().isoformat(),
            "device": provenance["device"],
            **provenance["environment"],
        }
        fingerprint = self.runner.data.full_split.fingerprint
        subject, measured = self.runner.subject(combination), self.scores.metrics(combination)
        return records.record_of(subject, fingerprint, predictions, measured, recorded)

    def result(self, combination: Combination, message: str = "", strict: bool = False) -> dict[str, Any]:
        """The entry of a combination in evals.json. Raises as `Runner.predict`.

        The verdict is null for a combination that was predicted and not selected, such as the control of a
        selected restoration.

        Args:
            combination: a predicted one.
            message: describes its verdict.
            strict: INCONCLUSIVE, NEW and DEGRADED fail too.
        """
        outcome: gate.Verdict | Exception | None = None
        if self.is_judged(combination):
            try:
                outcome = self.verdict(combination)
            except Exception as error:
                outcome = error
        record = self.find_record(combination)
        is_compared = isinstance(outcome, gate.Verdict)
        return {
            **self.scores.as_json(combination),
            **verdict_json(outcome, record, message, strict),
            "flips": flip_examples(self.runner, combination, record) if record and is_compared else [],
        }


class Scores:
    """Scores of a run's predictions, each computed once."""

    def __init__(self, runner: Runner) -> None:
        self._runner = runner
        self._metrics: dict[Combination, metrics.Metrics] = {}

    def metrics(self, combination: Combination) -> metrics.Metrics:
        """Metrics of the predictions of a combination. Raises as `Runner.predict`."""
        if combination not in self._metrics:
            predictions = self._runner.predict(combination).predictions
            self._metrics[combination] = metrics.measure_predictions(predictions)
        return self._metrics[combination]

    def as_json(self, combination: Combination) -> dict[str, Any]:
        """The scores of a combination for evals.json, without a verdict. Raises as `Runner.predict`."""
        run, subject = self._runner.predict(combination), self._runner.subject(combination)
        predicted = self._runner.dataset_of(combination)
        return {
            **scores_json(
                subject,
                run.predictions,
                self.metrics(combination),
                of=len(self._runner.data.full_split),
                question=self._runner.models[combination[0]].question,
                faces=FaceFacts(self._runner.data.train_hashes, predicted.faces.votes, predicted.slices),
            ),
            "inference_seconds": None if run.seconds is None else round(run.seconds, 3),
            "from_store": run.from_store,
            "notes": self._notes(combination),
            "key": self._runner.partition(combination).key,
        }

    def _notes(self, combination: Combination) -> list[str]:
        """Sentences that a reader of the scores must know."""
        data, (model, _) = self._runner.data, combination
        fitted = self._runner.models[model].settings.get("fitted_on", {})
        notes = list(self._runner.dataset_of(combination).faces.notes)
        notes += _notes_on_classes(self._runner.models[model].labels)
        if fitted.get("fingerprint") == data.full_split.fingerprint:
            notes.append(
                f"{model}: its components were weighed on these very faces, "
                "so its score is not an independent one"
            )
        if combination in self._runner.changed_models:
            notes.append(self._runner.changed_models[combination])
        return [*notes, data.leak_check_error] if data.leak_check_error else notes


def _notes_on_classes(labels: Sequence[str]) -> list[str]:
    """Sentences on the classes of a model that are no emotion, and on the emotions that it lacks."""
    space = LabelSpace.from_names("the model's labels", labels)
    outside = [name for name, emotion in zip(labels, space.order, strict=True) if emotion is None]
    notes = []
    if outside:
        notes.append(
            f"the model also has classes outside the seven emotions ({one_line(', '.join(outside))}): their "
            "probabilities are dropped, and the others are rescaled to sum to 1"
        )
    if space.missing:
        missing = ", ".join(emotion.label for emotion in space.missing)
        notes.append(f"the model has no class for {missing}, and never predicts it")
    return notes


class BaselineCoverage:
    """The records about a run's faces that the run judges, leaves out, or should judge and cannot.

    A record is about these faces if it names their dataset and split, or was made on faces with the same
    fingerprint. A run that requests no accuracy verdict checks no record.

    Attributes:
        requested: the combinations whose accuracy the user wants judged.
    """

    def __init__(self, runner: Runner, baselines: records.Baselines, available: Collection[str]) -> None:
        """`available` are the names of all available models."""
        self._runner, self._baselines, self._available = runner, baselines, available
        self.requested = Requested()

    def unjudged(self) -> dict[str, str]:
        """The records that this run should judge and cannot, by subject, with the reason."""
        reasons = {record.subject.id: self._unjudged_reason(record) for record in self._records()}
        return {name: reason for name, reason in reasons.items() if reason is not None}

    def left_out(self, judged: Collection[Combination]) -> list[str]:
        """The subjects of records that the user's selection of tests leaves out, by id.

        Args:
            judged: the combinations that this run judges.
        """
        included = self.requested.combinations.union(judged)
        return [
            record.subject.id
            for record in self._records()
            if (record.model, record.restoration) not in included and self._unjudged_reason(record) is None
        ]

    def _records(self) -> Iterator[records.BaselineRecord]:
        """The records about these faces, where the run requests verdicts."""
        if not self.requested.combinations:
            return
        split, corruption = self._runner.data.full_split, self._runner.options.corruption_id
        for record in self._baselines.measured:
            is_named = (record.dataset, record.split) == (split.dataset, split.split)
            is_same = is_named or record.dataset_fingerprint == split.fingerprint
            if is_same and record.corruption == corruption:
                yield record

    def _is_known(self, record: records.BaselineRecord) -> bool:
        is_model = record.model in self._runner.models or ModelName.parse(record.model).is_made_of(
            self._available
        )
        return is_model and record.restoration in self._runner.restorers

    def _unjudged_reason(self, record: records.BaselineRecord) -> str | None:
        """Why a record is not judged, as a sentence; None where it is, or where the user left it out."""
        combination = Combination(record.model, record.restoration)
        if not self._is_known(record):
            if _is_from_elsewhere(record.model):
                return None
            name = self._runner.options.baselines_source.name
            if record.restoration not in self.requested.complete and not self.requested.is_everything:
                return None
            return (
                f"{name} records {record.subject.id}, but no known model or restoration has this name. "
                "Delete this record, or bring the model back."
            )
        if combination not in self.requested.combinations:
            return None
        try:
            reason = self._runner.unavailable_reason(combination)
        except FerModelsError as error:
            reason = str(error)
        if reason is not None:
            return f"{record.subject.id} has a baseline, but it was not evaluated: {reason}"
        return self._mismatch(record, combination)

    def _mismatch(self, record: records.BaselineRecord, combination: Combination) -> str | None:
        """The fields by which a record differs from its subject in this run, as a sentence; None for none."""
        subject, options = self._runner.subject(combination), self._runner.options
        if subject == record.subject or self._baselines.find(subject) is not None:
            return None  # judged, or the record of another configuration besides the judged one
        old, new = record.subject.as_json(), subject.as_json()
        names = [name for name in new if old[name] != new[name]]
        if names == ["prompt"] and options.prompts_by_option:
            return None
        differences = " and ".join(
            f"{name} {old[name]!r}, while this run has {new[name]!r}" for name in names
        )
        return (
            f"{options.baselines_source.name} records {combination} on these faces with the {differences}, "
            "so it is compared with nothing. Correct or delete this record."
        )


def _is_from_elsewhere(text: str) -> bool:
    """Whether a model comes from a file, the Hub or a server: a run has it only where the user names it."""
    name = ModelName.parse(text)
    return any(part.source is not Source.ZOO for part in name.components or (name,))
