"""The state of one run of the evals: its results, and the report made of them."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from fer_models.classifiers import prompts
from fer_models.classifiers.vlm import questions
from fer_models.errors import DatasetError, FerModelsError, UsageError, printable
from fer_models.evaluation import Evaluation
from fer_models.gate import baselines
from fer_models.inference.environment import environment
from fer_models.inference.runner import Combination
from fer_models.plugin import options
from fer_models.plugin.progress import progress
from fer_models.plugin.session import chosen
from fer_models.report import html_report, json_fields, parity, report_file, robustness, verdicts
from fer_models.report.eval_report import SCHEMA, EvalReport
from fer_models.report.report_entries import Cost
from fer_models.robustness.base import ROBUSTNESS_CHECKS
from fer_models.studies import grim
from fer_models.zoo import resolve

#: The section of evals.json with the effects of restorations, and all sections with entries by name.
_EFFECTS = "restorations"
_SECTIONS = (*dict.fromkeys(kind.section for kind in ROBUSTNESS_CHECKS.values()), _EFFECTS)


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
        self.results: dict[str, dict[str, Any]] = {}
        self.records: dict[str, baselines.BaselineRecord] = {}
        self.costs: list[dict[str, Any]] = []
        self.sections: dict[str, dict[str, dict[str, Any]]] = {name: {} for name in _SECTIONS}
        self.skipped: dict[str, str] = {}
        self.errors: dict[str, str] = {}
        self.left_out: list[str] = []

    # -- the report -------------------------------------------------------------------------------

    def collect(self) -> None:
        """Collect the results of this process."""
        evaluation, runner = self.evaluation, self.evaluation.runner
        evaluation.finish()
        for combination in runner.completed():
            self._collect_result(combination)
        self._collect_robustness()
        self._collect_parity()
        if evaluation.effects.is_used:
            self._collect_effects()
        self.errors |= {runner.subject(c).id: str(error) for c, error in runner.failed().items()}
        left_out = evaluation.coverage.left_out(evaluation.judge.family)
        self.left_out = left_out or self.left_out  # with -n only the workers select tests
        unjudged = evaluation.coverage.unjudged()
        self.errors |= {f"baseline of {name}": reason for name, reason in unjudged.items()}

    def _collect_result(self, combination: Combination) -> None:
        evaluation, message = self.evaluation, ""
        if evaluation.is_judged(combination):
            with suppress(FerModelsError):  # the result has the error as its message
                message = verdicts.message(evaluation.verdict(combination), self.strict)
        result = evaluation.result(combination, message, self.strict)
        self.merge(result)
        if self.update and evaluation.runner.dataset_of(combination).subset_indices is None:
            self.records[result["id"]] = evaluation.record(combination)

    def _collect_robustness(self) -> None:
        checks, runner = self.evaluation.robustness, self.evaluation.runner
        for (kind, combination), measured, figures in checks.results():
            subject = runner.subject(combination)
            self.sections[ROBUSTNESS_CHECKS[kind].section][subject.id] = {
                "subject": subject.as_json(),
                "id": subject.id,
                **measured.as_json(),
                "figures": [figure.as_json() for figure in figures],
                "fails": any(figure.fails(self.strict) for figure in figures),
                "message": robustness.message(subject.id, figures),
            }
        for (kind, combination), reason in checks.errors().items():
            name = f"{ROBUSTNESS_CHECKS[kind].section} of {runner.subject(combination).id}"
            self.errors[name] = str(reason) or type(reason).__name__

    def _collect_parity(self) -> None:
        """Add the verdicts and times to the entries of exports."""
        exports, runner = self.evaluation.parity, self.evaluation.runner
        for combination in exports.judge.family:
            subject = runner.subject(combination).id
            entry = self.sections["parity"].get(subject)
            try:
                if entry is not None:
                    verdict = exports.verdict(combination)
                    entry |= parity.verdict_json(verdict, exports.seconds(combination))
                    texts = (parity.message(verdict), entry["message"])
                    entry["message"] = "\n".join(text for text in texts if text)
                    entry["fails"] = entry["fails"] or verdict.fails(self.strict)
            except Exception as error:
                del self.sections["parity"][subject]
                self.errors[f"parity of {subject}"] = str(error) or type(error).__name__

    def _collect_effects(self) -> None:
        runner, effects = self.evaluation.runner, self.evaluation.effects
        faces, corruption = runner.data.faces, runner.options.corruption_id
        face_set = {"dataset": faces.dataset, "split": faces.split, "corruption": corruption}
        for effect in effects.all():
            key = f"{effect.restoration} against {effect.against}: {effect.model}"
            self.sections[_EFFECTS][key] = {
                "subject": face_set,
                **effect.as_json(),
                "macro_f1": effect.macro_f1 or None,  # not defined for the mean of all models
                "faces": effects.flipped_faces(effect),
            }

    def merge(self, result: dict[str, Any]) -> None:
        """Keep one result per subject; one predicted in this run replaces one read from the store."""
        if result["id"] not in self.results or not result["from_store"]:
            self.results[result["id"]] = result

    def failures(self) -> dict[str, str]:
        """The messages of verdicts that fail the run, by name: of subjects and of robustness checks."""
        failed = {name: result["message"] for name, result in self.results.items() if result["fails"]}
        for section, entries in self.sections.items():
            failed |= {f"{section} of {k}": e["message"] for k, e in entries.items() if e.get("fails")}
        return failed

    def refuse(self, error: DatasetError) -> None:
        """Write a report with `error` alone, for faces that cannot be read, in place of an earlier report."""
        self.errors[printable(self.evaluation.runner.options.dataset)] = str(error)
        report = self._error_report()
        report_file.write_report(report, self.report_dir / "evals.json")
        html_report.write_html(report, self.report_dir / "evals.html")

    def report(self) -> EvalReport:
        """The report of the run. Entries that are no valid report become an error of the run."""
        costs = self._valid_costs()
        dataset = self.evaluation.runner.data.faces.dataset
        published = [p for p in self.evaluation.baselines.published if p.get("dataset") in (None, dataset)]
        content = {
            "results": [self.results[k] for k in sorted(self.results)],
            "costs": costs,
            **{name: [entries[k] for k in sorted(entries)] for name, entries in self.sections.items()},
            "data": self.evaluation.runner.data.as_json(),
            "not_judged": self.left_out,
            "published": [grim.annotate(p) for p in published],
        }
        try:
            return EvalReport.from_json({**self._frame(), **content})
        except UsageError as error:
            self.errors["the report"] = str(error)
            return self._error_report()

    def _valid_costs(self) -> list[dict[str, Any]]:
        """The costs without invalid entries, which a suite may have appended: those are errors."""
        valid = []
        for i, cost in enumerate(self.costs):
            try:
                json_fields.decode(Cost, cost, f"costs[{i}]")
                valid.append(cost)
            except UsageError as error:
                self.errors[f"costs[{i}]"] = f"{error} Correct the test that appends it to `costs`."
        return valid

    def _error_report(self) -> EvalReport:
        """A report with the errors of the run, and without results."""
        empty = dict.fromkeys(("results", "costs", *self.sections, "not_judged", "published"), ())
        return EvalReport.from_json({**self._frame(), **empty, "data": {}})

    def _frame(self) -> dict[str, Any]:
        """The fields of evals.json that do not depend on results."""
        command = " ".join(["pytest", *map(str, self.config.invocation_params.args)])
        options = self.evaluation.runner.options
        return {
            "schema": SCHEMA,
            "depth": {"name": options.depth.name, "left_out": options.depth.left_out(options.whole_variants)},
            "environment": {**environment(), "command": printable(command)},
            "skipped": [{"model": name, "reason": reason} for name, reason in sorted(self.skipped.items())],
            "errors": [{"subject": name, "message": text} for name, text in sorted(self.errors.items())],
        }

    # -- between processes ------------------------------------------------------------------------

    def to_worker_output(self) -> str:
        """Encode what a worker measured, for `merge_worker_output`."""
        return json.dumps({
            "results": list(self.results.values()),
            "records": [{"id": k, "record": asdict(r)} for k, r in self.records.items()],
            "skipped": self.skipped,
            "errors": self.errors,
            "left_out": self.left_out,
            "costs": self.costs,
            "sections": self.sections,
            "audit": self.evaluation.runner.data.audit_result,
        })  # fmt: skip

    def merge_worker_output(self, output: str) -> None:
        """Add what a worker measured."""
        measured = json.loads(output)
        for result in measured["results"]:
            self.merge(result)
        for entry in measured["records"]:
            self._merge_record(entry["id"], entry["record"])
        self.skipped |= measured["skipped"]
        self.errors |= measured["errors"]
        self.left_out = measured["left_out"]  # the same in every worker
        self.costs += measured["costs"]
        for name, entries in measured["sections"].items():
            for key, entry in entries.items():
                # A worker may have measured an entry without judging it.
                if key not in self.sections[name] or entry.get("figures"):
                    self.sections[name][key] = entry
        self.evaluation.runner.data.audit_result = (
            self.evaluation.runner.data.audit_result or measured["audit"]
        )

    def _merge_record(self, name: str, record: dict[str, Any]) -> None:
        """Add a record of a worker; another worker may have measured other robustness figures of it."""
        text = json.dumps({"schema": 2, "measured": [record]})
        new = baselines.parse(text, "worker").measured[0]
        if (old := self.records.get(name)) is not None:
            metrics, face_counts = {**old.metrics, **new.metrics}, {**old.face_counts, **new.face_counts}
            new = replace(new, metrics=metrics, face_counts=face_counts)
        self.records[name] = new
