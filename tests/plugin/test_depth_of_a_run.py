"""Whole runs: what each depth evaluates and leaves out."""

import json
import re

import pytest
from bench import FACES

from fer_models.plugin import session


@pytest.mark.slow
def test_a_run_says_its_depth_first_and_what_it_left_out_last(bench):
    done = bench.run(questions="accuracy")
    assert "depth standard" in done.stdout.splitlines()[0]
    assert re.search(
        r"^depth standard: about \d+ \w+.* on this machine$", done.stdout, re.MULTILINE
    )  # how long decides no test
    assert "Depth standard left out:" in done.stdout
    assert "Everything: repeat the run with --depth full" in done.stdout
    assert bench.report()["depth"]["name"] == "standard"
    assert "left out" in (bench.folder / "reports" / "evals.html").read_text()
    full = bench.run("--depth", "full", questions="accuracy")
    assert "left out" not in full.stdout
    assert bench.report()["depth"]["left_out"] == []


@pytest.mark.slow
def test_a_restoration_is_predicted_on_few_faces_unless_it_is_recorded(bench):
    def evaluate(*arguments):
        command = bench.command("--restoration-limit", "14", *arguments)
        command[command.index("-k") + 1] = "(accuracy or effect) and bicubic"
        return bench.run_python(["-m", "pytest", *command], 0).stdout

    def numbers():
        return {r["subject"]["restoration"]: (r["n"], r["of"]) for r in bench.report()["results"]}

    text = evaluate()
    assert numbers() == {"bicubic": (14, FACES), "raw": (FACES, FACES)}
    assert "14 of 105 faces" in text
    (effect,) = bench.report()["restorations"]
    assert effect["n"] == 14
    evaluate("--update-baselines")
    assert numbers()["bicubic"] == (FACES, FACES)
    recorded = json.loads((bench.folder / "baselines.json").read_text())["measured"]
    assert {r["restoration"]: r["n"] for r in recorded} == {"bicubic": FACES, "raw": FACES}
    evaluate()
    assert {r["subject"]["restoration"]: r["verdict"] for r in bench.report()["results"]} == {
        "bicubic": "PASS",
        "raw": None,
    }


@pytest.mark.parametrize(
    ("word", "name", "names_it"),
    [
        ("vgg", "vgg19", True),
        ("vgg19-raw", "vgg19", True),
        ("raw", "vgg19", False),
        ("-raw", "vgg19", False),
        ("accuracy", "vgg19", False),
        ("raw", "my-raw-network", True),
    ],
)
def test_a_word_of_the_selection_names_a_model_and_not_only_its_restoration(word, name, names_it):
    assert session._names(word, name) is names_it


def test_a_quick_run_evaluates_the_fastest_models_and_ones_own_as_they_are(bench, repository):
    command = ["-m", "pytest", "evals", "-p", "no:cacheprovider", "--collect-only", "-q", "--depth", "quick"]
    done = bench.run_python([*command, "--model-file", str(bench.folder / "model.py")], 0)
    tests = [line for line in done.stdout.splitlines() if "::" in line]
    models = {name.partition("[")[2].removesuffix("]") for name in tests if "test_accuracy[" in name}
    assert models == {"efficientnet_b0-raw", "resnet50-raw", "clip-nano-raw", "knowing-raw"}
    raw = bench.run_python(
        [*command, "--model-file", str(bench.folder / "model.py"), "-k", "accuracy and raw"], 0
    )
    assert {
        line.partition("[")[2].removesuffix("]") for line in raw.stdout.splitlines() if "::" in line
    } == models
    assert not [name for name in tests if "cost" in name or "metamorphic" in name or "bicubic" in name]
    named = bench.run_python(
        [*command, "-k", "VGG and accuracy and not (macro or recall or loss or one_prediction or slice)"], 0
    )
    assert [line for line in named.stdout.splitlines() if "::" in line] == [
        "evals/test_accuracy.py::test_accuracy[vgg19-raw]"
    ]
