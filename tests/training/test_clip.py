"""The training of clip-nano, for real, on a few synthetic faces."""

import json
from dataclasses import replace

import pytest
import torch
from fakes import toy_faces
from tiny_training import kill

from fer_models import cli
from fer_models.artifacts import safetensors_io, weights
from fer_models.artifacts.hashing import sha256_of
from fer_models.classifiers import clip, cnn, prompts
from fer_models.errors import UsageError, WeightsError, WeightsMissingError
from fer_models.training import clip as clip_training
from fer_models.training.clip import ClipTraining, ContrastiveRecipe
from fer_models.training.session import RunOptions, TrainingData

FEW = ContrastiveRecipe(views=2, epochs=3, batch_size=28)
DATA = TrainingData([toy_faces(42), toy_faces(21, "train")], toy_faces(28, "test"))


def train(folder, recipe=FEW, data=DATA, **options):
    return ClipTraining("clip-nano", recipe, data, RunOptions(device="cpu", **options)).run(folder)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    titles = []
    result = train(tmp_path_factory.mktemp("clip"), report=lambda title, *_: titles.append(title))
    return result, titles


def test_the_image_tower_has_the_features_of_the_trained_network():
    path = weights.find("efficientnet_b0")
    network = cnn.load(path, device="cpu")
    model = clip.create(clip.NANO, clip_training._PREPROCESS)
    clip_training.load_image_encoder(model, path)
    classifier = clip.Clip(model, None, prompts.load("plain"), torch.device("cpu"))
    faces = toy_faces(7).faces(range(7))
    with torch.no_grad():
        features = network.network.forward_features(network.preprocess(faces))
        expected = network.network.forward_head(features, pre_logits=True)
    embeddings = clip_training.encode_image(model, classifier.preprocess(faces))
    torch.testing.assert_close(embeddings, expected, atol=1e-4, rtol=1e-4)
    assert not any(p.requires_grad for p in model.visual.trunk.parameters())
    assert all(p.requires_grad for p in model.visual.head.parameters())


def test_the_trained_weights_have_the_accuracy_of_the_validation(trained):
    result, _ = trained
    faces = toy_faces(28, "test")
    model = clip.load(result.weights, prompts.load("openai"), device="cpu")
    accuracy = (model.predict(faces.faces(range(28))).answer == faces.labels).mean()
    assert accuracy == pytest.approx(result.kept_record["validation_accuracy"])
    assert [r["epoch"] for r in result.history] == [1, 2, 3]
    assert result.history[-1]["loss"] < result.history[0]["loss"]
    image_tower = safetensors_io.read(weights.find("efficientnet_b0"))[0]
    state = safetensors_io.read(result.weights)[0]
    torch.testing.assert_close(
        state["visual.trunk.blocks.0.0.conv_dw.weight"], image_tower["blocks.0.0.conv_dw.weight"]
    )


def test_the_record_names_data_captions_and_image_tower(trained):
    result, titles = trained
    record = json.loads(safetensors_io.read(result.weights)[1]["provenance"])
    path = weights.find("efficientnet_b0")
    assert record["image_tower"] == {"model": "efficientnet_b0", "sha256": sha256_of(path)}
    assert record["captions"] == prompts.load("captions").as_json()
    assert record["training_data"][0]["fingerprint"] == toy_faces(42).fingerprint
    assert record["validation_data"]["n"] == 28
    assert all(epoch["seconds"] > 0 for epoch in record["history"])
    expected = {"embed view 1", "embed view 2", "epoch 1", "epoch 2", "epoch 3"}
    assert {title.split("/")[0] for title in titles} == expected
    assert not list(result.weights.parent.glob("*.checkpoint*"))


@pytest.mark.slow
def test_the_same_seed_trains_the_same_weights(tmp_path):
    short, data = replace(FEW, epochs=1, views=1), TrainingData([toy_faces(28)], toy_faces(14, "test"))
    first, second = (train(tmp_path / str(i), short, data) for i in range(2))
    a, b = (safetensors_io.read(result.weights)[0] for result in (first, second))
    assert all(torch.allclose(a[k], b[k], atol=1e-6) for k in a)
    other = train(tmp_path / "other", short, data, seed=1)
    assert other.history[0]["loss"] != first.history[0]["loss"]


@pytest.mark.slow
@pytest.mark.parametrize(("epoch", "step"), [("epoch 2", 1), ("epoch 3", 2)])
def test_a_killed_run_resumes_with_the_same_loss_curve(tmp_path, trained, epoch, step):
    undisturbed, _ = trained
    kill(lambda report: train(tmp_path, report=report), epoch, step)
    resumed = train(tmp_path)
    for metric in ("loss", "lr", "validation_accuracy"):
        expected = [r[metric] for r in undisturbed.history]
        assert [r[metric] for r in resumed.history] == pytest.approx(expected, rel=1e-6)
    a, b = (safetensors_io.read(result.weights)[0] for result in (undisturbed, resumed))
    assert all(torch.allclose(a[k], b[k], atol=1e-6) for k in a)


@pytest.mark.slow
def test_a_checkpoint_of_another_run_is_refused_before_any_embedding_is_computed(tmp_path):
    kill(lambda report: train(tmp_path, report=report), "epoch 2")
    titles = []
    with pytest.raises(UsageError, match="another recipe, data or seed"):
        train(tmp_path, seed=1, report=lambda title, *_: titles.append(title))
    assert not titles
    short = replace(FEW, epochs=1)
    assert len(train(tmp_path, short, resume=False).history) == 1


def test_an_image_tower_that_is_missing_or_does_not_fit_is_an_error(tmp_path, monkeypatch):
    with pytest.raises(WeightsError, match="does not fit the image tower"):
        clip_training.load_image_encoder(clip.create(clip.NANO), weights.find("vgg19"))
    monkeypatch.setattr("fer_models.artifacts.weights.find", lambda name: None)
    with pytest.raises(WeightsMissingError, match="fer-models train efficientnet_b0"):
        train(tmp_path, FEW, TrainingData([toy_faces(7)], toy_faces(7)))


def test_the_command_refuses_options_that_this_recipe_lacks(capsys):
    options = ["--precision", "bf16", "--teacher", "vgg19", "--infobatch-ratio", "0", "--init-from", "x"]
    for i in range(0, len(options), 2):
        assert cli.main(["train", "clip-nano", *options[i : i + 2]]) == 4
        assert f"clip-nano cannot be trained with {options[i]}. Leave it out." in capsys.readouterr().err
    assert cli.main(["train", "clip-nano", *options]) == 4
    message = "clip-nano cannot be trained with --precision, --infobatch-ratio, --teacher, --init-from."
    assert message in capsys.readouterr().err
