"""One run of the evals: its answers, what is measured beside them, and the verdicts over all of them.

`Suite` is what the pytest fixtures stand on. It fills the store with everything the selected tests need, then judges the run as a
whole; each test reads its part. It knows nothing of pytest.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import date
from typing import Any

from fer_models.config import Options, ShowProgress, no_progress
from fer_models.errors import FerModelsError
from fer_models.gate import baselines as records
from fer_models.gate import gate
from fer_models.inference.runner import Asking, Pair, environment
from fer_models.robustness.checks import RobustnessChecks
from fer_models.robustness.restorations import Effects
from fer_models.scoring import annotators, leakage
from fer_models.scoring.responses import ledger
from fer_models.zoo.grammar import is_known
from fer_models.zoo.registry import Registry
from fer_models.zoo.spec import ModelSpec, RestorerSpec

__all__ = ["Pair", "Suite", "environment"]


@dataclass(frozen=True)
class Requested:
    """The pairs whose accuracy the user wants judged, whether or not this machine can evaluate them.

    Attributes:
        is_everything: the user left nothing out, by `-k`, `--model`, a test id or a depth.
    """

    pairs: frozenset[Pair] = frozenset()
    is_everything: bool = False


class Suite(Asking):
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
        super().__init__(options, models, restorers, show)
        self.known = models.names if known is None else known
        self.baselines = records.read(options.baselines_source)
        self.effects = Effects(self)
        self.pairs: tuple[Pair, ...] = ()
        self._requested = Requested()
        self._turn: tuple[Pair, ...] = ()
        self._verdicts: dict[Pair, gate.Verdict | FerModelsError] = {}
        self.robustness = RobustnessChecks(self, lambda pair: self.baselines.find(self.subject(pair)))

    def select(self, pairs: Iterable[Pair], requested: Requested | None = None, start: int = 0) -> None:
        """Set the (model, restoration) pairs that this run judges, together and once. Call it before the first verdict.

        Args:
            requested: the pairs whose accuracy the user wants judged, for `unjudged`.
            start: which pair to predict first; processes that share a store begin at different ones.
        """
        self.pairs = tuple(dict.fromkeys(pairs))
        self._requested = requested or Requested()
        turn = start % len(self.pairs) if self.pairs else 0
        self._turn = (*self.pairs[turn:], *self.pairs[:turn])

    # -- verdicts ---------------------------------------------------------------------------------

    def verdict(self, pair: Pair) -> gate.Verdict:
        """The verdict of the gate on a pair. All selected pairs that can be predicted are judged together, before the first verdict is given.

        A pair that was not selected is judged by itself, and changes no other verdict.

        Raises:
            PredictionError, RestorationError, StoreError, FacesDifferError, BaselinesError: this pair cannot be judged.
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

    def is_judged(self, pair: Pair) -> bool:
        """Whether the gate judges a pair in this run: it was selected, or a test requested its verdict."""
        return pair in self.pairs or pair in self._verdicts

    def _predict_selected(self) -> None:
        for pair in self._turn:
            with suppress(FerModelsError):  # raised again in `_judge`, where it is kept for the pair's own tests
                if self.unavailable(pair) is None:
                    self.run(pair)

    def _judge(self, pairs: Sequence[Pair]) -> None:
        """Judge pairs as one family."""
        # Holm's first step multiplies by the number of comparisons: the bootstrap must be able to show a p that small.
        resamples = max(9999, 200 * 2 * len(pairs))
        comparisons: dict[Pair, gate.Comparison] = {}
        for pair in pairs:
            try:
                if self.unavailable(pair) is None:
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
            labels=self.data.labels,
            kept=self.data_of(pair).kept_rows,
            resamples=resamples,
        )

    def unjudged(self) -> dict[str, str]:
        """The records about these faces that this run should judge and cannot, by subject, with the reason.

        A record is about these faces if it names their dataset and split, or was made on faces with the same fingerprint. It should be
        judged unless the user left it out. Nothing is checked in a run that requests no accuracy verdict.
        """
        found = ((record.subject.id, self._why_unjudged(record)) for record in self._records())
        return {name: reason for name, reason in found if reason is not None}

    def left_out(self) -> list[str]:
        """The subjects with a record about these faces that the user's selection of tests leaves out, by id."""
        judged = self._requested.pairs.union(self.pairs, self._verdicts)
        return [r.subject.id for r in self._records() if self._is_known(r) and (r.model, r.restoration) not in judged]

    def _records(self) -> Iterator[records.Record]:
        """The records about these faces, where the run requests verdicts."""
        if not self._requested.pairs:
            return
        whole = self.data.whole
        for record in self.baselines.measured:
            same_faces = record.dataset_fingerprint == whole.fingerprint or (record.dataset, record.split) == (whole.dataset, whole.split)
            if same_faces and record.corruption == self.corruption_id:
                yield record

    def _is_known(self, record: records.Record) -> bool:
        return (record.model in self.models or is_known(record.model, self.known)) and record.restoration in self.restorers

    def _why_unjudged(self, record: records.Record) -> str | None:
        pair, file = (record.model, record.restoration), self.options.baselines_source.name
        if not self._is_known(record):
            unknown = f"{file} records {record.subject.id}, but no known model or restoration has this name"
            return f"{unknown}. Delete this record, or bring the model back." if self._requested.is_everything else None
        if pair not in self._requested.pairs:
            return None
        try:
            reason = self.unavailable(pair)
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
        differences = " and ".join(f"{name} {old[name]!r}, while this run has {new[name]!r}" for name in names)
        recorded = f"{file} records {record.model}-{record.restoration} on these faces with the {differences}"
        return f"{recorded}, so it is compared with nothing. Correct or delete this record."

    # -- what it leaves ---------------------------------------------------------------------------

    def record(self, pair: Pair) -> records.Record:
        """What would be recorded of a pair. Call it on whole splits only."""
        run, made = self.run(pair), self.shelf(pair).provenance()
        measured = {"date": date.today().isoformat(), "device": made["device"], **made["environment"]}
        record = records.make(self.subject(pair), self.data.whole.fingerprint, run.answers, self.metrics(pair), measured)
        figures, face_counts = self.robustness.recorded(pair)
        return replace(record, metrics={**record.metrics, **figures}, face_counts=face_counts)

    def result(self, pair: Pair, message: str = "", strict: bool = False) -> dict[str, Any]:
        """The entry of a pair in evals.json. Raises as `run`.

        The verdict is null where the pair is predicted and not judged, such as the control of a selected restoration.
        """
        run, measured, subject, is_judged = self.run(pair), self.metrics(pair), self.subject(pair), self.is_judged(pair)
        verdict = None
        if is_judged:
            try:
                verdict = self.verdict(pair)
            except FerModelsError as error:
                message = message or str(error)
        record = self.baselines.find(subject)
        described = measured.as_json()
        leaked = None if self.data.seen is None else leakage.score(run.answers, self.data.seen)
        if leaked is not None and leaked.without is not None:
            described["metrics"]["accuracy_without_leaks"] = {**leaked.without.as_json(), "n": leaked.without.n}
        data = self.data_of(pair)
        votes = data.faces.votes
        return {
            "subject": subject.as_json(),
            "id": subject.id,
            **described,
            "of": len(data.whole),
            "leaks": leaked.as_json() if leaked else None,
            "ledger": ledger(run.answers, self.models[pair[0]].question),
            "votes": None if votes is None else annotators.score(run.answers, votes[data.order]).as_json(),
            "verdict": verdict.status if verdict else "ERROR" if is_judged else None,
            "fails": verdict.fails(strict) if verdict else is_judged,
            "message": message,
            "baseline": {"metrics": dict(record.metrics), "recorded": dict(record.recorded)} if record else None,
            "changes": verdict.changes_json() if verdict else None,
            "drift": verdict.comparison.drift.as_json() if verdict and verdict.comparison.drift else None,
            "inference_seconds": None if run.seconds is None else round(run.seconds, 3),
            "from_store": run.from_store,
            "notes": self._notes(pair),
            "key": self.shelf(pair).key,
        }

    def _notes(self, pair: Pair) -> list[str]:
        """What a reader of this result must know."""
        fitted = self.models[pair[0]].settings.get("fitted_on", {})
        chosen = fitted.get("fingerprint") == self.data.whole.fingerprint
        own = [f"{pair[0]}: its parts were weighed on these very faces, so its score is not an independent one"] if chosen else []
        own += [self.changed_models[pair]] if pair in self.changed_models else []
        return [*self.data_of(pair).faces.notes, *own, *([self.data.not_seen] if self.data.not_seen else [])]
