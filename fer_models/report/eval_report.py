"""The report of one run: the typed content of evals.json, schema 2.

`EvalReport.from_json` and `EvalReport.to_json` are the only conversions from and to JSON. They are strict: a
wrong type, a missing field or a NaN is a `UsageError` that names the field. Unknown fields are refused too,
so that nothing in a file of another version is lost in silence. Open by design are `environment`, `published`
(free records of baselines.json) and `costs` (suites append figures of their own).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fer_models.errors import UsageError
from fer_models.report.json_fields import decode, encode, optional, require_object
from fer_models.report.report_entries import (
    TRAINING,
    Cost,
    DepthSummary,
    FaceSetDescription,
    Reference,
    ReportedError,
    Result,
    Skip,
)
from fer_models.report.robustness_entries import (
    CorruptionResult,
    CostRatioEntry,
    Figure,
    MetamorphicResult,
    ParityEntry,
    PromptResult,
    QuestionResult,
    RestorationResult,
    RobustnessEntry,
)
from fer_models.report.trend_entries import Trend

SCHEMA = 2
#: The depth of the report of a store.
STORED = "stored"
_NAMES_IN_NOTES = 4
#: The order of costs in tables: that of the steps of an evaluation.
PHASES = (
    "decoding",
    "restoration",
    "preprocessing",
    "inference",
    "single face",
    "another prompt",
    "evaluation",
    "judging",
    "page",
    "training step",
)


@dataclass(frozen=True)
class EvalReport:
    """Everything that one run of the evals leaves.

    Attributes:
        depth: how much was evaluated, and what was left out.
        environment: versions, machine, command.
        results: one per subject.
        costs: measured times and sizes.
        prompts: robustness against other prompts or questions.
        metamorphic: robustness against small perturbations.
        corruptions: robustness against corruptions.
        parity: exports next to the models that they were exported from.
        cost_ratios: times of models relative to the reference workload, next to their baselines.
        restorations: effects of restorations.
        data: the faces, by `dataset/split`.
        skipped: models that are not on this machine.
        not_judged: ids of recorded subjects that the selection of tests leaves out, or that a store does not
            have.
        errors: what could not be judged.
        published: claims of publications, as baselines.json has them.
        trends: the last runs of each subject, with this one; empty without a history.
    """

    depth: DepthSummary
    environment: Mapping[str, Any]
    results: tuple[Result, ...]
    costs: tuple[Cost, ...]
    prompts: tuple[PromptResult | QuestionResult, ...]
    metamorphic: tuple[MetamorphicResult, ...]
    corruptions: tuple[CorruptionResult, ...]
    parity: tuple[ParityEntry, ...]
    restorations: tuple[RestorationResult, ...]
    data: Mapping[str, FaceSetDescription]
    skipped: tuple[Skip, ...]
    not_judged: tuple[str, ...]
    errors: tuple[ReportedError, ...]
    published: tuple[Mapping[str, Any], ...]
    trends: tuple[Trend, ...] = optional(())
    cost_ratios: tuple[CostRatioEntry, ...] = optional(())

    @property
    def not_judged_reason(self) -> str:
        """Why recorded subjects are not judged."""
        is_stored = self.depth.name == STORED
        return "without predictions in the store" if is_stored else "left out by the selection of tests"

    @classmethod
    def from_json(cls, value: Any) -> EvalReport:
        """Decode the content of evals.json.

        Raises:
            UsageError: it is not a report of this schema; the message names the field.
        """
        if not isinstance(value, Mapping) or not isinstance(value.get("results"), list | tuple):
            raise UsageError("It is not a report: it has no list of results.")
        fields = dict(require_object(value, "report"))
        schema = fields.pop("schema", None)
        if schema != SCHEMA:
            raise UsageError(f"It has schema {schema!r}, but this version reads schema {SCHEMA}.")
        report: EvalReport = decode(cls, fields, "")
        return report

    def to_json(self) -> dict[str, Any]:
        """Encode as the content of evals.json.

        Raises:
            UsageError: a value cannot be in JSON, such as NaN; the message names the field.
        """
        return {"schema": SCHEMA, **encode(self, "")}

    @property
    def ranked(self) -> dict[str, list[Result]]:
        """The results by their faces: full splits, then the larger parts; the best accuracy first in each."""
        groups: dict[str, list[Result]] = {}
        for result in self.results:
            groups.setdefault(result.face_set, []).append(result)
        names = sorted(groups, key=lambda name: (groups[name][0].is_part, -groups[name][0].n))
        return {name: sorted(groups[name], key=_by_accuracy) for name in names}

    @property
    def ranked_results(self) -> list[Result]:
        """All results in the order of `ranked`."""
        return [result for group in self.ranked.values() for result in group]

    @property
    def main_results(self) -> list[Result]:
        """The results on the faces that most of the run is about, the most accurate first.

        These are uncorrupted, unless the run has only corrupted ones.
        """
        groups = list(self.ranked.values())
        uncorrupted = [group for group in groups if group[0].subject.corruption is None]
        return next(iter(uncorrupted or groups), [])

    def face_set_of(self, results: Sequence[Result]) -> FaceSetDescription | None:
        """The description of the faces of results; None where it is about more or fewer of the split."""
        subject, n = results[0].subject, max(result.n for result in results)
        faces = self.data.get(f"{subject.dataset}/{subject.split}")
        return faces if faces is not None and faces.n == n else None

    def references(self, results: Sequence[Result]) -> tuple[Reference, ...]:
        """The scores without a model on the faces of results."""
        faces = self.face_set_of(results)
        return () if faces is None else faces.references

    @property
    def failures(self) -> list[Result | RobustnessEntry]:
        """The results and robustness checks that fail the run."""
        failed: list[Result | RobustnessEntry] = [result for result in self.ranked_results if result.fails]
        return [*failed, *(check for check in self.checks if check.fails)]

    @property
    def checks(self) -> tuple[RobustnessEntry, ...]:
        """All robustness checks, and the cost ratios."""
        return (*self.prompts, *self.metamorphic, *self.corruptions, *self.parity, *self.cost_ratios)

    @property
    def robustness(self) -> Iterator[tuple[RobustnessEntry, Figure]]:
        """Every judged robustness figure with its entry."""
        for entry in self.checks:
            yield from ((entry, figure) for figure in entry.figures)

    @property
    def prompt_results(self) -> list[PromptResult]:
        """Prompt robustness of zero-shot models."""
        return [entry for entry in self.prompts if isinstance(entry, PromptResult)]

    @property
    def question_results(self) -> list[QuestionResult]:
        """Question robustness of vision-language models."""
        return [entry for entry in self.prompts if isinstance(entry, QuestionResult)]

    @property
    def timed_costs(self) -> list[Cost]:
        """The costs measured in this or an earlier run, in the order of `PHASES`."""
        return sorted((cost for cost in self.costs if cost.phase != TRAINING), key=_by_phase)

    @property
    def training_costs(self) -> list[Cost]:
        """What training took, as the weights record it."""
        return [cost for cost in self.costs if cost.phase == TRAINING]

    @property
    def notes(self) -> list[str]:
        """Each note of a result once, with the names of its subjects."""
        subjects: dict[str, list[str]] = {}
        for result in self.ranked_results:
            for note in result.notes:
                subjects.setdefault(note, []).append(result.name)
        return [f"{note} ({_listed(list(dict.fromkeys(names)))})" for note, names in subjects.items()]

    @property
    def face_notes(self) -> list[tuple[str, str]]:
        """The split and the text of each note on the faces that no result has."""
        noted = {note for result in self.results for note in result.notes}
        return [
            (name, note) for name, faces in self.data.items() for note in faces.notes if note not in noted
        ]


def _listed(names: Sequence[str]) -> str:
    """The first names, and how many more there are."""
    more = len(names) - _NAMES_IN_NOTES
    return ", ".join((*names[:_NAMES_IN_NOTES], *([f"{more} more"] if more > 0 else [])))


def _by_accuracy(result: Result) -> float:
    accuracy = result.value("accuracy")
    return float("inf") if accuracy is None else -accuracy


def _by_phase(cost: Cost) -> int:
    return PHASES.index(cost.phase) if cost.phase in PHASES else len(PHASES)
