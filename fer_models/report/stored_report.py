"""The report of a store: scores and verdicts of stored predictions, without models, faces or a GPU.

A store holds predictions. Robustness, effects of restorations, costs, leaked faces and votes of annotators
are not in it, so the report has none, and says so.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fer_models.classifiers.vlm.questions import QUESTIONS
from fer_models.emotions import LABELS
from fer_models.errors import FacesDifferError, UsageError
from fer_models.gate import baselines, compare, flips, gate, run_sources
from fer_models.report import published_claims, verdicts
from fer_models.report.eval_report import SCHEMA, EvalReport
from fer_models.report.json_fields import decode
from fer_models.report.report_entries import Result
from fer_models.result_entries import scores_json, verdict_json
from fer_models.scoring import metrics
from fer_models.store.partition import StoredPredictions
from fer_models.store.predictions import PredictionTable
from fer_models.store.subject import Subject
from fer_models.studies import grim

_ABSENT = (
    "From stored predictions: robustness, effects of restorations, costs, leaked faces and votes of "
    "annotators are not in a store. `pytest evals` reports them."
)


def stored_report(
    folder: Path,
    records: baselines.Baselines,
    is_wanted: Callable[[Subject], bool] = lambda subject: True,
    strict: bool = False,
) -> EvalReport:
    """Score the newest predictions of each subject in a store, and judge them as one family.

    Args:
        folder: a store that `pytest evals` wrote.
        records: the baselines to compare with.
        is_wanted: selects subjects.
        strict: INCONCLUSIVE, NEW and DEGRADED fail too.

    Raises:
        UsageError: no complete predictions of a wanted subject are in the folder.
        BaselinesError: a record contradicts itself.
    """
    if not folder.is_dir():
        raise UsageError(f"{folder} is no folder. Give the store of a run: the default is .evals/store.")
    everything, damaged = run_sources.read_store(folder)
    stored = [one for one in everything if is_wanted(one.subject)]
    if not stored:
        found = f"{len(everything)} other subjects" if everything else "no complete predictions"
        raise UsageError(
            f"{folder} has {found}, and nothing to report. "
            "Check --model, --dataset and --split, or run `pytest evals --store FOLDER` first."
        )
    results = _results(folder, stored, records, strict)
    command = shlex.join(["fer-models", "report", "--store", str(folder)])
    typed: tuple[Result, ...] = decode(tuple[Result, ...], results, "results")
    claims = published_claims.with_results(records.published, typed, records.measured)
    empty: dict[str, tuple[()]] = dict.fromkeys(
        ("costs", "prompts", "metamorphic", "corruptions", "parity", "restorations", "trends", "skipped"), ()
    )
    return EvalReport.from_json({
        "schema": SCHEMA,
        "depth": {"name": "stored", "left_out": []},
        "environment": {**stored[0].provenance.get("environment", {}), "command": command},
        "results": results,
        **empty,
        "data": _face_sets(stored),
        "not_judged": [],
        "errors": [{"subject": name, "message": f"{name}: {text}"} for name, text in sorted(damaged.items())],
        "published": [grim.annotate(claim) for claim in claims],
    })  # fmt: skip


def _results(
    folder: Path, stored: Sequence[StoredPredictions], records: baselines.Baselines, strict: bool
) -> list[dict[str, Any]]:
    """The entries of evals.json on the newest predictions of each subject."""
    source = run_sources.source_of(str(folder), stored)
    matched = compare.match_records(records, source)
    matches = {match.subject: match for match in matched.pairs}
    tables = {**source.subjects, **{subject: match.predictions for subject, match in matches.items()}}
    family = [subject for subject in tables if subject not in matched.incomparable]
    comparisons = [
        compare.compare_match(matches[subject], len(family))
        if subject in matches
        else _without_record(subject, tables[subject])
        for subject in family
    ]
    outcomes: dict[Subject, gate.Verdict | Exception] = dict(
        zip(family, gate.judge(comparisons), strict=True)
    )
    outcomes |= {subject: FacesDifferError(text) for subject, text in matched.incomparable.items()}
    sizes = _split_sizes(tables, records)
    return [
        _result(one, outcomes[one.subject], matches.get(one.subject), sizes, strict)
        for one in stored
        if one.predictions is tables[one.subject]
    ]


def _without_record(subject: Subject, table: PredictionTable) -> gate.GateComparison:
    measured = metrics.measure_predictions(table)
    return gate.compare(
        subject, table, measured, None, fingerprint=table.fingerprint, labels=table.truth, resamples=1
    )


def _result(
    one: StoredPredictions,
    outcome: gate.Verdict | Exception,
    match: compare.MatchedSubject | None,
    sizes: Mapping[tuple[str, str], int],
    strict: bool,
) -> dict[str, Any]:
    """The entry of evals.json on one subject."""
    table, subject = one.predictions, one.subject
    if isinstance(outcome, gate.Verdict):
        measured, message = outcome.comparison.metrics, verdicts.message(outcome, strict)
    else:
        measured, message = metrics.measure_predictions(table), ""
    changed: list[flips.PredictionFlip] = []
    if match is not None:
        changed = flips.largest_flips(table, match.record.decode_predictions(), match.p_baseline)
    keyword = f"accuracy and {subject.model}-{subject.restoration}"
    place = ("--dataset", subject.dataset, "--split", subject.split)
    return {
        **scores_json(
            subject,
            table,
            measured,
            of=sizes[subject.dataset, subject.split],
            question=QUESTIONS.get(subject.prompt or ""),
        ),
        **verdict_json(outcome, None if match is None else match.record, message, strict),
        "flips": [flips.flip_json(flip, table) for flip in changed],
        "command": shlex.join(["fer-models", "eval", *place, "-k", keyword]),
        "inference_seconds": None if one.seconds is None else round(one.seconds, 3),
        "from_store": True,
        "notes": [],
        "key": one.key,
    }


def _split_sizes(
    tables: Mapping[Subject, PredictionTable], records: baselines.Baselines
) -> dict[tuple[str, str], int]:
    """The number of faces of each split: the most that any predictions or record have."""
    sizes: dict[tuple[str, str], int] = {}
    counted = [(subject.dataset, subject.split, len(table)) for subject, table in tables.items()]
    for dataset, split, n in (*counted, *((r.dataset, r.split, r.n) for r in records.measured)):
        sizes[dataset, split] = max(n, sizes.get((dataset, split), 0))
    return sizes


def _face_sets(stored: Iterable[StoredPredictions]) -> dict[str, Any]:
    """The description of the faces of each split, from the largest table."""
    largest: dict[str, PredictionTable] = {}
    for one in stored:
        name = f"{one.subject.dataset}/{one.subject.split}"
        if name not in largest or len(one.predictions) > len(largest[name]):
            largest[name] = one.predictions
    return {name: _face_set(table) for name, table in largest.items()}


def _face_set(table: PredictionTable) -> dict[str, Any]:
    counts = np.bincount(table.truth, minlength=len(LABELS)).tolist()
    return {
        "n": len(table),
        "of": len(table),
        "fingerprint": table.fingerprint,
        "counts": {label: n for label, n in zip(LABELS, counts, strict=True) if n},
        "notes": [_ABSENT],
        "references": [],
        "audit": None,
    }
