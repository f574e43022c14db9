"""The training of phi3v-nano, for real, on a few synthetic faces."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from fakes import toy_faces
from tiny_training import kill

from fer_models import cli
from fer_models.artifacts import safetensors_io, weights
from fer_models.artifacts.hashing import sha256_of
from fer_models.classifiers import cnn
from fer_models.classifiers.vlm import base, phi3v, phi3v_image, questions
from fer_models.errors import UsageError, WeightsError, WeightsMissingError
from fer_models.training import vlm
from fer_models.training.recipes import RECIPES, VISION_ENCODER
from fer_models.training.session import RunOptions, TrainingData
from fer_models.training.supervised import SupervisedTraining
from fer_models.training.vlm import VlmRecipe, VlmTraining

FEW = VlmRecipe(hidden=48, layers=1, heads=2, intermediate=64, views=1, epochs=24, batch_size=14, lr=6e-3)
DATA = TrainingData([toy_faces(56)], toy_faces(28, "test"))


def train(folder, recipe=FEW, data=DATA, **options):
    return VlmTraining("phi3v-nano", recipe, data, RunOptions(device="cpu", **options)).run(folder)


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A weights folder with a vision encoder, trained for a moment without a teacher."""
    folder = tmp_path_factory.mktemp("weights")
    recipe = replace(
        RECIPES[VISION_ENCODER], epochs=2, batch_size=14, teacher=None, precision="float32", validate_from=0
    )
    data = TrainingData([toy_faces(42)], toy_faces(14, "test"))
    SupervisedTraining(VISION_ENCODER, recipe, data, RunOptions(device="cpu")).run(folder)
    return folder


@pytest.fixture
def vision_encoder(home, monkeypatch):
    """The vision encoder of `home` in use, without a teacher."""
    monkeypatch.setenv("FER_MODELS_WEIGHTS", str(home))
    monkeypatch.setitem(RECIPES, VISION_ENCODER, replace(RECIPES[VISION_ENCODER], teacher=None))


@pytest.fixture(scope="module")
def trained(home):
    titles = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FER_MODELS_WEIGHTS", str(home))
        patch.setitem(RECIPES, VISION_ENCODER, replace(RECIPES[VISION_ENCODER], teacher=None))
        result = train(home, report=lambda title, *_: titles.append(title.split("/")[0]))
    return result, titles


def test_the_image_tower_has_the_features_of_the_vision_encoder(home):
    state, metadata = safetensors_io.read(home / f"{VISION_ENCODER}.safetensors")
    encoder = cnn.load(home / f"{VISION_ENCODER}.safetensors", device="cpu")
    network = phi3v.Phi3V(vlm.build_config(FEW, 300))
    vlm.load_image_encoder(network, home / f"{VISION_ENCODER}.safetensors")
    faces = toy_faces(5).faces(range(5))
    with torch.no_grad():
        expected = encoder.network.forward_features(encoder.preprocess(faces))[:, 1:]
        features = network.encode_image(
            torch.cat([phi3v_image.hd_transform(face, 1, 48).pixels for face in faces])
        )
    torch.testing.assert_close(features, expected, atol=1e-4, rtol=1e-4)
    assert not any(p.requires_grad for p in network.tower.parameters())
    assert metadata["format"] == "fer-models-cnn"
    assert state


def test_training_writes_a_folder_of_the_official_layout_that_predicts(trained, home):
    result, titles = trained
    assert result.weights == home / "phi3v-nano"
    files = sorted(path.name for path in result.weights.iterdir())
    assert files == ["config.json", "model.safetensors", "tokenizer.json"]
    assert result.history[-1]["loss"] < 0.7 * result.history[0]["loss"]
    assert titles[0] == "embed view 1"
    backend, faces = phi3v.load(result.weights, device="cpu"), toy_faces(28, "test")
    question = questions.load("one-word")
    generated = base.VlmClassifier(backend, question).predict(faces.faces(range(14)))
    assert set(generated.text) <= set(question.replies)  # it has learned no other replies
    likeliest = base.VlmClassifier(backend, question, "likelihood").predict(faces.faces(range(28)))
    accuracy = (likeliest.answer == faces.labels).mean()
    expected = result.kept_record["validation_accuracy"]
    assert accuracy == pytest.approx(expected, abs=0.08)  # weights are shipped in bf16


def test_the_last_epoch_is_kept_and_the_only_one_that_is_scored(trained):
    result, _ = trained
    assert result.best_epoch == FEW.epochs
    assert [r["epoch"] for r in result.history if "validation_accuracy" in r] == [FEW.epochs]
    record = json.loads(weights.metadata(result.weights / "model.safetensors")["provenance"])
    assert record["history"] == result.history


def test_the_record_names_the_vision_encoder_and_its_training(trained, home):
    record = json.loads(weights.metadata(trained[0].weights / "model.safetensors")["provenance"])
    assert record["image_tower"]["sha256"] == sha256_of(home / f"{VISION_ENCODER}.safetensors")
    assert record["image_tower"]["provenance"]["model"] == VISION_ENCODER
    assert record["recipe"]["kept_back"] == "feeling"
    assert "teachers" in record["targets"]
    assert record["training_data"][0]["fingerprint"] == toy_faces(56).fingerprint


@pytest.mark.slow
@pytest.mark.usefixtures("vision_encoder")
def test_a_killed_run_resumes_with_the_same_loss_curve(tmp_path):
    short = replace(FEW, epochs=4, views=2, precision="float32")
    undisturbed = train(tmp_path / "undisturbed", short)
    kill(lambda report: train(tmp_path / "killed", short, report=report), "epoch 3", 2)
    assert [path.name for path in (tmp_path / "killed").iterdir()] == ["phi3v-nano.checkpoint.safetensors"]
    resumed = train(tmp_path / "killed", short)
    for metric in ("loss", "lr"):
        expected = [r[metric] for r in undisturbed.history]
        assert [r[metric] for r in resumed.history] == pytest.approx(expected, rel=1e-6)
    assert resumed.kept_record["validation_accuracy"] == undisturbed.kept_record["validation_accuracy"]
    a, b = (safetensors_io.read(r.weights / "model.safetensors")[0] for r in (undisturbed, resumed))
    assert all(torch.allclose(a[k], b[k], atol=1e-6) for k in a)
    assert [path.name for path in (tmp_path / "killed").iterdir()] == ["phi3v-nano"]


@pytest.mark.slow
@pytest.mark.usefixtures("vision_encoder")
def test_a_checkpoint_of_another_run_is_refused(tmp_path):
    short = replace(FEW, epochs=2)
    kill(lambda report: train(tmp_path, short, report=report), "epoch 2")
    with pytest.raises(UsageError, match="another recipe, data or seed"):
        train(tmp_path, short, seed=1)
    assert len(train(tmp_path, short, resume=False).history) == 2


def test_the_loss_is_that_of_the_replies_alone(trained):
    """Compared with `loglikelihood`, another implementation; the end token counts as a token."""
    backend, question = phi3v.load(trained[0].weights, device="cpu"), questions.load("one-word")
    faces, replies = toy_faces(3).faces(range(3)), ["happy", "surprise", "sad"]
    embeddings = backend.network.encode_image(
        torch.cat([phi3v_image.hd_transform(face, 1, 48).pixels for face in faces])
    )
    with torch.no_grad():
        loss = float(vlm.reply_loss(backend, embeddings, replies, question.render()))
    ended = [f"{reply}<|end|>" for reply in replies]
    scores = np.diag(backend.loglikelihood(faces, question.render(), ended))
    assert loss == pytest.approx(-scores.sum() / backend.lengths(ended).sum(), rel=1e-4)


def test_emotions_are_sampled_with_the_target_probabilities():
    rows = np.tile(np.array([[0.5, 0, 0.25, 0, 0, 0.25, 0]], dtype=np.float32), (4000, 1))
    counts = np.bincount(vlm.sample_emotions(rows, np.random.default_rng(0)), minlength=7) / 4000
    np.testing.assert_allclose(counts, rows[0], atol=0.03)
    certain = np.eye(7, dtype=np.float32)
    assert vlm.sample_emotions(certain, np.random.default_rng(0)).tolist() == list(range(7))


@pytest.mark.parametrize("text", ["happy", "Which emotion does this face show?", "1 € = ?", "日本"])
def test_the_tokenizer_decodes_any_text_that_it_encoded(text):
    tokenizer = vlm.build_tokenizer(120)
    assert tokenizer.decode(tokenizer.encode(text, add_special_tokens=False).ids) == text
    assert tokenizer.token_to_id("<s>") == 1


def test_a_vision_encoder_that_is_missing_or_does_not_fit_is_an_error(home, tmp_path, monkeypatch):
    network = phi3v.Phi3V(vlm.build_config(FEW, 300))
    with pytest.raises(WeightsError, match="does not fit the image tower"):
        vlm.load_image_encoder(network, weights.find("vgg19"))
    monkeypatch.setenv("FER_MODELS_WEIGHTS", str(tmp_path))
    with pytest.raises(WeightsMissingError, match=f"fer-models train {VISION_ENCODER}"):
        train(tmp_path, FEW, TrainingData([toy_faces(7)], toy_faces(7)))


def test_the_command_refuses_options_that_this_recipe_lacks(capsys):
    assert cli.main(["train", "phi3v-nano", "--teacher", "vgg19"]) == 4
    assert "phi3v-nano cannot be trained with --teacher. Leave it out." in capsys.readouterr().err
