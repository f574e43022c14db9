"""What one run of the evals knows, and what it leaves."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from fer_models import names
from fer_models.classifiers import prompts, questions
from fer_models.errors import DatasetError, FerModelsError, printable
from fer_models.evaluation import baselines, claims
from fer_models.evaluation.asking import environment
from fer_models.evaluation.beside import KINDS
from fer_models.evaluation.suite import Suite
from fer_models.plugin import options
from fer_models.plugin.progress import progress
from fer_models.plugin.session import chosen
from fer_models.report import page, verdicts

#: The section of evals.json with what restorations do, and all sections that are made of entries by name.
_EFFECTS = "restorations"
_SECTIONS = (*dict.fromkeys(kind.section for kind in KINDS.values()), _EFFECTS)


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
            self.models = names.reprompted(self.models, prompts.load(option("--prompts")))
        if option("--question") is not None:
            self.models = names.questioned(self.models, questions.load(option("--question")))
        self.suite = Suite(options.read(config), self.models, self.restorers, progress(config), models.names)
        self.results: dict[str, dict[str, Any]] = {}
        self.records: dict[str, baselines.Record] = {}
        self.costs: list[dict[str, Any]] = []
        self.sections: dict[str, dict[str, dict[str, Any]]] = {name: {} for name in _SECTIONS}
        self.skipped: dict[str, str] = {}
        self.errors: dict[str, str] = {}

    # -- what the run leaves ----------------------------------------------------------------------

    def collect(self) -> None:
        """Take from the suite what this process measured."""
        for pair in self.suite.asked():
            message = ""
            try:
                message = verdicts.message(self.suite.verdict(pair), self.strict)
            except FerModelsError as error:
                message = str(error)
            result = self.suite.result(pair, message)
            self.merge(result)
            if self.update and self.suite.data_of(pair).kept_rows is None:
                self.records[result["id"]] = self.suite.record(pair)
        for (kind, pair), measured in self.suite.measured.items():
            subject = self.suite.subject(pair)
            self.sections[KINDS[kind].section][subject.id] = {"subject": subject.as_json(), "id": subject.id, **measured.as_json()}
        if self.suite.effects.wanted:
            about = {"dataset": self.suite.data.faces.dataset, "split": self.suite.data.faces.split, "corruption": self.suite.spoilt}
            for effect in self.suite.effects.all():
                key = f"{effect.restoration} against {effect.against}: {effect.model}"
                self.sections[_EFFECTS][key] = {"subject": about, **effect.as_json(), "faces": self.suite.effects.turned(effect)}
        self.errors |= {self.suite.subject(p).id: str(e) for p, e in self.suite.failed().items()}

    def merge(self, result: dict[str, Any]) -> None:
        """Keep one entry per subject; the one of the process that asked the model wins over those that read the store."""
        known = self.results.get(result["id"])
        if known is None or not result["from_store"]:
            self.results[result["id"]] = result

    def refuse(self, error: DatasetError) -> None:
        """Leave a report with `error` alone, for faces that cannot be read: an earlier one would look like this run's."""
        self.errors[printable(self.suite.options.dataset)] = str(error)
        report = self._report({}, [])
        page.write_json(report, self.report_dir / "evals.json")
        page.write_html(report, self.report_dir / "evals.html")

    def report(self) -> dict[str, Any]:
        """The content of evals.json."""
        dataset = self.suite.data.faces.dataset
        published = [p for p in self.suite.baselines.published if p.get("dataset") in (None, dataset)]
        return self._report(self.suite.data.as_json(), [claims.annotate(p) for p in published])

    def _report(self, data: dict[str, Any], published: list[dict[str, Any]]) -> dict[str, Any]:
        command = map(str, self.config.invocation_params.args)
        return {
            "schema": page.SCHEMA,
            "depth": {"name": self.suite.options.depth.name, "left_out": self.suite.options.depth.left_out(self.suite.options.whole_variants)},
            "environment": environment() | {"command": printable(" ".join(["pytest", *command]))},
            "results": [self.results[k] for k in sorted(self.results)],
            "costs": self.costs,
            **{name: [entries[k] for k in sorted(entries)] for name, entries in self.sections.items()},
            "data": data,
            "skipped": [{"model": name, "reason": reason} for name, reason in sorted(self.skipped.items())],
            "errors": [{"subject": name, "message": message} for name, message in sorted(self.errors.items())],
            "published": published,
        }

    # -- between processes ------------------------------------------------------------------------

    def handover(self) -> str:
        """What a worker measured, for `take`."""
        return json.dumps({
            "results": list(self.results.values()),
            "records": [{"id": k, "record": asdict(r)} for k, r in self.records.items()],
            "skipped": self.skipped,
            "errors": self.errors,
            "costs": self.costs,
            "sections": self.sections,
            "audit": self.suite.data.audited,
        })  # fmt: skip

    def take(self, sent: str) -> None:
        """Add what a worker handed over."""
        told = json.loads(sent)
        for result in told["results"]:
            self.merge(result)
        self.records |= {
            r["id"]: baselines.parse(json.dumps({"schema": 1, "measured": [r["record"]]}), "worker").measured[0] for r in told["records"]
        }
        self.skipped |= told["skipped"]
        self.errors |= told["errors"]
        self.costs += told["costs"]
        for name, entries in told["sections"].items():
            self.sections[name] |= entries
        self.suite.data.audited = self.suite.data.audited or told["audit"]
