import os
from dataclasses import replace

import hypothesis.strategies as st
import numpy as np
import pytest
from fakes import answers_of, drawn
from hypothesis import given, settings
from PIL import Image
from statsmodels.stats.proportion import proportion_confint

from fer_models.config import EvalConfig
from fer_models.emotions import LABELS
from fer_models.errors import DamagedFileWarning
from fer_models.inference.dataset import EvalDataset
from fer_models.scoring import leakage


def some(right):
    truth = np.zeros(len(right), dtype=np.int64)
    return answers_of(truth, np.where(right, 0, 1))


def test_accuracy_is_given_with_and_without_the_faces_that_stand_in_train():
    answers = some([True] * 8 + [False, False])
    scored = leakage.score(answers, set(answers.faces[:5]))
    assert scored.faces == 5
    assert scored.on_leaked.value == 1.0
    assert scored.without_leaked.value == 0.6
    assert scored.without_leaked.n == 5
    assert scored.difference.value == pytest.approx(0.8 - 0.6)
    assert (scored.without_leaked.low, scored.without_leaked.high) == pytest.approx(
        proportion_confint(3, 5, method="wilson")
    )


def test_without_a_leak_nothing_differs():
    scored = leakage.score(some([True, False, True]), {"elsewhere"})
    assert scored.faces == 0
    assert scored.on_leaked is None
    assert scored.difference.value == scored.difference.low == scored.difference.high == 0


def test_where_every_face_leaks_there_is_no_accuracy_without_leaks():
    answers = some([True, False])
    scored = leakage.score(answers, set(answers.faces))
    assert scored.without_leaked is None
    assert scored.difference is None
    assert scored.as_json() == {
        "faces": 2,
        "accuracy_on_leaks": {**scored.on_leaked.as_json(), "n": 2},
        "difference": None,
    }


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=40))
def test_the_parts_add_up_to_the_whole(faces):
    answers = some([right for right, _ in faces])
    known = {face for face, (_, leaked) in zip(answers.faces, faces, strict=True) if leaked}
    scored = leakage.score(answers, known, resamples=200)
    on = scored.on_leaked.value * scored.faces if scored.on_leaked else 0
    without = scored.without_leaked.value * scored.without_leaked.n if scored.without_leaked else 0
    assert on + without == pytest.approx(answers.correct.sum())
    if scored.difference:
        assert scored.difference.low <= scored.difference.value <= scored.difference.high


def test_the_interval_of_the_difference_is_paired():
    """Both accuracies stand on the same faces: the difference is far surer than two independent accuracies
    would be.
    """
    rng = np.random.default_rng(0)
    answers = some(rng.random(3000) < 0.7)
    scored = leakage.score(answers, set(answers.faces[:200]))
    width = scored.difference.high - scored.difference.low
    assert width < 0.5 * (scored.without_leaked.high - scored.without_leaked.low)


@pytest.fixture
def folder(tmp_path):
    some = drawn(28)
    for i, (image, label) in enumerate(zip(some.images, some.labels, strict=True)):
        place = tmp_path / "faces" / ("train" if i < 21 else "test") / LABELS[label]
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(place / f"{i:03d}.png")
    return tmp_path / "faces"


def data(folder, tmp_path, split="test"):
    options = EvalConfig(
        dataset=str(folder), split=split, store=tmp_path / "store", baselines=tmp_path / "baselines.json"
    )
    return EvalDataset(options)


def test_the_faces_of_train_are_kept_until_a_file_changes(folder, tmp_path):
    assert data(folder, tmp_path).train_hashes == frozenset(drawn(28).hashes[:21])
    kept = list((tmp_path / "cache" / "train").glob("*.txt"))
    assert len(kept) == 1
    assert data(folder, tmp_path).train_hashes == frozenset(drawn(28).hashes[:21])
    assert list((tmp_path / "cache" / "train").glob("*.txt")) == kept
    next((folder / "train").rglob("*.png")).unlink()
    assert len(data(folder, tmp_path).train_hashes) == 20
    assert data(folder, tmp_path, "train").train_hashes is None


def test_a_damaged_list_of_faces_is_made_again(folder, tmp_path):
    """Cut in half it would report half of the leaks."""
    known = data(folder, tmp_path).train_hashes
    (kept,) = (tmp_path / "cache" / "train").glob("*.txt")
    whole = kept.read_bytes()
    kept.write_bytes(whole[: len(whole) // 2])
    with pytest.warns(DamagedFileWarning, match=f"{kept.name} is damaged"):
        assert data(folder, tmp_path).train_hashes == known
    assert kept.read_bytes() == whole


@pytest.mark.parametrize("keep", [0.5, 0.0, None])
def test_a_damaged_audit_is_made_again(folder, tmp_path, keep):
    found = data(folder, tmp_path).audit()
    (kept,) = (tmp_path / "cache" / "audit").glob("*.txt")
    whole = kept.read_bytes()
    kept.write_bytes(b"[1" if keep is None else whole[: int(keep * len(whole))])
    with pytest.warns(DamagedFileWarning, match=f"{kept.name} is damaged"):
        assert data(folder, tmp_path).audit() == found
    assert kept.read_bytes() == whole


def test_a_dataset_without_train_is_not_checked(folder, tmp_path):
    assert data(folder / "test", tmp_path, None).train_hashes is None


def test_a_train_split_that_cannot_be_read_is_said_and_hides_no_score(folder, tmp_path):
    next((folder / "train").rglob("*.png")).write_bytes(b"no picture")
    asked = data(folder, tmp_path)
    assert asked.train_hashes is None
    assert "not checked for leaks from train" in asked.leak_check_error


@pytest.mark.skipif(os.name != "posix", reason="links and names of POSIX")
def test_what_is_kept_of_faces_is_made_anew_when_a_linked_folder_changes(folder, tmp_path):
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
