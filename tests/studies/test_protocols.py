import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from fakes import toy_faces
from PIL import Image
from tiny_training import kill

from fer_models import cli
from fer_models.classifiers.architecture import Architecture
from fer_models.datasets.base import FaceSet
from fer_models.emotions import LABELS
from fer_models.studies import protocols
from fer_models.training.recipes import Recipe
from fer_models.training.session import RunOptions

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


def run(sets, folder, recipe=TINY, report=None):
    return protocols.run_study(sets, folder, recipe, RunOptions(device="cpu", report=report))


def test_the_official_protocol_has_the_official_splits(sets):
    protocol = protocols.official(*sets)
    assert (protocol.training, protocol.validation, protocol.test) == sets
    assert not protocol.is_leaked.any()


def test_a_random_split_has_every_image_once_and_trains_on_four_fifths(sets):
    protocol = protocols.random(sets, seed=0)
    parts = (protocol.training, protocol.validation, protocol.test)
    n = sum(map(len, sets))
    assert [len(p) for p in parts] == [
        round(0.8 * n),
        (n - round(0.8 * n)) // 2,
        n - round(0.8 * n) - (n - round(0.8 * n)) // 2,
    ]
    assert sorted(h for p in parts for h in p.hashes) == sorted(h for s in sets for h in s.hashes)
    assert sum(p.counts["disgust"] for p in parts) == sum(s.counts["disgust"] for s in sets)


def test_duplicates_of_a_face_are_in_several_parts_of_a_random_split(sets):
    images, labels = np.concatenate([sets[0].images] * 4), np.concatenate([sets[0].labels] * 4)
    duplicated = FaceSet("synthetic", "train", images, labels)
    assert protocols.random((duplicated, *sets[1:]), seed=0).is_leaked.mean() > 0.5
    assert not protocols.random(sets, seed=0).is_leaked.any()


def test_inflating_evens_out_the_emotions_with_augmented_copies_before_the_split(sets):
    protocol = protocols.inflated(sets, seed=0)
    parts = (protocol.training, protocol.validation, protocol.test)
    counts = [sum(p.counts[label] for p in parts) for label in protocol.training.counts]
    assert len(set(counts)) == 1
    originals = {h for s in sets for h in s.hashes}
    assert {o for origins in protocol.origins for o in origins} == originals
    # The originals are there once each; the copies have other pixels.
    assert sum(h in originals for p in parts for h in p.hashes) == sum(map(len, sets))
    assert protocol.is_leaked.mean() > protocols.random(sets, seed=0).is_leaked.mean()


@pytest.mark.parametrize("make", [protocols.random, protocols.inflated])
def test_the_same_seed_gives_the_same_split(sets, make):
    assert make(sets, seed=3).test.fingerprint == make(sets, seed=3).test.fingerprint
    assert make(sets, seed=3).test.fingerprint != make(sets, seed=4).test.fingerprint


def test_the_study_measures_what_it_documents(sets, tmp_path):
    results = run(sets, tmp_path)
    assert [r.protocol for r in results] == ["official", "random", "inflated"]
    expected = (protocols.official(*sets), protocols.random(sets, 0), protocols.inflated(sets, 0))
    assert [(r.n_test, r.n_leaked) for r in results] == [(len(p.test), p.is_leaked.sum()) for p in expected]
    for r in results:
        assert len(r.curve) >= 1
        chosen = max(r.curve, key=lambda row: (row[1], -row[0]))
        assert r.accuracy["value"] == pytest.approx(chosen[2])
        assert r.accuracy_chosen_on_test["value"] == pytest.approx(max(test for _, _, test in r.curve))
        assert r.accuracy["low"] <= r.accuracy["value"] <= r.accuracy["high"]
        assert r.accuracy_chosen_on_test["value"] >= r.accuracy["value"]
    updates = [r.epochs * r.n_training for r in results]
    assert max(updates) < 1.5 * min(updates)


def test_a_killed_study_resumes_without_training_again(sets, tmp_path):
    kill(lambda report: run(sets, tmp_path, report=report), "random")
    titles = []
    results = run(sets, tmp_path, report=lambda title, *_: titles.append(title.split(",")[0]))
    assert set(titles) == {"random", "inflated"}
    titles.clear()
    assert run(sets, tmp_path, report=lambda title, *_: titles.append(title)) == results
    assert not titles
    run(sets, tmp_path, replace(TINY, epochs=1), report=lambda title, *_: titles.append(title))
    assert titles  # another recipe is another study


def test_the_command_writes_a_table_and_its_numbers(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(protocols, "RECIPE", replace(TINY, epochs=1))
    faces = toy_faces(42)
    for i, (image, label) in enumerate(zip(faces.images, faces.labels, strict=True)):
        folder = tmp_path / "faces" / ("train", "validation", "test")[i // 7 % 3] / LABELS[label]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(folder / f"{i}.png")
    output = tmp_path / "out"
    data = ["--dataset", str(tmp_path / "faces"), "--output", str(output)]
    assert cli.main(["study", "protocols", *data, "--device", "cpu"]) == 0
    printed = capsys.readouterr().out
    assert printed.count("\n| ") >= 3
    written = json.loads((output / "protocols.json").read_text())
    assert [r["protocol"] for r in written["results"]] == ["official", "random", "inflated"]
    assert written["recipe"]["teacher"] is None
    assert (output / "protocols.md").read_text().strip() in printed
    assert torch.isfinite(torch.tensor([r["accuracy"]["value"] for r in written["results"]])).all()
