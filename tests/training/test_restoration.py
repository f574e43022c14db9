"""The training of gfpgan-nano, for real, with a smaller network on a few synthetic faces."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from fakes import toy_faces
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_training import kill

from fer_models.artifacts import safetensors_io, weights
from fer_models.artifacts.hashing import sha256_of
from fer_models.errors import UsageError, WeightsError, WeightsMissingError
from fer_models.restorers import gfpgan
from fer_models.training.restoration import Degradation, RestorationRecipe, RestorationTraining
from fer_models.training.session import RunOptions, TrainingData

TINY = RestorationRecipe(
    gfpgan.GfpganConfig(out_size=16, num_style_feat=8, num_mlp=0, narrow=1 / 32),
    side=16,
    epochs=3,
    batch_size=7,
    lr=5e-3,
    recogniser=None,
    precision="float32",
    degradation=Degradation(side=(8, 16)),
)


DATA = TrainingData([toy_faces(42), toy_faces(14, "train")], toy_faces(14, "test"))


def session(recipe=TINY, data=DATA, **options):
    return RestorationTraining("tiny", recipe, data, RunOptions(device="cpu", **options))


def train(folder, recipe=TINY, **options):
    return session(recipe, **options).run(folder)


def score(recipe, weights_file):
    """Score restored validation faces."""
    return session(recipe).score(gfpgan.load(weights_file, device="cpu").infer)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder, reports = tmp_path_factory.mktemp("restoration"), []
    recipe = replace(TINY, epochs=8)
    result = train(folder, recipe, report=lambda title, step, of, _: reports.append((title, step, of)))
    return result, reports


def test_training_brings_degraded_faces_closer_to_the_originals(trained):
    result, reports = trained
    assert result.history[-1]["loss"] < 0.7 * result.history[0]["loss"]
    assert result.kept_record["validation_distance"] == min(r["validation_distance"] for r in result.history)
    assert result.history[result.best_epoch - 1] == result.kept_record
    assert result.kept_record["validation_psnr"] > result.history[0]["validation_psnr"] + 1
    assert reports[-1] == ("epoch 8/8 at 16 px", 8, 8)


def test_the_weights_have_the_score_of_the_validation(trained):
    result, _ = trained
    metrics = score(TINY, result.weights).as_metrics()
    assert metrics == pytest.approx({name: result.kept_record[name] for name in metrics}, abs=1e-3)
    assert session().unrestored.as_metrics() == pytest.approx(result.reference)


def test_the_record_names_data_and_degradation(trained):
    result, _ = trained
    record = json.loads(weights.metadata(result.weights)["provenance"])
    assert record["training_data"][0]["fingerprint"] == toy_faces(42).fingerprint
    assert record["validation_data"]["fingerprint"] == toy_faces(14, "test").fingerprint
    assert record["recipe"]["degradation"]["jpeg"] == [25, 95]
    assert {f"validation_{name}": value for name, value in record["unrestored"].items()} == result.reference
    assert len(record["history"]) == result.best_epoch
    assert not list(result.weights.parent.glob("*.checkpoint*"))


@pytest.mark.slow
def test_a_killed_run_resumes_with_the_same_loss_curve(tmp_path):
    undisturbed = train(tmp_path / "undisturbed")
    kill(lambda report: train(tmp_path / "killed", report=report), "epoch 3", 2)
    resumed = train(tmp_path / "killed")
    for metric in ("loss", "validation_psnr", "lr"):
        expected = [r[metric] for r in undisturbed.history]
        assert [r[metric] for r in resumed.history] == pytest.approx(expected, rel=1e-6)
    a, b = (safetensors_io.read(result.weights)[0] for result in (undisturbed, resumed))
    assert all(torch.allclose(a[k], b[k], atol=1e-6) for k in a)


@pytest.mark.slow
def test_a_checkpoint_of_another_run_is_refused(tmp_path):
    kill(lambda report: train(tmp_path, report=report), "epoch 2")
    with pytest.raises(UsageError, match="another recipe, data or seed"):
        train(tmp_path, seed=1)
    checkpoint = tmp_path / "tiny.checkpoint.safetensors"
    checkpoint.write_bytes(checkpoint.read_bytes()[:1000])
    with pytest.raises(WeightsError, match="delete it to start again"):
        train(tmp_path)
    assert len(train(tmp_path, resume=False).history) == 3


def test_a_loss_that_is_not_finite_stops_training_with_advice(tmp_path):
    with pytest.raises(UsageError, match="Lower the learning rate"):
        train(tmp_path, replace(TINY, lr=1e30, clip_grad=1e30))


def test_training_starts_from_weights_and_names_them(tmp_path, trained):
    before, _ = trained
    after = train(tmp_path, replace(TINY, epochs=1).continued(), init_from=before.weights)
    assert after.history[0]["loss"] < 0.9 * before.history[0]["loss"]
    record = json.loads(weights.metadata(after.weights)["provenance"])
    assert record["started_from"]["sha256"] == sha256_of(before.weights)
    assert record["started_from"]["provenance"]["history"] == before.history[: before.best_epoch]
    assert record["recipe"]["lr"] == TINY.lr / 2
    wider = replace(TINY, shape=replace(TINY.shape, num_style_feat=16))
    with pytest.raises(WeightsError, match="GFPGAN"):
        train(tmp_path / "wider", wider, init_from=before.weights)


@pytest.mark.slow
def test_a_recognition_network_brings_its_features_closer(tmp_path, trained):
    before, _ = trained
    without = replace(TINY, lr=2e-3, epochs=2)
    recognition = replace(without, recogniser="efficientnet_b0", recognition=5.0)
    results = [
        train(tmp_path / str(i), recipe, init_from=before.weights)
        for i, recipe in enumerate((without, recognition))
    ]
    distance_without, distance = (score(recognition, result.weights).distance for result in results)
    assert distance == pytest.approx(results[1].kept_record["validation_distance"], rel=1e-3)
    assert results[1].kept_record["validation_distance"] < distance_without - 0.05
    record = json.loads(weights.metadata(results[1].weights)["provenance"])
    path = weights.find("efficientnet_b0")
    assert record["recogniser"] == {"model": "efficientnet_b0", "sha256": sha256_of(path)}


def test_identical_faces_have_no_distance_in_recognition_features():
    few = TrainingData([toy_faces(7)], toy_faces(14, "test"))
    with_features = session(replace(TINY, recogniser="efficientnet_b0"), few)
    degraded, target = next(with_features.validation_batches())
    assert with_features.distance(target, target) == pytest.approx(0, abs=1e-6)
    difference = with_features.distance(degraded, target) - session(TINY, few).distance(degraded, target)
    assert 0.01 < difference < 2 * TINY.recognition
    assert all(not p.requires_grad for p in with_features.recogniser.network.parameters())


def test_a_missing_recognition_network_is_named_with_its_command(tmp_path):
    with pytest.raises(WeightsMissingError, match="fer-models train unheard-of"):
        train(tmp_path, replace(TINY, recogniser="unheard-of"))


@given(st.integers(0, 10_000), st.integers(0, 2**32))
@settings(max_examples=30, deadline=None)
def test_a_degraded_face_is_grey_of_the_same_size_and_the_same_for_a_seed(index, seed):
    face = toy_faces(14).face(index % 14)
    first, second = (Degradation().apply(face, np.random.default_rng(seed)) for _ in range(2))
    np.testing.assert_array_equal(first, second)
    assert first.shape == face.shape
    assert first.dtype == np.uint8
    assert (first == first[..., :1]).all()


def test_each_step_degrades_by_itself():
    face, rng = toy_faces(1).face(0), np.random.default_rng(0)
    nothing = {"blur": (0.0, 0.0), "side": (48, 48), "noise": (0.0, 0.0), "jpeg": (100, 100), "likely": 1.0}
    least = np.abs(Degradation(**nothing).apply(face, rng).astype(int) - face).mean()
    assert least < 1  # the best JPEG loses a little
    for step, strength in (("blur", 1.0), ("side", 16), ("noise", 0.1), ("jpeg", 25)):
        degraded = Degradation(**{**nothing, step: (strength, strength)}).apply(face, rng)
        assert np.abs(degraded.astype(int) - face).mean() > least + 1, step
    np.testing.assert_array_equal(Degradation(likely=0.0).apply(face, rng), face)
