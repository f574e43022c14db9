"""One run of the evals: its answers, what is measured beside them, and the verdicts over all of them.

`Suite` is what the pytest fixtures stand on. It fills the store with everything the selected tests need, then
judges the run as a whole; each test reads its part. It knows nothing of pytest.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import date
from typing import Any

from fer_models.config import EvalConfig, ShowProgress, no_progress
from fer_models.errors import FerModelsError
from fer_models.gate import baselines as records
from fer_models.gate import gate
from fer_models.inference.runner import Combination, Runner, environment
from fer_models.robustness.checks import RobustnessRun
from fer_models.robustness.restorations import RestorationEffects
from fer_models.scoring import annotators, leakage
from fer_models.scoring.responses import response_summary
from fer_models.zoo.model_name import ModelName
from fer_models.zoo.registry import Registry
from fer_models.zoo.spec import ModelSpec, RestorerSpec

__all__ = ["Combination", "Suite", "environment"]


@dataclass(frozen=True)
class Requested:
    """The pairs whose accuracy the user wants judged, whether or not this machine can evaluate them.

    Attributes:
        is_everything: the user left nothing out, by `-k`, `--model`, a test id or a depth.
    """

    pairs: frozenset[Combination] = frozenset()
    is_everything: bool = False


class Suite(Runner):
    """The answers and verdicts of one run."""

    def __init__(
        self,
        options: EvalConfig,
        models: Registry[ModelSpec],
        restorers: Registry[RestorerSpec],
        show: ShowProgress = no_progress,
        known: Collection[str] | None = None,
    ) -> None:
        """A run over `models` and `restorers`; `known` are the names of all models there are, if this run is
        about fewer.
        """
        super().__init__(options, models, restorers, show)
        self.known = models.names if known is None else known
        self.baselines = records.read(options.baselines_source)
        self.effects = RestorationEffects(self)
        self.pairs: tuple[Combination, ...] = ()
        self._requested = Requested()
        self._turn: tuple[Combination, ...] = ()
        self._verdicts: dict[Combination, gate.Verdict | FerModelsError] = {}
        self.robustness = RobustnessRun(self, lambda pair: self.baselines.find(self.subject(pair)))

    def select(
        self, pairs: Iterable[Combination], requested: Requested | None = None, start: int = 0
    ) -> None:
        """Set the (model, restoration) pairs that this run judges, together and once. Call it before the
        first verdict.

        Args:
            requested: the pairs whose accuracy the user wants judged, for `unjudged`.
            start: which pair to predict first; processes that share a store begin at different ones.
        """
        self.pairs = tuple(dict.fromkeys(pairs))
        self._requested = requested or Requested()
        turn = start % len(self.pairs) if self.pairs else 0
        self._turn = (*self.pairs[turn:], *self.pairs[:turn])

    # -- verdicts ---------------------------------------------------------------------------------

    def verdict(self, pair: Combination) -> gate.Verdict:
        """The verdict of the gate on a pair. All selected pairs that can be predicted are judged together,
        before the first verdict is given.

        A pair that was not selected is judged by itself, and changes no other verdict.

        Raises:
            PredictionError, RestorationError, StoreError, FacesDifferError, BaselinesError: this pair cannot
                be judged.
        """
        if not self._verdicts and self.pairs:
            self._predict_selected()
            self._judge(self.pairs)
        if pair not in self._verdicts:
            self._judge([pair])
        found = self._verdicts[pair]
        if isinstance(found, FerModelsError):
            raise found
        return found

    def is_judged(self, pair: Combination) -> bool:
        """Whether the gate judges a pair in this run: it was selected, or a test requested its verdict."""
        return pair in self.pairs or pair in self._verdicts

    def _predict_selected(self) -> None:
        for pair in self._turn:
            with suppress(
                FerModelsError
            ):  # raised again in `_judge`, where it is kept for the pair's own tests
                if self.unavailable_reason(pair) is None:
                    self.predict(pair)

    def _judge(self, pairs: Sequence[Combination]) -> None:
        """Judge pairs as one family."""
        # Holm's first step multiplies by the number of comparisons: the bootstrap must be able to show a p
        # that small.
        resamples = max(9999, 200 * 2 * len(pairs))
        comparisons: dict[Combination, gate.GateComparison] = {}
        for pair in pairs:
            try:
                if self.unavailable_reason(pair) is None:
                    comparisons[pair] = self._compare(pair, resamples)
            except FerModelsError as error:
                self._verdicts[pair] = error
        self._verdicts |= dict(zip(comparisons, gate.judge(list(comparisons.values())), strict=True))

    def _compare(self, pair: Combination, resamples: int) -> gate.GateComparison:
        subject = self.subject(pair)
        return gate.compare(
            subject,
            self.predict(pair).predictions,
            self.metrics(pair),
            self.baselines.find(subject),
            fingerprint=self.data.full_split.fingerprint,
            labels=self.data.labels,
            rows=self.dataset_of(pair).subset_indices,
            resamples=resamples,
        )

    def unjudged(self) -> dict[str, str]:
        """The records about these faces that this run should judge and cannot, by subject, with the reason.

        A record is about these faces if it names their dataset and split, or was made on faces with the same
        fingerprint. It should be judged unless the user left it out. Nothing is checked in a run that
        requests no accuracy verdict.
        """
        found = ((record.subject.id, self._why_unjudged(record)) for record in self._records())
        return {name: reason for name, reason in found if reason is not None}

    def left_out(self) -> list[str]:
        """The subjects with a record about these faces that the user's selection of tests leaves out, by
        id.
        """
        judged = self._requested.pairs.union(self.pairs, self._verdicts)
        return [
            r.subject.id
            for r in self._records()
            if self._is_known(r) and (r.model, r.restoration) not in judged
        ]

    def _records(self) -> Iterator[records.BaselineRecord]:
        """The records about these faces, where the run requests verdicts."""
        if not self._requested.pairs:
            return
        whole = self.data.full_split
        for record in self.baselines.measured:
            same_faces = record.dataset_fingerprint == whole.fingerprint or (
                record.dataset,
                record.split,
            ) == (whole.dataset, whole.split)
            if same_faces and record.corruption == self.corruption_id:
                yield record

    def _is_known(self, record: records.BaselineRecord) -> bool:
        return (
            record.model in self.models or ModelName.parse(record.model).is_made_of(self.known)
        ) and record.restoration in self.restorers

    def _why_unjudged(self, record: records.BaselineRecord) -> str | None:
        pair, file = (record.model, record.restoration), self.options.baselines_source.name
        if not self._is_known(record):
            unknown = f"{file} records {record.subject.id}, but no known model or restoration has this name"
            return (
                f"{unknown}. Delete this record, or bring the model back."
                if self._requested.is_everything
                else None
            )
        if pair not in self._requested.pairs:
            return None
        try:
            reason = self.unavailable_reason(pair)
        except FerModelsError as error:
            reason = str(error)
        if reason is not None:
            return f"{record.subject.id} has a baseline, but it was not evaluated: {reason}"
        subject = self.subject(pair)
        if subject == record.subject or self.baselines.find(subject) is not None:
            return None  # judged, or a record of another configuration, in addition to the one that is
        old, new = record.subject.as_json(), subject.as_json()
        names = [name for name in new if old[name] != new[name]]
        if names == ["prompt"] and self.options.prompts_by_option:
            return None
        differences = " and ".join(
            f"{name} {old[name]!r}, while this run has {new[name]!r}" for name in names
        )
        recorded = f"{file} records {record.model}-{record.restoration} on these faces with the {differences}"
        return f"{recorded}, so it is compared with nothing. Correct or delete this record."

    # -- what it leaves ---------------------------------------------------------------------------

    def record(self, pair: Combination) -> records.BaselineRecord:
        """What would be recorded of a pair. Call it on whole splits only."""
        run, made = self.predict(pair), self.partition(pair).provenance()
        measured = {"date": date.today().isoformat(), "device": made["device"], **made["environment"]}
        record = records.record_of(
            self.subject(pair),
            self.data.full_split.fingerprint,
            run.predictions,
            self.metrics(pair),
            measured,
        )
        figures, face_counts = self.robustness.recorded(pair)
        return replace(record, metrics={**record.metrics, **figures}, face_counts=face_counts)

    def result(self, pair: Combination, message: str = "", strict: bool = False) -> dict[str, Any]:
        """The entry of a pair in evals.json. Raises as `run`.

        The verdict is null where the pair is predicted and not judged, such as the control of a selected
        restoration.
        """
        run, measured, subject, is_judged = (
            self.predict(pair),
            self.metrics(pair),
            self.subject(pair),
            self.is_judged(pair),
        )
        verdict = None
        if is_judged:
            try:
                verdict = self.verdict(pair)
            except FerModelsError as error:
                message = message or str(error)
        record = self.baselines.find(subject)
        described = measured.as_json()
        leaked = (
            None if self.data.train_hashes is None else leakage.score(run.predictions, self.data.train_hashes)
        )
        if leaked is not None and leaked.without_leaked is not None:
            described["metrics"]["accuracy_without_leaks"] = {
                **leaked.without_leaked.as_json(),
                "n": leaked.without_leaked.n,
            }
        data = self.dataset_of(pair)
        votes = data.faces.votes
        return {
            "subject": subject.as_json(),
            "id": subject.id,
            **described,
            "of": len(data.full_split),
            "leakage": leaked.as_json() if leaked else None,
            "responses": response_summary(run.predictions, self.models[pair[0]].question),
            "votes": None
            if votes is None
            else annotators.score(run.predictions, votes[data.order]).as_json(),
            "verdict": verdict.status if verdict else "ERROR" if is_judged else None,
            "fails": verdict.fails(strict) if verdict else is_judged,
            "message": message,
            "baseline": {"metrics": dict(record.metrics), "recorded": dict(record.recorded)}
            if record
            else None,
            "changes": verdict.changes_json() if verdict else None,
            "log_loss": verdict.comparison.degradation.as_json()
            if verdict and verdict.comparison.degradation
            else None,
            "inference_seconds": None if run.seconds is None else round(run.seconds, 3),
            "from_store": run.from_store,
            "notes": self._notes(pair),
            "key": self.partition(pair).key,
        }

    def _notes(self, pair: Combination) -> list[str]:
        """What a reader of this result must know."""
        fitted = self.models[pair[0]].settings.get("fitted_on", {})
        chosen = fitted.get("fingerprint") == self.data.full_split.fingerprint
        own = (
            [f"{pair[0]}: its parts were weighed on these very faces, so its score is not an independent one"]
            if chosen
            else []
        )
        own += [self.changed_models[pair]] if pair in self.changed_models else []
        return [
            *self.dataset_of(pair).faces.notes,
            *own,
            *([self.data.leak_check_error] if self.data.leak_check_error else []),
        ]
