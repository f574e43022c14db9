"""Predictions for faces outside the dataset: each image is predicted once, whatever asks for it and
whenever.
"""

from dataclasses import replace

import numpy as np
import pytest
from fakes import full_disk, toy_faces
from hypothesis import given
from hypothesis import strategies as st

from fer_models.classifiers import prompts
from fer_models.classifiers.base import Predictions
from fer_models.emotions import LABELS
from fer_models.errors import DamagedFileWarning, PromptTooLongError, StoreError, UsageError
from fer_models.images import face_hash
from fer_models.inference.prediction_cache import PredictionCache, PromptCache

FACES = toy_faces(14).faces(range(14))


class ByBrightness:
    """Predicts from the pixels alone, abstains on black faces, and counts the faces it was given."""

    def __init__(self):
        self.faces = 0

    def __call__(self, faces):
        self.faces += len(faces)
        rows = np.full((len(faces), 7), 0.05)
        rows[np.arange(len(faces)), [int(face.sum()) % 7 for face in faces]] = 0.7
        silent = {i: "nothing to see" for i, face in enumerate(faces) if not face.any()}
        return Predictions.from_probabilities(
            rows, LABELS, unanswered=silent, text=[f"mean {face.mean():.1f}" for face in faces]
        )


def cache(root, model, identity="weights 1"):
    return PredictionCache(root, "model-raw", {"model": identity}, LABELS, model)


def test_the_second_run_predicts_nothing_and_gets_the_same(tmp_path):
    first, second = ByBrightness(), ByBrightness()
    black = [*FACES, np.zeros_like(FACES[0])]
    one = cache(tmp_path, first)
    predicted = one.predict(black)
    one.save()
    again = cache(tmp_path, second).predict(black)
    assert (first.faces, second.faces) == (15, 0)
    np.testing.assert_array_equal(predicted.probabilities, again.probabilities)
    assert (predicted.status, predicted.text) == (again.status, again.text)
    assert predicted.status[-1] == "nothing to see"


@pytest.mark.parametrize("given_by_model", [True, False])
def test_the_cache_remembers_whether_a_model_gave_the_probabilities(tmp_path, given_by_model):
    one = cache(tmp_path, lambda faces: replace(ByBrightness()(faces), has_probabilities=given_by_model))
    assert one.predict(FACES).has_probabilities is given_by_model
    one.save()
    assert (
        cache(tmp_path, lambda faces: pytest.fail("predicted")).predict(FACES).has_probabilities
        is given_by_model
    )


@given(st.lists(st.lists(st.integers(0, 13), max_size=6), max_size=6))
def test_each_image_is_predicted_once_in_whatever_batches_it_comes(tmp_path_factory, batches):
    model = ByBrightness()
    one = cache(tmp_path_factory.mktemp("cache"), model)
    for batch in batches:
        expected = ByBrightness()([FACES[i] for i in batch]) if batch else None
        predictions = one.predict([FACES[i] for i in batch])
        assert len(predictions) == len(batch)
        if expected is not None:
            np.testing.assert_array_equal(predictions.answer, expected.answer)
    assert model.faces == len({i for batch in batches for i in batch})


def test_two_caches_of_one_folder_keep_the_predictions_of_both(tmp_path):
    left, right = cache(tmp_path, ByBrightness()), cache(tmp_path, ByBrightness())
    left.predict(FACES[:5])
    right.predict(FACES[3:9])
    left.save()
    right.save()
    third = ByBrightness()
    cache(tmp_path, third).predict(FACES)
    assert third.faces == 14 - 9


def test_another_identity_shares_nothing(tmp_path):
    one, other = cache(tmp_path, ByBrightness()), ByBrightness()
    one.predict(FACES)
    one.save()
    cache(tmp_path, other, "weights 2").predict(FACES)
    assert other.faces == 14


def test_predictions_stored_elsewhere_are_used_and_not_written_again(tmp_path):
    model = ByBrightness()
    one = cache(tmp_path, model)
    one.add([face_hash(face) for face in FACES[:7]], ByBrightness()(FACES[:7]))
    one.predict(FACES[:7])
    one.save()
    assert model.faces == 0
    assert not list(tmp_path.rglob("*.parquet"))


@pytest.mark.parametrize("damage", [b"", b"no parquet", None])
def test_a_damaged_file_is_named_and_its_faces_are_predicted_again(tmp_path, damage):
    one = cache(tmp_path, ByBrightness())
    one.predict(FACES)
    one.save()
    (file,) = tmp_path.rglob("*.parquet")
    file.write_bytes(file.read_bytes()[:-40] if damage is None else damage)
    model, later = ByBrightness(), ByBrightness()
    two = cache(tmp_path, model)
    with pytest.warns(DamagedFileWarning, match=f"{file.name} is damaged"):
        np.testing.assert_array_equal(two.predict(FACES).probabilities, one.predict(FACES).probabilities)
    two.save()
    cache(tmp_path, later).predict(FACES)
    assert (model.faces, later.faces) == (14, 0)


def test_a_file_of_another_model_is_not_used(tmp_path):
    model = ByBrightness()
    one, other = cache(tmp_path, ByBrightness()), cache(tmp_path, model, "weights 2")
    one.predict(FACES)
    one.save()
    (file,) = tmp_path.rglob("*.parquet")
    other.folder.mkdir()
    file.rename(other.folder / file.name)
    with pytest.warns(DamagedFileWarning, match="another model"):
        other.predict(FACES)
    assert model.faces == 14


def test_a_full_disk_is_an_error_and_written_files_stay(tmp_path):
    one = cache(tmp_path, ByBrightness())
    one.predict(FACES[:3])
    one.save()
    one.predict(FACES)
    with full_disk(10), pytest.raises(StoreError, match="cannot be stored"):
        one.save()
    later = ByBrightness()
    cache(tmp_path, later).predict(FACES[:3])
    assert later.faces == 0


def test_prompt_sets_are_classified_once_and_too_long_texts_stay_too_long(tmp_path):
    calls = []

    def classify(prompt_set):
        calls.append(prompt_set.name)
        if prompt_set.name == "descriptive":
            raise PromptTooLongError("The prompt takes 99 tokens")
        return np.array([3, -1, 6])

    def new():
        return PromptCache(tmp_path, "prompts", {"faces": ["a", "b", "c"]}, classify)

    one, sets = new(), [prompts.load("plain"), prompts.load("descriptive")]
    for _ in range(2):
        np.testing.assert_array_equal(one.classify(sets[0]), [3, -1, 6])
        with pytest.raises(PromptTooLongError, match="99 tokens"):
            one.classify(sets[1])
        one.save()
        one = new()
    assert calls == ["plain", "descriptive"]


def test_other_errors_are_not_remembered(tmp_path):
    """A device that is not there, a damaged file: another run may do better."""

    def refused(prompt_set):
        raise UsageError("--device cuda: there is none")

    broken, sound = (
        PromptCache(tmp_path, "prompts", {"faces": ["a"]}, f)
        for f in (refused, lambda prompt_set: np.array([2]))
    )
    with pytest.raises(UsageError, match="cuda"):
        broken.classify(prompts.load("plain"))
    broken.save()
    np.testing.assert_array_equal(sound.classify(prompts.load("plain")), [2])


def test_a_file_after_a_deleted_one_takes_the_place_of_none(tmp_path):
    for cut in (slice(0, 3), slice(3, 6), slice(6, 9)):
        one = cache(tmp_path, ByBrightness())
        one.predict(FACES[cut])
        one.save()
    sorted(tmp_path.rglob("*.parquet"))[1].unlink()
    again = cache(tmp_path, ByBrightness())
    again.predict(FACES[:9])
    again.save()
    later = ByBrightness()
    cache(tmp_path, later).predict(FACES[:9])
    assert later.faces == 0
