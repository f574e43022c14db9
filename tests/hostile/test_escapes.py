"""Models and restorers that raise, or try to end the run: wherever they are called, an error of one sentence
follows.
"""

import os
import threading
import warnings
from types import SimpleNamespace

import pytest
from fakes import toy_faces
from guards import assert_sentence

from fer_models.classifiers import prompts
from fer_models.classifiers.dummy import Constant
from fer_models.classifiers.vlm import questions
from fer_models.config import EvalConfig
from fer_models.emotions import LABELS, Emotion
from fer_models.errors import FerModelsError, PredictionError, UsageError, WeightsError
from fer_models.inference.loader import Loader
from fer_models.inference.pipeline import predict_validated, validate_embeddings, validate_predictions
from fer_models.inference.runner import Runner
from fer_models.restorers.base import restore_validated
from fer_models.third_party_code import prevent_exit, wrap_errors
from fer_models.zoo import registry, resolve
from fer_models.zoo.registry import Registry
from fer_models.zoo.restorers import RESTORERS
from fer_models.zoo.spec import ModelSpec, Runtime, Weights

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
            warnings.simplefilter("ignore", DeprecationWarning)  # fork with threads, from Python 3.12 on
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
