"""Whole runs: the faces that changed since the baseline, and the command that evaluates a subject again."""

import shlex

import pytest

from fer_models.report.report_file import read_report


def arguments_of(result):
    program, command, *arguments = shlex.split(result["command"])
    assert (program, command) == ("fer-models", "eval")
    return arguments


@pytest.mark.slow
def test_changed_faces_are_shown_with_their_pictures_and_the_command_repeats_the_verdict(bench):
    bench.run("--update-baselines")
    bench.write_model(turned=30)
    bench.run("--limit", "70", "--update-baselines", code=4)  # refused: nothing is recorded
    bench.run("--batch-size", "8", code=1)
    (result,) = bench.report()["results"]
    flips = result["flips"]
    assert len(flips) == 12
    for face in flips:
        assert face["before"] == face["truth"] != face["now"]
        assert face["p_true"]["now"] < face["p_true"]["before"]
        assert face["picture"].startswith("data:image/png;base64,")
        assert max(face["probabilities"], key=face["probabilities"].get) == face["now"]
    assert result["changes"]["faces"]["negative_flips"] > len(flips)

    arguments = arguments_of(result)
    assert arguments[-2:] == ["-k", "accuracy and knowing-raw"]
    assert not {"--batch-size", "--report-dir", "--work-dir", "--update-baselines"} & set(arguments)
    command = ["-m", "fer_models.cli", "eval", *arguments, "--report-dir", str(bench.folder / "again")]
    bench.run_python([*command, "--work-dir", str(bench.folder)], 1)
    (repeated,) = read_report(bench.folder / "again" / "evals.json").results
    assert (repeated.verdict, repeated.message) == (result["verdict"], result["message"])


@pytest.mark.slow
def test_an_unchanged_model_has_no_changed_faces(bench):
    bench.run("--update-baselines")
    bench.run()
    assert bench.report()["results"][0]["flips"] == []


def test_a_name_that_a_keyword_cannot_search_is_selected_as_a_model(bench):
    text = (bench.folder / "model.py").read_text()
    (bench.folder / "model.py").write_text(text.replace('"knowing"', '"knowing@home"'))
    bench.run("--model", "knowing@home")
    arguments = arguments_of(bench.report()["results"][0])
    assert arguments[-2:] == ["-k", "accuracy"]
    assert arguments[arguments.index("--model") + 1] == "knowing@home"
