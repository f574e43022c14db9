import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from fakes import drawn
from tiny_training import TINY, train

from fer_models.artifacts import safetensors_io
from fer_models.artifacts.hashing import sha256_of
from fer_models.classifiers import cnn
from fer_models.classifiers.architecture import Architecture
from fer_models.errors import UsageError, WeightsError, WeightsMissingError
from fer_models.training import supervised
from fer_models.training.augment import augment
from fer_models.training.recipes import RECIPES, Augmentation, adapt
from fer_models.training.soft_targets import targets

STILL = Augmentation(mirror=0, rotate=0, scale=0, shift=0, brightness=0, contrast=0, erase=0)
#: A real network and the real loop, small.


def test_training_leaves_weights_that_load_and_say_where_they_come_from(tmp_path):
    steps = []
    outcome = train(tmp_path, report=lambda title, step, of, figures: steps.append((title, step, of)))
    model = cnn.load(outcome.weights, device="cpu")
    faces = drawn(28, "test")
    accuracy = (model.predict(faces.faces(range(28))).answer == faces.labels).mean()
    assert accuracy == pytest.approx(outcome.best_accuracy)
    provenance = json.loads(safetensors_io.read(outcome.weights)[1]["provenance"])
    assert provenance["training_data"][0]["fingerprint"] == drawn(42).fingerprint
    assert provenance["validation_data"]["n"] == 28
    assert provenance["recipe"]["lr"] == TINY.lr
    assert [("validation_accuracy" in r) for r in provenance["history"]] == [False, True, True][
        : len(provenance["history"])
    ]
    assert [r["size"] for r in outcome.history] == [24, 24, 32]
    assert len(steps) == 3 * 4
    assert not list(tmp_path.glob("*.checkpoint*"))


def test_a_killed_run_goes_on_with_the_same_loss_curve(tmp_path):
    def kill(title, step, of, figures):
        if title.startswith("epoch 3") and step == 2:
            raise KeyboardInterrupt

    whole = train(tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "killed", report=kill)
    resumed = train(tmp_path / "killed")
    assert [r["loss"] for r in resumed.history] == pytest.approx([r["loss"] for r in whole.history], rel=1e-6)
    a, b = (safetensors_io.read(o.weights)[0] for o in (whole, resumed))
    assert all(torch.allclose(a[k].float(), b[k].float(), atol=1e-6) for k in a)


def test_a_checkpoint_of_another_run_is_not_gone_on_with(tmp_path):
    def kill(title, step, of, figures):
        if title.startswith("epoch 2"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(tmp_path, report=kill)
    checkpoint = tmp_path / "tiny.checkpoint.safetensors"
    with pytest.raises(UsageError, match="another recipe, data or seed"):
        train(tmp_path, seed=1)
    content = checkpoint.read_bytes()
    state, metadata = safetensors_io.read(checkpoint)
    safetensors_io.write(state | {"sampler.losses": torch.zeros(1)}, checkpoint, metadata)
    with pytest.raises(UsageError, match="of another version"):
        train(tmp_path)
    checkpoint.write_bytes(content[:1000])
    with pytest.raises(WeightsError, match="delete it to start afresh"):
        train(tmp_path)


def test_a_teachers_answers_are_mixed_into_the_labels_and_written_down(tmp_path, monkeypatch):
    monkeypatch.setenv("FER_MODELS_WEIGHTS", str(tmp_path))
    taught = replace(TINY, teacher="tiny", teacher_share=0.5, epochs=1, validate_from=0)
    with pytest.raises(WeightsMissingError, match="fer-models train tiny"):
        train(tmp_path / "pupil", taught)
    teacher = train(tmp_path, replace(TINY, epochs=1)).weights
    pupil = train(tmp_path / "pupil", taught)
    plain = train(tmp_path / "plain", replace(taught, teacher=None))
    assert pupil.history[0]["loss"] != plain.history[0]["loss"]
    provenance = json.loads(safetensors_io.read(pupil.weights)[1]["provenance"])
    assert provenance["teachers"] == [{"model": "tiny", "sha256": sha256_of(teacher)}]


def test_two_teachers_teach_the_mean_of_their_answers(tmp_path, monkeypatch):
    monkeypatch.setenv("FER_MODELS_WEIGHTS", str(tmp_path))
    for seed, name in enumerate(("tiny", "other")):
        supervised.train(
            name,
            replace(TINY, epochs=1),
            [drawn(96)],
            drawn(48, "validation"),
            tmp_path,
            seed=seed,
            device="cpu",
        )
    faces, cpu = [drawn(12)], torch.device("cpu")
    one, two, both = (
        targets(faces, replace(TINY, teacher=t, teacher_share=1.0), cpu)
        for t in ("tiny", "other", "tiny+other")
    )
    assert not torch.equal(one, two)
    torch.testing.assert_close(both, (one + two) / 2)


def voting(faces, votes):
    return replace(faces, votes=np.asarray(votes))


def test_votes_become_shares_where_most_raters_saw_one_of_the_seven_emotions():
    faces = drawn(4)
    votes = [
        [5, 0, 5, 0, 0, 0, 0, 0, 0, 0],
        [0, 0, 0, 3, 0, 0, 3, 1, 2, 1],
        [1, 0, 0, 0, 0, 0, 0, 4, 3, 2],
        [0] * 10,
    ]
    found = targets([voting(faces, votes)], replace(TINY, targets="votes"), torch.device("cpu")).numpy()
    expected = np.eye(7)[faces.labels]
    expected[0], expected[1] = [0.5, 0, 0.5, 0, 0, 0, 0], [0, 0, 0, 0.5, 0, 0, 0.5]
    np.testing.assert_allclose(found, expected)


def test_a_recipe_that_learns_from_votes_needs_some_and_writes_down_which(tmp_path):
    by_votes = replace(TINY, targets="votes", epochs=1)
    with pytest.raises(UsageError, match="learns from the votes"):
        train(tmp_path / "none", by_votes)
    votes = np.zeros((42, 10), dtype=np.int64)
    votes[:, 3] = 10
    sets = [voting(drawn(42), votes), drawn(14, "train")]
    outcome = supervised.train("tiny", by_votes, sets, drawn(28, "test"), tmp_path / "some", device="cpu")
    assert (
        outcome.history[0]["loss"] != train(tmp_path / "labels", replace(TINY, epochs=1)).history[0]["loss"]
    )
    said = json.loads(safetensors_io.read(outcome.weights)[1]["provenance"])["votes"]
    assert said[0] is not None
    assert said[1] is None


def test_every_network_has_a_recipe_for_votes_under_a_name_of_its_own():
    assert RECIPES["vgg19-ferplus"] == replace(RECIPES["vgg19"], targets="votes")
    assert {name.removesuffix("-ferplus") for name in RECIPES} == {
        "vgg19",
        "resnet50",
        "efficientnet_b0",
        "phi3v-nano-vision",
    }


def test_going_on_from_trained_weights_keeps_their_record(tmp_path):
    first = train(tmp_path / "first", replace(TINY, epochs=1)).weights
    second = train(tmp_path / "second", replace(TINY, epochs=1).continued(), start=first)
    provenance = json.loads(safetensors_io.read(second.weights)[1]["provenance"])
    assert provenance["started_from"]["sha256"] == sha256_of(first)
    assert provenance["started_from"]["provenance"]["recipe"]["lr"] == TINY.lr
    assert second.history[0]["size"] == 32
    with pytest.raises(WeightsError, match="does not fit resnet18"):
        train(tmp_path / "third", replace(TINY, architecture=Architecture("resnet18", size=32)), start=first)


def test_a_recipe_that_goes_on_leaves_teacher_and_small_faces_out():
    assert RECIPES["resnet50"].teacher == "vgg19"
    assert RECIPES["resnet50"].continued().teacher is None
    assert RECIPES["vgg19"].continued().size_at(0) == 48
    assert RECIPES["vgg19"].continued().lr == RECIPES["vgg19"].lr / 2
    assert TINY.continued().size_at(0) == 32


def test_a_loss_that_is_no_number_stops_training_with_advice(tmp_path):
    with pytest.raises(UsageError, match="--lr"):
        train(tmp_path, replace(TINY, lr=1e18, epochs=2))


def test_augmentation_that_changes_nothing_changes_nothing():
    faces = torch.randint(0, 256, (5, 1, 48, 48), dtype=torch.uint8)
    assert torch.allclose(augment(faces, 48, STILL, 0), faces.float(), atol=1e-3)


def test_a_mirror_is_exact():
    faces = torch.randint(0, 256, (5, 1, 48, 48), dtype=torch.uint8)
    assert torch.allclose(augment(faces, 48, replace(STILL, mirror=1), 0), faces.float().flip(-1), atol=1e-3)


def test_augmentation_depends_on_its_seed_alone_and_stays_in_range():
    faces = torch.randint(0, 256, (8, 3, 48, 48), dtype=torch.uint8)
    a, b, c = (augment(faces, 40, Augmentation(), seed) for seed in (1, 1, 2))
    assert torch.equal(a, b)
    assert not torch.equal(a, c)
    assert a.shape == (8, 3, 40, 40)
    assert a.min() >= 0
    assert a.max() <= 255


def test_erasing_covers_a_rectangle_of_the_promised_area():
    faces = torch.full((200, 1, 48, 48), 100, dtype=torch.uint8)
    erased = augment(faces, 48, replace(STILL, erase=1), 3)
    share = (erased - 100).abs().gt(0.5).float().mean(dim=(1, 2, 3)).numpy()
    assert share.min() >= 0.0
    assert share.max() <= 0.25
    assert 0.05 < np.mean(share) < 0.16


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_ends_at_its_networks_own_size(name):
    recipe = RECIPES[name]
    assert recipe.size_at(recipe.epochs - 1) == recipe.architecture.size
    assert [s for s, _ in recipe.sizes] == sorted(s for s, _ in recipe.sizes)


def test_a_users_values_replace_the_recipes_where_given():
    assert adapt(TINY, epochs=9).epochs == 9
    assert adapt(TINY) == TINY


def test_a_single_step_for_timing_is_a_real_update():
    step, batch = supervised.single_step(TINY, drawn(14), "cpu")
    assert batch == 14
    assert step() != step()
