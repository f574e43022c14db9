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
from fer_models.evaluation import Suite
from fer_models.gate import baselines
from fer_models.inference.runner import Combination, environment
from fer_models.plugin import options
from fer_models.plugin.progress import progress
from fer_models.plugin.session import chosen
from fer_models.report import html_report, json_fields, report_file, robustness, verdicts
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
        if option("--prompts") is not None:
            self.models = resolve.with_prompts(self.models, prompts.load(option("--prompts")))
        if option("--question") is not None:
            self.models = resolve.with_question(self.models, questions.load(option("--question")))
        self.suite = Suite(options.read(config), self.models, self.restorers, progress(config), models.names)
        self.results: dict[str, dict[str, Any]] = {}
        self.records: dict[str, baselines.BaselineRecord] = {}
        self.costs: list[dict[str, Any]] = []
        self.sections: dict[str, dict[str, dict[str, Any]]] = {name: {} for name in _SECTIONS}
        self.skipped: dict[str, str] = {}
        self.errors: dict[str, str] = {}
        self.left_out: list[str] = []
        self.is_failed_by_page = False  # nothing but a verdict on the page fails the run

    # -- the report -------------------------------------------------------------------------------

    def collect(self) -> None:
        """Collect from the suite what this process measured."""
        for pair in self.suite.asked():
            self._collect_result(pair)
        self._collect_robustness()
        if self.suite.effects.wanted:
            self._collect_effects()
        self.errors |= {self.suite.subject(pair).id: str(e) for pair, e in self.suite.failed().items()}
        self.left_out = self.suite.left_out()
        self.errors |= {f"baseline of {name}": reason for name, reason in self.suite.unjudged().items()}

    def _collect_result(self, pair: Combination) -> None:
        message = ""
        if self.suite.is_judged(pair):
            with suppress(FerModelsError):  # the result has the error as its message
                message = verdicts.message(self.suite.verdict(pair), self.strict)
        result = self.suite.result(pair, message, self.strict)
        self.merge(result)
        if self.update and self.suite.dataset_of(pair).subset_indices is None:
            self.records[result["id"]] = self.suite.record(pair)

    def _collect_robustness(self) -> None:
        checks = self.suite.robustness
        for (kind, pair), measured in checks.measured.items():
            subject, figures = self.suite.subject(pair), checks.judged(kind, pair)
            self.sections[ROBUSTNESS_CHECKS[kind].section][subject.id] = {
                "subject": subject.as_json(),
                "id": subject.id,
                **measured.as_json(),
                "figures": [figure.as_json() for figure in figures],
                "fails": any(figure.fails(self.strict) for figure in figures),
                "message": robustness.message(subject.id, figures),
            }
        for (kind, pair), reason in checks.unjudged().items():
            name = f"{ROBUSTNESS_CHECKS[kind].section} of {self.suite.subject(pair).id}"
            self.errors[name] = str(reason) or type(reason).__name__

    def _collect_effects(self) -> None:
        faces = self.suite.data.faces
        face_set = {"dataset": faces.dataset, "split": faces.split, "corruption": self.suite.corruption_id}
        for effect in self.suite.effects.all():
            key = f"{effect.restoration} against {effect.against}: {effect.model}"
            self.sections[_EFFECTS][key] = {
                "subject": face_set,
                **effect.as_json(),
                "macro_f1": effect.macro_f1 or None,  # not defined for the mean of all models
                "faces": self.suite.effects.flipped_faces(effect),
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
        self.errors[printable(self.suite.options.dataset)] = str(error)
        report = self._error_report()
        report_file.write_report(report, self.report_dir / "evals.json")
        html_report.write_html(report, self.report_dir / "evals.html")

    def report(self) -> EvalReport:
        """The report of the run. Entries that are no valid report become an error of the run."""
        costs = self._valid_costs()
        dataset = self.suite.data.faces.dataset
        published = [p for p in self.suite.baselines.published if p.get("dataset") in (None, dataset)]
        content = {
            "results": [self.results[k] for k in sorted(self.results)],
            "costs": costs,
            **{name: [entries[k] for k in sorted(entries)] for name, entries in self.sections.items()},
            "data": self.suite.data.as_json(),
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
        options = self.suite.options
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
            "audit": self.suite.data.audit_result,
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
        self.left_out = measured["left_out"]  # the same in every process
        self.costs += measured["costs"]
        for name, entries in measured["sections"].items():
            for key, entry in entries.items():
                # A worker may have measured an entry without judging it.
                if key not in self.sections[name] or entry.get("figures"):
                    self.sections[name][key] = entry
        self.suite.data.audit_result = self.suite.data.audit_result or measured["audit"]

    def _merge_record(self, name: str, record: dict[str, Any]) -> None:
        """Add a record of a worker; another worker may have measured other robustness figures of it."""
        text = json.dumps({"schema": 2, "measured": [record]})
        new = baselines.parse(text, "worker").measured[0]
        if (old := self.records.get(name)) is not None:
            metrics, face_counts = {**old.metrics, **new.metrics}, {**old.face_counts, **new.face_counts}
            new = replace(new, metrics=metrics, face_counts=face_counts)
        self.records[name] = new
