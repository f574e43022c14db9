"""The training of phi3v-nano, for real, on a few drawn faces."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from fakes import drawn

from fer_models import cli
from fer_models.artifacts import safetensors_io, weights
from fer_models.artifacts.hashing import sha256_of
from fer_models.classifiers import cnn
from fer_models.classifiers.vlm import base, phi3v, questions
from fer_models.errors import WeightsError, WeightsMissingError
from fer_models.training import supervised, vlm
from fer_models.training.recipes import RECIPES, VISION_ENCODER
from fer_models.training.vlm import VlmRecipe, answering_loss, tokenizer

FEW = VlmRecipe(hidden=48, layers=1, heads=2, intermediate=64, views=1, epochs=24, batch_size=14, lr=6e-3)


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A weights folder that holds eyes, trained for a moment without a teacher."""
    folder = tmp_path_factory.mktemp("weights")
    recipe = replace(
        RECIPES[VISION_ENCODER], epochs=2, batch_size=14, teacher=None, precision="float32", validate_from=0
    )
    supervised.train(VISION_ENCODER, recipe, [drawn(42)], drawn(14, "test"), folder, device="cpu")
    return folder


@pytest.fixture(scope="module")
def trained(home):
    patch = pytest.MonkeyPatch()
    patch.setenv("FER_MODELS_WEIGHTS", str(home))
    patch.setitem(RECIPES, VISION_ENCODER, replace(RECIPES[VISION_ENCODER], teacher=None))
    told = []
    outcome = vlm.train(
        FEW,
        [drawn(56)],
        drawn(28, "test"),
        home,
        device="cpu",
        report=lambda title, *rest: told.append(title.split("/")[0]),
    )
    patch.undo()
    return outcome, told


def test_the_image_tower_sees_what_the_trained_eyes_see(home):
    state, metadata = safetensors_io.read(home / f"{VISION_ENCODER}.safetensors")
    own = cnn.load(home / f"{VISION_ENCODER}.safetensors", device="cpu")
    network = phi3v.Phi3V(vlm.configuration(FEW, 300))
    vlm.load_image_encoder(network, home / f"{VISION_ENCODER}.safetensors")
    faces = drawn(5).faces(range(5))
    with torch.no_grad():
        there = own.network.forward_features(own.preprocess(faces))[:, 1:]
        here = network.encode_image(torch.cat([phi3v.hd_transform(face, 1, 48).pixels for face in faces]))
    torch.testing.assert_close(here, there, atol=1e-4, rtol=1e-4)
    assert not any(p.requires_grad for p in network.tower.parameters())
    assert metadata["format"] == "fer-models-cnn"
    assert state


def test_training_teaches_it_to_answer_and_leaves_a_folder_of_the_official_layout(trained, home):
    outcome, told = trained
    assert outcome.weights == home / "phi3v-nano"
    assert sorted(path.name for path in outcome.weights.iterdir()) == [
        "config.json",
        "model.safetensors",
        "tokenizer.json",
    ]
    assert outcome.history[-1]["loss"] < 0.7 * outcome.history[0]["loss"]
    assert told[0] == "look 1"
    chat, faces = phi3v.load(outcome.weights, device="cpu"), drawn(28, "test")
    asked = questions.load("one-word")
    written = base.VlmClassifier(chat, asked).predict(faces.faces(range(14)))
    assert set(written.text) <= set(asked.replies)  # it has learnt to say nothing else
    likely = base.VlmClassifier(chat, asked, "likelihood").predict(faces.faces(range(28)))
    assert (likely.answer == faces.labels).mean() == pytest.approx(
        outcome.best_accuracy, abs=0.08
    )  # weights are shipped in bf16


def test_the_record_names_the_eyes_and_how_they_were_trained(trained, home):
    record = json.loads(weights.metadata(trained[0].weights / "model.safetensors")["provenance"])
    assert record["image_tower"]["sha256"] == sha256_of(home / f"{VISION_ENCODER}.safetensors")
    assert record["image_tower"]["provenance"]["model"] == VISION_ENCODER
    assert record["recipe"]["kept_back"] == "feeling"
    assert record["training_data"][0]["fingerprint"] == drawn(56).fingerprint


def test_the_loss_is_that_of_the_replies_alone(trained):
    """Against the scores of `Chat.score`, which has another way to the same numbers; the end mark counts as a
    token.
    """
    chat, asked = phi3v.load(trained[0].weights, device="cpu"), questions.load("one-word")
    faces, replies = drawn(3).faces(range(3)), ["happy", "surprise", "sad"]
    features = chat.network.encode_image(torch.cat([phi3v.hd_transform(face, 1, 48).pixels for face in faces]))
    with torch.no_grad():
        loss = float(answering_loss(chat, features, replies, asked.render()))
    ended = [f"{reply}<|end|>" for reply in replies]
    scores = np.diag(chat.loglikelihood(faces, asked.render(), ended))
    assert loss == pytest.approx(-scores.sum() / chat.lengths(ended).sum(), rel=1e-4)


def test_emotions_are_drawn_as_often_as_the_targets_say():
    rows = np.tile(np.array([[0.5, 0, 0.25, 0, 0, 0.25, 0]], dtype=np.float32), (4000, 1))
    counts = np.bincount(vlm._drawn(rows, np.random.default_rng(0)), minlength=7) / 4000
    np.testing.assert_allclose(counts, rows[0], atol=0.03)
    certain = np.eye(7, dtype=np.float32)
    assert vlm._drawn(certain, np.random.default_rng(0)).tolist() == list(range(7))


@pytest.mark.parametrize("text", ["happy", "Which emotion does this face show?", "1 € = ?", "日本"])
def test_the_tokenizer_gives_back_any_text(text):
    words = tokenizer(120)
    assert words.decode(words.encode(text, add_special_tokens=False).ids) == text
    assert words.token_to_id("<s>") == 1


def test_eyes_that_are_missing_or_of_another_network_are_an_error(home, tmp_path, monkeypatch):
    network = phi3v.Phi3V(vlm.configuration(FEW, 300))
    with pytest.raises(WeightsError, match="does not fit the image tower"):
        vlm.load_image_encoder(network, weights.find("vgg19"))
    monkeypatch.setenv("FER_MODELS_WEIGHTS", str(tmp_path))
    with pytest.raises(WeightsMissingError, match=f"fer-models train {VISION_ENCODER}"):
        vlm.train(FEW, [drawn(7)], drawn(7), tmp_path)


def test_the_command_refuses_what_this_training_has_not(capsys):
    assert cli.main(["train", "phi3v-nano", "--precision", "bf16"]) == 4
    assert "phi3v-nano is trained in its own precision" in capsys.readouterr().err
