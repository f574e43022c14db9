import json

import numpy as np
import pytest
import torch
from fakes import toy_faces
from hypothesis import given
from hypothesis import strategies as st
from weight_files import write_weights

from fer_models import cli
from fer_models.artifacts.hashing import sha256_of
from fer_models.classifiers import cnn
from fer_models.classifiers.architecture import Architecture
from fer_models.cost import measurement
from fer_models.emotions import LABELS
from fer_models.errors import UsageError, WeightsError
from fer_models.training.class_odds import multiply_odds

HEADS = [
    Architecture("resnet10t", size=32),
    Architecture("efficientnet_b0", size=32, stem_stride=1),
    Architecture("vgg11_bn", size=32, linear_head=True),
]


@pytest.mark.parametrize("architecture", HEADS, ids=lambda one: one.timm)
def test_the_odds_of_one_emotion_are_multiplied_and_no_others_change(tmp_path, architecture):
    path, output = tmp_path / "net.safetensors", tmp_path / "other.safetensors"
    write_weights(path, 0, architecture)
    multiply_odds(path, {"disgust": 3.0}, output)
    faces = [toy_faces(4).face(i) for i in range(4)]
    before, after = (cnn.load(file, device="cpu").predict(faces).probabilities for file in (path, output))
    weighted = before * np.where(np.array(LABELS) == "disgust", 3.0, 1.0)
    np.testing.assert_allclose(after, weighted / weighted.sum(axis=1, keepdims=True), rtol=2e-3)
    record = json.loads(cnn.safetensors_io.read(output)[1]["provenance"])
    assert record["odds"] == {"disgust": 3.0}
    assert record["changed"]["sha256"] == sha256_of(path)


@given(factor=st.floats(0.1, 10))
def test_the_inverse_factor_gives_the_first_network_again(tmp_path_factory, factor):
    folder = tmp_path_factory.mktemp("odds")
    path, there, back = (folder / f"{name}.safetensors" for name in ("net", "there", "back"))
    state = write_weights(path, 0)
    multiply_odds(path, {"fear": factor}, there)
    multiply_odds(there, {"fear": 1 / factor}, back)
    again = cnn.safetensors_io.read(back)[0]
    assert all(
        torch.allclose(again[name].to(tensor.dtype), tensor, atol=1e-6) for name, tensor in state.items()
    )


def test_an_impossible_factor_is_refused_and_nothing_is_written(tmp_path):
    path, output = tmp_path / "net.safetensors", tmp_path / "other.safetensors"
    write_weights(path, 0)
    for odds in ({"boredom": 2.0}, {"fear": 0.0}, {"fear": float("inf")}):
        with pytest.raises(UsageError):
            multiply_odds(path, odds, output)
    write_weights(path, 0, format="fer-models-clip")
    with pytest.raises(WeightsError, match="no classification network"):
        multiply_odds(path, {"fear": 2.0}, output)
    write_weights(path, 0, labels=json.dumps(["angry"]))
    with pytest.raises(WeightsError, match="does not describe its network"):
        multiply_odds(path, {"fear": 2.0}, output)
    assert not output.exists()


def test_the_command_writes_a_file_next_to_the_first(tmp_path, capsys):
    path = tmp_path / "net.safetensors"
    write_weights(path, 0)
    assert cli.main(["weights", "multiply-odds", str(path), "disgust=3", "fear=1.5"]) == 0
    output = tmp_path / "net-odds.safetensors"
    assert sha256_of(output) in capsys.readouterr().out
    assert cli.main(["weights", "multiply-odds", str(path), "disgust"]) == 4
    assert "disgust=3" in capsys.readouterr().err
    assert cli.main(["weights", "multiply-odds", str(path), "disgust=3", "disgust=2"]) == 4
    assert "disgust is given twice" in capsys.readouterr().err


def test_the_training_cost_is_that_of_the_network_that_was_changed():
    runs = {"history": [{"epoch": 1, "seconds": 2.0}]}
    record = {"model": "m", "odds": {"fear": 2.0}, "changed": {"sha256": "0", "provenance": runs}}
    assert measurement._runs(record) == [runs]


def test_epochs_of_one_training_that_were_averaged_count_once():
    epochs = [{"epoch": n, "seconds": 2.0} for n in range(1, 4)]
    records = [{"provenance": {"recipe": 1, "history": epochs[:n]}} for n in (2, 3)]
    (run,) = measurement._runs({"averaged": records})
    assert len(run["history"]) == 3
