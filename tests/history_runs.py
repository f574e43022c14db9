"""Runs of a history, for tests: their records, with any field replaced."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from fer_models.history.database import History
from fer_models.history.records import Entry, RunRecord, SubjectRecord
from fer_models.store.subject import Subject

SUBJECT = Subject("fer2013", "private_test", "raw", "vgg19")
RUN = RunRecord(
    time="2026-01-31T12:30:00+00:00",
    version="0.1.0",
    command="pytest evals",
    depth="standard",
    cached_only=False,
    exit_code=0,
    verdicts={"PASS": 1},
    versions={"python": "3.11.7", "torch": "2.9.0"},
    machine="Linux x86_64",
)
SCORES = SubjectRecord(
    subject=SUBJECT,
    n=3589,
    of=3589,
    accuracy=0.668,
    low=0.652,
    high=0.683,
    macro_f1=0.65,
    verdict="PASS",
    change=-0.004,
    from_store=False,
    device="cpu",
    key="ab12",
    fingerprint="9c11",
    inputs={"weights": "aa", "settings": "bb"},
)


def entry(accuracy: float | None = 0.668, model: str = "vgg19", **changed: Any) -> Entry:
    """An entry; keywords replace fields of its run, or of its scores."""
    bounds = (None, None) if accuracy is None else (accuracy - 0.016, accuracy + 0.015)
    of_run = {name: changed.pop(name) for name in list(changed) if hasattr(RUN, name)}
    named = {"subject": replace(SUBJECT, model=model), "low": bounds[0], "high": bounds[1]}
    return Entry(replace(RUN, **of_run), replace(SCORES, accuracy=accuracy, **{**named, **changed}))


def write_history(path: Path, *entries: Entry) -> History:
    """Append one run for each entry."""
    history = History(path)
    for each in entries:
        history.append(each.run, [each.scores])
    return history
