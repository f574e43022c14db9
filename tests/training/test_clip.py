"""The training of clip-nano, for real, on a few drawn faces."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from fakes import drawn

from fer_models import cli
from fer_models.artifacts import safetensors_io, weights
from fer_models.artifacts.hashing import sha256_of
from fer_models.classifiers import clip, cnn, prompts
from fer_models.errors import WeightsError, WeightsMissingError
from fer_models.training import clip as contrastive
from fer_models.training.clip import ContrastiveRecipe

FEW = ContrastiveRecipe(views=2, epochs=3, batch_size=28)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder, told = tmp_path_factory.mktemp("contrastive"), []
    sets = [drawn(42), drawn(21, "train")]

    def report(title, step, of, figures):
        told.append((title, step, of))

    outcome = contrastive.train(FEW, sets, drawn(28, "test"), folder, device="cpu", report=report)
    return outcome, told


def test_the_image_tower_sees_what_the_lent_network_sees():
    eyes = weights.find("efficientnet_b0")
    lender = cnn.load(eyes, device="cpu")
    model = clip.create(clip.NANO, contrastive._PREPROCESS)
    contrastive.load_image_encoder(model, eyes)
    reader = clip.Clip(model, None, prompts.load("plain"), torch.device("cpu"))
    faces = drawn(7).faces(range(7))
    with torch.no_grad():
        lent = lender.network.forward_head(
            lender.network.forward_features(lender.preprocess(faces)), pre_logits=True
        )
    torch.testing.assert_close(
        contrastive._trunk(model, reader.preprocess(faces)), lent, atol=1e-4, rtol=1e-4
    )
    assert not any(p.requires_grad for p in model.visual.trunk.parameters())
    assert all(p.requires_grad for p in model.visual.head.parameters())


def test_training_leaves_weights_that_answer_as_the_validation_said(trained):
    outcome, _ = trained
    faces = drawn(28, "test")
    model = clip.load(outcome.weights, prompts.load("openai"), device="cpu")
    assert (model.predict(faces.faces(range(28))).answer == faces.labels).mean() == pytest.approx(
        outcome.best_accuracy
    )
    assert [r["epoch"] for r in outcome.history] == [1, 2, 3]
    assert outcome.history[-1]["loss"] < outcome.history[0]["loss"]
    eyes = safetensors_io.read(weights.find("efficientnet_b0"))[0]
    kept = safetensors_io.read(outcome.weights)[0]
    torch.testing.assert_close(
        kept["visual.trunk.blocks.0.0.conv_dw.weight"], eyes["blocks.0.0.conv_dw.weight"]
    )


def test_the_record_says_what_was_learnt_from(trained):
    outcome, told = trained
    record = json.loads(safetensors_io.read(outcome.weights)[1]["provenance"])
    assert record["image_tower"] == {
        "model": "efficientnet_b0",
        "sha256": sha256_of(weights.find("efficientnet_b0")),
    }
    assert record["captions"] == prompts.load("captions").as_json()
    assert record["training_data"][0]["fingerprint"] == drawn(42).fingerprint
    assert record["validation_data"]["n"] == 28
    assert all(epoch["seconds"] > 0 for epoch in record["history"])
    assert {title.split("/")[0] for title, _, _ in told} == {
        "look 1",
        "look 2",
        "epoch 1",
        "epoch 2",
        "epoch 3",
    }


def test_the_same_seed_trains_the_same_weights(tmp_path):
    short = replace(FEW, epochs=1, views=1)
    once, again = (
        contrastive.train(short, [drawn(28)], drawn(14, "test"), tmp_path / str(i), device="cpu")
        for i in range(2)
    )
    a, b = (safetensors_io.read(outcome.weights)[0] for outcome in (once, again))
    assert all(torch.allclose(a[k], b[k], atol=1e-6) for k in a)
    other = contrastive.train(short, [drawn(28)], drawn(14, "test"), tmp_path / "other", device="cpu", seed=1)
    assert other.history[0]["loss"] != once.history[0]["loss"]


def test_eyes_that_are_missing_or_do_not_fit_are_an_error(tmp_path, monkeypatch):
    with pytest.raises(WeightsError, match="does not fit the image tower"):
        contrastive.load_image_encoder(clip.create(clip.NANO), weights.find("vgg19"))
    monkeypatch.setattr("fer_models.artifacts.weights.find", lambda name: None)
    with pytest.raises(WeightsMissingError, match="fer-models train efficientnet_b0"):
        contrastive.train(FEW, [drawn(7)], drawn(7), tmp_path)


def test_the_command_refuses_what_this_training_has_not(capsys):
    assert cli.main(["train", "clip-nano", "--precision", "bf16"]) == 4
    assert "Leave --init-from, --precision, --teacher and --infobatch-ratio out" in capsys.readouterr().err
    assert np.isfinite(FEW.lr)
