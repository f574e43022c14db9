"""Stored predictions of a third-party model that changed are never used."""

import json
import shutil

import numpy as np
import pytest
from bench import write_faces
from fakes import toy_faces

from fer_models.classifiers.base import Predictions
from fer_models.classifiers.dummy import Constant
from fer_models.config import EvalConfig
from fer_models.emotions import Emotion
from fer_models.errors import DamagedFileWarning
from fer_models.inference.model_check import ModelCheck
from fer_models.inference.runner import Runner
from fer_models.zoo.registry import Registry, from_file
from fer_models.zoo.restorers import RESTORERS

FACES = 70
MODEL = """
import json, os, sys
from pathlib import Path
from fer_models import Emotion, ModelSpec, RestorerSpec
from fer_models.classifiers.dummy import Constant
sys.path.insert(0, {folder!r})

def add(name, text):
    with Path({folder!r}, name).open("a") as file:
        file.write(text)

def load(runtime):
    sys.modules.pop("helper", None)
    import helper
    add("loads", "x")
    return Constant(Emotion[{emotion}])

MODELS = [ModelSpec("mine", load=load)]

class Brighter:
    def restore(self, faces):
        by = int(os.environ.get("FER_TEST_BY", "1"))
        add("restored", "x" * len(faces))
        return [(face // 2 + by).astype("uint8") for face in faces]

RESTORERS = [RestorerSpec("brighter", load=lambda runtime: Brighter(), cached={cached})]
"""


@pytest.fixture
def dataset(tmp_path):
    write_faces(tmp_path / "faces", FACES)
    return tmp_path


def run(folder, emotion="helper.EMOTION", cached=False, combination=("mine", "raw"), **options):
    """One run of a model from a file, as a new process would do it; the answers, and the messages on changed
    models.
    """
    (folder / "model.py").write_text(MODEL.format(folder=str(folder), emotion=emotion, cached=cached))
    models, restorers = from_file(folder / "model.py")
    runner = Runner(
        EvalConfig(dataset=str(folder / "faces"), **{"store": folder / ".evals" / "store", **options}),
        Registry("model", *models),
        Registry("restorer", *RESTORERS, *restorers),
    )
    done = runner.predict(combination)
    return set(done.predictions.answer.tolist()), done.from_store, runner.changed_models


def change_helper(folder, monkeypatch, emotion):
    (folder / "helper.py").write_text(
        f"EMOTION = {emotion!r} \n" + "#" * len(emotion)
    )  # another size: no stale bytecode


def change_environment(folder, monkeypatch, emotion):
    (folder / "helper.py").write_text("")
    monkeypatch.setenv("FER_TEST_EMOTION", emotion)


def change_file(folder, monkeypatch, emotion):
    (folder / "helper.py").write_text("")
    (folder / "emotion.json").write_text(json.dumps(emotion))


@pytest.mark.parametrize(
    ("change", "source"),
    [
        (change_helper, "helper.EMOTION"),
        (change_environment, "os.environ['FER_TEST_EMOTION']"),
        (change_file, "json.loads(Path({folder!r}, 'emotion.json').read_text())"),
    ],
    ids=["a helper module", "an environment variable", "an undeclared file"],
)
def test_a_model_is_predicted_again_that_changed_through(dataset, monkeypatch, change, source):
    source = source.format(folder=str(dataset))
    change(dataset, monkeypatch, "SAD")
    assert run(dataset, source) == ({Emotion.SAD}, False, {})
    assert run(dataset, source) == ({Emotion.SAD}, True, {})
    change(dataset, monkeypatch, "HAPPY")
    answers, from_store, changed = run(dataset, source)
    assert answers == {Emotion.HAPPY}
    assert not from_store
    assert "64 of 64 predictions for the same faces differ" in changed["mine", "raw"]
    assert run(dataset, source) == ({Emotion.HAPPY}, True, {})
    change(dataset, monkeypatch, "SAD")
    assert run(dataset, source)[0] == {Emotion.SAD}


def test_a_run_from_the_store_alone_loads_no_model(dataset, monkeypatch):
    change_helper(dataset, monkeypatch, "SAD")
    run(dataset)
    loads = (dataset / "loads").read_text()
    assert run(dataset, cached_only=True) == ({Emotion.SAD}, True, {})
    assert (dataset / "loads").read_text() == loads


@pytest.mark.parametrize("cached", [False, True], ids=["computed each time", "with its faces cached"])
def test_a_third_party_restorer_that_changed_is_noticed(dataset, monkeypatch, cached):
    change_helper(dataset, monkeypatch, "SAD")
    combination = ("mine", "brighter")
    before = run(dataset, cached=cached, combination=combination)
    assert before[1] is False
    restored = len((dataset / "restored").read_text())
    monkeypatch.setenv("FER_TEST_BY", "9")
    run(dataset, cached=cached, combination=combination)
    assert len((dataset / "restored").read_text()) > restored
    if cached:
        assert len(list((dataset / ".evals" / "restored").glob("brighter-*"))) == 2


def predictions(p):
    rows = np.full((3, 7), (1 - p) / 6)
    rows[:, 2] = p
    return Predictions.from_probabilities(rows)


def test_rounding_is_no_change_and_more_than_rounding_is_one(tmp_path):
    check = ModelCheck(tmp_path, "mine-raw", {"model": "mine"})
    token, changed = check.token(lambda: predictions(0.5), 1e-3)
    assert (bool(token), changed) == (True, 0)
    assert check.token(lambda: predictions(0.5004), 1e-3) == (token, 0)
    other, changed = check.token(lambda: predictions(0.52), 1e-3)
    assert other != token
    assert changed == 3
    assert check.token(lambda: predictions(0.5), 1e-3) == (token, 3)


def test_another_identity_has_a_file_of_its_own(tmp_path):
    one, other = (ModelCheck(tmp_path, "mine-raw", {"model": name}) for name in ("mine", "other"))
    one.token(lambda: predictions(0.5), 1e-3)
    assert other.token(None, 1e-3) == ("", 0)


DAMAGED = (
    "",
    "[]",
    "null",
    "{",
    '{"token": "x"}',
    '{"token": "x", "rows": [1]}',
    "[" * 100_000,
    '{"token": "x", "rows": []}',
)


@pytest.mark.parametrize("content", DAMAGED)
def test_a_damaged_file_makes_the_model_a_new_one(tmp_path, content):
    check = ModelCheck(tmp_path, "mine-raw", {"model": "mine"})
    token, _ = check.token(lambda: Constant(Emotion.SAD).predict(toy_faces(3).images), 1e-3)
    (file,) = tmp_path.glob("*.json")
    file.write_text(content)
    with pytest.warns(DamagedFileWarning, match="computed anew"):
        assert check.token(lambda: Constant(Emotion.SAD).predict(toy_faces(3).images), 1e-3)[0] == token


def test_a_store_is_enough_to_judge_a_model_of_ones_own_elsewhere(dataset, monkeypatch):
    change_helper(dataset, monkeypatch, "SAD")
    first = run(dataset)
    elsewhere = dataset / "elsewhere"
    shutil.copytree(dataset / ".evals" / "store", elsewhere / "store")
    shutil.rmtree(dataset / ".evals")
    store = {"store": elsewhere / "store", "cached_only": True}
    answers, from_store, _ = run(dataset, **store)
    assert (answers, from_store) == (first[0], True)
