import os
from dataclasses import replace

import hypothesis.strategies as st
import numpy as np
import pytest
from fakes import prediction_table, toy_faces
from hypothesis import given, settings
from PIL import Image
from statsmodels.stats.proportion import proportion_confint

from fer_models.config import EvalConfig
from fer_models.emotions import LABELS
from fer_models.errors import DamagedFileWarning
from fer_models.inference.dataset import EvalDataset
from fer_models.scoring import leakage


def predictions_of(correct):
    truth = np.zeros(len(correct), dtype=np.int64)
    return prediction_table(truth, np.where(correct, 0, 1))


def test_accuracy_is_given_with_and_without_the_faces_that_are_in_train():
    predictions = predictions_of([True] * 8 + [False, False])
    scores = leakage.score(predictions, set(predictions.faces[:5]))
    assert scores.faces == 5
    assert scores.on_leaked.value == 1.0
    assert scores.without_leaked.value == 0.6
    assert scores.without_leaked.n == 5
    assert scores.difference.value == pytest.approx(0.8 - 0.6)
    assert (scores.without_leaked.low, scores.without_leaked.high) == pytest.approx(
        proportion_confint(3, 5, method="wilson")
    )


def test_without_a_leak_nothing_differs():
    scores = leakage.score(predictions_of([True, False, True]), {"elsewhere"})
    assert scores.faces == 0
    assert scores.on_leaked is None
    assert scores.difference.value == scores.difference.low == scores.difference.high == 0


def test_where_every_face_leaks_there_is_no_accuracy_without_leaks():
    predictions = predictions_of([True, False])
    scores = leakage.score(predictions, set(predictions.faces))
    assert scores.without_leaked is None
    assert scores.difference is None
    on_leaked = {**scores.on_leaked.as_json(), "n": 2}
    assert scores.as_json() == {"faces": 2, "accuracy_on_leaks": on_leaked, "difference": None}


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=40))
def test_the_parts_add_up_to_all_faces(faces):
    predictions = predictions_of([correct for correct, _ in faces])
    train_hashes = {face for face, (_, leaked) in zip(predictions.faces, faces, strict=True) if leaked}
    scores = leakage.score(predictions, train_hashes, resamples=200)
    on = scores.on_leaked.value * scores.faces if scores.on_leaked else 0
    without = scores.without_leaked.value * scores.without_leaked.n if scores.without_leaked else 0
    assert on + without == pytest.approx(predictions.correct.sum())
    if scores.difference:
        assert scores.difference.low <= scores.difference.value <= scores.difference.high


def test_the_interval_of_the_difference_is_paired():
    """Both accuracies are of the same faces: the interval is narrower than that of independent accuracies."""
    rng = np.random.default_rng(0)
    predictions = predictions_of(rng.random(3000) < 0.7)
    scores = leakage.score(predictions, set(predictions.faces[:200]))
    width = scores.difference.high - scores.difference.low
    assert width < 0.5 * (scores.without_leaked.high - scores.without_leaked.low)


@pytest.fixture
def folder(tmp_path):
    faces = toy_faces(28)
    for i, (image, label) in enumerate(zip(faces.images, faces.labels, strict=True)):
        place = tmp_path / "faces" / ("train" if i < 21 else "test") / LABELS[label]
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(place / f"{i:03d}.png")
    return tmp_path / "faces"


def data(folder, tmp_path, split="test"):
    options = EvalConfig(
        dataset=str(folder), split=split, store=tmp_path / "store", baselines=tmp_path / "baselines.json"
    )
    return EvalDataset(options)


def test_the_faces_of_train_are_cached_until_a_file_changes(folder, tmp_path):
    assert sorted(data(folder, tmp_path).train_hashes) == sorted(toy_faces(28).hashes[:21])
    cached = list((tmp_path / "cache" / "train").glob("*.txt"))
    assert len(cached) == 1
    assert sorted(data(folder, tmp_path).train_hashes) == sorted(toy_faces(28).hashes[:21])
    assert list((tmp_path / "cache" / "train").glob("*.txt")) == cached
    next((folder / "train").rglob("*.png")).unlink()
    assert len(data(folder, tmp_path).train_hashes) == 20
    assert data(folder, tmp_path, "train").train_hashes is None


def test_cached_hashes_are_computed_again_by_another_version_of_the_decoder(folder, tmp_path, monkeypatch):
    hashes = data(folder, tmp_path).train_hashes
    monkeypatch.setattr("fer_models.inference.dataset._code", lambda: "pillow 99")
    assert data(folder, tmp_path).train_hashes == hashes
    assert len(list((tmp_path / "cache" / "train").glob("*.txt"))) == 2


def test_a_damaged_list_of_faces_is_computed_again(folder, tmp_path):
    """Cut in half it would report half of the leaks."""
    hashes = data(folder, tmp_path).train_hashes
    (cached,) = (tmp_path / "cache" / "train").glob("*.txt")
    content = cached.read_bytes()
    cached.write_bytes(content[: len(content) // 2])
    with pytest.warns(DamagedFileWarning, match=f"{cached.name} is damaged"):
        assert data(folder, tmp_path).train_hashes == hashes
    assert cached.read_bytes() == content


@pytest.mark.parametrize("fraction", [0.5, 0.0, None])
def test_a_damaged_audit_is_computed_again(folder, tmp_path, fraction):
    audit = data(folder, tmp_path).audit()
    (cached,) = (tmp_path / "cache" / "audit").glob("*.txt")
    content = cached.read_bytes()
    cached.write_bytes(b"[1" if fraction is None else content[: int(fraction * len(content))])
    with pytest.warns(DamagedFileWarning, match=f"{cached.name} is damaged"):
        assert data(folder, tmp_path).audit() == audit
    assert cached.read_bytes() == content


def test_a_dataset_without_train_is_not_checked(folder, tmp_path):
    assert data(folder / "test", tmp_path, None).train_hashes is None


def test_a_train_split_that_cannot_be_read_is_reported_and_scores_stay(folder, tmp_path):
    next((folder / "train").rglob("*.png")).write_bytes(b"no picture")
    dataset = data(folder, tmp_path)
    assert dataset.train_hashes is None
    assert "not checked for leaks from train" in dataset.leak_check_error


@pytest.mark.skipif(os.name != "posix", reason="links and names of POSIX")
def test_cached_hashes_are_computed_again_when_a_linked_folder_changes(folder, tmp_path):
    """The class folders of train are links, and one picture has a name that is no UTF-8."""
    (folder / "train").rename(tmp_path / "elsewhere")
    (folder / "train").symlink_to(tmp_path / "elsewhere")
    picture = next((tmp_path / "elsewhere").rglob("*.png"))
    picture.rename(picture.with_name("\udcff.png"))
    assert len(data(folder, tmp_path).train_hashes) == 21
    picture.with_name("\udcff.png").unlink()
    assert len(data(folder, tmp_path).train_hashes) == 20


def test_an_audit_under_another_label_scheme_is_another_one(folder, tmp_path):
    for split in ("train", "test"):
        for i, label in enumerate(LABELS):
            (folder / split / label).rename(folder / split / str(i))

    def counts(scheme):
        options = replace(data(folder, tmp_path).options, label_scheme=scheme)
        return EvalDataset(options).audit()["splits"][0]["counts"]

    assert counts("fer2013") == dict.fromkeys(LABELS, 3)
    assert counts("ck+")["surprise"] == 0
    assert counts("fer2013")["surprise"] == 3
