"""`fer-models history`."""

import json
from dataclasses import replace

import pytest
from history_runs import SUBJECT, entry, write_history

from fer_models import cli


@pytest.fixture
def history(tmp_path):
    """The path of a history of two models."""
    path = tmp_path / "history.sqlite"
    restored = entry(0.6, subject=replace(SUBJECT, restoration="gfpgan"))
    changed = entry(0.64, key="2", inputs={"weights": "new"}, verdict="FAIL")
    write_history(path, entry(0.66), restored, changed, entry(0.5, model="resnet50"))
    return path


@pytest.fixture
def show(capsys):
    """A function that runs the command; its exit code, output and errors."""

    def run(*arguments):
        code = cli.main(["history", *map(str, arguments)])
        output = capsys.readouterr()
        return code, output.out, output.err

    return run


def test_without_a_model_each_subject_has_one_line(show, history):
    code, text, _ = show("--history", history)
    assert code == 0
    assert [line.split()[:2] for line in text.splitlines()[3:]] == [
        ["vgg19-raw", "2"],
        ["vgg19-gfpgan", "1"],
        ["resnet50-raw", "1"],
    ]


def test_a_model_has_its_runs_newest_last_with_what_changed(show, history):
    code, text, _ = show("vgg19", "--restoration", "raw", "--store", history.parent / "store")
    assert code == 0
    assert text.index("0.660") < text.index("0.640")
    assert text.endswith("changed: weights\n")
    assert "gfpgan" not in text
    assert "resnet50" not in text
    assert max(map(len, text.splitlines())) <= 80


def test_a_limit_shows_the_last_runs_in_both_formats(show, history):
    _, text, _ = show("vgg19", "--restoration", "raw", "--last", 1, "--history", history)
    assert "0.660" not in text
    assert "1 earlier run: --last 2" in text
    _, text, _ = show("--last", 1, "--history", history)
    assert [line.split()[1] for line in text.splitlines()[3:]] == ["1", "1", "1"]
    _, text, _ = show("--last", 1, "--format", "json", "--history", history)
    assert [len(trend["runs"]) for trend in json.loads(text)["trends"]] == [1, 1, 1]


def test_json_has_every_run(show, history):
    code, text, _ = show("vgg19", "--format", "json", "--history", history)
    raw, restored = json.loads(text)["trends"]
    assert code == 0
    assert [run["accuracy"]["value"] for run in raw["runs"]] == [0.66, 0.64]
    assert [run["changed"] for run in raw["runs"]] == [[], ["weights"]]
    assert restored["subject"]["restoration"] == "gfpgan"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("vgg91",), "No model in this history named 'vgg91'. Did you mean 'vgg19'?"),
        (("vgg19", "--restoration", "gfpgna"), "Did you mean 'gfpgan'?"),
        (
            ("resnet50", "--restoration", "gfpgan"),
            "No restoration in this history named 'gfpgan'. Known: raw.",
        ),
        (("--dataset", "fer2031"), "Did you mean 'fer2013'?"),
        (("--split", "test"), "No split in this history named 'test'"),
        (("--last", "0"), "--last must be at least 1"),
    ],
)
def test_an_unknown_name_suggests_near_ones(show, history, arguments, words):
    code, text, error = show(*arguments, "--history", history)
    assert (code, text) == (4, "")
    assert words in error


def test_a_missing_or_unusable_file_ends_with_the_command_that_makes_one(show, tmp_path):
    (tmp_path / "text").write_text("no database" * 100)
    (tmp_path / "empty").touch()
    for name in ("missing", "text", "empty"):
        code, text, error = show("--history", tmp_path / name)
        assert (code, text) == (4, "")
        assert "pytest evals" in error
        assert "Traceback" not in error


def test_a_verdict_of_another_program_is_named_with_its_subject(show, tmp_path):
    write_history(tmp_path / "h.sqlite", entry(verdict="GOOD"))
    code, _, error = show("--history", tmp_path / "h.sqlite")
    assert code == 4
    assert "verdict of vgg19-raw on fer2013/private_test in the history is 'GOOD'" in error


def test_a_store_and_a_history_at_once_are_refused(show, history, capsys):
    with pytest.raises(SystemExit) as ended:
        show("--history", history, "--store", history.parent)
    assert ended.value.code == 4
    assert "not allowed with" in capsys.readouterr().err


def test_hostile_names_stay_text_in_the_terminal(show, tmp_path):
    name = "[red]x[/red]\x1b[31m\u202e"
    write_history(tmp_path / "h.sqlite", entry(model=name))
    for arguments in ((), (name,)):
        code, text, _ = show(*arguments, "--history", tmp_path / "h.sqlite")
        assert code == 0
        assert "[red]x[/red]" in text
        assert "\x1b" not in text
        assert "\u202e" not in text
