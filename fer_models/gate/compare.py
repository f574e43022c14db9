"""Comparison of two runs: matches their subjects, on the same faces.

`match_subjects` joins two sources of `fer_models.gate.run_sources`; `fer_models.gate.gate` judges the result.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from fer_models.errors import FacesDifferError, UsageError
from fer_models.gate import baselines, gate
from fer_models.gate.baselines import BaselineRecord, Baselines, by_name
from fer_models.gate.run_sources import RunSource
from fer_models.scoring import metrics
from fer_models.store.predictions import PredictionTable
from fer_models.store.subject import Subject

#: What the first side of a comparison has of a subject.
Baseline: TypeAlias = "PredictionTable | BaselineRecord"


@dataclass(frozen=True)
class MatchedSubject:
    """Predictions of both sides for the same faces.

    Attributes:
        baseline: the subject of the first side; another one only where two folders of two subjects are given.
        subject: the subject of the second side.
        record: the first side as the gate compares it; without a floor unless it is a recorded baseline.
        p_baseline: float64 (n,), the probability of each labelled emotion in the first side; None where it
            has no probabilities, and those of the second are not judged.
        predictions: the second side, in canonical order, which is the record's.
    """

    baseline: Subject
    subject: Subject
    record: BaselineRecord
    p_baseline: NDArray[np.float64] | None
    predictions: PredictionTable


@dataclass(frozen=True)
class MatchedRuns:
    """Two sides, matched by subject.

    Attributes:
        pairs: the subjects of both sides, sorted.
        only_before: the subjects of the first side only, sorted.
        only_after: the subjects of the second side only, sorted.
        incomparable: a sentence on each subject whose faces differ between the sides, by the subject of the
            second side.
    """

    pairs: tuple[MatchedSubject, ...]
    only_before: tuple[Subject, ...] = ()
    only_after: tuple[Subject, ...] = ()
    incomparable: Mapping[Subject, str] = field(default_factory=dict)


def match_subjects(before: RunSource[Baseline], after: RunSource[PredictionTable]) -> MatchedRuns:
    """Match the subjects of two sides; two folders of one subject each match also if the subjects differ.

    A store can have several partitions of a subject: the newest is used that has the same faces on both
    sides.

    Raises:
        UsageError: the sides have no subject in common.
        FacesDifferError: no common subject has the same faces on both sides.
    """
    if before.is_single and after.is_single:
        common = [(next(iter(before.subjects)), next(iter(after.subjects)))]
    else:
        shared = set(before.subjects) & set(after.subjects)
        common = [(subject, subject) for subject in sorted(shared, key=by_name)]
    if not common:
        raise UsageError(
            f"{before.name} and {after.name} have no subject in common. "
            f"{before.describe()} {after.describe()}"
        )
    matched = _match(before, after, common)
    if not matched.pairs:
        raise FacesDifferError(" ".join(matched.incomparable.values()))
    return matched


def match_records(records: Baselines, after: RunSource[PredictionTable]) -> MatchedRuns:
    """Match stored predictions with the records of their subjects, of which there may be none."""
    before = RunSource("the baselines", {record.subject: record for record in records.measured})
    shared = set(before.subjects) & set(after.subjects)
    return _match(before, after, [(subject, subject) for subject in sorted(shared, key=by_name)])


def _match(
    before: RunSource[Baseline], after: RunSource[PredictionTable], common: list[tuple[Subject, Subject]]
) -> MatchedRuns:
    """Match the predictions of subjects that both sides have."""
    pairs, incomparable = [], {}
    for first, second in common:
        baseline, predictions = _same_faces(before, first, after, second)
        if isinstance(baseline, BaselineRecord) and _faces(baseline) != _faces(predictions):
            baseline = _select_faces(baseline, after, predictions) or baseline
        same_split = (first.dataset, first.split) == (second.dataset, second.split)
        if same_split and _faces(baseline) == _faces(predictions):
            pairs.append(_pair(first, second, baseline, predictions))
        else:
            one = f"{before.name} for {_describe(first, baseline)}"
            other = f"{after.name} for {_describe(second, predictions)}"
            incomparable[second] = (
                f"{second.id}: the two sides have predictions for different faces: {one}, {other}. "
                "Accuracies on different splits or sizes cannot be compared; give two runs on the same faces."
            )
    only_before = set(before.subjects) - {first for first, _ in common}
    only_after = set(after.subjects) - {second for _, second in common}
    return MatchedRuns(
        tuple(pairs),
        tuple(sorted(only_before, key=by_name)),
        tuple(sorted(only_after, key=by_name)),
        incomparable,
    )


def compare_match(match: MatchedSubject, family: int) -> gate.GateComparison:
    """Compare the predictions of a match with its record, for `gate.judge`. Raises as `gate.compare`.

    Args:
        match: predictions and record of one subject.
        family: the number of comparisons that are judged together.
    """
    predictions = match.predictions
    return gate.compare(
        match.subject,
        predictions,
        metrics.measure_predictions(predictions),
        match.record,
        gate.ComparedFaces(predictions.fingerprint, predictions.truth),
        resamples=gate.resamples_for(family),
    )


def _same_faces(
    before: RunSource[Baseline], first: Subject, after: RunSource[PredictionTable], second: Subject
) -> tuple[Baseline, PredictionTable]:
    """Find the newest of both sides for the same faces; the newest of each side where there are none."""
    for predictions in after.candidates(second):
        for baseline in before.candidates(first):
            if _faces(baseline) == _faces(predictions):
                return baseline, predictions
    return before.subjects[first], after.subjects[second]


def _select_faces(
    record: BaselineRecord, after: RunSource[PredictionTable], predictions: PredictionTable
) -> BaselineRecord | None:
    """Select the faces of `predictions` from a record: `pytest evals --depth standard` restores only some.

    A record has no names of faces. Other predictions of the same run, for all faces of the record, show which
    of its characters belong to which face. None where there are none, or where `predictions` has other faces.
    """
    tables = (table for subject in after.subjects for table in after.candidates(subject))
    n, fingerprint = _faces(record)
    full = next((t for t in tables if len(t) == n and t.fingerprint == fingerprint), None)
    if full is None:
        return None
    positions: dict[tuple[str, int], list[int]] = {}
    for position, face in enumerate(zip(full.faces, full.truth.tolist(), strict=True)):
        positions.setdefault(face, []).append(position)
    faces = zip(predictions.faces, predictions.truth.tolist(), strict=True)
    try:
        rows = [positions[face].pop(0) for face in faces]
    except (KeyError, IndexError):
        return None
    part = replace(
        record,
        n=len(rows),
        dataset_fingerprint=predictions.fingerprint,
        answers="".join(record.answers[i] for i in rows),
        p_true="".join(record.p_true[i] for i in rows),
        floor=None,
    )
    emotions = part.decode_predictions()
    scores = metrics.measure(predictions.truth, emotions, None, resamples=1).overall
    values = {name: scores[name].value for name in ("accuracy", "macro_f1")}
    if record.has_probabilities:
        values["nll"] = -float(np.log(part.decode_p_true()).mean())
    return replace(part, unanswered=int((emotions < 0).sum()), metrics=values)


def _pair(
    first: Subject, second: Subject, baseline: Baseline, predictions: PredictionTable
) -> MatchedSubject:
    if isinstance(baseline, BaselineRecord):
        p_true = baseline.decode_p_true() if baseline.has_probabilities else None
        return MatchedSubject(first, second, baseline, p_true, predictions)
    measured = metrics.measure_predictions(baseline, resamples=1)  # a record has no intervals
    # A floor is a decision about a record; there is none about predictions in a store.
    record = replace(baselines.record_of(first, baseline.fingerprint, baseline, measured, {}), floor=None)
    p_true = baseline.p_true if baseline.has_probabilities else None
    return MatchedSubject(first, second, record, p_true, predictions)


def _faces(side: Baseline) -> tuple[int, str]:
    """Number of faces, and their fingerprint."""
    if isinstance(side, BaselineRecord):
        return side.n, side.dataset_fingerprint
    return len(side), side.fingerprint


def _describe(subject: Subject, side: Baseline) -> str:
    n, fingerprint = _faces(side)
    return f"{n} of {subject.dataset}/{subject.split} (fingerprint {fingerprint[:12]}…)"
