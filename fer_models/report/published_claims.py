"""Published claims next to the results of the same model here: of this run, or recorded in the baselines."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from fer_models.gate.baselines import BaselineRecord
from fer_models.gate.restoration_effect import CONTROL
from fer_models.report.report_entries import Result
from fer_models.scoring.intervals import wilson_interval
from fer_models.store.subject import Subject


def with_results(
    claims: Iterable[Mapping[str, Any]], results: Sequence[Result], records: Sequence[BaselineRecord]
) -> list[dict[str, Any]]:
    """Add `measured_here` to each claim: the accuracies of the same model on the same dataset.

    A model is the same if its name has the same letters and digits (`ResNet-50`, `resnet50`), or if it is the
    claim's `evaluated_as`. Restoration by the control is left out. Of a split without a result in this run,
    or with one on a part of its faces, a record of the baselines is taken.

    Args:
        claims: published records of baselines.json.
        results: of this run.
        records: measured records of baselines.json.
    """
    measured: dict[Subject, dict[str, Any]] = {record.subject: _of_record(record) for record in records}
    measured |= {
        result.subject: _of_result(result)
        for result in results
        if "accuracy" in result.metrics and not (result.is_part and result.subject in measured)
    }
    return [{**claim, "measured_here": list(_same_model(claim, measured))} for claim in claims]


def _same_model(
    claim: Mapping[str, Any], measured: Mapping[Subject, dict[str, Any]]
) -> Iterator[dict[str, Any]]:
    names = {_letters(claim.get("model")), _letters(claim.get("evaluated_as"))} - {""}
    split = claim.get("split")
    for subject in sorted(measured, key=lambda subject: (subject.split, subject.restoration != "raw")):
        is_same_split = subject.dataset == claim.get("dataset") and split in (None, subject.split)
        is_plain = subject.corruption is None and subject.restoration != CONTROL
        if is_same_split and is_plain and _letters(subject.model) in names:
            yield measured[subject]


def _letters(name: object) -> str:
    return re.sub(r"[^a-z0-9]", "", str(name or "").lower())


def _of_record(record: BaselineRecord) -> dict[str, Any]:
    accuracy = wilson_interval(round(record.metrics["accuracy"] * record.n), record.n)
    date = record.recorded.get("date")
    source = f"recorded {date}" if date else "recorded"
    return _entry(record.subject, record.n, accuracy.value, accuracy.low, accuracy.high, source)


def _of_result(result: Result) -> dict[str, Any]:
    accuracy = result.metrics["accuracy"]
    return _entry(result.subject, result.n, accuracy.value, accuracy.low, accuracy.high, "this run")


def _entry(subject: Subject, n: int, accuracy: float, low: float, high: float, source: str) -> dict[str, Any]:
    names = {"restoration": subject.restoration, "split": subject.split, "n": n}
    return {**names, "accuracy": accuracy, "low": low, "high": high, "source": source}
