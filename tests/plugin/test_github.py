"""A run on GitHub Actions: the step summary and the annotations."""

import os

import pytest
from eval_reports import report, result
from markup import tables_in

from fer_models.plugin import github


@pytest.fixture
def summary(tmp_path, monkeypatch):
    """The file of the step summary."""
    path = tmp_path / "summary.md"
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(path))
    monkeypatch.delenv("GITHUB_ACTIONS", raising=False)
    return path


def failing(n=1, message="it fell"):
    return report(results=[result(f"m{i}", verdict="FAIL", fails=True, message=message) for i in range(n)])


def test_nothing_is_written_outside_of_github(tmp_path, monkeypatch):
    for name in ("GITHUB_STEP_SUMMARY", "GITHUB_ACTIONS"):
        monkeypatch.delenv(name, raising=False)
    assert list(github.lines(failing(), ["a::b"])) == []


def test_the_summary_is_appended_to_the_file(summary):
    summary.write_text("earlier text")
    assert list(github.lines(failing())) == []
    text = summary.read_text(encoding="utf-8")
    assert text.startswith("earlier text\n## fer-models\n\n**`m0-raw` failed")
    assert len(tables_in(text)) == 1


def test_failed_tests_are_named(summary):
    list(github.lines(failing(), ["evals/test_controls.py::test_a[m-raw]", *["t"] * 11]))
    assert "12 tests failed: `evals/test_controls.py::test_a[m-raw]`, `t`" in (text := summary.read_text())
    assert ", 2 more\n" in text


def test_the_summary_has_room_in_the_step(summary):
    long = failing(40, "m" * 50_000)
    assert list(github.lines(long)) == []
    assert summary.stat().st_size < github.SUMMARY_BYTES
    assert "Left out, because the text is too long here" in summary.read_text()


def test_a_full_summary_is_left_as_it_is_with_a_warning(summary):
    full = "x" * (github.SUMMARY_BYTES - 10)
    summary.write_text(full)
    (line,) = github.lines(failing())
    assert line.startswith("warning: the step summary")
    assert "1,048,566 bytes already" in line
    assert summary.read_text() == full


def test_a_summary_that_cannot_be_written_is_a_warning(summary):
    summary.mkdir()
    (line,) = github.lines(failing())
    assert line.startswith("warning: the step summary")


def test_annotations_are_printed_in_a_workflow_only(summary, monkeypatch):
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    (line,) = github.lines(failing())
    assert line.startswith("::error title=FAIL%3A m0-raw on fer2013/private_test::it fell")


@pytest.mark.slow
@pytest.mark.parametrize("processes", [[], ["-n", "2"]])
def test_a_run_writes_its_verdicts_once(bench, processes):
    """Also with several processes: the workers write nothing."""
    bench.run("--update-baselines")
    bench.write_model(turned=40)
    path = bench.folder / "summary.md"
    environment = {"GITHUB_STEP_SUMMARY": str(path), "GITHUB_ACTIONS": "true"}
    command = ["-m", "pytest", *bench.command(*processes)]
    output = bench.run_python(command, 1, **environment).stdout.splitlines()
    text = path.read_text(encoding="utf-8")
    assert text.count("## fer-models") == 1
    assert "**`knowing-raw` regressed on `faces/all`: accuracy" in text
    assert "failed: `evals/test_accuracy.py::" in text
    (row,) = tables_in(text)[0][1:]
    assert (row[0], row[-1]) == ("knowing-raw", "FAIL")
    annotations = [line for line in output if line.startswith("::")]
    assert len(annotations) == 1
    assert "title=FAIL%3A knowing-raw on faces/all::" in annotations[0]


def test_a_warning_does_not_change_the_exit_code(bench):
    command = ["-m", "pytest", *bench.command()]
    done = bench.run_python(command, 0, GITHUB_STEP_SUMMARY=str(bench.folder / "missing" / "summary.md"))
    assert "warning: the step summary" in done.stdout
    assert os.fspath(bench.folder / "reports") in done.stdout
