"""The state of one run of the evals: its results, and the report made of them."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fer_models.classifiers import prompts
from fer_models.classifiers.vlm import questions
from fer_models.errors import BaselinesError, DatasetError, FerModelsError, UsageError, printable
from fer_models.evaluation import Evaluation
from fer_models.gate import baselines
from fer_models.inference.environment import environment
from fer_models.inference.runner import Combination
from fer_models.plugin import options, reproduction
from fer_models.plugin.progress import progress
from fer_models.plugin.run_history import RunHistory, run_record
from fer_models.plugin.session import chosen
from fer_models.report import (
    cost_ratio,
    html_report,
    json_fields,
    parity,
    published_claims,
    report_file,
    robustness,
    verdicts,
)
from fer_models.report.eval_report import SCHEMA, EvalReport
from fer_models.report.report_entries import Cost, Result
from fer_models.report.robustness_entries import (
    CorruptionResult,
    CostRatioEntry,
    MetamorphicResult,
    ParityEntry,
    PromptResult,
    QuestionResult,
    RestorationResult,
    RobustnessEntry,
)
from fer_models.result_entries import verdict_json
from fer_models.robustness.base import ROBUSTNESS_CHECKS
from fer_models.studies import grim
from fer_models.zoo import resolve

#: The section of evals.json with the effects of restorations, and what each section with named entries holds.
_EFFECTS = "restorations"
_SECTIONS: dict[str, Any] = {
    "prompts": PromptResult | QuestionResult,
    "metamorphic": MetamorphicResult,
    "corruptions": CorruptionResult,
    "parity": ParityEntry,
    "cost_ratios": CostRatioEntry,
    _EFFECTS: RestorationResult,
}


class State:
    """The state of one run, in the stash of the config."""

    def __init__(self, config: pytest.Config) -> None:
        option = config.getoption
        self.config = config
        self.report_dir: Path = options.report_dir(config)
        self.update: bool = option("--update-baselines")
        self.strict: bool = option("--strict-gate")
        models, self.restorers, self.notes, self.models = chosen(config)
        known = models.copy()
        known.override(*self.models)  # as named, before `--prompts`: exports are compared with these
        if option("--prompts") is not None:
            self.models = resolve.with_prompts(self.models, prompts.load(option("--prompts")))
        if option("--question") is not None:
            self.models = resolve.with_question(self.models, questions.load(option("--question")))
        self.evaluation = Evaluation(
            options.read(config), self.models, self.restorers, progress(config), known
        )
        self.results: dict[str, Result] = {}
        self.records: dict[str, baselines.BaselineRecord] = {}
        self.costs: list[dict[str, Any]] = []
        self.sections: dict[str, dict[str, RobustnessEntry | RestorationResult]] = {
            name: {} for name in _SECTIONS
        }
        self.skipped: dict[str, str] = {}
        self.errors: dict[str, str] = {}
        self.left_out: list[str] = []
        config_of_run = self.evaluation.runner.options
        self.history = RunHistory(config_of_run.store, config_of_run.local_folder)
        self.is_written, self.n_recorded = False, 0

    # -- the report -------------------------------------------------------------------------------

    def collect(self) -> None:
        """Collect the results of this process; a part that fails is an error of the run."""
        parts = {
            "the verdicts": self.evaluation.finish,
            "the results": self._collect_results,
            "the robustness checks": self._collect_robustness,
            "the cost ratios": self._collect_cost_ratios,
            "the effects of restorations": self._collect_effects,
            "the coverage of the baselines": self._collect_coverage,
        }
        for name, collect in parts.items():
            try:
                collect()
            except (FerModelsError, OSError) as error:
                self.errors[name] = str(error)

    def _collect_coverage(self) -> None:
        evaluation, runner = self.evaluation, self.evaluation.runner
        self.errors |= {runner.subject(c).id: str(error) for c, error in runner.failed().items()}
        left_out = evaluation.coverage.left_out(evaluation.judge.family)
        self.left_out = left_out or self.left_out  # with -n only the workers select tests
        unjudged = evaluation.coverage.unjudged()
        self.errors |= {f"baseline of {name}": reason for name, reason in unjudged.items()}

    def _collect_results(self) -> None:
        for combination in self.evaluation.runner.completed():
            self._collect_result(combination)

    def _collect_result(self, combination: Combination) -> None:
        evaluation, message = self.evaluation, ""
        if evaluation.is_judged(combination):
            with suppress(FerModelsError):  # the result has the error as its message
                message = verdicts.message(evaluation.verdict(combination), self.strict)
        result = evaluation.result(combination, message, self.strict)
        self.add_result({**result, "command": reproduction.command(self.config, combination)})
        if self.update and evaluation.runner.dataset_of(combination).subset_indices is None:
            self.records[evaluation.runner.subject(combination).id] = evaluation.record(combination)

    def _collect_robustness(self) -> None:
        checks, runner = self.evaluation.robustness, self.evaluation.runner
        for (kind, combination), measured, figures in checks.results():
            subject = runner.subject(combination)
            entry: dict[str, Any] = {
                "subject": subject.as_json(),
                "id": subject.id,
                **measured.as_json(),
                "figures": [figure.as_json() for figure in figures],
                "fails": any(figure.fails(self.strict) for figure in figures),
                "message": robustness.message(subject.id, figures),
            }
            judged = self._with_parity_verdict(combination, entry) if kind == "parity" else entry
            if judged is not None:
                self._add_entry(ROBUSTNESS_CHECKS[kind].section, subject.id, judged)
        for (kind, combination), reason in checks.errors().items():
            name = f"{ROBUSTNESS_CHECKS[kind].section} of {runner.subject(combination).id}"
            self.errors[name] = str(reason) or type(reason).__name__

    def _collect_cost_ratios(self) -> None:
        for combination, verdict in self.evaluation.cost_ratios.verdicts.items():
            subject = self.evaluation.runner.subject(combination)
            text = cost_ratio.message(subject.id, verdict)
            entry = cost_ratio.entry(verdict, self.strict, text)
            self._add_entry(
                "cost_ratios", subject.id, {"subject": subject.as_json(), "id": subject.id, **entry}
            )

    def _with_parity_verdict(self, combination: Combination, entry: dict[str, Any]) -> dict[str, Any] | None:
        """The entry of an export with its verdict and times; None where it cannot be judged."""
        exports = self.evaluation.parity
        if combination not in exports.judge.family:
            return entry
        try:
            verdict = exports.verdict(combination)
        except Exception as error:
            self.errors[f"parity of {entry['id']}"] = str(error) or type(error).__name__
            return None
        texts = (parity.message(verdict), entry["message"])
        return {
            **entry,
            **parity.verdict_json(verdict, exports.seconds(combination)),
            "message": "\n".join(text for text in texts if text),
            "fails": entry["fails"] or verdict.fails(self.strict),
        }

    def _collect_effects(self) -> None:
        runner, effects = self.evaluation.runner, self.evaluation.effects
        if not effects.is_used:
            return
        faces, corruption = runner.data.faces, runner.options.corruption_id
        face_set = {"dataset": faces.dataset, "split": faces.split, "corruption": corruption}
        for effect in effects.all():
            key = f"{effect.restoration} against {effect.against}: {effect.model}"
            entry = {
                "subject": face_set,
                **effect.as_json(),
                "macro_f1": effect.macro_f1 or None,  # not defined for the mean of all models
                "faces": effects.flipped_faces(effect),
            }
            self._add_entry(_EFFECTS, key, entry)

    def add_result(self, value: dict[str, Any]) -> None:
        """Add a result; one predicted in this run replaces one of the same subject read from the store."""
        result: Result | None = self._decoded(Result, value, f"results[{value['id']}]")
        if result is not None and (result.id not in self.results or not result.from_store):
            self.results[result.id] = result

    def _add_entry(self, section: str, key: str, value: dict[str, Any]) -> None:
        """Add an entry of a section. One that was measured but not judged replaces none."""
        entry = self._decoded(_SECTIONS[section], value, f"{section}[{key}]")
        if entry is not None and (key not in self.sections[section] or getattr(entry, "figures", None)):
            self.sections[section][key] = entry

    def _decoded(self, kind: Any, value: Any, path: str, advice: str = "") -> Any:
        """A typed entry of evals.json; None for an invalid one, which becomes an error of the run."""
        try:
            return json_fields.decode(kind, value, path)
        except UsageError as error:
            self.errors[path] = f"{error}{advice}"
            return None

    def failures(self) -> dict[str, str]:
        """The messages of verdicts that fail the run, by name: of subjects and of robustness checks."""
        failed = {name: result.message for name, result in self.results.items() if result.fails}
        for section, entries in self.sections.items():
            checks = {key: entry for key, entry in entries.items() if isinstance(entry, RobustnessEntry)}
            failed |= {f"{section} of {key}": check.message for key, check in checks.items() if check.fails}
        return failed

    def refuse(self, error: DatasetError) -> None:
        """Write a report with `error` alone, for faces that cannot be read, in place of an earlier report."""
        self.errors[printable(self.evaluation.runner.options.dataset)] = str(error)
        report = self._report_without_results()
        report_file.write_report(report, self.report_dir / "evals.json")
        html_report.write_html(report, self.report_dir / "evals.html")

    def report(self) -> EvalReport:
        """The report of the run. Invalid costs, and invalid faces, become errors of the run."""
        costs = self._valid_costs()
        recorded = self.evaluation.baselines
        claims = published_claims.with_results(
            recorded.published, list(self.results.values()), recorded.measured
        )
        try:
            report = self._report_without_results(
                data=self.evaluation.runner.data.as_json(),
                not_judged=self.left_out,
                published=[grim.annotate(claim) for claim in claims],
            )
        except UsageError as error:
            self.errors["the report"] = str(error)
            return self._report_without_results()
        sections: dict[str, Any] = {
            name: tuple(entries[k] for k in sorted(entries)) for name, entries in self.sections.items()
        }
        results = tuple(self.results[k] for k in sorted(self.results))
        return replace(report, results=results, costs=costs, trends=self.history.trends, **sections)

    def report_of(self, combination: Combination) -> EvalReport:
        """A report with the scores of one combination, without a verdict. Raises as `Runner.predict`."""
        unjudged = {**self.evaluation.scores.as_json(combination), **verdict_json(None, None, "", False)}
        result = {**unjudged, "flips": [], "command": reproduction.command(self.config, combination)}
        return self._report_without_results(results=[result], data=self.evaluation.runner.data.as_json())

    def write(self) -> None:
        """Write the baselines with --update-baselines, and evals.json with the earlier runs of its subjects.

        Baselines that cannot be written are an error in evals.json.

        Raises:
            UsageError, OSError: evals.json cannot be written.
        """
        if self.records:
            path, recorded = self.evaluation.runner.options.baselines, self.evaluation.baselines
            try:
                baselines.update(path, self.records.values(), recorded)
                self.n_recorded = len(self.records)
            except BaselinesError as error:
                self.errors["the baselines"] = str(error)
        self._read_history()
        report_file.write_report(self.report(), self.report_dir / "evals.json")
        self.is_written = True

    def _read_history(self) -> None:
        if not self.results:
            return
        runner, results = self.evaluation.runner, [self.results[k] for k in sorted(self.results)]
        options = runner.options
        settings = {"depth": options.depth.name, "cached_only": options.cached_only}
        run = run_record(results, command=self._command(), **settings)
        self.history.read(run, results, runner.data.full_split.fingerprint)

    def _command(self) -> str:
        """The command line, printable."""
        return printable(" ".join(["pytest", *map(str, self.config.invocation_params.args)]))

    def _valid_costs(self) -> tuple[Cost, ...]:
        """The costs without invalid entries, which a suite may have appended: those are errors."""
        advice = " Correct the test that appends it to `costs`."
        costs = [self._decoded(Cost, cost, f"costs[{i}]", advice) for i, cost in enumerate(self.costs)]
        return tuple(cost for cost in costs if cost is not None)

    def _report_without_results(self, **content: Any) -> EvalReport:
        """A report with the errors of the run and `content`. Raises UsageError where that is invalid."""
        options = self.evaluation.runner.options
        empty = dict.fromkeys(("results", "costs", *_SECTIONS, "not_judged", "published"), ())
        return EvalReport.from_json({
            "schema": SCHEMA,
            "depth": {"name": options.depth.name, "left_out": options.depth.left_out(options.whole_variants)},
            "environment": {**environment(), "command": self._command()},
            "skipped": [{"model": name, "reason": reason} for name, reason in sorted(self.skipped.items())],
            "errors": [{"subject": name, "message": text} for name, text in sorted(self.errors.items())],
            **empty,
            "data": {},
            **content,
        })  # fmt: skip

    # -- between processes ------------------------------------------------------------------------

    def errors_to_worker_output(self) -> str:
        """Encode only the errors of a worker, whose results cannot be encoded."""
        empty: dict[str, Any] = {"results": [], "records": [], "costs": [], "sections": {}, "audit": None}
        return json.dumps({**empty, **self._skips_and_errors()})

    def _skips_and_errors(self) -> dict[str, Any]:
        """Skipped models, errors, and recorded subjects that this run left out, as JSON."""
        return {"skipped": self.skipped, "errors": self.errors, "left_out": self.left_out}

    def to_worker_output(self) -> str:
        """Encode what a worker measured, for `merge_worker_output`; an invalid cost becomes an error."""
        costs = json_fields.encode(self._valid_costs(), "costs")
        return json.dumps({
            "results": json_fields.encode(list(self.results.values()), "results"),
            "records": [{"id": k, "record": baselines.as_json(r)} for k, r in self.records.items()],
            **self._skips_and_errors(),
            "costs": costs,
            "sections": json_fields.encode(self.sections, "sections"),
            "audit": self.evaluation.runner.data.audit_result,
        })  # fmt: skip

    def merge_worker_output(self, output: str) -> None:
        """Add what a worker measured."""
        measured = json.loads(output)
        for result in measured["results"]:
            self.add_result(result)
        for entry in measured["records"]:
            self._merge_record(entry["id"], entry["record"])
        self.skipped |= measured["skipped"]
        self.errors |= measured["errors"]
        self.left_out = measured["left_out"] or self.left_out  # the same in every worker that collected it
        self.costs += measured["costs"]
        for name, entries in measured["sections"].items():
            for key, entry in entries.items():
                self._add_entry(name, key, entry)
        self.evaluation.runner.data.audit_result = (
            self.evaluation.runner.data.audit_result or measured["audit"]
        )

    def _merge_record(self, name: str, record: dict[str, Any]) -> None:
        """Add a record of a worker; another worker may have measured other robustness figures of it."""
        text = json.dumps({"schema": baselines.SCHEMA_VERSION, "measured": [record]})
        new = baselines.parse(text, "worker").measured[0]
        if (old := self.records.get(name)) is not None:
            metrics, face_counts = {**old.metrics, **new.metrics}, {**old.face_counts, **new.face_counts}
            ratio = new.cost_ratio or old.cost_ratio
            new = replace(new, metrics=metrics, face_counts=face_counts, cost_ratio=ratio)
        self.records[name] = new
