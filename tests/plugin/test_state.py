"""The report of a run, from what its processes collected."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from eval_reports import cost, face_set, result

from fer_models.depth import DEPTHS
from fer_models.errors import RestorationError
from fer_models.gate.baselines import Baselines
from fer_models.plugin import _worker_output
from fer_models.plugin.run_history import RunHistory
from fer_models.plugin.state import State


@pytest.fixture
def state() -> State:
    """The state of a run with one result, without a suite that predicts."""
    run = State.__new__(State)
    faces = SimpleNamespace(dataset="fer2013", split="private_test")
    data = SimpleNamespace(
        faces=faces, as_json=lambda: {"fer2013/private_test": face_set()}, audit_result=None
    )
    published = [{"dataset": "fer2013", "accuracy": 0.7}, {"dataset": "elsewhere", "accuracy": 0.7}]
    options = SimpleNamespace(depth=DEPTHS["full"], whole_variants=True)
    runner, baselines = SimpleNamespace(data=data, options=options), Baselines(published=tuple(published))
    run.evaluation = SimpleNamespace(runner=runner, baselines=baselines)  # type: ignore[assignment]
    run.config = SimpleNamespace(invocation_params=SimpleNamespace(args=["evals"]))  # type: ignore[assignment]
    run.history = RunHistory(Path("nowhere/store"))
    run.results, run.records, run.costs = {}, {}, [cost(seconds=0.1)]
    run.sections = {name: {} for name in ("prompts", "metamorphic", "corruptions", "parity", "restorations")}
    run.skipped, run.errors, run.left_out = {"m": "no weights"}, {"d": "no faces"}, ["vgg19-gfpgan"]
    run.add_result(result())
    return run


def test_a_run_becomes_one_typed_report(state: State) -> None:
    report = state.report()
    assert [entry.name for entry in report.results] == ["vgg19-raw"]
    assert [claim["dataset"] for claim in report.published] == ["fer2013", "elsewhere"]
    assert (report.skipped[0].model, report.errors[0].message) == ("m", "no faces")
    assert report.environment["command"] == "pytest evals"
    assert report.not_judged == ("vgg19-gfpgan",)


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ({"phase": "inference"}, r"The field costs[1].name is missing."),
        (cost(seconds=float("nan")), r"The field costs[1].seconds is nan"),
        (cost(more_figures=object()), r"The field costs[1].more_figures is a object"),
        ("fast", r"The field costs[1] is 'fast', but it must be an object."),
    ],
)
def test_an_invalid_cost_of_a_suite_is_an_error_and_the_rest_is_reported(
    state: State, entry: Any, words: str
) -> None:
    state.costs.append(entry)
    report = state.report()
    assert state.errors["costs[1]"].startswith(words)
    assert words in {error.message[: len(words)] for error in report.errors}
    assert (len(report.costs), len(report.results)) == (1, 1)


def test_an_invalid_result_is_an_error_and_the_others_are_reported(state: State) -> None:
    state.add_result({**result("resnet50"), "n": "many"})
    report = state.report()
    assert [entry.name for entry in report.results] == ["vgg19-raw"]
    (name,) = state.errors.keys() - {"d"}
    assert f"{name}.n is 'many', but it must be an integer" in state.errors[name]
    assert [error.subject for error in report.errors] == ["d", name]


def test_a_run_that_makes_no_valid_report_leaves_one_with_the_error(state: State) -> None:
    faces = {**face_set(), "n": "many"}
    state.evaluation.runner.data.as_json = lambda: {"fer2013/private_test": faces}  # type: ignore[method-assign]
    report = state.report()
    assert report.results == ()
    assert "n is 'many', but it must be an integer" in state.errors["the report"]
    assert [error.subject for error in report.errors] == ["d", "the report"]


def test_an_invalid_cost_of_a_worker_costs_nothing_else(state: State) -> None:
    state.costs.append(cost(seconds=np.float32(0.1)))
    output = state.to_worker_output()
    state.results, state.costs, state.errors = {}, [], {}
    state.merge_worker_output(output)
    report = state.report()
    assert [entry.name for entry in report.results] == ["vgg19-raw"]
    assert [one.seconds for one in report.costs] == [0.1]
    assert any("costs[1].seconds" in error.message for error in report.errors)


def test_a_worker_whose_results_cannot_be_sent_is_an_error_of_the_run(
    state: State, monkeypatch: pytest.MonkeyPatch
) -> None:
    def collect() -> None:
        raise RuntimeError("no more memory")

    monkeypatch.setattr(state, "collect", collect)
    output = _worker_output(state)
    state.results, state.errors = {}, {}
    state.merge_worker_output(output)
    assert state.errors["a process of -n"] == "Its results are lost: RuntimeError: no more memory"


def test_what_a_worker_collected_arrives_typed(state: State) -> None:
    output, report = state.to_worker_output(), state.report()
    state.results, state.costs = {}, []
    state.merge_worker_output(output)
    assert state.report() == report


def test_a_part_of_the_results_that_cannot_be_collected_loses_no_other(state: State) -> None:
    def fail() -> None:
        raise RestorationError("the restorer is gone")

    def collect_results() -> None:
        state.add_result(result("resnet50"))

    state.evaluation.finish = lambda: None  # type: ignore[method-assign]
    state._collect_results = collect_results  # type: ignore[method-assign]
    state._collect_robustness = state._collect_cost_ratios = state._collect_coverage = lambda: None  # type: ignore[method-assign]
    state._collect_effects = fail  # type: ignore[method-assign]
    state.collect()
    assert state.errors["the effects of restorations"] == "the restorer is gone"
    assert [entry.name for entry in state.report().results] == ["resnet50-raw", "vgg19-raw"]
