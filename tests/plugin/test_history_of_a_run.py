"""Whole runs: each one is in the history exactly once, and a history that cannot be used changes nothing."""

import sqlite3

import pytest
from eval_reports import report, result

from fer_models.history.database import History
from fer_models.plugin.run_history import RunHistory, run_record


@pytest.fixture
def history(bench):
    """The history next to the bench's store."""
    return History(bench.folder / "history.sqlite")


def lines(text):
    return [line for line in text.splitlines() if line.startswith("history: ")]


@pytest.mark.slow
def test_each_run_is_appended_once_and_the_report_has_the_trend(bench, history):
    done = bench.run()
    assert lines(done.stdout) == [f"history: {history.path}"]
    ((run, scores),) = history.entries()
    written = bench.report()["results"][0]
    assert (scores.subject.model, scores.n, scores.key) == ("knowing", 105, written["key"])
    assert scores.accuracy == written["metrics"]["accuracy"]["value"]
    assert (run.exit_code, run.depth, run.cached_only, run.verdicts) == (0, "standard", False, {"NEW": 1})
    assert (scores.device, scores.from_store) == ("cpu", False)
    assert run.versions.keys() >= {"python", "torch", "numpy", "scikit-learn"}
    assert {"weights", "settings", "code of the model"} <= scores.inputs.keys()

    bench.run("--cached-only")
    bench.write_model(turned=20)
    bench.run()
    bench.run("--limit", 70)
    (whole,) = [trend for trend in bench.report()["trends"] if trend["limit"] == 70]
    assert len(whole["runs"]) == 1, "another number of faces is another series"
    bench.run()
    (trend,) = bench.report()["trends"]
    assert [run["changed"] for run in trend["runs"]] == [[], [], ["code of the model"], []]
    assert [run["cached_only"] for run in trend["runs"]] == [False, True, False, False]
    assert [run["from_store"] for run in trend["runs"]] == [False, True, False, True]
    assert len(history.entries()) == 5


@pytest.mark.slow
def test_several_processes_append_one_run_with_the_exit_code(bench, history):
    bench.run("--update-baselines")
    bench.write_model(turned=30)
    bench.run("-n", 2, code=1, questions="accuracy or recall or macro")
    first, second = history.entries()
    assert (first.run.exit_code, first.scores.verdict) == (0, "NEW")
    assert (second.run.exit_code, second.scores.verdict) == (1, "FAIL")
    assert second.scores.change == pytest.approx(second.scores.accuracy - first.scores.accuracy)


@pytest.mark.slow
def test_other_weights_are_marked(bench, history):
    weights = bench.folder / "weights"
    extra = f", weights=Weights(lambda: Path({str(weights)!r}), 'make it')"
    bench.write_model(extra=extra)
    path = bench.folder / "model.py"
    path.write_text("from fer_models.zoo.spec import Weights\n" + path.read_text())
    for content in ("first", "second", "second"):
        weights.write_text(content)
        bench.run()
    (trend,) = bench.report()["trends"]
    assert [run["changed"] for run in trend["runs"]] == [[], ["weights"], []]


@pytest.mark.slow
def test_a_run_without_results_is_not_in_the_history(bench, history):
    bench.run("--collect-only", code=0)
    bench.run(questions="no_such_test", code=5)
    bench.run("--cached-only", code=0)  # nothing is stored
    bench.write_model(body="raise KeyboardInterrupt")
    bench.run(code=2)
    assert not history.path.exists()


def write_text(path):
    path.write_text("no database " * 100)


def write_foreign(path):
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE bookmarks (address TEXT)")
    connection.close()


@pytest.mark.parametrize(
    ("write", "words"),
    [
        (write_text, "file is not a database"),
        (write_foreign, "a database of another program"),
        (lambda path: path.mkdir(), "is not a file"),
    ],
    ids=["text", "foreign", "folder"],
)
def test_a_history_that_cannot_be_used_costs_no_report_and_no_verdict(bench, history, write, words):
    write(history.path)
    before = history.path.read_bytes() if history.path.is_file() else None
    done = bench.run()
    (line,) = lines(done.stdout)
    assert line.startswith("history: this run is not in it. ")
    assert words in line
    written = bench.report()
    assert (written["trends"], written["errors"]) == ([], [])
    assert [each["verdict"] for each in written["results"]] == ["NEW"]
    assert (history.path.read_bytes() if history.path.is_file() else None) == before


def test_a_run_that_cannot_be_appended_is_told_and_is_not_an_error(tmp_path):
    results = report(results=[result()]).results
    run = RunHistory(tmp_path / "store")
    run.read(run_record(results, command="pytest", depth="full", cached_only=False), results, "9c11")
    assert [trend.name for trend in run.trends] == ["vgg19-raw"]
    write_text(run.path)
    run.append(exit_code=0)
    assert run.problem.startswith("this run is not in it. The history")
    assert "file is not a database" in run.problem
