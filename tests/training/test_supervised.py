import json
from dataclasses import replace

import numpy as np
import pytest
import scipy.special
import torch
from fakes import toy_faces
from tiny_training import DATA, TINY, kill, train

from fer_models.artifacts import safetensors_io
from fer_models.artifacts.hashing import sha256_of
from fer_models.classifiers import cnn
from fer_models.classifiers.architecture import Architecture
from fer_models.errors import UsageError, WeightsError, WeightsMissingError
from fer_models.training import supervised
from fer_models.training.augment import augment
from fer_models.training.recipes import RECIPES, Augmentation, adapt
from fer_models.training.session import RunOptions, Step, TrainingData
from fer_models.training.soft_targets import compute_targets, find_teachers

STILL = Augmentation(mirror=0, rotate=0, scale=0, shift=0, brightness=0, contrast=0, erase=0)


def read_provenance(path):
    return json.loads(safetensors_io.read(path)[1]["provenance"])


@pytest.mark.slow
def test_the_trained_weights_load_and_name_their_provenance(tmp_path):
    steps = []
    result = train(tmp_path, report=lambda title, step, of, metrics: steps.append((title, step, of)))
    model = cnn.load(result.weights, device="cpu")
    faces = toy_faces(28, "test")
    accuracy = (model.predict(faces.faces(range(28))).answer == faces.labels).mean()
    assert accuracy == pytest.approx(result.kept_record["validation_accuracy"])
    provenance = read_provenance(result.weights)
    assert provenance["training_data"][0]["fingerprint"] == toy_faces(42).fingerprint
    assert provenance["validation_data"]["n"] == 28
    assert provenance["recipe"]["lr"] == TINY.lr
    is_scored = ["validation_accuracy" in record for record in provenance["history"]]
    assert is_scored == [False, True, True][: len(is_scored)]
    assert [r["size"] for r in result.history] == [24, 24, 32]
    assert len(steps) == 3 * 4
    assert steps[-1] == ("epoch 3/3 at 32 px", 4, 4)
    assert not list(tmp_path.glob("*.checkpoint*"))


@pytest.mark.slow
@pytest.mark.parametrize("recipe", [TINY, replace(TINY, batch_size=15)], ids=["every face", "rest left out"])
def test_a_killed_run_resumes_with_the_same_loss_curve(tmp_path, recipe):
    """Also where a face has no loss yet, because the last batch of an epoch is left out if not full."""
    undisturbed = train(tmp_path / "undisturbed", recipe)
    kill(lambda report: train(tmp_path / "killed", recipe, report=report), "epoch 3", 2)
    resumed = train(tmp_path / "killed", recipe)
    for metric in ("loss", "lr"):
        expected = [r[metric] for r in undisturbed.history]
        assert [r[metric] for r in resumed.history] == pytest.approx(expected, rel=1e-6)
    a, b = (safetensors_io.read(result.weights)[0] for result in (undisturbed, resumed))
    assert all(torch.allclose(a[k].float(), b[k].float(), atol=1e-6) for k in a)


@pytest.mark.slow
def test_a_checkpoint_of_another_run_is_refused(tmp_path):
    kill(lambda report: train(tmp_path, report=report), "epoch 2")
    checkpoint = tmp_path / "tiny.checkpoint.safetensors"
    with pytest.raises(UsageError, match="another recipe, data or seed"):
        train(tmp_path, seed=1)
    content = checkpoint.read_bytes()
    state, metadata = safetensors_io.read(checkpoint)
    safetensors_io.write(state | {"sampler.losses": torch.zeros(1)}, checkpoint, metadata)
    with pytest.raises(UsageError, match="of another version"):
        train(tmp_path)
    checkpoint.write_bytes(content[:1000])
    with pytest.raises(WeightsError, match="delete it to start again"):
        train(tmp_path)
    assert len(train(tmp_path, resume=False).history) == 3


@pytest.mark.slow
def test_teacher_predictions_are_mixed_into_the_targets_and_recorded(tmp_path, monkeypatch):
    monkeypatch.setenv("FER_MODELS_WEIGHTS", str(tmp_path))
    distilled = replace(TINY, teacher="tiny", teacher_share=0.5, epochs=1, validate_from=0)
    with pytest.raises(WeightsMissingError, match="fer-models train tiny"):
        train(tmp_path / "student", distilled)
    teacher = train(tmp_path, replace(TINY, epochs=1)).weights
    student = train(tmp_path / "student", distilled)
    plain = train(tmp_path / "plain", replace(distilled, teacher=None))
    assert student.history[0]["loss"] != plain.history[0]["loss"]
    assert read_provenance(student.weights)["teachers"] == [{"model": "tiny", "sha256": sha256_of(teacher)}]


@pytest.mark.slow
def test_two_teachers_give_the_mean_of_their_predictions(tmp_path, monkeypatch):
    monkeypatch.setenv("FER_MODELS_WEIGHTS", str(tmp_path))
    recipe, data = replace(TINY, epochs=1), TrainingData([toy_faces(96)], toy_faces(48, "validation"))
    for seed, name in enumerate(("tiny", "other")):
        options = RunOptions(seed=seed, device="cpu")
        supervised.SupervisedTraining(name, recipe, data, options).run(tmp_path)
    progress = []
    first, second, both = (
        compute_targets(
            [toy_faces(12)],
            replace(TINY, teacher=teacher, teacher_share=1.0),
            torch.device("cpu"),
            lambda title, *steps: progress.append((title.split()[0], *steps)),
        )
        for teacher in ("tiny", "other", "tiny+other")
    )
    assert not torch.equal(first, second)
    torch.testing.assert_close(both, (first + second) / 2)
    assert progress == [(name, 12, 12, {}) for name in ("tiny", "other", "tiny", "other")]


@pytest.mark.slow
def test_without_augmentation_a_consistent_teacher_is_the_same_as_one_that_sees_each_face_once(
    tmp_path, monkeypatch
):
    monkeypatch.setenv("FER_MODELS_WEIGHTS", str(tmp_path))
    train(tmp_path, replace(TINY, epochs=1))
    once = replace(TINY, teacher="tiny", teacher_share=0.9, augmentation=STILL)
    consistent = replace(once, consistent_teacher=True)
    losses = {}
    for augmentation in (STILL, Augmentation(brightness=1.0)):
        for recipe in (once, consistent):
            result = train(tmp_path / "student", replace(recipe, augmentation=augmentation))
            losses[augmentation, recipe.consistent_teacher] = [record["loss"] for record in result.history]
    assert losses[STILL, True] == pytest.approx(losses[STILL, False], rel=1e-6)
    changed = losses[Augmentation(brightness=1.0), True]
    assert changed != pytest.approx(losses[Augmentation(brightness=1.0), False], rel=1e-5)


@pytest.mark.slow
def test_a_killed_run_with_a_consistent_teacher_resumes_with_the_same_loss_curve(tmp_path, monkeypatch):
    monkeypatch.setenv("FER_MODELS_WEIGHTS", str(tmp_path))
    train(tmp_path, replace(TINY, epochs=1))
    recipe = replace(TINY, teacher="tiny", consistent_teacher=True)
    undisturbed = train(tmp_path / "undisturbed", recipe)
    kill(lambda report: train(tmp_path / "killed", recipe, report=report), "epoch 2", 2)
    resumed = train(tmp_path / "killed", recipe)
    expected = [record["loss"] for record in undisturbed.history]
    assert [record["loss"] for record in resumed.history] == pytest.approx(expected, rel=1e-6)


def test_options_of_a_teacher_need_one_and_a_consistent_teacher_no_infobatch():
    assert adapt(RECIPES["resnet50"], consistent_teacher=True).consistent_teacher
    for option, value in (("consistent_teacher", True), ("teacher_share", 0.8)):
        with pytest.raises(UsageError, match=f"--{option.replace('_', '-')} needs a teacher.*--teacher NAME"):
            adapt(RECIPES["vgg19"], **{option: value})
    assert adapt(RECIPES["vgg19"], teacher="resnet50", teacher_share=0.8).teacher_share == 0.8
    with pytest.raises(UsageError, match="Leave one of them out"):
        adapt(RECIPES["resnet50"], consistent_teacher=True, infobatch_ratio=0.5)


@pytest.mark.parametrize(
    "name", ["vgg19+tta", "vgg19@my.safetensors", "vgg19-probe", "/tmp/mine", "hf:one/two"]
)
def test_a_teacher_is_the_name_of_a_trained_network(name):
    with pytest.raises(UsageError, match="such as vgg19, without variants, files and folders"):
        find_teachers(replace(TINY, teacher=name))


@pytest.mark.parametrize("adjustment", [0.0, 0.5, 1.0])
def test_logit_adjustment_adds_the_logarithm_of_an_emotions_share_to_its_logit_in_the_loss(adjustment):
    shares = np.array([0.1, 0.1, 0.2, 0.2, 0.1, 0.1, 0.2])
    faces = replace(toy_faces(10), labels=np.repeat(np.arange(7), (10 * shares).astype(int)))
    recipe = replace(
        TINY,
        batch_size=10,
        precision="float32",
        label_smoothing=0.0,
        augmentation=STILL,
        logit_adjustment=adjustment,
    )
    session = supervised.SupervisedTraining(
        "tiny", recipe, TrainingData([faces], faces), RunOptions(device="cpu")
    )
    session.set_training_mode()
    batch = cnn.normalise(augment(session.faces, 24, STILL, 0), recipe.architecture)
    with torch.no_grad():
        logits = session.network(batch).numpy() + adjustment * np.log(shares)
    expected = -scipy.special.log_softmax(logits, axis=1)[np.arange(10), faces.labels].mean()
    loss = session.train_batch((torch.arange(10), torch.ones(10)), Step(0, 0, 0))
    assert loss == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("name", ["logit_adjustment", "teacher_share"])
@pytest.mark.parametrize("weight", [-0.1, 1.1, float("nan")])
def test_a_weight_outside_0_to_1_is_refused(name, weight):
    with pytest.raises(UsageError, match=f"--{name.replace('_', '-')} must be 0 to 1"):
        adapt(RECIPES["resnet50"], **{name: weight})


@pytest.mark.parametrize("rate", [0.0, -1.0, float("inf"), float("nan")])
def test_a_learning_rate_that_is_not_above_0_is_refused(rate):
    with pytest.raises(UsageError, match="--lr must be above 0"):
        adapt(RECIPES["resnet50"], lr=rate)


def with_votes(faces, votes):
    return replace(faces, votes=np.asarray(votes))


def test_votes_become_shares_where_most_raters_chose_one_of_the_seven_emotions():
    faces = toy_faces(4)
    votes = [
        [5, 0, 5, 0, 0, 0, 0, 0, 0, 0],
        [0, 0, 0, 3, 0, 0, 3, 1, 2, 1],
        [1, 0, 0, 0, 0, 0, 0, 4, 3, 2],
        [0] * 10,
    ]
    recipe = replace(TINY, targets="votes")
    targets = compute_targets([with_votes(faces, votes)], recipe, torch.device("cpu")).numpy()
    expected = np.eye(7)[faces.labels]
    expected[0], expected[1] = [0.5, 0, 0.5, 0, 0, 0, 0], [0, 0, 0, 0.5, 0, 0, 0.5]
    np.testing.assert_allclose(targets, expected)


def test_a_recipe_with_votes_needs_some_and_records_which(tmp_path):
    by_votes = replace(TINY, targets="votes", epochs=1)
    with pytest.raises(UsageError, match="needs the votes"):
        train(tmp_path / "none", by_votes)
    votes = np.zeros((42, 10), dtype=np.int64)
    votes[:, 3] = 10
    sets = [with_votes(toy_faces(42), votes), toy_faces(14, "train")]
    result = train(tmp_path / "some", by_votes, replace(DATA, training=sets))
    by_labels = train(tmp_path / "labels", replace(TINY, epochs=1))
    assert result.history[0]["loss"] != by_labels.history[0]["loss"]
    recorded = read_provenance(result.weights)["votes"]
    assert recorded[0] is not None
    assert recorded[1] is None


def test_every_network_has_a_recipe_for_votes_with_its_own_name():
    assert RECIPES["vgg19-ferplus"] == replace(RECIPES["vgg19"], targets="votes")
    assert {name.removesuffix("-ferplus") for name in RECIPES} == {
        "vgg19",
        "resnet50",
        "efficientnet_b0",
        "phi3v-nano-vision",
    }


def test_training_from_trained_weights_keeps_their_record(tmp_path):
    first = train(tmp_path / "first", replace(TINY, epochs=1)).weights
    second = train(tmp_path / "second", replace(TINY, epochs=1).continued(), init_from=first)
    provenance = read_provenance(second.weights)
    assert provenance["started_from"]["sha256"] == sha256_of(first)
    assert provenance["started_from"]["provenance"]["recipe"]["lr"] == TINY.lr
    assert second.history[0]["size"] == 32
    other = replace(TINY, architecture=Architecture("resnet18", size=32))
    with pytest.raises(WeightsError, match="does not fit resnet18"):
        train(tmp_path / "third", other, init_from=first)


def test_a_training_never_replaces_the_weights_that_it_starts_from(tmp_path):
    first = train(tmp_path, replace(TINY, epochs=1)).weights
    before = first.read_bytes()
    with pytest.raises(UsageError, match="which it starts from or learns from"):
        train(tmp_path, replace(TINY, epochs=1).continued(), init_from=first)
    assert first.read_bytes() == before


def test_a_recipe_for_trained_weights_has_no_teacher_and_no_small_faces():
    assert RECIPES["resnet50"].teacher == "vgg19"
    assert RECIPES["resnet50"].continued().teacher is None
    assert RECIPES["vgg19"].continued().size_at(0) == 48
    assert RECIPES["vgg19"].continued().lr == RECIPES["vgg19"].lr / 2
    assert TINY.continued().size_at(0) == 32


def test_a_loss_that_is_not_finite_stops_training_with_advice(tmp_path):
    with pytest.raises(UsageError, match="--lr"):
        train(tmp_path, replace(TINY, lr=1e18, epochs=2))


def test_augmentation_of_no_strength_changes_nothing():
    faces = torch.randint(0, 256, (5, 1, 48, 48), dtype=torch.uint8)
    assert torch.allclose(augment(faces, 48, STILL, 0), faces.float(), atol=1e-3)


def test_a_mirror_is_exact():
    faces = torch.randint(0, 256, (5, 1, 48, 48), dtype=torch.uint8)
    assert torch.allclose(augment(faces, 48, replace(STILL, mirror=1), 0), faces.float().flip(-1), atol=1e-3)


def test_augmentation_depends_only_on_its_seed_and_stays_in_range():
    faces = torch.randint(0, 256, (8, 3, 48, 48), dtype=torch.uint8)
    a, b, c = (augment(faces, 40, Augmentation(), seed) for seed in (1, 1, 2))
    assert torch.equal(a, b)
    assert not torch.equal(a, c)
    assert a.shape == (8, 3, 40, 40)
    assert a.min() >= 0
    assert a.max() <= 255


def test_erasing_covers_a_rectangle_of_the_documented_area():
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


@pytest.mark.parametrize("epochs", range(1, 10))
@pytest.mark.parametrize("name", RECIPES)
def test_the_last_epoch_has_the_full_size_for_any_number_of_epochs(name, epochs):
    recipe = adapt(RECIPES[name], epochs=epochs)
    sizes = [recipe.size_at(epoch) for epoch in range(epochs)]
    assert sizes[-1] == recipe.sizes[-1][1]
    assert sizes == sorted(sizes)


def test_values_of_the_user_replace_those_of_the_recipe():
    assert adapt(TINY, epochs=9).epochs == 9
    assert adapt(TINY) == TINY
    with pytest.raises(UsageError, match="--epochs must be at least 1, got 0"):
        adapt(TINY, epochs=0)
    with pytest.raises(UsageError, match="--batch-size must be at least 1, got -1"):
        adapt(TINY, batch_size=-1)


def test_a_single_step_for_timing_is_a_real_update():
    step, batch = supervised.single_step(TINY, toy_faces(14), "cpu")
    assert batch == 14
    losses = step(), step()
    assert np.isfinite(losses).all()
    assert losses[0] != losses[1]


def test_a_checkpoint_belongs_to_the_order_of_the_rows():
    """InfoBatch's losses in it are those of rows, and the same faces can come in another order."""
    faces = toy_faces(14)
    other = faces.select(np.arange(14)[::-1])
    assert other.fingerprint == faces.fingerprint
    runs = [
        supervised.SupervisedTraining("tiny", TINY, TrainingData([one], faces), RunOptions(device="cpu"))
        for one in (faces, other, faces)
    ]
    first, second, third = (run.identity() for run in runs)
    assert first == third != second
