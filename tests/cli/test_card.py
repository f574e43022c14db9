"""`fer-models card`."""

import os
import socket

import pytest
from eval_reports import full_report
from huggingface_hub import ModelCard

from fer_models import cli
from fer_models.report.card import new_card


@pytest.fixture
def command(capsys, monkeypatch):
    """Run `fer-models card` without a network: exit code, standard output and standard error."""

    def refuse(*arguments):
        raise AssertionError("the command opened a connection")

    def run(*arguments):
        with monkeypatch.context() as patched:
            patched.setattr(socket.socket, "connect", refuse)
            code = cli.main(["card", *map(str, arguments)])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


def test_a_card_is_printed_or_written(command, evals_json, tmp_path):
    code, output, error = command("vgg19")
    assert (code, output, error) == (0, new_card(full_report(), "vgg19"), "")
    file = tmp_path / "new" / "README.md"
    assert command("vgg19", "--from", evals_json, "--output", file) == (0, "", "")
    assert file.read_text(encoding="utf-8") == output


def test_an_update_replaces_the_evaluation_and_twice_is_once(command, evals_json, tmp_path):
    file = tmp_path / "README.md"
    file.write_bytes(b"---\r\nlicense: mit  # mine\r\n---\r\n# M\xc3\xa9\r\n")
    assert command("vgg19", "--update", file) == (0, f"card: {file}\n", "")
    first = file.read_bytes()
    assert first.startswith(b"---\r\nlicense: mit  # mine\r\nmodel-index:\r\n")
    assert b"\r\n---\r\n# M\xc3\xa9\r\n\r\n<!--" in first
    assert command("vgg19", "--update", file) == (0, f"card: {file} (no change)\n", "")
    assert file.read_bytes() == first


@pytest.mark.skipif(os.name != "posix", reason="links need no rights on POSIX only")
def test_an_update_of_a_link_changes_the_file_that_it_points_to(command, evals_json, tmp_path):
    target, link = tmp_path / "target.md", tmp_path / "README.md"
    target.write_text("# Mine\n")
    link.symlink_to(target)
    assert command("vgg19", "--update", link)[0] == 0
    assert link.is_symlink()
    assert "## Evaluation" in target.read_text()


@pytest.mark.parametrize(
    ("card", "message"),
    [
        (b"---\na: [\n---\n", "README.md, line 2: the front matter is not valid YAML"),
        (b"---\na: 1\n", "README.md, line 1: "),
        (b"\xff", "is not in UTF-8"),
    ],
)
def test_a_broken_card_stays_as_it_is(command, evals_json, tmp_path, card, message):
    file = tmp_path / "README.md"
    file.write_bytes(card)
    code, output, error = command("vgg19", "--update", file)
    assert (code, output) == (4, "")
    assert message in error
    assert file.read_bytes() == card


def test_errors_name_the_models_and_the_next_command(command, evals_json, tmp_path):
    code, _, error = command("vgg18")
    assert code == 4
    assert "Known: clip, resnet50, vgg19" in error
    code, _, error = command("vgg19", "--update", tmp_path / "README.md")
    assert code == 4
    assert "fer-models card vgg19 --output README.md" in error
    evals_json.unlink()
    code, _, error = command("vgg19")
    assert code == 4
    assert "pytest evals" in error


def test_an_output_and_an_update_exclude_each_other(command, evals_json):
    with pytest.raises(SystemExit) as ended:
        command("vgg19", "--output", "a", "--update", "b")
    assert ended.value.code == 4


@pytest.mark.slow
def test_a_run_has_a_card_with_its_accuracy(command, bench):
    bench.run("--model", "knowing", questions="accuracy")
    path = bench.folder / "reports" / "evals.json"
    code, card, _ = command("knowing", "--from", path)
    assert code == 0
    (result,) = bench.report()["results"]
    read = {one.metric_name: one.metric_value for one in ModelCard(card).data.get("eval_results")}
    assert read["Accuracy"] == round(result["metrics"]["accuracy"]["value"], 4)
    assert str(bench.folder) not in card
