"""What one run of the evals knows, and what it leaves."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from fer_models.classifiers import prompts
from fer_models.classifiers.vlm import questions
from fer_models.errors import DatasetError, FerModelsError, printable
from fer_models.evaluation import Evaluation
from fer_models.gate import baselines
from fer_models.inference.environment import environment
from fer_models.plugin import options
from fer_models.plugin.progress import progress
from fer_models.plugin.session import chosen
from fer_models.report import html_report, robustness, verdicts
from fer_models.robustness.base import ROBUSTNESS_CHECKS
from fer_models.studies import grim
from fer_models.zoo import resolve

#: The section of evals.json with what restorations do, and all sections that are made of entries by name.
_EFFECTS = "restorations"
_SECTIONS = (*dict.fromkeys(kind.section for kind in ROBUSTNESS_CHECKS.values()), _EFFECTS)


class State:
    """What one run knows; kept in the config's stash."""

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
        self.evaluation = Evaluation(
            options.read(config), self.models, self.restorers, progress(config), models.names
        )
        self.results: dict[str, dict[str, Any]] = {}
        self.records: dict[str, baselines.BaselineRecord] = {}
        self.costs: list[dict[str, Any]] = []
        self.sections: dict[str, dict[str, dict[str, Any]]] = {name: {} for name in _SECTIONS}
        self.skipped: dict[str, str] = {}
        self.errors: dict[str, str] = {}
        self.left_out: list[str] = []

    # -- what the run leaves ----------------------------------------------------------------------

    def collect(self) -> None:
        """Collect the results of this process."""
        self.evaluation.finish()
        for combination in self.evaluation.runner.completed():
            message = ""
            if self.evaluation.is_judged(combination):
                with suppress(FerModelsError):  # `result` says what it is
                    message = verdicts.message(self.evaluation.verdict(combination), self.strict)
            result = self.evaluation.result(combination, message, self.strict)
            self.merge(result)
            if self.update and self.evaluation.runner.dataset_of(combination).subset_indices is None:
                self.records[result["id"]] = self.evaluation.record(combination)
        for (kind, combination), measured, figures in self.evaluation.robustness.results():
            subject = self.evaluation.runner.subject(combination)
            self.sections[ROBUSTNESS_CHECKS[kind].section][subject.id] = {
                "subject": subject.as_json(),
                "id": subject.id,
                **measured.as_json(),
                "figures": [figure.as_json() for figure in figures],
                "fails": any(figure.fails(self.strict) for figure in figures),
                "message": robustness.message(subject.id, figures),
            }
        for (kind, combination), reason in self.evaluation.robustness.errors().items():
            self.errors[
                f"{ROBUSTNESS_CHECKS[kind].section} of {self.evaluation.runner.subject(combination).id}"
            ] = str(reason) or type(reason).__name__
        if self.evaluation.effects.is_used:
            about = {
                "dataset": self.evaluation.runner.data.faces.dataset,
                "split": self.evaluation.runner.data.faces.split,
                "corruption": self.evaluation.runner.options.corruption_id,
            }
            for effect in self.evaluation.effects.all():
                key = f"{effect.restoration} against {effect.against}: {effect.model}"
                self.sections[_EFFECTS][key] = {
                    "subject": about,
                    **effect.as_json(),
                    "faces": self.evaluation.effects.flipped_faces(effect),
                }
        self.errors |= {
            self.evaluation.runner.subject(c).id: str(e) for c, e in self.evaluation.runner.failed().items()
        }
        left_out = self.evaluation.coverage.left_out(self.evaluation.judge.family)
        self.left_out = left_out or self.left_out  # with -n only the workers select tests
        self.errors |= {
            f"baseline of {name}": reason for name, reason in self.evaluation.coverage.unjudged().items()
        }

    def merge(self, result: dict[str, Any]) -> None:
        """Add a result; that of the process that predicted replaces those that were read from the store."""
        known = self.results.get(result["id"])
        if known is None or not result["from_store"]:
            self.results[result["id"]] = result

    def failures(self) -> dict[str, str]:
        """The messages of the verdicts that fail the run, of subjects and robustness checks, by name."""
        failed = {name: result["message"] for name, result in self.results.items() if result["fails"]}
        for section, entries in self.sections.items():
            failed |= {
                f"{section} of {name}": entry["message"]
                for name, entry in entries.items()
                if entry.get("fails")
            }
        return failed

    def refuse(self, error: DatasetError) -> None:
        """Write a report with an error alone, in place of one of an earlier run."""
        self.errors[printable(self.evaluation.runner.options.dataset)] = str(error)
        report = self._report({}, [])
        html_report.write_json(report, self.report_dir / "evals.json")
        html_report.write_html(report, self.report_dir / "evals.html")

    def report(self) -> dict[str, Any]:
        """The content of evals.json."""
        dataset = self.evaluation.runner.data.faces.dataset
        published = [p for p in self.evaluation.baselines.published if p.get("dataset") in (None, dataset)]
        return self._report(self.evaluation.runner.data.as_json(), [grim.annotate(p) for p in published])

    def _report(self, data: dict[str, Any], published: list[dict[str, Any]]) -> dict[str, Any]:
        command = map(str, self.config.invocation_params.args)
        return {
            "schema": html_report.SCHEMA,
            "depth": {
                "name": self.evaluation.runner.options.depth.name,
                "left_out": self.evaluation.runner.options.depth.left_out(
                    self.evaluation.runner.options.whole_variants
                ),
            },
            "environment": environment() | {"command": printable(" ".join(["pytest", *command]))},
            "results": [self.results[k] for k in sorted(self.results)],
            "costs": self.costs,
            **{name: [entries[k] for k in sorted(entries)] for name, entries in self.sections.items()},
            "data": data,
            "skipped": [{"model": name, "reason": reason} for name, reason in sorted(self.skipped.items())],
            "not_judged": self.left_out,
            "errors": [
                {"subject": name, "message": message} for name, message in sorted(self.errors.items())
            ],
            "published": published,
        }

    # -- between processes ------------------------------------------------------------------------

    def to_worker_output(self) -> str:
        """What a worker measured, for `take`."""
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

    def merge_worker_output(self, sent: str) -> None:
        """Add what a worker handed over."""
        told = json.loads(sent)
        for result in told["results"]:
            self.merge(result)
        for r in told["records"]:
            new = baselines.parse(json.dumps({"schema": 2, "measured": [r["record"]]}), "worker").measured[0]
            if (
                known := self.records.get(r["id"])
            ) is not None:  # another worker has measured other robustness figures
                metrics, face_counts = (
                    {**known.metrics, **new.metrics},
                    {**known.face_counts, **new.face_counts},
                )
                new = replace(new, metrics=metrics, face_counts=face_counts)
            self.records[r["id"]] = new
        self.skipped |= told["skipped"]
        self.errors |= told["errors"]
        self.left_out = told["left_out"]  # the same in every process
        self.costs += told["costs"]
        for name, entries in told["sections"].items():
            for key, entry in entries.items():
                if key not in self.sections[name] or entry.get(
                    "figures"
                ):  # a worker may have measured it without a verdict
                    self.sections[name][key] = entry
        self.evaluation.runner.data.audit_result = self.evaluation.runner.data.audit_result or told["audit"]
