"""Files that define no valid model or restorer, weights that are no file: each is refused in a sentence."""

import os
from pathlib import Path
from types import SimpleNamespace

import pytest
from guards import assert_sentence

from fer_models.classifiers.dummy import Constant
from fer_models.emotions import Emotion
from fer_models.errors import UsageError, WeightsError
from fer_models.zoo import registry, resolve
from fer_models.zoo.spec import ModelSpec, RestorerSpec, Runtime, Weights


def constant(name="mine", **fields):
    return ModelSpec(name, **({"load": lambda runtime: Constant(Emotion.HAPPY)} | fields))


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
