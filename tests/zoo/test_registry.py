import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fer_models import cli
from fer_models.artifacts import weights
from fer_models.classifiers import prompts
from fer_models.classifiers.dummy import Constant
from fer_models.datasets import synthetic
from fer_models.emotions import EMOTIONS, Emotion, LabelSpace
from fer_models.errors import (
    DatasetError,
    FerModelsError,
    UnknownNameError,
    UsageError,
    WeightsError,
    WeightsMissingError,
)
from fer_models.zoo import registry, resolve
from fer_models.zoo.models import MODELS
from fer_models.zoo.registry import Registry
from fer_models.zoo.restorers import RESTORERS
from fer_models.zoo.spec import ModelSpec, Runtime, Weights

OWN = """
from fer_models import ModelSpec, RestorerSpec, Predictions, LABELS
class Mine:
    def predict(self, faces):
        return Predictions.from_probabilities([[1, 0, 0, 0, 0, 0, 0]] * len(faces))
class Same:
    def restore(self, faces):
        return faces
MODELS = [ModelSpec("mine", load=lambda runtime: Mine())]
RESTORERS = [RestorerSpec("same", load=lambda runtime: Same())]
"""


def constant(name="constant", **fields):
    return ModelSpec(name, lambda runtime: Constant(Emotion.HAPPY), **fields)


def test_a_refused_add_changes_nothing():
    models = Registry("model", constant("a"))
    with pytest.raises(UsageError, match="already registered"):
        models.add(constant("b"), constant("a"))
    assert models.names == ["a"]


def test_an_unknown_name_gets_a_suggestion():
    with pytest.raises(UnknownNameError, match="Did you mean 'efficientnet_b0'") as caught:
        MODELS["efficientnet-b0"]
    assert caught.value.name == "efficientnet-b0"
    with pytest.raises(UnknownNameError, match="Did you mean 'bicubic'"):
        RESTORERS["bicubik"]


@pytest.mark.parametrize("name", ["", "a b", "a\nb", "émile", "<script>"])
def test_a_name_that_would_not_survive_a_command_line_is_refused(name):
    with pytest.raises(UsageError, match="cannot name a model"):
        constant(name)


def test_labels_are_checked_when_the_record_is_made():
    with pytest.raises(DatasetError, match="joyous"):
        constant(labels=("joyous",))
    with pytest.raises(DatasetError, match="twice"):
        constant(labels=("happy", "happiness"))
    with pytest.raises(UsageError, match="no label"):
        constant(labels=("contempt",))


def test_every_record_of_the_zoo_is_complete():
    for spec in MODELS:
        assert spec.description
        assert set(LabelSpace.from_names(spec.name, spec.labels).order) == set(EMOTIONS)
        assert spec.weights is not None
        assert spec.weights.install_hint.split()[0] in ("fer-models", "pip", "mkdir")
    for restorer in RESTORERS:
        assert restorer.description


def test_missing_weights_name_the_command_that_gets_them():
    spec = constant(weights=Weights(lambda: None, "fer-models train x"))
    with pytest.raises(WeightsMissingError, match="fer-models train x"):
        spec.identity(Runtime())


def test_the_identity_changes_with_weights_settings_and_precision_and_with_nothing_else(tmp_path):
    file = tmp_path / "w.safetensors"
    file.write_bytes(b"one")

    def identity(**fields):
        runtime = Runtime(precision=fields.pop("precision", "auto"))
        return constant(weights=Weights(lambda: file, "x"), **fields).identity(runtime)

    first = identity()
    assert identity(description="other words") == first
    assert identity(precision="float32") == first
    assert identity(precision="bf16") != first
    assert identity(settings={"crop": 1}) != first
    file.write_bytes(b"two")
    assert identity() != first


def test_a_file_of_ones_own_adds_models_and_restorers_and_its_content_is_part_of_their_identity(tmp_path):
    path = tmp_path / "own.py"
    path.write_text(OWN)
    models, restorers, notes = resolve.available_models([path])
    assert "mine" in models
    assert "same" in restorers
    assert notes == []
    first = models["mine"].identity(Runtime())
    path.write_text(OWN + "# changed\n")
    assert resolve.available_models([path])[0]["mine"].identity(Runtime()) != first
    assert "mine" not in MODELS


def test_a_model_of_the_same_name_replaces_the_zoos_with_a_note(tmp_path):
    path = tmp_path / "own.py"
    path.write_text(OWN.replace('"mine"', '"vgg19"'))
    models, _, notes = resolve.available_models([path])
    assert models["vgg19"].source == path
    assert notes == ["vgg19 comes from own.py, in place of the one already known"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x = 1", "no MODELS"),
        ("import nothing_of_that_name", "ModuleNotFoundError"),
        ("MODELS = [3]", "is not a ModelSpec"),
        ("def (", "SyntaxError"),
    ],
)
def test_a_file_without_records_is_refused_by_name(tmp_path, text, message):
    path = tmp_path / "own.py"
    path.write_text(text)
    with pytest.raises(UsageError, match=message) as caught:
        registry.from_file(path)
    assert "own.py" in str(caught.value)
    assert "--model-file" not in str(caught.value)  # `--model FILE.py` gives one too
    with pytest.raises(UsageError, match="There is no model file"):
        registry.from_file(tmp_path / "none.py")


def test_an_installed_package_adds_models_through_its_entry_point(monkeypatch):
    class Point:
        name, value = "theirs", "theirs.module"

        def load(self):
            module: Any = type(sys)("theirs")
            module.__file__ = __file__
            module.MODELS = [constant("theirs")]
            return module

    monkeypatch.setattr(
        registry, "entry_points", lambda group: [Point()] if group == "fer_models.models" else []
    )
    models, _, _ = resolve.available_models([])
    assert models["theirs"].source == Path(__file__)


def test_a_checkpoint_of_ones_own_needs_its_file():
    with pytest.raises(UsageError, match="does not exist"):
        resolve.resolve_model("vgg19@none.safetensors", MODELS)
    with pytest.raises(UsageError, match="needs a checkpoint"):
        resolve.resolve_model("timm:resnet18", MODELS)


def test_shipped_weights_are_the_ones_that_were_shipped(monkeypatch, tmp_path):
    monkeypatch.setattr(weights, "SHIPPED", tmp_path)
    monkeypatch.setattr(weights, "MANIFEST", tmp_path / "manifest.json")
    (tmp_path / "net.safetensors").write_bytes(b"tampered")
    (tmp_path / "manifest.json").write_text('{"net.safetensors": "00"}')
    with pytest.raises(WeightsError, match="Reinstall"):
        weights.find("net")
    assert weights.find("other") is None


@pytest.mark.slow
@pytest.mark.parametrize(
    "module",
    [
        "fer_models",
        "fer_models.zoo.models",
        "fer_models.evaluation",
        "fer_models.plugin",
        "fer_models.training.recipes",
    ],
)
def test_importing_what_does_not_compute_imports_no_torch(module):
    heavy = ("torch", "timm", "transformers", "open_clip")
    code = f"import {module}, sys; print([m for m in {heavy} if m in sys.modules])"
    out = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=True
    )
    assert out.stdout.strip() == "[]"


def test_all_errors_of_the_package_are_one_family():
    assert issubclass(UnknownNameError, UsageError)
    assert issubclass(UsageError, FerModelsError)


def test_test_time_augmentation_is_declared_in_the_name_and_the_identity(tmp_path):
    plain = ModelSpec("own", load=lambda runtime: Constant(Emotion.SAD))
    models = Registry("model", plain)
    augmented = resolve.resolve_model("own+tta", models)
    assert augmented.name == "own+tta"
    assert augmented.identity(Runtime()) != plain.identity(Runtime())
    assert augmented.load(Runtime()).predict([np.zeros((48, 48, 3), dtype=np.uint8)]).answer.tolist() == [
        Emotion.SAD
    ]
    with pytest.raises(UnknownNameError, match=r"Did you mean 'own\+tta'"):
        resolve.resolve_model("onw+tta", models)
    file = tmp_path / "my+tta.safetensors"
    file.write_bytes(b"")
    assert resolve.resolve_model(f"vgg19+tta@{file}", models).name == "vgg19+tta@my+tta"
    assert resolve.resolve_model(f"vgg19@{file}", models).name == "vgg19@my+tta"


def test_a_model_of_ones_own_with_other_prompts_keeps_the_file_that_identifies_it(tmp_path):
    path = tmp_path / "own.py"
    path.write_text(
        "from fer_models import Emotion, ModelSpec\n"
        "from fer_models.classifiers.dummy import Constant\n"
        "def model(prompts=None):\n"
        "    return ModelSpec('mine', lambda runtime: Constant(Emotion.SAD), with_prompts=model,\n"
        "        settings={'prompts': prompts and prompts.name})\n"
        "MODELS = [model()]\n"
    )
    models = resolve.with_prompts(resolve.available_models([path])[0], prompts.load("plain"))
    first = models["mine"].identity(Runtime())
    assert models["mine"].source == path
    assert first["settings"] == {"prompts": "plain"}
    path.write_text(path.read_text() + "# changed\n")
    assert models["mine"].identity(Runtime())["code"] != first["code"]


def test_weights_of_an_installed_package_are_fetched_by_their_name(tmp_path, capsys):
    path = tmp_path / "own.py"
    path.write_text(
        "from pathlib import Path\n"
        "from fer_models import ModelSpec, Weights\n"
        f"file = Path({str(tmp_path / 'w')!r})\n"
        "def fetch():\n"
        "    file.write_text('weights')\n"
        "    return file\n"
        "weights = Weights(lambda: file, 'fetch it', fetch)\n"
        "MODELS = [ModelSpec('mine', lambda runtime: None, weights=weights)]\n"
    )
    assert cli.main(["weights", "fetch", "mine", "--model-file", str(path)]) == 0
    assert f"mine: {tmp_path / 'w'}" in capsys.readouterr().out
    assert cli.main(["weights", "fetch", "mine"]) == 4


@pytest.mark.parametrize(
    ("fetched", "message"),
    [
        ("raise ValueError('no mirror')", "The weights of 'mine' cannot be fetched: ValueError: no mirror"),
        ("return 'missing'", "missing cannot be read"),
        ("return 3", "The weights of 'mine' cannot be fetched: TypeError"),
    ],
)
def test_a_download_of_an_installed_package_that_fails_is_an_error(tmp_path, capsys, fetched, message):
    path = tmp_path / "own.py"
    path.write_text(
        "from fer_models import ModelSpec, Weights\n"
        f"def fetch():\n    {fetched}\n"
        "weights = Weights(lambda: None, 'fetch it', fetch)\n"
        "MODELS = [ModelSpec('mine', lambda runtime: None, weights=weights)]\n"
    )
    assert cli.main(["weights", "fetch", "mine", "--model-file", str(path)]) == 4
    assert message in capsys.readouterr().err


def test_without_a_home_folder_the_error_names_the_variable_for_another(monkeypatch, capsys):
    def no_home():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", no_home)
    monkeypatch.delenv("FER_MODELS_WEIGHTS", raising=False)
    assert cli.main(["weights", "provenance", "resnet50+calibrated"]) == 4
    assert "FER_MODELS_WEIGHTS=FOLDER" in capsys.readouterr().err
    assert synthetic._read_cache("test") is None
    synthetic._write_cache("test", np.zeros((1, 48, 48), np.uint8))
