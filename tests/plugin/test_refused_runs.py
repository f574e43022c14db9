"""Whole runs: invalid options, models, records and faces are told in one line; missing weights skip."""

import json
import re

import pytest


def test_a_model_whose_columns_are_in_another_order_is_found_out(bench):
    bench.write_model(
        body="LABELS.update({k: (v + 3) % 7 for k, v in LABELS.items()}) "
        "if 'done' not in globals() else None; globals()['done'] = 1"
    )
    done = bench.run(questions="plausible", code=1)
    assert "its columns are probably not in the declared order" in done.stdout


@pytest.mark.slow
def test_a_model_that_breaks_its_contract_fails_in_one_line(bench):
    cases = {
        "is not a number": ("return Predictions.from_probabilities(np.full((len(faces), 7), np.nan))", ""),
        "must have shape": ("return Predictions.from_probabilities(np.ones((len(faces), 6)) / 6)", ""),
        "declares the label order": (
            "return Predictions.from_probabilities(np.ones((len(faces), 7)) / 7)",
            ", labels=['happy', 'sad']",
        ),
    }
    for i, (body, extra) in enumerate(cases.values()):
        bench.write_model(f"model{i}.py", body=body, extra=extra)
    outputs = bench.run_each(*(bench.command(model=f"model{i}.py") for i in range(len(cases))), code=1)
    for message, text in zip(cases, outputs, strict=True):
        assert message in text
        assert "Traceback" not in text
    assert not list((bench.folder / "store").rglob("*.parquet"))


@pytest.mark.slow
def test_a_wrong_option_ends_with_code_4_and_one_line(bench):
    cases = {
        "give its folder": ["--dataset", "fer2013"],
        "nowhere": ["--dataset", "fer2013", "--data-root", "nowhere"],
        "Did you mean 'fer2013'": ["--dataset", "fer2014"],
        "Did you mean 'knowing'": ["--model", "knowin"],
        "--limit must be at least 1": ["--limit", "0"],
        "whole splits": ["--limit", "7", "--update-baselines"],
        "tset": ["--split", "tset"],
        "--batch-size must be at least 1": ["--batch-size", "0"],
        "--corruption-limit has no effect": ["--depth", "quick", "--corruption-limit", "7"],
        "--measure-costs has no effect": ["--depth", "quick", "--measure-costs"],
    }
    outputs = bench.run_each(*(bench.command(*arguments) for arguments in cases.values()), code=4)
    for message, text in zip(cases, outputs, strict=True):
        errors = [line for line in text.splitlines() if line.startswith("ERROR")]
        assert len(errors) == 1, text
        assert message.lower() in errors[0].lower()


def test_damaged_baselines_end_with_code_4_and_stay_as_they_are(bench):
    path = bench.folder / "baselines.json"
    path.write_text('{"schema": 2, "measured": [],}')
    done = bench.run("--update-baselines", code=4)
    assert "line 1, column" in done.stdout + done.stderr
    assert path.read_text() == '{"schema": 2, "measured": [],}'


def test_a_missing_model_is_skipped_with_its_command(bench):
    done = bench.run("--model", "clip-vit-b-32", questions="accuracy and clip")
    assert "fer-models weights fetch clip-vit-b-32" in done.stdout
    assert [s["model"] for s in bench.report()["skipped"]] == ["clip-vit-b-32"]
    assert "1 skipped" in done.stdout  # once, and not in every question


def test_a_missing_restoration_is_skipped_under_its_own_name(bench):
    done = bench.run("-k", "accuracy and gfpgan-1.3")
    assert "fer-models weights fetch gfpgan-1.3" in done.stdout
    assert [s["model"] for s in bench.report()["skipped"]] == ["gfpgan-1.3"]
    assert "1 skipped" in done.stdout


OWN = """
def test_faces(faces, evaluation):
    assert len(faces)
"""


@pytest.mark.slow
def test_a_suite_of_ones_own_ends_in_one_sentence_where_its_faces_cannot_be_read(bench):
    """Its tests are known after the collection only, in each worker of `-n` anew."""
    (bench.folder / "own").mkdir()
    (bench.folder / "own" / "test_own.py").write_text(OWN)
    (bench.folder / "faces" / "happy" / "broken.png").write_bytes(b"")
    common = [
        str(bench.folder / "own"),
        "-p",
        "fer_models.plugin",
        "-p",
        "no:cacheprovider",
        "--rootdir",
        str(bench.folder / "own"),
    ]
    commands = [
        [*common, "--dataset", str(dataset), *workers]
        for dataset in (bench.folder / "faces", bench.folder / "gone")
        for workers in ([], ["-n", "2"])
    ]
    outputs = bench.run_each(*commands, code=4)
    for text, reason in zip(
        outputs, ["1 of 106 pictures cannot be read"] * 2 + ["No dataset or folder named"] * 2, strict=True
    ):
        assert text.count(reason) == 1
        assert "Traceback" not in text
        assert "INTERNALERROR" not in text
    report = json.loads((bench.folder / "own" / "reports" / "evals.json").read_text())
    assert "1 of 106 pictures cannot be read: happy/broken.png" in report["errors"][0]["message"]


def test_a_folder_that_cannot_be_used_ends_in_a_sentence(bench):
    (bench.folder / "store").write_text("in the way")
    done = bench.start(["-m", "pytest", *bench.command()])
    text = done.stdout + done.stderr
    assert done.returncode == 1
    assert "INTERNALERROR" not in text
    assert "Traceback" not in text
    assert "cannot be stored" in text


def test_baselines_that_cannot_be_written_are_an_error_of_the_report(bench):
    folder = bench.folder / "records"
    folder.write_text("in the way")
    done = bench.start(
        ["-m", "pytest", *bench.command("--update-baselines", "--baselines", folder / "baselines.json")]
    )
    assert done.returncode == 1, done.stdout
    assert "recorded 1 subject" not in done.stdout
    (error,) = bench.report()["errors"]
    assert "cannot be written" in error["message"]


@pytest.mark.parametrize("place", ["file/junit.xml", "reports/evals.xml"], ids=["folder", "next to the page"])
def test_a_file_of_another_plugin_that_cannot_be_written_is_named_and_the_page_is_written(bench, place):
    path = bench.folder / place
    if place.startswith("file"):
        path.parent.write_text("in the way")
    else:
        path.parent.mkdir()
        path.symlink_to(bench.folder / "missing" / "evals.xml")
    done = bench.start(["-m", "pytest", *bench.command(f"--junitxml={path}")])
    text = " ".join((done.stdout + done.stderr).split())
    assert done.returncode == 1, text
    assert re.search(rf"error: {re.escape(str(bench.folder))}/\S+ cannot be written", text)
    assert "evals.html cannot be written" not in text
    assert "Traceback" not in text
    page = (bench.folder / "reports" / "evals.html").read_text()
    assert "cannot be written" in page
    assert '<section id="leaderboard"' in page


def test_a_model_with_a_record_is_selected_even_if_the_command_does_not_name_it(bench):
    """A fusion is no model of the zoo; its record makes it one of the run."""
    bench.run("--update-baselines")
    path = bench.folder / "baselines.json"
    content = json.loads(path.read_text())
    (record,) = content["measured"]
    name = "knowing+vgg19"
    content["measured"].append({**record, "model": name})
    path.write_text(json.dumps(content))
    command = bench.command("--collect-only", "-q")
    without_models = [word for i, word in enumerate(command) if "--model" not in (word, command[i - 1])]
    for options, is_selected in (([], True), (["--model", "knowing"], False), (["--depth", "quick"], False)):
        text = bench.run_python(["-m", "pytest", *without_models, *options], 0).stdout
        assert (f"[{name}-raw]" in text) == is_selected, text
