"""The training of gfpgan-nano, for real, with a smaller network on a few drawn faces."""

import json
from dataclasses import asdict, replace

import numpy as np
import pytest
import torch
from fakes import drawn
from hypothesis import given, settings
from hypothesis import strategies as st

from fer_models.artifacts import safetensors_io, weights
from fer_models.artifacts.hashing import sha256_of
from fer_models.errors import UsageError, WeightsError, WeightsMissingError
from fer_models.restorers import gfpgan
from fer_models.training import restoration
from fer_models.training.restoration import Degradation, RestorationRecipe

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


def train(folder, recipe=TINY, **options):
    return restoration.train(
        "tiny", recipe, [drawn(42), drawn(14, "train")], drawn(14, "test"), folder, device="cpu", **options
    )


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder, told = tmp_path_factory.mktemp("restoration"), []
    outcome = train(
        folder,
        replace(TINY, epochs=8),
        report=lambda title, step, of, figures: told.append((title, step, of)),
    )
    return outcome, told


def test_what_is_lost_is_learnt_to_be_given_back(trained):
    outcome, told = trained
    assert outcome.history[-1]["loss"] < 0.7 * outcome.history[0]["loss"]
    assert outcome.best.distance == min(record["validation_distance"] for record in outcome.history)
    assert outcome.history[outcome.best_epoch - 1]["validation_psnr"] == outcome.best.psnr
    assert outcome.best.psnr > outcome.history[0]["validation_psnr"] + 1
    assert told[-1] == ("epoch 8/8", 8, 8)


def test_the_weights_restore_as_the_validation_said(trained):
    outcome, _ = trained
    restorer = gfpgan.load(outcome.weights, device="cpu")
    session = restoration._Training("tiny", TINY, [drawn(7)], drawn(14, "test"), 0, torch.device("cpu"))
    assert asdict(session.score(restorer.infer)) == pytest.approx(asdict(outcome.best), abs=1e-3)
    assert asdict(session.unrestored) == pytest.approx(asdict(outcome.unrestored))


def test_the_record_says_what_was_learnt_from(trained):
    outcome, _ = trained
    record = json.loads(weights.metadata(outcome.weights)["provenance"])
    assert record["training_data"][0]["fingerprint"] == drawn(42).fingerprint
    assert record["validation_data"]["fingerprint"] == drawn(14, "test").fingerprint
    assert record["recipe"]["degradation"]["jpeg"] == [25, 95]
    assert record["unrestored"] == asdict(outcome.unrestored)
    assert len(record["history"]) == outcome.best_epoch
    assert not list(outcome.weights.parent.glob("*.checkpoint*"))


def test_a_killed_run_goes_on_with_the_same_loss_curve(tmp_path):
    def kill(title, step, of, figures):
        if title.startswith("epoch 3") and step == 2:
            raise KeyboardInterrupt

    whole = train(tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "killed", report=kill)
    resumed = train(tmp_path / "killed")
    for figure in ("loss", "validation_psnr", "lr"):
        assert [r[figure] for r in resumed.history] == pytest.approx(
            [r[figure] for r in whole.history], rel=1e-6
        )
    a, b = (safetensors_io.read(o.weights)[0] for o in (whole, resumed))
    assert all(torch.allclose(a[k], b[k], atol=1e-6) for k in a)


def test_a_checkpoint_of_another_run_is_not_gone_on_with(tmp_path):
    def kill(title, step, of, figures):
        if title.startswith("epoch 2"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(tmp_path, report=kill)
    with pytest.raises(UsageError, match="another recipe, data or seed"):
        train(tmp_path, seed=1)
    checkpoint = tmp_path / "tiny.checkpoint.safetensors"
    checkpoint.write_bytes(checkpoint.read_bytes()[:1000])
    with pytest.raises(WeightsError, match="delete it to start afresh"):
        train(tmp_path)
    assert len(train(tmp_path, resume=False).history) == 3


def test_a_loss_that_is_no_number_stops_the_training_with_advice(tmp_path):
    with pytest.raises(UsageError, match="Lower the learning rate"):
        train(tmp_path, replace(TINY, lr=1e30, clip_grad=1e30))


def test_weights_are_gone_on_with_and_named(tmp_path, trained):
    before, _ = trained
    after = train(tmp_path, replace(TINY, epochs=1).continued(), start=before.weights)
    assert after.history[0]["loss"] < 0.9 * before.history[0]["loss"]
    record = json.loads(weights.metadata(after.weights)["provenance"])
    assert record["started_from"]["sha256"] == sha256_of(before.weights)
    assert record["started_from"]["provenance"]["history"] == before.history[: before.best_epoch]
    assert record["recipe"]["lr"] == TINY.lr / 2
    wider = replace(TINY, shape=replace(TINY.shape, num_style_feat=16))
    with pytest.raises(WeightsError, match="GFPGAN"):
        train(tmp_path / "wider", wider, start=before.weights)


def test_learning_with_a_recogniser_brings_nearer_what_it_sees(tmp_path, trained):
    before, _ = trained
    without, looking = (
        replace(TINY, lr=2e-3, epochs=2),
        replace(TINY, lr=2e-3, epochs=2, recogniser="efficientnet_b0", recognition=5.0),
    )
    blind, led = (
        train(tmp_path / str(i), recipe, start=before.weights) for i, recipe in enumerate((without, looking))
    )
    judge = restoration._Training("tiny", looking, [drawn(7)], drawn(14, "test"), 0, torch.device("cpu"))
    assert judge.score(gfpgan.load(led.weights, device="cpu").infer).distance == pytest.approx(
        led.best.distance, rel=1e-3
    )
    assert led.best.distance < judge.score(gfpgan.load(blind.weights, device="cpu").infer).distance - 0.05
    record = json.loads(weights.metadata(led.weights)["provenance"])
    assert record["recogniser"] == {
        "model": "efficientnet_b0",
        "sha256": sha256_of(weights.find("efficientnet_b0")),
    }


def test_faces_that_are_given_back_whole_look_the_same_to_a_recogniser():
    session = restoration._Training(
        "tiny",
        replace(TINY, recogniser="efficientnet_b0"),
        [drawn(7)],
        drawn(14, "test"),
        0,
        torch.device("cpu"),
    )
    degraded, sharp = next(session._validation())
    assert session._distance(sharp, sharp) == pytest.approx(0, abs=1e-6)
    without = restoration._Training("tiny", TINY, [drawn(7)], drawn(14, "test"), 0, torch.device("cpu"))
    seen_apart = session._distance(degraded, sharp) - without._distance(degraded, sharp)
    assert 0.01 < seen_apart < 2 * TINY.recognition
    assert all(not p.requires_grad for p in session.recogniser.network.parameters())


def test_a_recogniser_that_is_not_here_names_the_command(tmp_path):
    with pytest.raises(WeightsMissingError, match="fer-models train unheard-of"):
        train(tmp_path, replace(TINY, recogniser="unheard-of"))


@given(st.integers(0, 10_000), st.integers(0, 2**32))
@settings(max_examples=30, deadline=None)
def test_a_degraded_face_is_a_grey_face_of_the_same_size_and_the_same_each_time(index, seed):
    face = drawn(14).face(index % 14)
    once, again = (Degradation().apply(face, np.random.default_rng(seed)) for _ in range(2))
    np.testing.assert_array_equal(once, again)
    assert once.shape == face.shape
    assert once.dtype == np.uint8
    assert (once == once[..., :1]).all()


def test_each_step_degrades_by_itself():
    face, rng = drawn(1).face(0), np.random.default_rng(0)
    nothing = {"blur": (0.0, 0.0), "side": (48, 48), "noise": (0.0, 0.0), "jpeg": (100, 100), "likely": 1.0}
    least = np.abs(Degradation(**nothing).apply(face, rng).astype(int) - face).mean()
    assert least < 1  # the best JPEG loses a little
    for step, strength in (("blur", 1.0), ("side", 16), ("noise", 0.1), ("jpeg", 25)):
        degraded = Degradation(**{**nothing, step: (strength, strength)}).apply(face, rng)
        assert np.abs(degraded.astype(int) - face).mean() > least + 1, step
    np.testing.assert_array_equal(Degradation(likely=0.0).apply(face, rng), face)
