"""The part of a run in the history: read before the report is written, appended after it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from fer_models import __version__
from fer_models.artifacts.object_storage import StorePath
from fer_models.errors import FerModelsError
from fer_models.history.database import History, history_path
from fer_models.history.inputs import digests, stored_provenance
from fer_models.history.records import Entry, RunRecord, SubjectRecord, series_of
from fer_models.inference.environment import environment
from fer_models.report.report_entries import Result
from fer_models.report.trend_entries import LONGEST, Trend, trend
from fer_models.store.code_identity import library_versions


class RunHistory:
    """The history next to a store, and the entries of this run.

    No method raises an error of the file: a run whose history cannot be used is a run without a history.

    Attributes:
        path: the file of the history.
        trends: the last runs of each subject of this run, with this run; empty before `read`.
        problem: why this run is not in the history, as a sentence; None if it is.
    """

    def __init__(self, store: StorePath, local_folder: Path = Path(".evals")) -> None:
        """The history next to the folder `store`; in `local_folder` if it is in object storage."""
        self._store, self._history = store, History(history_path(store, local_folder))
        self.path = self._history.path
        self.trends: tuple[Trend, ...] = ()
        self.problem: str | None = None
        self._entries: list[Entry] = []

    def read(self, run: RunRecord, results: Iterable[Result], fingerprint: str) -> None:
        """Read the earlier runs of the subjects of this run.

        Args:
            run: this run; its exit code is not used.
            results: those of this run.
            fingerprint: of the full split.
        """
        try:
            self._entries = [Entry(run, self._scores(result, fingerprint)) for result in results]
            self.trends = tuple(trend([*self._earlier(entry), entry]) for entry in self._entries)
        except (FerModelsError, OSError) as error:
            self.problem = f"this run is not in it. {error}"

    def append(self, exit_code: int) -> None:
        """Append this run, unless it has no results, or `read` failed."""
        if self.problem is not None or not self._entries:
            return
        run = replace(self._entries[0].run, exit_code=exit_code)
        try:
            self._history.append(run, [entry.scores for entry in self._entries])
        except FerModelsError as error:
            self.problem = f"this run is not in it. {error}"

    def _earlier(self, entry: Entry) -> list[Entry]:
        """The earlier entries of the same series, of which the first only tells what changed after it."""
        return self._history.entries(series_of(entry.scores), LONGEST) if self.path.exists() else []

    def _scores(self, result: Result, fingerprint: str) -> SubjectRecord:
        provenance = stored_provenance(self._store, result.subject, result.key)
        accuracy, device = result.metrics.get("accuracy"), provenance.get("device")
        bounds = (None, None) if accuracy is None else (accuracy.low, accuracy.high)
        return SubjectRecord(
            subject=result.subject,
            n=result.n,
            of=result.of,
            accuracy=result.value("accuracy"),
            low=bounds[0],
            high=bounds[1],
            macro_f1=result.value("macro_f1"),
            verdict=result.verdict,
            change=result.change(),
            from_store=result.from_store,
            device=device if isinstance(device, str) else None,
            key=result.key,
            fingerprint=fingerprint,
            inputs=digests(provenance),
        )


def run_record(results: Iterable[Result], **settings: Any) -> RunRecord:
    """The record of the run that ends now, with the versions of this process.

    Args:
        results: those of the run.
        settings: the command, the depth, and whether only stored predictions were judged.
    """
    versions = {**environment(), **library_versions()}
    return RunRecord(
        time=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        version=__version__,
        exit_code=0,
        verdicts=dict(Counter(result.verdict for result in results if result.verdict is not None)),
        machine=versions.pop("machine"),
        versions=versions,
        **settings,
    )
