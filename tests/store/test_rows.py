"""The row of a face is its row in the full split, also where a run evaluates some of the faces only."""

import numpy as np
import pytest
from fakes import drawn, oracle_labels

from fer_models.classifiers.dummy import Constant, Oracle
from fer_models.config import EvalConfig
from fer_models.depth import STANDARD
from fer_models.emotions import Emotion
from fer_models.evaluation import Suite
from fer_models.images import data_url, resize
from fer_models.store.partition import load_partition
from fer_models.zoo.registry import Registry
from fer_models.zoo.restorers import BICUBIC, RAW
from fer_models.zoo.spec import ModelSpec, RestorerSpec

#: Sorted by emotion, so that the faces of a limited run are not the first rows.
FACES = drawn(210).select(np.argsort(drawn(210).labels, kind="stable"))


class Negative:
    """A restoration after which the oracle recognizes no face."""

    def restore(self, faces):
        return [255 - face for face in faces]


class Learned(Oracle):
    """The oracle, which predicts sad for unknown faces."""

    def predict(self, faces):
        self.labels = {**dict.fromkeys(map(_hash, faces), Emotion.SAD), **oracle_labels(FACES)}
        return super().predict(faces)


def _hash(face):
    from fer_models.images import face_hash

    return face_hash(face)


@pytest.fixture
def suite(tmp_path, monkeypatch):
    monkeypatch.setattr("fer_models.datasets.synthetic.load", lambda split: FACES)
    models = Registry(
        "model",
        ModelSpec("oracle", lambda runtime: Learned({})),
        ModelSpec("sad", lambda runtime: Constant(Emotion.SAD)),
    )
    restorers = Registry("restorer", RAW, BICUBIC, RestorerSpec("negative", lambda runtime: Negative()))

    def build(**options):
        config = EvalConfig("synthetic", split="validation", store=tmp_path / "store", **options)
        return Suite(config, models, restorers)

    return build


def rows_are_correct(predictions):
    return [FACES.hashes[row] for row in predictions.index] == list(predictions.faces)


@pytest.mark.parametrize("limit", [7, 50, 149, 210, None])
def test_a_limited_run_and_its_store_have_the_rows_of_the_full_split(suite, limit):
    for _ in range(2):
        run = suite(limit=limit)
        assert rows_are_correct(run.predict(("oracle", "raw")).predictions)
        assert rows_are_correct(load_partition(run.partition(("oracle", "raw")).folder)[0])


def test_a_variant_on_some_of_the_faces_has_the_rows_of_the_full_split(suite):
    run = suite(limit=140, depth=STANDARD)
    assert len(run.predict(("oracle", "negative")).predictions) == STANDARD.variant_limit
    for pair in (("oracle", "raw"), ("oracle", "negative")):
        assert rows_are_correct(run.predict(pair).predictions)
        assert rows_are_correct(run.answers_among(("oracle", "raw"), run.dataset_of(("oracle", "negative"))))


def test_the_pictures_of_faces_that_a_restoration_broke_are_those_of_their_rows(suite):
    run = suite(limit=140, depth=STANDARD)
    flipped = run.effects.flipped_faces(run.effects.of(("oracle", "negative")))
    assert flipped["broken"]
    for face in flipped["broken"]:
        assert face["truth"] == list(Emotion)[FACES.labels[face["index"]]].label
        assert face["pictures"][0] == data_url(resize(FACES.face(face["index"]), 96))


def test_faces_flipped_by_a_small_change_are_listed_by_their_rows(suite):
    class Dark:
        """Predicts by the parity of the pixel sum, so that a little light flips it."""

        def predict(self, faces):
            from fer_models.classifiers.base import Predictions

            rows = np.full((len(faces), 7), 0.01)
            rows[np.arange(len(faces)), [int(face.sum()) % 2 for face in faces]] = 0.94
            return Predictions.from_probabilities(rows)

    run = suite(limit=140, depth=STANDARD)
    run.models = Registry("model", ModelSpec("dark", lambda runtime: Dark()))
    flips = run.robustness.measure("metamorphic", ("dark", "raw")).as_json()["flips"]
    assert flips
    for flip in flips:
        assert FACES.hashes[flip["index"]].startswith(flip["face"])
