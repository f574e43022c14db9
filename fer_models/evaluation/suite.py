"""One run of the evals: its answers, what is measured beside them, and the verdicts over all of them.

`Suite` is what the pytest fixtures stand on. It fills the store with everything the selected tests need, then judges the run as a
whole; each test reads its part. It knows nothing of pytest.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from contextlib import suppress
from dataclasses import replace
from datetime import date
from typing import Any

from fer_models.errors import FerModelsError
from fer_models.evaluation import baselines as records
from fer_models.evaluation import gate, leaks, raters
from fer_models.evaluation.asking import Asking, Pair, environment
from fer_models.evaluation.effects import Effects
from fer_models.evaluation.ledger import ledger
from fer_models.evaluation.options import Options, ShowProgress, no_progress
from fer_models.evaluation.robustness_checks import RobustnessChecks
from fer_models.evaluation.subject import Subject
from fer_models.registry import ModelSpec, Registry, RestorerSpec, is_known

__all__ = ["Pair", "Suite", "environment"]


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
        self._turn: tuple[Pair, ...] = ()
        self._verdicts: dict[Pair, gate.Verdict | FerModelsError] = {}
        self.robustness = RobustnessChecks(self, lambda pair: self.baselines.find(self.subject(pair)))

    def select(self, pairs: Iterable[Pair], start: int = 0) -> None:
        """Say which (model, restoration) pairs this run is about: they are judged together.

        Args:
            start: which pair to ask first; processes that share a store begin at different ones.
        """
        self.pairs = tuple(dict.fromkeys(pairs))
        turn = start % len(self.pairs) if self.pairs else 0
        self._turn = (*self.pairs[turn:], *self.pairs[:turn])

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
            kept=self.data_of(pair).kept_rows,
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
        figures, face_counts = self.robustness.recorded(pair)
        return replace(record, metrics={**record.metrics, **figures}, face_counts=face_counts)

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
        data = self.data_of(pair)
        votes = data.faces.votes
        return {
            "subject": subject.as_json(),
            "id": subject.id,
            **described,
            "of": len(data.whole),
            "leaks": leaked.as_json() if leaked else None,
            "ledger": ledger(run.answers, self.models[pair[0]].question),
            "votes": None if votes is None else raters.score(run.answers, votes[data.order]).as_json(),
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
        return [*self.data_of(pair).faces.notes, *own, *([self.data.not_seen] if self.data.not_seen else [])]
