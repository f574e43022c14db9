"""Records of published models; where their packages are installed, their networks as published.

`nox -s third-party` installs them. FER_MODELS_THIRD_PARTY names the folder of face-api's archive: the tests
ignore the user's weights folder.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
import pytest

from fer_models.emotions import EMOTIONS, LabelSpace
from fer_models.errors import WeightsError, WeightsMissingError
from fer_models.published_networks.packages import (
    FACE_API,
    FACEMOOD,
    MINI_XCEPTION,
    PYEMOTION,
    WHAT_THE_FACE,
    PinnedFile,
    installed_file,
)
from fer_models.zoo.models import MODELS
from fer_models.zoo.published import PUBLISHED
from fer_models.zoo.spec import Runtime

NAMES = [spec.name for spec in PUBLISHED]
#: Probabilities of `faces()`, to six digits (`test_mini_xception.py` has an oracle of its own):
#: what-the-face and pyemotion by the oracles of `test_networks.py` and Pillow; facemood by Keras
#: 3.15.1 on torch; face-api by the operations of TensorFlow.js 4.22.0.
PROBABILITIES = {
    "what-the-face": [
        [0.002721, 0.000055, 0.102121, 0.007615, 0.066592, 0.797933, 0.022963],
        [0.101971, 0.00006, 0.386844, 0.010195, 0.114966, 0.080393, 0.305571],
    ],
    "pyemotion": [
        [0.142818, 0.142817, 0.143092, 0.142817, 0.14282, 0.142817, 0.142817],
        [0.12771, 0.127508, 0.217172, 0.127509, 0.133623, 0.127511, 0.138967],
    ],
    "facemood": [
        [0.00012, 0.0, 0.258221, 3e-06, 0.740741, 0.000177, 0.000738],
        [0.007052, 1e-06, 0.026559, 1e-05, 0.953091, 0.000264, 0.013024],
    ],
    "face-api": [
        [0.412677, 0.020181, 0.527993, 0.010542, 0.006997, 0.018274, 0.003337],
        [0.739452, 0.10931, 0.04874, 0.040812, 0.012058, 0.009456, 0.040173],
    ],
}


def faces() -> list[np.ndarray]:
    """A grey square and a coloured oblong image, from integers only: the same on every machine."""
    rows, columns = np.mgrid[:48, :48]
    waves = (rows * rows + 3 * columns * columns) // 16 % 256
    grey = np.repeat(waves[..., None], 3, axis=2).astype(np.uint8)
    rows, columns = np.mgrid[:60, :37]
    colours = [4 * rows, 6 * columns, 255 - 2 * (rows + columns)]
    return [grey, np.stack(colours, axis=2).astype(np.uint8)]


@pytest.mark.parametrize("name", PROBABILITIES)
def test_a_model_whose_package_is_published_predicts_as_published(name, monkeypatch):
    spec = MODELS[name]
    if spec.name == "face-api":
        monkeypatch.setenv("FER_MODELS_WEIGHTS", os.environ.get("FER_MODELS_THIRD_PARTY", os.devnull))
    try:
        spec.weights_path()
    except WeightsMissingError as missing:
        pytest.skip(str(missing))
    classifier = spec.load(Runtime(device="cpu", precision="float32"))
    probabilities = classifier.predict(faces()).probabilities
    columns = [int(emotion) for emotion in LabelSpace.from_names(spec.name, spec.labels).order]
    np.testing.assert_allclose(probabilities[:, columns], PROBABILITIES[spec.name], atol=2e-5)
    assert not {"what_the_face_classification", "PyEmotion", "facemood", "tensorflow"} & sys.modules.keys()


@pytest.mark.parametrize("spec", PUBLISHED, ids=NAMES)
def test_a_record_states_package_licence_training_data_and_claim(spec):
    assert MODELS[spec.name] is spec
    assert set(LabelSpace.from_names(spec.name, spec.labels).order) == set(EMOTIONS)
    for statement in ("PyPI" if spec.name != "face-api" else "npm", "training data: ", "claimed accuracy: "):
        assert statement in spec.description


def test_the_claim_of_pyemotion_is_shown():
    assert "0.9566" in MODELS["pyemotion"].description


@pytest.mark.parametrize(
    "model", [MINI_XCEPTION, WHAT_THE_FACE, PYEMOTION, FACEMOOD, FACE_API], ids=lambda model: model.name
)
def test_the_documentation_has_package_source_and_licence_of_every_record(model, repository):
    document = (repository / "docs" / "third-party-models.md").read_text(encoding="utf-8")
    assert f"| `{model.name}` | [{model.package}]({model.source}) | {model.licence} |" in document
    assert model.description == MODELS[model.name].description


@pytest.mark.parametrize("spec", PUBLISHED, ids=NAMES)
def test_without_its_package_a_model_is_missing_with_the_command_that_gets_it(spec, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(WeightsMissingError) as error:
        spec.weights_path()
    assert spec.weights.install_hint in str(error.value)


def test_the_archive_is_found_in_the_weights_folder_that_the_command_names(tmp_path, monkeypatch):
    monkeypatch.setenv("FER_MODELS_WEIGHTS", str(tmp_path))
    (tmp_path / "vladmandic-face-api-1.7.15.tgz").write_bytes(b"archive")
    assert MODELS["face-api"].weights_path() == tmp_path / "vladmandic-face-api-1.7.15.tgz"
    assert FACE_API.install_hint.startswith("mkdir -p ")


def make_package(root: Path, name: str) -> None:
    (root / name / "model").mkdir(parents=True)
    (root / name / "__init__.py").write_text("raise SystemExit('imported')")
    (root / name / "model" / "weights.pth").write_bytes(b"weights")


def test_the_file_of_a_package_is_found_without_importing_the_package(tmp_path, monkeypatch):
    make_package(tmp_path, "package_of_a_test")
    monkeypatch.syspath_prepend(tmp_path)
    found = installed_file("package_of_a_test", "model/weights.pth")
    assert found == tmp_path / "package_of_a_test" / "model" / "weights.pth"
    assert "package_of_a_test" not in sys.modules


def test_a_file_is_not_found_without_the_library_that_reads_it(tmp_path, monkeypatch):
    make_package(tmp_path, "package_of_a_test")
    monkeypatch.syspath_prepend(tmp_path)
    assert installed_file("package_of_a_test", "model/weights.pth", "library_of_no_name") is None
    assert installed_file("package_of_a_test", "model/other.pth") is None
    assert installed_file("package_of_a_test", "model") is None


def test_a_large_file_is_not_read_further_than_its_published_size(tmp_path):
    path = tmp_path / "weights.pth"
    with path.open("wb") as file:
        file.truncate(2**40)  # sparse: it takes no space on the disk
    with pytest.raises(WeightsError, match="has sha256"):
        PinnedFile("weights.pth", 100, "0" * 64).read(path, "pip install NAME")
