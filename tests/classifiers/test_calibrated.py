"""Temperature scaling, `NAME+calibrated`: the same predictions with other probabilities."""

import json
import shlex

import numpy as np
import pytest
from bench import write_faces
from fakes import calibrated_predictions
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar

from fer_models import cli
from fer_models.artifacts import weights
from fer_models.artifacts.hashing import sha256_of
from fer_models.classifiers import fusion
from fer_models.classifiers.base import Predictions
from fer_models.errors import UsageError, WeightsMissingError
from fer_models.zoo import resolve
from fer_models.zoo.derived_models import require_name
from fer_models.zoo.model_name import ModelName
from fer_models.zoo.models import MODELS
from fer_models.zoo.spec import Runtime

#: A model that is far too sure: it predicts happy, brightly.
MODEL = """
import numpy as np
from fer_models import ModelSpec, Predictions

class Sure:
    def predict(self, faces):
        rows = np.full((len(faces), 7), 0.001)
        for row, face in zip(rows, faces):
            row[{emotion}] += 0.5 + float(face.mean()) / 255
        rows /= rows.sum(axis=1, keepdims=True)
        return Predictions.from_probabilities(rows, has_probabilities={has_probabilities})

MODELS = [ModelSpec("sure", load=lambda runtime: Sure())]
"""


def sharpened(table, power):
    p = table.probabilities**power
    return Predictions.from_probabilities(p / p.sum(axis=1, keepdims=True))


@pytest.mark.slow
@given(st.floats(0.3, 4), st.integers(0, 100))
def test_scaling_keeps_each_prediction_and_undoes_a_known_sharpening(power, seed):
    table = calibrated_predictions(1500, seed)
    sure = sharpened(table, power)
    (exponent,) = fusion.fit([sure], table.truth)
    scaled = fusion.pool([sure], (exponent,))
    assert exponent == pytest.approx(1 / power, rel=0.25)
    top_two = np.sort(sure.probabilities, axis=1)[:, -2:]
    is_clear = top_two[:, 1] - top_two[:, 0] > 1e-9
    assert (scaled.answer == sure.answer)[is_clear].all()


@pytest.mark.slow
@given(st.integers(0, 100))
def test_the_temperature_is_the_one_with_the_least_loss(seed):
    table = calibrated_predictions(300, seed)
    sure = sharpened(table, 2.5)
    (exponent,) = fusion.fit([sure], table.truth)

    def loss(one):
        return fusion.negative_log_likelihood(fusion.pool([sure], (one,)), table.truth)

    best = minimize_scalar(loss, bounds=(0.01, 5), method="bounded").fun
    assert loss(exponent) == pytest.approx(best, abs=1e-4)


@pytest.mark.parametrize("name", ["vgg19+calibrated", "vgg19+tta+calibrated", "clip-nano-probe+calibrated"])
def test_calibrated_is_a_variant_and_no_fusion(name):
    parsed = ModelName.parse(name)
    assert str(parsed) == name
    assert not parsed.components
    assert parsed.is_made_of({"vgg19", "clip-nano"})


def test_a_fusion_is_not_calibrated_again():
    with pytest.raises(UsageError, match="is fitted to its probabilities already"):
        resolve.make_variant(resolve.resolve_model("vgg19+clip-nano", MODELS), "calibrated")


def test_a_model_that_was_not_calibrated_names_the_command(monkeypatch, tmp_path):
    monkeypatch.setenv("FER_MODELS_WEIGHTS", str(tmp_path))
    with pytest.raises(WeightsMissingError, match="fer-models calibrate resnet50"):
        resolve.resolve_model("resnet50+calibrated", MODELS).weights_path()


def test_the_shipped_temperature_belongs_to_the_shipped_weights():
    spec = resolve.resolve_model("vgg19+calibrated", MODELS)
    read = fusion.read(spec.weights_path())
    assert read.weights == (sha256_of(weights.find("vgg19")),)
    assert read.fitted_on["name"] == "fer2013/public_test"
    losses = read.fitted_on["negative_log_likelihood"]
    assert losses["vgg19+calibrated"] < losses["vgg19"]


@pytest.fixture
def calibrate(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("FER_MODELS_WEIGHTS", str(tmp_path / "weights"))
    for split in ("validation", "test"):
        write_faces(tmp_path / "faces" / split, 14)

    def run(emotion, *more, has_probabilities=True):
        (tmp_path / "model.py").write_text(MODEL.format(emotion=emotion, has_probabilities=has_probabilities))
        options = ("--dataset", str(tmp_path / "faces"), "--model-file", str(tmp_path / "model.py"))
        code = cli.main(["calibrate", "sure", *options, "--store", str(tmp_path / f"store{emotion}"), *more])
        return code, capsys.readouterr()

    return run


@pytest.mark.parametrize(
    "command", [["calibrate", "vgg19"], ["fuse", "vgg19", "clip-nano"], ["probe", "clip-nano"]]
)
def test_a_fit_that_would_not_be_used_is_refused_before_anything_is_computed(command, capsys):
    assert cli.main(command) == 4
    assert "the shipped one" in capsys.readouterr().err


def test_the_command_names_the_folder_of_the_fit(calibrate, tmp_path):
    code, printed = calibrate(3, "--output", str(tmp_path / "my fits"))
    assert code == 0
    printed_words = " ".join(printed.out.split())
    assert f"FER_MODELS_WEIGHTS='{tmp_path}/my fits' fer-models eval --model sure+calibrated" in printed_words


def test_the_command_fits_writes_and_says_on_which_faces(calibrate, tmp_path):
    code, printed = calibrate(3)
    assert code == 0
    assert "temperature" in printed.out
    command = printed.out.partition("other faces than those that it was fitted on: ")[2]
    arguments = shlex.split(command)
    assert arguments[:4] == ["fer-models", "eval", "--model", "sure+calibrated"]
    options = dict(zip(arguments[4::2], arguments[5::2], strict=True))
    assert options["--split"] == "test"
    assert options["--dataset"].endswith("faces")
    assert options["--model-file"].endswith("model.py")
    written = json.loads((tmp_path / "weights" / "sure+calibrated.json").read_text())
    assert written["components"] == ["sure"]
    assert 0 < written["exponents"][0] < 1  # a model that is too sure becomes less so
    assert written["fitted_on"]["name"] == "faces/validation"
    models = resolve.available_models([tmp_path / "model.py"])[0]
    spec = resolve.resolve_model("sure+calibrated", models)
    faces = [np.full((48, 48, 3), level, dtype=np.uint8) for level in (10, 200)]
    plain, scaled = (model.load(Runtime()).predict(faces) for model in (models["sure"], spec))
    assert (plain.answer == scaled.answer).all()
    assert (scaled.probabilities.max(axis=1) < plain.probabilities.max(axis=1)).all()


def test_a_temperature_of_a_model_without_weights_counts_as_none_after_an_edit_of_its_file(
    calibrate, tmp_path
):
    calibrate(3)

    def calibrated():
        return resolve.resolve_model("sure+calibrated", resolve.available_models([tmp_path / "model.py"])[0])

    assert calibrated().weights_path() == tmp_path / "weights" / "sure+calibrated.json"
    (tmp_path / "model.py").write_text(MODEL.format(emotion=4, has_probabilities=True))
    with pytest.raises(WeightsMissingError, match="fer-models calibrate sure"):
        calibrated().weights_path()


def test_answers_without_probabilities_are_not_calibrated(calibrate, tmp_path):
    code, printed = calibrate(3, has_probabilities=False)
    assert code == 4
    assert "sure predicts without probabilities" in printed.err
    assert not (tmp_path / "weights").exists()


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (["fuse", "vgg19+clip-nano", "resnet50"], "has fitted exponents already"),
        (["fuse", "vgg19+clip-nano+tta", "resnet50"], "has fitted exponents already"),
        (["fuse", "vgg19+calibrated", "resnet50"], "has fitted exponents already"),
        (["fuse", "vgg19+calibrated+tta", "resnet50"], "has fitted exponents already"),
        (["calibrate", "vgg19+calibrated+tta"], "is fitted to its probabilities already"),
        (["fuse", "vgg19", "vgg19", "resnet50"], "two or more different models"),
        (["probe", "clip-nano@{file}"], "give models by name"),
        (["calibrate", "vgg19@{file}"], "give models by name"),
    ],
)
def test_a_fit_that_no_name_would_select_is_refused(command, words, capsys, tmp_path):
    file = tmp_path / "own.safetensors"
    file.touch()
    assert cli.main([part.format(file=file) for part in command]) == 4
    assert words in capsys.readouterr().err


@pytest.mark.parametrize("name", ["onnx:model", "vgg19+onnx:model", "tflite:model-probe", "vgg19@file"])
def test_what_is_fitted_to_a_model_in_a_file_has_no_name(name):
    with pytest.raises(UsageError, match="give models by name"):
        require_name(name)
