"""The study of protocols: how images are split, what is counted, and what is computed from the counts."""

import json
import math
import re
from dataclasses import asdict, replace

import numpy as np
import pytest
from fakes import toy_faces
from PIL import Image
from tiny_training import kill

from fer_models import cli
from fer_models.artifacts import weights
from fer_models.artifacts.hashing import sha256_of
from fer_models.classifiers.architecture import Architecture
from fer_models.datasets.base import FaceSet
from fer_models.emotions import LABELS
from fer_models.errors import UsageError
from fer_models.report import protocol_study
from fer_models.studies import protocols
from fer_models.studies.protocol_runs import Group, ProtocolRun
from fer_models.studies.protocol_splits import PROTOCOLS, with_majority_labels
from fer_models.training.recipes import BY_LABEL, NO_AUGMENTATION, RECIPES, Recipe
from fer_models.training.session import RunOptions
from fer_models.training.supervised import SupervisedTraining

TINY = Recipe(
    Architecture("resnet10t", size=32),
    epochs=3,
    batch_size=14,
    lr=0.02,
    sizes=((0.0, 32),),
    hint="resnet50",
    validate_from=0.7,
)


@pytest.fixture(scope="module")
def sets():
    faces = toy_faces(140)
    uneven = np.flatnonzero(
        (faces.labels != 1) | (np.arange(140) < 21)
    )  # few of one emotion, as FER-2013 has few disgusted faces
    cut = np.array_split(np.random.default_rng(0).permutation(uneven), [60, 80])
    names = ("train", "validation", "test")
    return tuple(
        FaceSet("synthetic", name, faces.images[rows], faces.labels[rows])
        for name, rows in zip(names, cut, strict=True)
    )


def with_votes(faces):
    """The faces with nine votes for the label and one for the next emotion; the first face has a tie."""
    votes = np.zeros((len(faces), 10), np.int64)
    rows = np.arange(len(faces))
    votes[rows, faces.labels] = 9
    votes[rows, (faces.labels + 1) % 7] = 1
    votes[0, :2] = 5
    votes[0, 2:] = 0
    return replace(faces, votes=votes)


def unchanged(pixels):
    return pixels


def darker(pixels):
    return pixels // 2


def split(sets, name, seed=0, restore=unchanged):
    return PROTOCOLS[name].split(sets, seed, restore)


def parts(images):
    return images.training, images.validation, images.test


def run(
    sets, folder, names=("official", "random", "copies"), seeds=1, *, report=None, recipe=TINY, resume=True
):
    plan = protocols.Plan(
        [PROTOCOLS[name] for name in names], {"plain": protocols.for_study(recipe)}, range(seeds)
    )
    options = RunOptions(device="cpu", resume=resume, report=report)
    return protocols.run_study(sets, folder, plan, options)


# -- splits ---------------------------------------------------------------------------------------


def test_the_official_protocol_has_the_official_splits(sets):
    images = split(sets, "official")
    assert parts(images) == sets
    assert not images.is_seen.any()
    assert not images.is_copy.any()


def test_a_random_split_has_every_image_once_and_trains_on_four_fifths(sets):
    images = split(sets, "random")
    n = sum(map(len, sets))
    assert [len(part) for part in parts(images)] == [
        round(0.8 * n),
        (n - round(0.8 * n)) // 2,
        n - round(0.8 * n) - (n - round(0.8 * n)) // 2,
    ]
    assert sorted(h for p in parts(images) for h in p.hashes) == sorted(h for s in sets for h in s.hashes)


def test_duplicates_of_a_face_are_in_several_parts_of_a_random_split(sets):
    pixels, labels = np.concatenate([sets[0].images] * 4), np.concatenate([sets[0].labels] * 4)
    duplicated = FaceSet("synthetic", "train", pixels, labels)
    assert split((duplicated, *sets[1:]), "random").is_seen.mean() > 0.5
    assert not split(sets, "random").is_seen.any()


def test_a_grouped_split_keeps_the_duplicates_of_an_image_in_one_part(sets):
    pixels, labels = np.concatenate([sets[0].images] * 4), np.concatenate([sets[0].labels] * 4)
    images = split((FaceSet("synthetic", "train", pixels, labels), *sets[1:]), "grouped")
    train, validation, test = (set(part.hashes) for part in parts(images))
    assert train.isdisjoint(validation | test)
    assert validation.isdisjoint(test)
    assert not images.is_seen.any()
    assert not images.is_copy.any()
    assert sum(map(len, parts(images))) == 4 * len(sets[0]) + len(sets[1]) + len(sets[2])


@pytest.mark.parametrize("name", ["copies", "grouped-copies", "restored-copies"])
def test_copies_make_the_emotions_equally_frequent(sets, name):
    images = split(sets, name)
    counts = [sum(p.counts[label] for p in parts(images)) for label in images.training.counts]
    assert len(set(counts)) == 1
    originals = {pixel_hash for faces in sets for pixel_hash in faces.hashes}
    # The originals are there once each; the copies have other pixels.
    assert sum(h in originals for p in parts(images) for h in p.hashes) == sum(map(len, sets))
    assert [h not in originals for h in images.test.hashes] == images.is_copy.tolist()


def test_only_a_split_by_image_keeps_the_copies_of_an_image_together(sets):
    for seed in range(3):
        assert not split(sets, "grouped-copies", seed).is_seen.any()
        assert split(sets, "copies", seed).is_seen.any()


def test_images_are_restored_before_they_are_copied(sets):
    restored = split(sets, "restored-copies", restore=darker)
    plain = split(sets, "restored-copies")
    assert np.asarray(restored.test.images).mean() < 0.6 * np.asarray(plain.test.images).mean()
    assert restored.is_seen.tolist() == plain.is_seen.tolist()


def test_the_votes_give_the_labels_and_ties_are_left_out(sets):
    voted = tuple(map(with_votes, sets))
    relabelled = replace(voted[2], votes=np.roll(voted[2].votes, 1, axis=1))
    images = split((*voted[:2], relabelled), "official-ferplus")
    assert len(images.test) < len(sets[2])
    assert (images.training.labels == sets[0].labels[1:]).all()
    assert {"official-ferplus", "copies-ferplus"} == {n for n, p in PROTOCOLS.items() if p.needs_votes}


def test_faces_without_votes_are_an_error_that_names_the_file(sets):
    with pytest.raises(UsageError, match=r"fer2013new\.csv"):
        with_majority_labels(sets[0])


@pytest.mark.parametrize("name", ["random", "grouped", "copies", "grouped-copies"])
def test_the_same_seed_gives_the_same_split(sets, name):
    assert split(sets, name, 3).test.fingerprint == split(sets, name, 3).test.fingerprint
    assert split(sets, name, 3).test.fingerprint != split(sets, name, 4).test.fingerprint


# -- runs -----------------------------------------------------------------------------------------


@pytest.mark.slow
def test_every_test_face_is_counted_in_one_group(sets, tmp_path):
    results = run(sets, tmp_path)
    assert [result.protocol for result in results] == ["official", "random", "copies"]
    for result in results:
        images = split(sets, result.protocol)
        assert result.n_test == len(images.test)
        assert result.seen_share == pytest.approx(images.is_seen.mean())
        assert result.count(0, is_copy=True)[1] == images.is_copy.sum()
        assert result.count(0, is_copy=False, is_seen=True)[1] == (images.is_seen & ~images.is_copy).sum()
        assert result.epochs == TINY.epochs == len(result.training_accuracy)
        assert all(0 <= correct <= group.n for group in result.groups for correct in group.correct)
        assert result.accuracy(on_test=True) >= result.accuracy()


@pytest.mark.slow
def test_a_killed_study_resumes_without_training_again(sets, tmp_path):
    kill(lambda report: run(sets, tmp_path, report=report), "random")
    titles = []
    results = run(sets, tmp_path, report=lambda title, *_: titles.append(title.split(",")[0]))
    assert set(titles) == {"random-plain-0", "copies-plain-0"}
    titles.clear()
    assert run(sets, tmp_path, report=lambda title, *_: titles.append(title)) == results
    assert not titles


@pytest.mark.slow
def test_restored_images_are_kept_for_the_next_study(sets, tmp_path):
    titles = []
    run(sets, tmp_path, ["restored-copies"], report=lambda title, *_: titles.append(title))
    assert "restoring" in titles
    titles.clear()
    run(sets, tmp_path, ["restored-copies"], seeds=2, report=lambda title, *_: titles.append(title))
    assert titles
    assert "restoring" not in titles


@pytest.mark.slow
def test_a_killed_study_restores_only_the_images_that_it_had_not_saved(sets, tmp_path, monkeypatch):
    monkeypatch.setattr(protocols, "_BATCH", 16)
    monkeypatch.setattr(protocols, "_BATCHES_PER_SAVE", 2)
    whole = run(sets, tmp_path / "whole", ["restored-copies"])
    steps = []

    def report(title, step, *_):
        if title == "restoring":
            steps.append(step)
            if step == 48:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(sets, tmp_path / "killed", ["restored-copies"], report=report)
    steps.clear()
    resumed = run(sets, tmp_path / "killed", ["restored-copies"], report=report_steps(steps))
    assert steps[0] == 48
    assert resumed[0].groups == whole[0].groups


def report_steps(steps):
    """A callback that notes how many images are restored."""
    return lambda title, step, *_: steps.append(step) if title == "restoring" else None


@pytest.mark.slow
def test_the_plain_network_memorizes_faces(tmp_path):
    rng = np.random.default_rng(0)
    faces = FaceSet("noise", "train", rng.integers(0, 256, (56, 48, 48), np.uint8), np.arange(56) % 7)
    recipe = replace(protocols.PLAIN, epochs=15, batch_size=8, lr=0.02)
    (result,) = run(
        (faces, faces.select(range(7)), faces.select(range(7, 14))), tmp_path, ["official"], recipe=recipe
    )
    assert result.training_accuracy[-1] > 0.9, "labels of noise can only be memorized"


# -- what is computed from the counts -------------------------------------------------------------


def counted(protocol, correct, *, seed=0, validation=(0.1, 0.3, 0.2), is_copy=False, is_seen=False, n=100):
    group = Group(is_copy, is_seen, n, correct)
    return ProtocolRun(protocol, "plain", seed, 500, (0.5, 0.9, 1.0), validation, (group,), 1.0)


def test_the_epoch_is_chosen_on_the_validation_faces_unless_told_otherwise():
    result = counted("official", (10, 40, 60))
    assert (result.accuracy(), result.accuracy(on_test=True)) == (0.4, 0.6)
    assert math.isnan(result.accuracy(is_copy=True))


def test_steps_are_differences_between_runs_with_the_same_seed():
    runs = [
        counted("official", (0, 50, 0)),
        counted("official", (0, 60, 0), seed=1),
        counted("random", (0, 70, 0)),
        counted("random", (0, 70, 0), seed=1),
        counted("random", (0, 99, 0), seed=2),
    ]
    steps = protocol_study.decompose(runs, "plain")
    values = [[round(100 * point) for point in step.points] for step in steps]
    assert values == [[55, 50, 60], [15, 10, 20]]
    assert protocol_study.decompose(runs[4:], "plain") == []


def test_the_epoch_chosen_on_the_test_faces_is_a_step_of_its_own():
    runs = [counted(name, (0, 50, 0)) for name in ("official", "random", "grouped", "grouped-copies")]
    steps = protocol_study.decompose([*runs, counted("copies", (0, 70, 80))], "plain")
    assert [round(100 * step.points.value) for step in steps] == [50, 0, 0, 0, 20, 10]


def test_steps_whose_protocol_was_not_run_are_part_of_the_next_one():
    runs = [counted("official", (0, 50, 0)), counted("copies", (0, 70, 80))]
    steps = protocol_study.decompose(runs, "plain")
    assert [round(100 * step.points.value) for step in steps] == [50, 20, 10]
    assert steps[1].description == "4 steps together, the last: copies of an image on both sides of the split"
    assert steps[2].description == "epoch chosen on the test faces"
    assert protocol_study.decompose(runs[1:], "plain") == []


def test_a_summary_has_the_mean_and_the_range_over_the_seeds():
    (summary,) = protocol_study.summarize(
        [counted("copies", (0, 70, 0), is_seen=True), counted("copies", (0, 80, 0), seed=1, is_seen=True)]
    )
    assert summary.accuracy == pytest.approx((0.75, 0.7, 0.8))
    assert summary.interval[0] < 0.75 < summary.interval[1]
    assert summary.seen_share.value == 1
    assert math.isnan(summary.accuracy_of_new_images.value)


def test_tables_and_json_show_what_was_not_counted_as_nothing():
    runs = [counted("official", (0, 50, 0)), counted("copies", (0, 70, 80), is_seen=True)]
    assert "| - |" in protocol_study.markdown(runs)
    content = protocol_study.as_json(runs, {"plain": TINY})
    assert content["summaries"][1]["accuracy_of_new_images"] is None
    restored = [
        ProtocolRun.from_json(run) for run in json.loads(json.dumps(content, allow_nan=False))["runs"]
    ]
    assert restored == runs


def test_figures_are_the_same_text_for_the_same_runs():
    runs = [counted("official", (0, 50, 0)), counted("random", (0, 70, 80), is_seen=True)]
    for draw in (protocol_study.steps_figure, protocol_study.curves_figure):
        svg = protocol_study.to_svg(draw(runs))
        assert svg == protocol_study.to_svg(draw(runs))
        assert "<svg" in svg
    assert "50.0 %" in protocol_study.to_svg(protocol_study.steps_figure(runs))


# -- the command ----------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path):
    faces = toy_faces(42)
    for i, (image, label) in enumerate(zip(faces.images, faces.labels, strict=True)):
        place = tmp_path / "faces" / ("train", "validation", "test")[i // 7 % 3] / LABELS[label]
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(place / f"{i}.png")
    return tmp_path / "faces"


@pytest.mark.slow
def test_the_command_writes_tables_numbers_and_figures(folder, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(protocols, "RECIPES", {"plain": TINY, "augmented": TINY})
    output = tmp_path / "out"
    arguments = ["--dataset", str(folder), "--output", str(output), "--epochs", "1", "--training", "plain"]
    assert cli.main(["study", "protocols", *arguments, "--device", "cpu"]) == 0
    printed = capsys.readouterr().out
    assert "left out: official-ferplus, copies-ferplus" in printed
    written = json.loads((output / "protocols.json").read_text())
    assert [run["protocol"] for run in written["runs"]] == [
        n for n, p in PROTOCOLS.items() if not p.needs_votes
    ]
    assert (output / "protocols.md").read_text().strip() in printed
    assert {"steps.svg", "curves.svg"} <= {file.name for file in output.iterdir()}


def test_a_recipe_of_a_network_gets_its_labels_from_the_protocol_and_no_teacher():
    recipe = protocols.for_study(RECIPES["vgg19-ferplus"])
    assert (recipe.targets, recipe.teacher, recipe.validate_from) == (BY_LABEL, None, 0.0)
    assert protocols.for_study(RECIPES["resnet50"]).teacher is None


@pytest.mark.slow
def test_a_training_that_memorizes_starts_from_the_weights_of_the_one_that_it_names(sets, tmp_path):
    first = protocols.for_study(TINY)
    recipes = {"tiny": first, "tiny+memorize": protocols.unregularized(first)}
    plan = protocols.Plan([PROTOCOLS["official"]], recipes, [0])
    runs = protocols.run_study(sets, tmp_path, plan, RunOptions(device="cpu"))
    assert [one.training for one in runs] == ["tiny", "tiny+memorize"]
    start, end = (tmp_path / f"official-{one.training}-0.safetensors" for one in runs)
    record = json.loads(weights.metadata(end)["provenance"])
    assert record["started_from"]["sha256"] == sha256_of(start)
    assert record["recipe"]["augmentation"] == asdict(NO_AUGMENTATION)
    assert protocols.run_study(sets, tmp_path, plan, RunOptions(device="cpu")) == runs

    (tmp_path / f"{end.stem}.json").unlink()
    titles = []
    start.write_bytes(end.read_bytes())  # as another training with the same name would replace them
    report = lambda title, *_: titles.append(title.split(",")[0])  # noqa: E731
    again = protocols.run_study(sets, tmp_path, plan, RunOptions(device="cpu", report=report))
    assert set(titles) == {"official-tiny-0", "official-tiny+memorize-0"}
    assert again == [replace(new, seconds=old.seconds) for new, old in zip(runs, again, strict=True)]


def test_a_training_that_memorizes_has_full_size_faces_and_no_regularization():
    base = protocols.for_study(replace(RECIPES["vgg19"], epochs=8))
    recipe = protocols.unregularized(base)
    assert [recipe.size_at(epoch) for epoch in range(recipe.epochs)] == [48, 48, 48]
    assert recipe.lr == base.lr / 2
    assert (recipe.weight_decay, recipe.label_smoothing, recipe.drop_rate) == (0.0, 0.0, 0.0)
    assert recipe.augmentation == NO_AUGMENTATION


@pytest.mark.slow
def test_results_of_other_options_are_replaced_only_when_told_to(sets, tmp_path):
    (first,) = run(sets, tmp_path, ["official"])
    short, titles = replace(TINY, epochs=1), []
    with pytest.raises(UsageError, match=r"official-plain-0\.json.*--output FOLDER.*--no-resume"):
        run(
            sets,
            tmp_path,
            ["random", "official"],
            recipe=short,
            report=lambda title, *_: titles.append(title),
        )
    assert not titles  # refused before anything is trained
    assert run(sets, tmp_path, ["official"]) == [first]

    both = ["random", "official"]
    kill(
        lambda report: run(sets, tmp_path, both, report=report, recipe=short, resume=False),
        "official-plain-0",
        1,
    )
    assert [one.epochs for one in run(sets, tmp_path, both, recipe=short)] == [1, 1]


def test_a_killed_study_with_other_options_starts_its_training_again_when_told_to(
    folder, tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr(protocols, "RECIPES", {"plain": TINY})
    command = ["study", "protocols", "--dataset", str(folder), "--output", str(tmp_path / "out")]
    command += ["--training", "plain", "--protocol", "official", "--device", "cpu"]
    with monkeypatch.context() as patched:
        patched.setattr(SupervisedTraining, "set_learning_rate", interrupt_in_epoch_3)
        assert cli.main([*command, "--epochs", "3"]) != 0
    assert cli.main([*command, "--epochs", "1"]) != 0
    assert "--no-resume" in capsys.readouterr().err
    assert cli.main([*command, "--epochs", "1", "--no-resume"]) == 0


def test_a_killed_training_with_other_test_faces_is_not_resumed(sets, tmp_path):
    kill(lambda report: run(sets, tmp_path, ["official"], report=report), "official-plain-0, epoch 2", 2)
    with pytest.raises(UsageError, match="--no-resume"):
        run((*sets[:2], sets[2].select(range(40))), tmp_path, ["official"])


def test_the_command_refuses_what_it_cannot_do_before_it_trains(folder, tmp_path, capsys):
    command = ["study", "protocols", "--dataset", str(folder), "--device", "cpu", "--epochs", "1"]
    votes = ["--protocol", "official", "--protocol", "official-ferplus", "--output", str(tmp_path / "out")]
    assert cli.main([*command, *votes]) == 4
    assert "no votes of FER+" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    (tmp_path / "file").touch()
    assert cli.main([*command, "--output", str(tmp_path / "file")]) == 4
    assert "cannot be written" in capsys.readouterr().err


def test_the_help_names_every_protocol(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "400")  # no line ends in a name
    with pytest.raises(SystemExit):
        cli.main(["study", "protocols", "--help"])
    words = set(re.findall(r"[\w-]+", capsys.readouterr().out))
    assert words >= set(PROTOCOLS)


def interrupt_in_epoch_3(session, update):
    if update >= 2 * session.steps:
        raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--protocol", "copied"], "no protocol named 'copied'"),
        (["--training", "plane"], "no training named 'plane'"),
        (["--training", "plain+memorize+memorize"], "no training named 'plain+memorize+memorize'"),
        (["--seeds", "0"], "--seeds must be at least 1"),
        (["--protocol", "official-ferplus"], "no votes of FER+"),
    ],
)
def test_a_wrong_option_is_refused_with_what_to_do(folder, capsys, arguments, message):
    assert cli.main(["study", "protocols", "--dataset", str(folder), *arguments]) != 0
    assert message.lower() in " ".join(capsys.readouterr().err.split()).lower()
