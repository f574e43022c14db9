"""Models and restorers that raise, lie, or try to end the run: every door answers with a sentence, and
nothing is stored.
"""

import json
import os
import signal
import sys
import threading
import warnings
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from bench import SEVERAL_CODES, write_faces
from fakes import run, toy_faces
from guards import assert_sentence
from processes import run_python

from fer_models.classifiers import prompts
from fer_models.classifiers.base import Predictions
from fer_models.classifiers.dummy import Constant
from fer_models.classifiers.vlm import questions
from fer_models.config import EvalConfig
from fer_models.emotions import LABELS, Emotion
from fer_models.errors import FerModelsError, PredictionError, RestorationError, UsageError, WeightsError
from fer_models.inference.loader import Loader
from fer_models.inference.pipeline import predict_validated, validate_embeddings, validate_predictions
from fer_models.inference.runner import Runner
from fer_models.restorers.base import restore_validated
from fer_models.third_party_code import prevent_exit, wrap_errors
from fer_models.zoo import registry, resolve
from fer_models.zoo.registry import Registry
from fer_models.zoo.restorers import RESTORERS
from fer_models.zoo.spec import ModelSpec, RestorerSpec, Runtime, Weights

#: Ways to get away, as code.
ESCAPES = {
    "os._exit with 0": "import os; os._exit(0)",
    "os._exit with 3": "import os; os._exit(3)",
    "os._exit with 256, which is 0": "import os; os._exit(256)",
    "os._exit by keyword": "import os; os._exit(status=0)",
    "os._exit by its other name": "import posix; posix._exit(0)",
    "os._exit, imported": "from os import _exit; _exit(0)",
    "os.abort": "import os; os.abort()",
    "os.execv": "import os; os.execv('/bin/true', ['true'])",
    "os.execve": "import os; os.execve('/bin/true', ['true'], {})",
    "os.execlp": "import os; os.execlp('true', 'true')",
    "sys.exit with 0": "import sys; sys.exit(0)",
    "sys.exit with nothing": "import sys; sys.exit()",
    "SystemExit with a text": "raise SystemExit('all is well')",
    "pytest.skip": "import pytest; pytest.skip('no time', allow_module_level=True)",
    "pytest.xfail": "import pytest; pytest.xfail('known')",
    "pytest.exit": "import pytest; pytest.exit('enough', returncode=0)",
    "pytest.fail": "import pytest; pytest.fail('no')",
    "unittest.SkipTest": "import unittest; raise unittest.SkipTest('no')",
    "GeneratorExit": "raise GeneratorExit",
    "StopIteration": "raise StopIteration",
    "asyncio.CancelledError": "import asyncio; raise asyncio.CancelledError",
    "BaseException": "raise BaseException('bare')",
    "MemoryError": "raise MemoryError",
    "endless recursion": "f = lambda: f()\nf.__globals__['f'] = f\nf()",
    "a division by zero": "1 / 0",
    "a text of many lines": "raise ValueError('one\\ntwo\\n' * 1000)",
    "half a character": "raise ValueError('\\ud83d')",
    "terminal commands": "raise ValueError('\\x1b[2J\\x00')",
    "an error without a text": "raise RuntimeError",
    "an error whose text fails": "class E(Exception):\n def __str__(self): raise SystemExit(0)\nraise E",
    "a warning as an error": "raise UserWarning('w')",
}


def escape(code):
    """A function that takes anything and runs `code`."""

    def away(*_):
        exec(code, {"__name__": "third_party"})

    return away


def constant(name="mine", **fields):
    return ModelSpec(name, **({"load": lambda runtime: Constant(Emotion.HAPPY)} | fields))


def runner(*models):
    return Runner(EvalConfig(), Registry("model", *models), RESTORERS)


def through_entry_point(away, monkeypatch):
    point = SimpleNamespace(name="theirs", value="theirs:models", load=away)
    monkeypatch.setattr(registry, "entry_points", lambda group: [point])
    registry.from_entry_points()


#: Where third-party code is called: each takes the escape and what the test has at hand.
DOORS = {
    "predict": lambda away, _: predict_validated(
        SimpleNamespace(predict=away), "mine", LABELS, toy_faces(7).faces(range(3))
    ),
    "classify": lambda away, _: validate_predictions(lambda: away(None), "mine", LABELS, 3),
    "embed": lambda away, _: validate_embeddings(lambda: away(None), "mine", 3),
    "load": lambda away, _: runner(constant(load=away)).classifier("mine"),
    "another question of a loaded model": lambda away, _: Loader(EvalConfig(), list).with_question(
        constant(load=lambda runtime: SimpleNamespace(with_question=away)), questions.load("multiple-choice")
    ),
    "another question": lambda away, _: resolve.with_question(
        Registry("model", constant(with_question=away)), questions.load("multiple-choice")
    ),
    "other prompts": lambda away, _: resolve.with_prompts(
        Registry("model", constant(with_prompts=away)), prompts.load("openai")
    ),
    "an answer mode": lambda away, _: resolve.resolve_model(
        "mine+likelihood", Registry("model", constant(with_variant=away))
    ),
    "the search for weights": lambda away, _: constant(weights=Weights(away, "get them")).identity(Runtime()),
    "restore": lambda away, _: restore_validated(
        SimpleNamespace(restore=away), "mine", toy_faces(7).faces(range(3))
    ),
    "an entry point": through_entry_point,
}


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("way", ESCAPES)
def test_no_door_lets_anything_out_but_a_sentence(door, way, monkeypatch):
    before = os._exit, os.abort, os.execv
    with pytest.raises(FerModelsError) as caught:
        DOORS[door](escape(ESCAPES[way]), monkeypatch)
    assert_sentence(caught.value)
    assert "mine" in str(caught.value) or "theirs" in str(caught.value)
    assert (os._exit, os.abort, os.execv) == before


@pytest.mark.parametrize("way", ESCAPES)
def test_a_file_of_models_that_escapes_is_an_error_of_the_command_line(way, tmp_path):
    path = tmp_path / "own.py"
    path.write_text(ESCAPES[way], encoding="utf-8")
    with pytest.raises(UsageError) as caught:
        registry.from_file(path)
    assert_sentence(caught.value)
    assert "own.py" in str(caught.value)


def test_the_user_may_interrupt():
    for door in (wrap_errors(PredictionError, "x"), prevent_exit()):
        with pytest.raises(KeyboardInterrupt), door:
            raise KeyboardInterrupt


def test_an_error_of_this_project_passes_as_it_is():
    error = WeightsError("as it is")
    with pytest.raises(WeightsError) as caught, wrap_errors(PredictionError, "x"):
        raise error
    assert caught.value is error


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_a_child_of_a_model_may_end_as_it_likes():
    def forks(faces):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # fork beside threads, from Python 3.12 on
            child = os.fork()
        if child == 0:
            os._exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        return Constant(Emotion.SAD).predict(faces)

    predictions = predict_validated(
        SimpleNamespace(predict=forks), "mine", LABELS, toy_faces(7).faces(range(3))
    )
    assert predictions.answer.tolist() == [4, 4, 4]


def test_a_thread_that_a_model_started_cannot_end_the_run_as_a_success():
    raised = []

    def later():
        try:
            os._exit(0)
        except BaseException as error:
            raised.append(error)

    with prevent_exit():
        thread = threading.Thread(target=later)
        thread.start()
        thread.join(10)
    assert len(raised) == 1


def test_what_a_model_imported_stays_refused_after_the_door():
    functions = []
    with wrap_errors(PredictionError, "x"):
        functions.append(os._exit)
    with pytest.raises(RuntimeError, match="without a verdict"):
        functions[0](0)


# -- predictions that are none ---------------------------------------------------------------------

N = 4
GOOD = np.full((N, 7), 1 / 7)


def forged(**fields):
    """Predictions whose fields were set past every check."""
    made = Predictions.from_probabilities(GOOD)
    for name, value in fields.items():
        object.__setattr__(made, name, value)
    return made


def spoilt(row, column, value):
    rows = GOOD.copy()
    rows[row, column] = value
    return rows


WRONG_ROWS = {
    "NaN": spoilt(1, 2, np.nan),
    "infinity": spoilt(1, 2, np.inf),
    "minus infinity": spoilt(1, 2, -np.inf),
    "negative": spoilt(1, 2, -0.1),
    "logits": GOOD * 9,
    "percent": GOOD * 100,
    "zeros": GOOD * 0,
    "float64's largest": np.full((N, 7), 1e308),
    "one row": GOOD[0],
    "six columns": np.full((N, 6), 1 / 6),
    "eight columns": np.full((N, 8), 1 / 8),
    "three dimensions": GOOD[None],
    "too few rows": GOOD[:2],
    "too many rows": np.full((N + 1, 7), 1 / 7),
    "no row": GOOD[:0],
    "ragged": [[1, 0, 0, 0, 0, 0, 0]] * (N - 1) + [[1]],
    "complex": GOOD.astype(complex),
    "texts": np.full((N, 7), "0.142857"),
    "objects": GOOD.astype(object),
    "dates": np.full((N, 7), np.datetime64("2024-01-01")),
    "bytes": b"1" * 28,
    "a text": "happy",
    "None": None,
    "a number": 0.5,
    "a dictionary": {"happy": 1.0},
    "a generator": (row for row in GOOD),
}


def from_rows(rows):
    return lambda faces: Predictions.from_probabilities(rows)


WRONG = {
    **{f"rows: {name}": from_rows(rows) for name, rows in WRONG_ROWS.items()},
    **{
        f"forged rows: {name}": lambda faces, rows=rows: forged(probabilities=rows)
        for name, rows in WRONG_ROWS.items()
        if name != "a generator"
    },
    "None": lambda faces: None,
    "rows alone": lambda faces: GOOD,
    "a tuple": lambda faces: (GOOD, ("ok",) * N),
    "the class": lambda faces: Predictions,
    "text too short": lambda faces: forged(text=("",)),
    "text too long": lambda faces: forged(text=("",) * (N + 1)),
    "text as one text": lambda faces: forged(text="abcd"),
    "text of numbers": lambda faces: forged(text=(1,) * N),
    "text of bytes": lambda faces: forged(text=(b"x",) * N),
    "text None": lambda faces: forged(text=None),
    "text given as one": lambda faces: Predictions.from_probabilities(GOOD, text="abcd"),
    "text given too short": lambda faces: Predictions.from_probabilities(GOOD, text=["a"]),
    "text given as numbers": lambda faces: Predictions.from_probabilities(GOOD, text=[1] * N),
    "status too short": lambda faces: forged(status=("ok",)),
    "status of booleans": lambda faces: forged(status=(True,) * N),
    "status empty": lambda faces: forged(status=("",) * N),
    "status None": lambda faces: forged(status=None),
    "status as one text": lambda faces: forged(status="okok"),
    "labels None": lambda faces: forged(labels=None),
    "labels reversed": lambda faces: forged(labels=LABELS[::-1]),
    "labels of numbers": lambda faces: forged(labels=tuple(range(7))),
    "labels twice": lambda faces: Predictions.from_probabilities(GOOD, ("happy",) * 7),
    "labels unknown": lambda faces: Predictions.from_probabilities(GOOD, tuple("abcdefg")),
    "labels as one text": lambda faces: Predictions.from_probabilities(GOOD, "abcdefg"),
    "unanswered beyond the batch": lambda faces: Predictions.from_probabilities(
        GOOD, unanswered={99: "tired"}
    ),
    "unanswered before the batch": lambda faces: Predictions.from_probabilities(
        GOOD, unanswered={-1: "tired"}
    ),
    "unanswered by name": lambda faces: Predictions.from_probabilities(GOOD, unanswered={"0": "tired"}),
    "unanswered but ok": lambda faces: Predictions.from_probabilities(GOOD, unanswered={0: "ok"}),
    "unanswered without a reason": lambda faces: Predictions.from_probabilities(GOOD, unanswered={0: ""}),
    "unanswered for no text": lambda faces: Predictions.from_probabilities(GOOD, unanswered={0: 7}),
    "unanswered as a list": lambda faces: Predictions.from_probabilities(GOOD, unanswered=[0]),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_no_prediction_is_refused_in_a_sentence_and_stored_nowhere(name, tmp_path):
    with pytest.raises(PredictionError) as caught:
        run(tmp_path, toy_faces(N), SimpleNamespace(predict=WRONG[name]))
    assert_sentence(caught.value)
    assert "'fake'" in str(caught.value)
    assert not list(tmp_path.rglob("*.parquet"))


def test_rows_without_an_answer_keep_no_number(tmp_path):
    predictions = run(
        tmp_path, toy_faces(N), SimpleNamespace(predict=lambda faces: forged(status=("tired",) * N))
    ).predictions
    assert predictions.answer.tolist() == [-1] * N
    assert np.isnan(predictions.probabilities).all()


@pytest.mark.parametrize(
    "text", ["\ud83d", "a\udcffb", "\x00", "\x1b[2J", "\u202eevil", "x" * 100_000, "</script><script>"]
)
def test_any_text_of_a_model_can_be_stored_and_read_again(text, tmp_path):
    predictions = run(
        tmp_path,
        toy_faces(N),
        SimpleNamespace(predict=lambda faces: Predictions.from_probabilities(GOOD, text=[text] * N)),
    ).predictions
    assert predictions.text[0] == text.replace("\ud83d", "\ufffd").replace("\udcff", "\ufffd")


def test_a_reason_with_half_a_character_can_be_stored(tmp_path):
    answer = Predictions.from_probabilities(GOOD, unanswered={0: "\ud83d"})
    assert (
        "\ufffd"
        in run(tmp_path, toy_faces(N), SimpleNamespace(predict=lambda faces: answer)).predictions.status
    )


def test_a_model_that_uses_its_array_again_gets_no_number_of_another_batch(tmp_path):
    rows, calls = np.zeros((N, 7)), []

    def reuses(faces):
        rows[:] = np.eye(7)[len(calls)]
        calls.append(1)
        return forged(probabilities=rows)

    predictions = run(tmp_path, toy_faces(2 * N), SimpleNamespace(predict=reuses)).predictions
    assert predictions.answer.tolist() == [0] * N + [1] * N


WRONG_EMBEDDINGS = {
    **{
        "None": None,
        "a text": "x",
        "texts": [["a"]] * N,
        "objects": [[None]] * N,
        "complex": np.ones((N, 3), complex),
        "one dimension": np.ones(N),
    },
    **{
        "three dimensions": np.ones((N, 2, 2)),
        "too few": np.ones((N - 1, 3)),
        "ragged": [[1.0]] * (N - 1) + [[1.0, 2.0]],
        "no width": np.ones((N, 0)),
    },
    **{"NaN": np.full((N, 3), np.nan), "too large for float32": np.full((N, 3), 1e300)},
}


@pytest.mark.parametrize("name", WRONG_EMBEDDINGS)
def test_what_is_no_embedding_is_refused_in_a_sentence(name):
    with pytest.raises(PredictionError) as caught:
        validate_embeddings(lambda: WRONG_EMBEDDINGS[name], "mine", N)
    assert_sentence(caught.value)


WRONG_FACES = {
    **{
        "None": None,
        "a number": 3,
        "nothing": [],
        "one too few": [np.zeros((8, 8, 3), np.uint8)] * (N - 1),
        "texts": ["x"] * N,
    },
    **{
        "grey": [np.zeros((8, 8), np.uint8)] * N,
        "RGBA": [np.zeros((8, 8, 4), np.uint8)] * N,
        "empty": [np.zeros((0, 8, 3), np.uint8)] * N,
    },
    **{
        "floats": [np.zeros((8, 8, 3))] * N,
        "int8": [np.zeros((8, 8, 3), np.int8)] * N,
        "a dictionary": {i: i for i in range(N)},
    },
}


@pytest.mark.parametrize("name", WRONG_FACES)
def test_what_is_no_face_is_refused_in_a_sentence(name):
    with pytest.raises(RestorationError) as caught:
        restore_validated(
            SimpleNamespace(restore=lambda faces: WRONG_FACES[name]), "mine", toy_faces(N).faces(range(N))
        )
    assert_sentence(caught.value)


# -- records that are none -------------------------------------------------------------------------

_BEGIN = (
    "from fer_models import *\nfrom fer_models import Weights, RestorerSpec\nload = lambda runtime: None\n"
)
WRONG_FILES = {
    **{
        f"MODELS = {value}": f"MODELS = {value}"
        for value in ("None", "3", "'abc'", "b'x'", "{}", "{'a': 1}", "{1}", "(m for m in [])", "object()")
    },
    **{
        f"MODELS = [{value}]": f"MODELS = [{value}]"
        for value in ("None", "3", "'vgg19'", "ModelSpec", "[ModelSpec('a', load)]", "object()")
    },
    "nothing": "",
    "RESTORERS of models": "RESTORERS = [ModelSpec('a', load)]",
    "MODELS of restorers": "MODELS = [RestorerSpec('a', load)]",
    "RESTORERS = None": "RESTORERS = None",
    "a list that does not list": "class L(list):\n def __iter__(self): raise SystemExit(0)\n"
    "MODELS = L([ModelSpec('a', load)])",
    "a module that does not tell": "def __getattr__(name): raise SystemExit(0)",
    "twice": "MODELS = [ModelSpec('a', load), ModelSpec('b', load), ModelSpec('a', load)]",
    "a restorer twice": "RESTORERS = [RestorerSpec('a', load)] * 2",
    **{
        f"name {value}": f"MODELS = [ModelSpec({value}, load)]"
        for value in ("None", "3", "''", "'a b'", "'é'", "b'a'", "'a' * 151", "'\\ud83d'", "'a\\n'")
    },
    **{f"load {value}": f"MODELS = [ModelSpec('a', {value})]" for value in ("None", "'x'", "3")},
    **{
        f"settings {value}": f"import math\nMODELS = [ModelSpec('a', load, settings={value})]"
        for value in (
            "None",
            "[]",
            "{'x': object()}",
            "{'x': {1, 2}}",
            "{'x': math.nan}",
            "{'x': b''}",
            "{1: 1, 'a': 2}",
            "{(1, 2): 3}",
            "{'x': 10 ** 5000}",
        )
    },
    "settings in a circle": "s = {}\ns['s'] = s\nMODELS = [ModelSpec('a', load, settings=s)]",
    "settings too deep": "s = []\nfor _ in range(100_000): s = [s]\n"
    "MODELS = [ModelSpec('a', load, settings={'s': s})]",
    **{
        f"{field}": f"MODELS = [ModelSpec('a', load, {field})]"
        for field in (
            "labels=None",
            "labels='happy'",
            "labels=(1, 2)",
            "labels=('happy', 'joy')",
            "labels=('contempt',)",
            "labels=()",
            "labels=('joyous',)",
            "weights='model.pt'",
            "weights=3",
            "precision='int8'",
            "precision=None",
            "prompt=3",
            "source='x'",
            "with_prompts=3",
            "with_question='x'",
            "with_variant=[]",
            "has_embeddings='yes'",
            "is_fusion=1",
            "components=None",
            "components=('vgg19',)",
            "question='how'",
            "description=None",
            "colour='red'",
        )
    },
    **{
        f"restorer: {field}": f"RESTORERS = [RestorerSpec('a', load, {field})]"
        for field in ("weights=3", "settings=3", "precision='x'", "cached='no'")
    },
    "not Python": "def (",
    "a null byte": "x = '\\x00'\n\x00",
    "an import that is not there": "import nothing_of_that_name",
}


@pytest.mark.parametrize("name", WRONG_FILES)
def test_a_file_that_defines_no_sound_record_is_refused_in_a_sentence(name, tmp_path):
    path = tmp_path / "own.py"
    path.write_text(_BEGIN + WRONG_FILES[name], encoding="utf-8")
    with pytest.raises(UsageError) as caught:
        registry.from_file(path)
    assert_sentence(caught.value)


def write(path: Path, *models, restorers=()):
    path.parent.mkdir(exist_ok=True)
    models_text = f"MODELS = [ModelSpec(n, load) for n in {models!r}]"
    restorers_text = f"RESTORERS = [RestorerSpec(n, load) for n in {restorers!r}]"
    path.write_text(f"{_BEGIN}{models_text}\n{restorers_text}")
    return path


@pytest.mark.parametrize(
    "fields", [{"models": ["same"]}, {"models": ["other"], "restorers": ["same"]}], ids=["model", "restorer"]
)
def test_two_files_with_one_name_are_refused(fields, tmp_path):
    first = write(tmp_path / "one" / "own.py", "a", *fields["models"], restorers=fields.get("restorers", ()))
    second = write(
        tmp_path / "two" / "own.py",
        *(["same"] if "restorers" not in fields else ["b"]),
        restorers=fields.get("restorers", ()),
    )
    with pytest.raises(UsageError, match="both define a") as caught:
        resolve.available_models([first, second])
    assert str(first) in str(caught.value)
    assert str(second) in str(caught.value)


def test_one_file_by_two_paths_runs_once(tmp_path):
    path = write(tmp_path / "own.py", "a")
    (tmp_path / "link.py").symlink_to(path)
    others = [path, tmp_path / "link.py", Path(os.path.relpath(path))]
    assert "a" in resolve.available_models(others)[0]
    assert resolve.selected_models([str(tmp_path / "link.py")], others)[3].names == ["a"]


def test_a_model_in_place_of_one_of_the_zoo_is_announced(tmp_path):
    models, _, notes = resolve.available_models([write(tmp_path / "own.py", "vgg19")])
    assert len(notes) == 1
    assert "vgg19" in notes[0]
    assert models["vgg19"].source == tmp_path / "own.py"


def test_a_model_in_place_of_one_of_an_entry_point_is_announced(tmp_path, monkeypatch):
    module = SimpleNamespace(__name__="theirs", MODELS=[constant("theirs")])
    monkeypatch.setattr(
        registry, "entry_points", lambda group: [SimpleNamespace(name="x", value="x", load=lambda: module)]
    )
    monkeypatch.setattr(registry.inspect, "getfile", lambda module: __file__)
    assert resolve.available_models([write(tmp_path / "own.py", "theirs")])[2] == [
        "theirs comes from own.py, in place of the one already known"
    ]


@pytest.mark.parametrize("path", ["model.safetensors", 3, b"x", [], True])
def test_weights_that_are_found_as_no_path_are_refused(path):
    with pytest.raises(WeightsError) as caught:
        constant(weights=Weights(lambda: path, "get them")).weights_path()
    assert_sentence(caught.value)


@pytest.mark.parametrize("kind", ["pipe", "device", "nothing"])
def test_weights_that_are_no_file_are_refused_and_not_waited_for(kind, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    path = {"pipe": tmp_path / "pipe", "device": Path("/dev/zero"), "nothing": tmp_path / "nothing"}[kind]
    with pytest.raises(WeightsError) as caught:
        constant(weights=Weights(lambda: path, "get them")).identity(Runtime())
    assert_sentence(caught.value)


def test_settings_that_change_later_change_no_record():
    settings = {"version": [1]}
    spec = constant(settings=settings)
    settings["version"].append(2)
    assert spec.settings == {"version": [1]}


def test_the_restorers_record_is_checked_like_the_models():
    with pytest.raises(UsageError, match="settings"):
        RestorerSpec("mine", lambda runtime: None, settings={"x": object()})


# -- whole runs --------------------------------------------------------------------------------------

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


def test_a_run_that_is_killed_leaves_no_report_of_yesterday(folder, repository):
    for arguments in ([], ["-n", "2"]):
        for name in ("evals.json", "evals.html"):
            (folder / "reports" / name).write_text("{}")
        write_model(
            folder, "killed.py", f"import os; os.kill(os.getpid(), {int(signal.SIGKILL)})", "in_predict"
        )
        done = in_a_process(repository, ["-m", "pytest", *command(folder, "killed.py", *arguments)])
        assert done.returncode != 0
        report = folder / "reports" / "evals.json"
        assert not report.exists() or json.loads(report.read_text()) != {}
        assert sys.platform == "win32" or done.returncode == (1 if arguments else -signal.SIGKILL)


def test_a_run_without_a_test_of_ours_keeps_the_report(folder, repository):
    write_model(folder, "good.py", "pass", "in_load")
    before = (folder / "reports" / "evals.json").read_bytes()
    done = in_a_process(repository, ["-m", "pytest", *command(folder, "good.py"), "--collect-only", "-q"])
    assert done.returncode == 0
    assert (folder / "reports" / "evals.json").read_bytes() == before
