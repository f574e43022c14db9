"""evals.json: what is refused, and that nothing is lost between writing and reading."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import eval_reports
import numpy as np
import pytest
from eval_reports import full_content, full_report
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fer_models.errors import FerModelsError, UsageError
from fer_models.report.eval_report import EvalReport
from fer_models.report.measured_value import MeasuredValue
from fer_models.report.report_file import read_report, write_report
from fer_models.report.slice_entries import ColumnScores, SliceGap


def paths(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[tuple[Any, ...], Any]]:
    """The path of every value in a JSON value, and what holds it."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield (*path, key), value
        yield from paths(inner, (*path, key))


def changed_at(path: tuple[Any, ...], change: Callable[[Any, Any], None]) -> dict[str, Any]:
    """The full content after `change(parent, key)` at a path."""
    content = json.loads(json.dumps(full_content()))  # no object is in it twice
    parent: Any = content
    for key in path[:-1]:
        parent = parent[key]
    change(parent, path[-1])
    return content


def named(path: tuple[Any, ...]) -> str:
    return "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in path).lstrip(".")


#: Objects whose keys are free.
OPEN = {
    *("data", "counts", "metrics", "per_class", "intervals", "strata", "emotions", "templates", "words"),
    *(
        "invariances",
        "questions",
        "shuffles",
        "orders",
        "rotations",
        "flip_rate",
        "accuracy",
        "changes",
        "probabilities",
    ),
}


def may_be_missing(path: tuple[Any, ...], parent: Any) -> bool:
    """Whether JSON at a path is free, or optional by the design of the file."""
    *above, key = path
    if (
        isinstance(key, int)
        or {"environment", "published", "recorded"} & set(path)
        or path in (("schema",), ("trends",), ("cost_ratios",))
    ):
        return True
    if above and above[0] == "costs":
        return key not in ("name", "phase", "model", "restoration")
    if "value" in parent or above[:1] == ["skipped"]:
        return key in ("n", "command")
    holder = "words" if "words" in above else above[-1] if above else None
    if holder == "accuracy" and above[0] == "restorations":
        return False
    return (holder in OPEN and key != "faces") or (holder == "faces" and "broken" in parent)


@pytest.mark.slow
def test_any_missing_field_is_refused_by_name() -> None:
    checked = 0
    for path, parent in paths(full_content()):
        if may_be_missing(path, parent):
            continue
        content = changed_at(path, lambda holder, name: holder.pop(name))
        words = "no list of results" if path == ("results",) else f"{re.escape(named(path))} is "
        with pytest.raises(UsageError, match=words):
            EvalReport.from_json(content)
        checked += 1
    assert checked > 150


@pytest.mark.slow
def test_any_value_of_a_wrong_type_is_refused_by_name() -> None:
    checked = 0
    for path, _ in paths(full_content()):
        if set(path) & {"environment", "published", "measured_on", "recorded", "schema"}:
            continue
        content = changed_at(path, lambda holder, name: holder.__setitem__(name, object()))
        words = "no list of results" if path == ("results",) else re.escape(named(path))
        with pytest.raises(UsageError, match=words):
            EvalReport.from_json(content)
        checked += 1
    assert checked > 400


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        (("results", 0, "n"), True, "is True, but it must be an integer"),
        (("results", 0, "n"), 0.5, "is 0.5, but it must be an integer"),
        (("results", 0, "from_store"), 1, "is 1, but it must be true or false"),
        (("results", 0, "verdict"), "[bold]", "must be one of PASS, FAIL, ERROR, INCONCLUSIVE, NEW"),
        (("results", 0, "log_loss", "found"), "DEGRADED", "it must be true or false"),
        (("results", 0, "new"), 1, "is unknown to this version"),
        (("results", 0, "metrics", "accuracy", "low"), float("nan"), r"accuracy.low is nan"),
        (("environment", "x"), [float("inf")], r"environment.x\[0\] is inf"),
        (("environment", "x"), np.int64(3), "environment.x is a int64"),
        (("environment", "x"), {1: 2}, "environment.x has the key 1"),
        (("costs", 0, "x"), {"y": float("-inf")}, r"costs\[0\].x.y is -inf"),
        (("restorations", 0, "faces", "more"), [], "must be one of corrected, broken"),
        (("new",), 1, "The field new is unknown"),
        (("results", 0, "no_answer"), [0], "must have 7 emotions"),
        (("results", 0, "confusion"), [[0] * 7] * 8, "must have 7 emotions"),
        (("results", 0, "confusion"), [[0] * 6] * 7, "must have 7 emotions"),
        (("results", 0, "reliability", 0, "n"), 0, "has 0 faces"),
        (("corruptions", 0, "accuracy"), {}, "one per severity"),
        (("corruptions", 0, "severities"), [1], "one per severity"),
    ],
)
def test_a_wrong_value_is_refused_with_what_is_expected(
    path: tuple[Any, ...], value: Any, words: str
) -> None:
    with pytest.raises(UsageError, match=words):
        EvalReport.from_json(changed_at(path, lambda holder, key: holder.__setitem__(key, value)))


NUMBERS = st.integers(-(10**28), 10**28) | st.floats(allow_nan=False, allow_infinity=False)
JSON = st.recursive(
    st.none() | st.booleans() | NUMBERS | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


@settings(deadline=None, max_examples=50)
@given(st.dictionaries(st.text(), JSON, max_size=3))
@example({"text": "\ud800 \u2028 é"})
def test_what_is_written_is_read_back(tmp_path_factory: pytest.TempPathFactory, more: dict[str, Any]) -> None:
    path = tmp_path_factory.mktemp("report") / "new" / "evals.json"
    content = {**full_content(), "environment": more, "published": [more]}
    report = EvalReport.from_json(content)
    write_report(report, path)
    assert read_report(path) == report
    assert list(json.loads(path.read_text())) == list(content), "the contract's order is kept"


def test_no_field_is_lost_or_added_between_reading_and_writing() -> None:
    assert full_report().to_json() == full_content()


def test_writing_leaves_one_file_that_ends_with_a_newline(tmp_path: Path) -> None:
    write_report(eval_reports.report(), tmp_path / "evals.json")
    assert [path.name for path in tmp_path.iterdir()] == ["evals.json"]
    assert (tmp_path / "evals.json").read_text().endswith("}\n")


def test_what_json_cannot_hold_is_refused_by_name_and_the_old_file_stays(tmp_path: Path) -> None:
    path = tmp_path / "evals.json"
    path.write_text("old")
    for value, words in ((float("nan"), "is nan"), (np.int64(3), "is a int64"), ({1: 2}, "has the key 1")):
        report = replace(eval_reports.report(), environment={"device": value})
        with pytest.raises(FerModelsError, match=f"environment.device {words}"):
            write_report(report, path)
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["evals.json"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "is not a report: Expecting"),
        ('{"schema": 2, "results": [NaN]}', "it holds NaN"),
        ("[]", "no list of results"),
        ('{"schema": 2}', "no list of results"),
        ('{"schema": 1, "results": []}', "has schema 1, but this version reads schema 2"),
        ('{"schema": 2, "results": []}', "The field depth is missing"),
        ('{"results": []}', "has schema None"),
    ],
)
def test_a_file_that_is_no_report_is_refused_with_the_reason(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "evals.json"
    path.write_text(text)
    with pytest.raises(UsageError, match=words) as caught:
        read_report(path)
    assert str(path) in str(caught.value)


def test_a_file_that_is_missing_or_binary_is_refused_with_the_reason(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="No such file"):
        read_report(tmp_path / "evals.json")
    (tmp_path / "evals.json").write_bytes(b"\x89PNG\xff")
    with pytest.raises(UsageError, match="is not a report"):
        read_report(tmp_path / "evals.json")


def test_numpy_floats_are_written_as_numbers(tmp_path: Path) -> None:
    report = eval_reports.report(environment={"x": np.float64(0.5)})
    write_report(report, tmp_path / "evals.json")
    assert json.loads((tmp_path / "evals.json").read_text())["environment"]["x"] == 0.5


def test_values_of_other_faces_than_those_of_the_record_are_not_compared_with_it():
    recorded = {
        "metrics": {"accuracy": 0.7, "macro_f1": 0.6, "ece": 0.02},
        "recorded": {"date": "2026-01-01"},
    }
    measured = {name: eval_reports.score(0.668) for name in ("accuracy", "macro_f1", "ece")}
    fields = {"metrics": measured, "baseline": recorded, "changes": eval_reports.changes(-0.01)}
    whole, part, other = eval_reports.report(
        results=[
            eval_reports.result(**fields),
            eval_reports.result(n=49, **fields),
            eval_reports.result(verdict="ERROR", fails=True, **(fields | {"changes": None})),
        ]
    ).results
    assert (whole.change("ece"), whole.baseline_value("ece")) == (pytest.approx(0.648), 0.02)
    assert (part.change("ece"), part.baseline_value("ece")) == (None, None)
    assert (part.change(), part.baseline_value()) == (-0.01, pytest.approx(0.678))
    assert (other.change(), other.baseline_value()) == (None, None)


def test_a_gap_between_slices_that_are_not_there_is_refused() -> None:
    gap = SliceGap("old", "young", MeasuredValue(0.1, 0.0, 0.2), 1.1, 0.5)
    with pytest.raises(UsageError, match="The gap of age names a slice that is not there"):
        ColumnScores("age", "a file", 0, (), gap)


def test_a_report_that_is_a_pipe_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "evals.json")
    with pytest.raises(UsageError, match="not a regular file"):
        read_report(tmp_path / "evals.json")
