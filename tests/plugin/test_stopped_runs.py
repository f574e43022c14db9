"""Whole runs that end early, or that only show something: what becomes of the report."""

import shlex
import shutil
from types import SimpleNamespace

import pytest

from fer_models.inference.runner import Combination
from fer_models.plugin import options, reproduction


def fail(bench):
    """Record a model, and make it worse."""
    bench.run("--update-baselines")
    bench.write_model(turned=40)


@pytest.mark.slow
@pytest.mark.parametrize("arguments", [("-x",), ("-x", "-n", "2"), ("--stepwise",)], ids=" ".join)
def test_a_run_that_ends_after_its_first_failure_has_a_report(bench, arguments):
    fail(bench)
    command = bench.command(*arguments, questions="accuracy or macro or recall")
    if "--stepwise" in arguments:  # it needs the cache
        command = [word for word in command if word not in ("-p", "no:cacheprovider")]
        command += ["-o", f"cache_dir={bench.folder / 'cache'}"]
    shutil.rmtree(bench.folder / "reports")
    done = bench.run_python(["-m", "pytest", *command], 1)
    assert [result["verdict"] for result in bench.report()["results"]] == ["FAIL"]
    assert "page:" in done.stdout


@pytest.mark.parametrize(("work_dir", "words"), [("gate", ["--work-dir", "gate"]), (".", []), ("..", [])])
def test_the_command_of_a_subject_has_the_folder_of_the_run_if_it_is_within_the_current_one(
    monkeypatch, tmp_path, work_dir, words
):
    (tmp_path / "here" / "gate").mkdir(parents=True)
    here = tmp_path / "here"
    monkeypatch.setattr(options, "work_dir", lambda config: here / work_dir)
    monkeypatch.setattr(reproduction, "_options", lambda config, combination: [])
    config = SimpleNamespace(invocation_params=SimpleNamespace(dir=here))
    command = shlex.split(reproduction.command(config, Combination("vgg19", "raw")))
    assert command == ["fer-models", "eval", *words, "-k", "accuracy and vgg19-raw"]


@pytest.mark.slow
def test_showing_something_leaves_the_report_as_it_is(bench):
    bench.run()
    before = (bench.folder / "reports" / "evals.json").read_text()
    for option in ("--collect-only", "--fixtures", "--fixtures-per-test", "--setup-plan"):
        bench.run(option, "-q")
        assert (bench.folder / "reports" / "evals.json").read_text() == before, option


@pytest.mark.slow
def test_what_the_last_failed_option_deselects_is_not_requested(bench):
    """With a named file, pytest deselects these tests after all other plugins."""
    bench.write_model("other.py", turned=0)
    other = bench.folder / "other.py"
    other.write_text(other.read_text().replace('"knowing"', '"other"'))

    def evaluate(*arguments, code):
        command = bench.command(*arguments, "--model-file", other, "--model", "knowing", "--model", "other")
        command = [word for word in command if word not in ("-p", "no:cacheprovider", "evals")]
        options = ["-o", f"cache_dir={bench.folder / 'cache'}"]
        return bench.run_python(["-m", "pytest", "evals/test_accuracy.py", *command, *options], code)

    evaluate("--update-baselines", code=0)
    bench.write_model(turned=40)
    evaluate(code=1)
    assert len(bench.report()["results"]) == 2
    evaluate("--lf", code=1)
    report = bench.report()
    assert [result["subject"]["model"] for result in report["results"]] == ["knowing"]
    assert [name.partition("-")[0] for name in report["not_judged"]] == ["other"]
