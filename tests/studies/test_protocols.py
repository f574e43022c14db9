import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from fakes import drawn
from PIL import Image

from fer_models import cli
from fer_models.classifiers.architecture import Architecture
from fer_models.datasets.base import FaceSet
from fer_models.emotions import LABELS
from fer_models.studies import protocols
from fer_models.training.recipes import Recipe

TINY = Recipe(
    Architecture("resnet10t", size=32),
    epochs=4,
    batch_size=14,
    lr=0.02,
    sizes=((0.0, 32),),
    validate_from=0.5,
)


@pytest.fixture(scope="module")
def sets():
    faces = drawn(140)
    uneven = np.flatnonzero(
        (faces.labels != 1) | (np.arange(140) < 21)
    )  # few of one emotion, as FER-2013 has few disgusted faces
    cut = np.array_split(np.random.default_rng(0).permutation(uneven), [60, 80])
    names = ("train", "validation", "test")
    return tuple(
        FaceSet("drawn", name, faces.images[rows], faces.labels[rows])
        for name, rows in zip(names, cut, strict=True)
    )


def test_the_official_protocol_takes_the_splits_as_they_are(sets):
    protocol = protocols.official(*sets)
    assert (protocol.training, protocol.choosing, protocol.reported) == sets
    assert not protocol.seen.any()


def test_a_random_split_holds_every_image_once_and_trains_on_four_fifths(sets):
    protocol = protocols.random(sets, seed=0)
    parts = (protocol.training, protocol.choosing, protocol.reported)
    n = sum(map(len, sets))
    assert [len(p) for p in parts] == [
        round(0.8 * n),
        (n - round(0.8 * n)) // 2,
        n - round(0.8 * n) - (n - round(0.8 * n)) // 2,
    ]
    assert sorted(h for p in parts for h in p.hashes) == sorted(h for s in sets for h in s.hashes)
    assert sum(p.counts["disgust"] for p in parts) == sum(s.counts["disgust"] for s in sets)


def test_copies_of_a_face_fall_on_both_sides_of_a_random_split(sets):
    doubled = FaceSet(
        "drawn", "train", np.concatenate([sets[0].images] * 4), np.concatenate([sets[0].labels] * 4)
    )
    assert protocols.random((doubled, *sets[1:]), seed=0).seen.mean() > 0.5
    assert not protocols.random(sets, seed=0).seen.any()


def test_inflating_evens_out_the_emotions_with_altered_copies_before_the_split(sets):
    protocol = protocols.inflated(sets, seed=0)
    parts = (protocol.training, protocol.choosing, protocol.reported)
    counts = [sum(p.counts[label] for p in parts) for label in protocol.training.counts]
    assert len(set(counts)) == 1
    known = {h for s in sets for h in s.hashes}
    assert {o for origins in protocol.origins for o in origins} == known
    assert sum(h in known for p in parts for h in p.hashes) == sum(
        map(len, sets)
    )  # the images themselves; the copies are other pictures
    assert protocol.seen.mean() > protocols.random(sets, seed=0).seen.mean()


@pytest.mark.parametrize("make", [protocols.random, protocols.inflated])
def test_the_same_seed_splits_the_same_way(sets, make):
    assert make(sets, seed=3).reported.fingerprint == make(sets, seed=3).reported.fingerprint
    assert make(sets, seed=3).reported.fingerprint != make(sets, seed=4).reported.fingerprint


def test_the_study_measures_what_it_says(sets, tmp_path):
    findings = protocols.study(sets, tmp_path, TINY, device="cpu")
    assert [f.protocol for f in findings] == ["official", "random", "inflated"]
    made = (protocols.official(*sets), protocols.random(sets, 0), protocols.inflated(sets, 0))
    assert [(f.reported_on, f.seen) for f in findings] == [(len(p.reported), p.seen.sum()) for p in made]
    for f in findings:
        assert len(f.curve) >= 1
        chosen = max(f.curve, key=lambda row: (row[1], -row[0]))
        assert f.chosen_apart["value"] == pytest.approx(chosen[2])
        assert f.chosen_there["value"] == pytest.approx(max(there for _, _, there in f.curve))
        assert f.chosen_apart["low"] <= f.chosen_apart["value"] <= f.chosen_apart["high"]
        assert f.chosen_there["value"] >= f.chosen_apart["value"]
    updates = [f.epochs * f.trained_on for f in findings]
    assert max(updates) < 1.5 * min(updates)


def test_a_stopped_study_goes_on_without_training_again(sets, tmp_path):
    def stop(title, step, steps, figures):
        if title.startswith("random"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        protocols.study(sets, tmp_path, TINY, device="cpu", report=stop)
    trained = []
    whole = protocols.study(
        sets, tmp_path, TINY, device="cpu", report=lambda title, *_: trained.append(title.split(",")[0])
    )
    assert set(trained) == {"random", "inflated"}
    trained.clear()
    assert (
        protocols.study(sets, tmp_path, TINY, device="cpu", report=lambda title, *_: trained.append(title))
        == whole
    )
    assert not trained
    protocols.study(
        sets, tmp_path, replace(TINY, epochs=1), device="cpu", report=lambda title, *_: trained.append(title)
    )
    assert trained  # another recipe is another study


def test_the_command_writes_a_table_and_its_numbers(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(protocols, "RECIPE", replace(TINY, epochs=1))
    faces = drawn(42)
    for i, (image, label) in enumerate(zip(faces.images, faces.labels, strict=True)):
        place = tmp_path / "faces" / ("train", "validation", "test")[i // 7 % 3] / LABELS[label]
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(place / f"{i}.png")
    command = [
        "study",
        "protocols",
        "--dataset",
        str(tmp_path / "faces"),
        "--output",
        str(tmp_path / "out"),
        "--device",
        "cpu",
    ]
    assert cli.main(command) == 0
    said = capsys.readouterr().out
    assert said.count("\n| ") >= 3
    written = json.loads((tmp_path / "out" / "protocols.json").read_text())
    assert [f["protocol"] for f in written["findings"]] == ["official", "random", "inflated"]
    assert written["recipe"]["teacher"] is None
    assert (tmp_path / "out" / "protocols.md").read_text().strip() in said
    assert torch.isfinite(torch.tensor([f["chosen_apart"]["value"] for f in written["findings"]])).all()
