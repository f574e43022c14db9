"""Help texts and shell completion."""

import argparse
import os
import re
import shlex
import shutil
import subprocess
from contextlib import suppress

import pytest

from fer_models import cli
from fer_models.cli import common
from fer_models.cli.app import build_parser
from fer_models.zoo.spec import DEVICES


def commands(parser=None, names=()):
    """Every command as a tuple of words, with its parser."""
    parser = parser or build_parser(with_eval_options=True)
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, command in action.choices.items():
                yield (*names, name), command
                yield from commands(command, (*names, name))


COMMANDS = dict(commands())


@pytest.fixture
def help_of(capsys, monkeypatch):
    """A function that returns the help of a command in a terminal of 80 columns."""
    monkeypatch.setenv("COLUMNS", "80")

    def read(*words):
        with suppress(SystemExit):
            cli.main([*words, "--help"])
        return capsys.readouterr().out

    return read


@pytest.mark.parametrize("words", [(), *COMMANDS], ids=lambda words: "-".join(words) or "all")
def test_every_help_has_one_to_three_examples_that_are_valid_and_fits_80_columns(help_of, words):
    text = help_of(*words)
    assert max(map(len, text.splitlines())) <= 80
    examples = text.rpartition("examples:\n")[2].splitlines()
    assert 1 <= len(examples) <= 3
    parser = build_parser(with_eval_options=True)
    for example in examples:
        command = re.search(r"fer-models ((?:(?!&&|\)|>|#).)*)", example)[1]
        args, rest = parser.parse_known_args(shlex.split(command))
        assert args.command == (words[0] if words else args.command)
        assert not rest or args.command == "eval", "only `eval` takes the options of pytest"


def test_every_command_says_what_it_does(help_of):
    for words, parser in COMMANDS.items():
        if words != ("eval",):  # its help is that of the run
            assert parser.description.endswith("."), words
    assert "Evaluate models" in help_of("eval")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_completion_script_has_every_command_option_and_model(capsys, shell):
    assert cli.main(["completion", shell]) == 0
    script = capsys.readouterr().out
    for words, parser in COMMANDS.items():
        assert words[-1] in script
        for action in parser._actions:
            for option in action.option_strings:
                # fish has the name of a long option without its dashes
                assert option.lstrip("-") in script, (words, option)
    assert "efficientnet_b0" in script


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_completion_script_has_no_syntax_error(capsys, tmp_path, shell):
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    cli.main(["completion", shell])
    script = tmp_path / "script"
    script.write_text(capsys.readouterr().out)
    done = subprocess.run([shell, "-n", str(script)], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_bash_completes_commands_options_and_models(capsys, tmp_path):
    if shutil.which("bash") is None or os.name != "posix":
        pytest.skip("bash is not installed")
    cli.main(["completion", "bash"])
    script = tmp_path / "script"
    script.write_text(capsys.readouterr().out)

    def completed(*words):
        typed = " ".join(map(shlex.quote, ("fer-models", *words)))
        function = "$(complete -p fer-models | sed 's/.*-F \\([^ ]*\\).*/\\1/')"
        code = f"source {script}; COMP_WORDS=({typed}); COMP_CWORD={len(words)}; COMP_LINE={typed!r}; "
        code += f'{function} fer-models {words[-1]!r} {words[-1]!r}; printf "%s\\n" "${{COMPREPLY[@]}}"'
        done = subprocess.run(["bash", "-c", code], capture_output=True, text=True, check=True)
        return done.stdout.split()

    assert completed("doc") == ["doctor"]
    assert completed("predict", "eff") == ["efficientnet_b0"]
    assert completed("doctor", "--fo") == ["--format"]


def test_an_unknown_shell_ends_with_code_4(capsys):
    with pytest.raises(SystemExit) as ended:
        cli.main(["completion", "cmd"])
    assert ended.value.code == 4
    assert "bash" in capsys.readouterr().err


def test_commands_take_the_devices_of_the_zoo():
    parser = argparse.ArgumentParser()
    common.device_option(parser)
    assert all(parser.parse_args(["--device", name]).device == name for name in DEVICES)
    assert f"{{{','.join(DEVICES)}}}" in parser.format_usage()
