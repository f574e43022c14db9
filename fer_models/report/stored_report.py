"""The report of a store: scores and verdicts of stored predictions, without models, faces or a GPU.

A store holds predictions. Robustness, effects of restorations, costs, leaked faces, slices and votes of
annotators are not in it, so the report has none, and says so.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from fer_models.artifacts.object_storage import StorePath
from fer_models.classifiers import prompts
from fer_models.classifiers.vlm.questions import QUESTIONS
from fer_models.emotions import LABELS
from fer_models.errors import FacesDifferError, UsageError
from fer_models.gate import baselines, compare, flips, gate, run_sources
from fer_models.gate.judge import Judge
from fer_models.report import published_claims, verdicts
from fer_models.report.eval_report import SCHEMA, STORED, EvalReport
from fer_models.report.report_entries import face_set_name
from fer_models.report.selection import is_searchable, keyword_expression
from fer_models.result_entries import scores_json, verdict_json
from fer_models.scoring import metrics
from fer_models.store.partition import StoredPredictions
from fer_models.store.predictions import PredictionTable
from fer_models.store.subject import Subject
from fer_models.studies import grim

_ABSENT = (
    "From stored predictions: robustness, effects of restorations, costs, leaked faces, slices (and verdicts "
    "on them) and votes of annotators are not in a store. `pytest evals` reports them."
)


def stored_report(
    folder: StorePath,
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
    """
    if not folder.is_dir():
        raise UsageError(f"{folder} is no folder. Give the store of a run: the default is .evals/store.")
    everything, damaged = run_sources.read_store(folder)
    stored = [one for one in everything if is_wanted(one.subject)]
    if not stored:
        content = f"{len(everything)} other subjects" if everything else "no complete predictions"
        raise UsageError(
            f"{folder} has {content}, and nothing to report. "
            "Check --model, --dataset and --split, or run `pytest evals --store FOLDER` first."
        )
    run = _StoredRun(str(folder), everything, records, {one.subject for one in stored})
    results = [run.result(one, strict) for one in stored if run.is_judged(one)]
    command = shlex.join(["fer-models", "report", "--store", str(folder)])
    empty: dict[str, tuple[()]] = dict.fromkeys(
        ("costs", "prompts", "metamorphic", "corruptions", "parity", "restorations", "trends", "skipped"), ()
    )
    report = EvalReport.from_json({
        "schema": SCHEMA,
        "depth": {"name": STORED, "left_out": []},
        "environment": {**_common_environment(stored), "command": command},
        "results": results,
        **empty,
        "data": _face_sets(stored, run.sizes),
        "not_judged": run.records_without_predictions(is_wanted),
        "errors": [{"subject": name, "message": f"{name}: {text}"} for name, text in sorted(damaged.items())],
        "published": [],
    })  # fmt: skip
    claims = published_claims.with_results(records.published, report.results, records.measured)
    return replace(report, published=tuple(grim.annotate(claim) for claim in claims))


class _StoredRun:
    """The newest predictions of each wanted subject, or the newest on the faces of its record, and verdicts.

    Attributes:
        sizes: the number of faces of each split, by dataset and split: exact where any predictions or record
            have all of them, else the least that the rows in the store imply.
    """

    def __init__(
        self,
        name: str,
        everything: Sequence[StoredPredictions],
        records: baselines.Baselines,
        wanted: Collection[Subject],
    ) -> None:
        """Match predictions with records; the faces of a part are found by any predictions of the whole."""
        self._records = records
        source = run_sources.source_of(name, everything)
        recorded = tuple(record for record in records.measured if record.subject in wanted)
        matched = compare.match_records(baselines.Baselines(recorded), source)
        self._matches = {match.subject: match for match in matched.pairs}
        self._incomparable = matched.incomparable
        self._tables = {
            subject: self._matches[subject].predictions if subject in self._matches else table
            for subject, table in source.subjects.items()
            if subject in wanted
        }
        self.sizes = _split_sizes(everything, records)
        self._judge: Judge[Subject, gate.GateComparison, gate.Verdict] = Judge(
            list, lambda subject: [self._compare(subject)], gate.judge
        )
        self._judge.select(self._tables)

    def is_judged(self, one: StoredPredictions) -> bool:
        """Whether these are the predictions of their subject that count."""
        return one.predictions is self._tables[one.subject]

    def records_without_predictions(self, is_wanted: Callable[[Subject], bool]) -> list[str]:
        """The ids of wanted records on the same faces of which the store has no predictions."""
        face_sets = {face_set_name(subject) for subject in self._tables}
        subjects = (record.subject for record in self._records.measured)
        absent = (one for one in subjects if is_wanted(one) and one not in self._tables)
        return [subject.id for subject in absent if face_set_name(subject) in face_sets]

    def _compare(self, subject: Subject) -> gate.GateComparison:
        if subject in self._incomparable:
            raise FacesDifferError(self._incomparable[subject])
        if subject in self._matches:
            return compare.compare_match(self._matches[subject], len(self._tables))
        return gate.GateComparison(subject, metrics.measure_predictions(self._tables[subject]))

    def result(self, one: StoredPredictions, strict: bool) -> dict[str, Any]:
        """The entry of evals.json on one subject."""
        table, subject, outcome = one.predictions, one.subject, self._judge.outcomes()[one.subject]
        match = self._matches.get(subject)
        verdict = outcome if isinstance(outcome, Exception) else outcome[0]
        if isinstance(verdict, Exception):
            measured, message = metrics.measure_predictions(table), ""
        else:
            measured, message = verdict.comparison.metrics, verdicts.message(verdict, strict, verdicts.RECORD)
        changed: list[flips.PredictionFlip] = []
        if match is not None:
            changed = flips.largest_flips(table, match.record.decode_predictions(), match.p_baseline)
        question, of = QUESTIONS.get(subject.prompt or ""), self.sizes[subject.dataset, subject.split]
        scores = scores_json(subject, table, measured, of=of, question=question)
        notes = []
        if any(table.text) and question is None:  # what its letters mean is not known
            scores["responses"] = None
            notes.append("its replies are not shown: a store has no text of the question")
        return {
            **scores,
            **verdict_json(verdict, self._records.find(subject), message, strict),
            "flips": [flips.flip_json(flip, table) for flip in changed],
            "command": _command(subject),
            "inference_seconds": None if one.seconds is None else round(one.seconds, 3),
            "from_store": True,
            "notes": notes,
            "key": one.key,
        }


def _command(subject: Subject) -> str:
    words = ["--dataset", subject.dataset, "--split", subject.split]
    if subject.corruption is not None:
        words += ["--corruption", subject.corruption]
    if subject.prompt in QUESTIONS:
        words += ["--question", subject.prompt]
    elif subject.prompt in prompts.names():  # the file of any other set is not in the store
        words += ["--prompts", subject.prompt]
    combination = f"{subject.model}-{subject.restoration}"
    # A name with a source or a file, such as `timm:NAME` or `vgg19@FILE`, is no model of every run.
    if ":" in subject.model or "@" in subject.model or not is_searchable(combination):
        words += ["--model", subject.model]
    return shlex.join(["fer-models", "eval", *words, "-k", keyword_expression(combination)])


def _common_environment(stored: Sequence[StoredPredictions]) -> dict[str, Any]:
    """The versions and the machine on which all predictions agree."""
    first, *others = [one.provenance.get("environment", {}) for one in stored]
    return {key: value for key, value in first.items() if all(one.get(key) == value for one in others)}


def _split_sizes(
    stored: Sequence[StoredPredictions], records: baselines.Baselines
) -> dict[tuple[str, str], int]:
    """The number of faces of each split: the most that predictions, their rows or a record have."""
    sizes: dict[tuple[str, str], int] = {}
    tables = [
        (one.subject, max(len(one.predictions), int(one.predictions.index.max()) + 1)) for one in stored
    ]
    for subject, n in (*tables, *((record.subject, record.n) for record in records.measured)):
        sizes[subject.dataset, subject.split] = max(n, sizes.get((subject.dataset, subject.split), 0))
    return sizes


def _face_sets(stored: Iterable[StoredPredictions], sizes: Mapping[tuple[str, str], int]) -> dict[str, Any]:
    """The description of the faces of each split, from the largest table."""
    largest: dict[tuple[str, str], PredictionTable] = {}
    for one in stored:
        split = (one.subject.dataset, one.subject.split)
        if split not in largest or len(one.predictions) > len(largest[split]):
            largest[split] = one.predictions
    return {"/".join(split): _face_set(table, sizes[split]) for split, table in largest.items()}


def _face_set(table: PredictionTable, of: int) -> dict[str, Any]:
    counts = np.bincount(table.truth, minlength=len(LABELS)).tolist()
    notes = [_ABSENT]
    if len(table) < of:
        notes.append(f"{len(table)} faces of the split are stored; it has {of} or more")
    return {
        "n": len(table),
        "of": of,
        "fingerprint": table.fingerprint,
        "counts": {label: n for label, n in zip(LABELS, counts, strict=True) if n},
        "notes": notes,
        "references": [],
        "audit": None,
    }
