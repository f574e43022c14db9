"""Whole runs of models that try to end them: none passes, and no earlier report stays."""

import json
import os
import signal
import sys

import pytest
from bench import SEVERAL_CODES, write_faces
from processes import run_python

MODEL = """
from fer_models import ModelSpec, Predictions
import numpy as np
{at_import}
class Mine:
    def predict(self, faces):
        {in_predict}
        return Predictions.from_probabilities(np.full((len(faces), 7), 1 / 7))
def load(runtime):
    {in_load}
    return Mine()
MODELS = [ModelSpec("mine", load=load)]
"""
PLACES = ("at_import", "in_load", "in_predict")
#: What ends a run: the code, and where it is called.
ENDS = [
    ("import os; os._exit(0)", "in_predict"),
    ("import os; os._exit(0)", "in_load"),
    ("import os; os._exit(0)", "at_import"),
    ("import os; os.execv('/bin/true', ['true'])", "in_predict"),
    ("import sys; sys.exit(0)", "in_predict"),
    ("import sys; sys.exit(0)", "at_import"),
    ("import pytest; pytest.skip('no', allow_module_level=True)", "in_predict"),
    ("import pytest; pytest.xfail('no')", "in_load"),
    ("import pytest; pytest.exit('no', returncode=0)", "in_predict"),
    ("import pytest; pytest.exit('no', returncode=0)", "at_import"),
]


@pytest.fixture
def folder(tmp_path):
    write_faces(tmp_path / "faces", 14)
    (tmp_path / "reports").mkdir()
    for name in ("evals.json", "evals.html"):
        (tmp_path / "reports" / name).write_text('{"of": "yesterday, and green"}')
    return tmp_path


def command(folder, model, *arguments):
    options = {
        "--dataset": folder / "faces",
        "--model-file": folder / model,
        "--model": "mine",
        "--store": folder / "store" / model,
    }
    options |= {
        "--report-dir": folder / "reports",
        "--work-dir": folder,
        "-k": "macro_f1 and raw",
        "-p": "no:cacheprovider",
    }
    return ["evals", *(str(one) for pair in options.items() for one in pair), *arguments]


def write_model(folder, name, code, place):
    (folder / name).write_text(MODEL.format(**(dict.fromkeys(PLACES, "pass") | {place: code})))


def in_a_process(repository, arguments):
    alone = {key: value for key, value in os.environ.items() if not key.startswith("PYTEST_")}
    return run_python(arguments, repository, alone)


@pytest.mark.slow
def test_no_model_ends_a_run_green(folder, repository):
    commands = []
    for i, (code, place) in enumerate(ENDS):
        write_model(folder, f"m{i}.py", code, place)
        commands += [
            command(folder, f"m{i}.py", *more)
            for more in ([], ["--update-baselines"], ["--strict-gate"])[: 3 if i < 1 else 1]
        ]
    (folder / "runs.py").write_text(SEVERAL_CODES.format(commands=commands))
    done = in_a_process(repository, [str(folder / "runs.py")])
    outputs = done.stdout.split("=-=-=")[1:]
    assert len(outputs) == len(commands), done.stdout + done.stderr
    for text in outputs:
        assert text.strip().endswith(("ended with 1", "ended with 4")), text
        assert "Traceback" not in text
        assert "INTERNALERROR" not in text
    recorded = folder / "baselines.json"
    assert not recorded.exists() or json.loads(recorded.read_text())["measured"] == []


@pytest.mark.slow
def test_a_run_that_is_killed_leaves_no_report_of_yesterday(folder, repository):
    for arguments in ([], ["-n", "2"]):
        for name in ("evals.json", "evals.html"):
            (folder / "reports" / name).write_text("{}")
        write_model(
            folder, "killed.py", f"import os; os.kill(os.getpid(), {int(signal.SIGKILL)})", "in_predict"
        )
        done = in_a_process(repository, ["-m", "pytest", *command(folder, "killed.py", *arguments)])
        assert done.returncode != 0
        for name in ("evals.json", "evals.html"):
            report = folder / "reports" / name
            assert not report.exists() or report.read_text() != "{}"
        assert sys.platform == "win32" or done.returncode == (1 if arguments else -signal.SIGKILL)


def test_a_run_without_a_test_of_ours_keeps_the_report(folder, repository):
    write_model(folder, "good.py", "pass", "in_load")
    before = (folder / "reports" / "evals.json").read_bytes()
    done = in_a_process(repository, ["-m", "pytest", *command(folder, "good.py"), "--collect-only", "-q"])
    assert done.returncode == 0
    assert (folder / "reports" / "evals.json").read_bytes() == before
