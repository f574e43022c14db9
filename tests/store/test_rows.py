"""The row of a face is its row in the whole split, also where a run is about some of the faces."""

import numpy as np
import pytest
from fakes import oracle_labels, toy_faces

from fer_models.classifiers.dummy import Constant, Oracle
from fer_models.config import EvalConfig
from fer_models.depth import STANDARD
from fer_models.emotions import Emotion
from fer_models.evaluation import Evaluation
from fer_models.images import data_url, resize
from fer_models.store.partition import load_partition
from fer_models.zoo.registry import Registry
from fer_models.zoo.restorers import BICUBIC, RAW
from fer_models.zoo.spec import ModelSpec, RestorerSpec

#: Sorted by emotion, so that the faces of a limited run are not the first rows.
FACES = toy_faces(210).select(np.argsort(toy_faces(210).labels, kind="stable"))


class Negative:
    """A restoration after which the oracle knows no face."""

    def restore(self, faces):
        return [255 - face for face in faces]


class Learned(Oracle):
    """The oracle, which calls a face that it does not know sad."""

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

    def made(**options):
        return Evaluation(
            EvalConfig("synthetic", split="validation", store=tmp_path / "store", **options),
            models,
            restorers,
        )

    return made


def rows_are_right(answers, name="synthetic"):
    return [FACES.hashes[row] for row in answers.index] == list(answers.faces)


@pytest.mark.parametrize("limit", [7, 50, 149, 210, None])
def test_under_limit_it_is_the_row_of_the_whole_split_in_the_run_and_in_the_store(suite, limit):
    for _ in range(2):
        run = suite(limit=limit)
        assert rows_are_right(run.runner.predict(("oracle", "raw")).predictions)
        assert rows_are_right(load_partition(run.runner.partition(("oracle", "raw")).folder)[0])


def test_a_variant_on_some_of_the_faces_has_the_rows_of_the_whole_split(suite):
    run = suite(limit=140, depth=STANDARD)
    assert len(run.runner.predict(("oracle", "negative")).predictions) == STANDARD.variant_limit
    for pair in (("oracle", "raw"), ("oracle", "negative")):
        assert rows_are_right(run.runner.predict(pair).predictions)
        assert rows_are_right(
            run.runner.predictions_on(("oracle", "raw"), run.runner.dataset_of(("oracle", "negative")))
        )


def test_the_pictures_of_faces_that_a_restoration_hurt_are_those_of_their_rows(suite):
    run = suite(limit=140, depth=STANDARD)
    turned = run.effects.flipped_faces(run.effects.of(("oracle", "negative")))
    assert turned["broken"]
    for face in turned["broken"]:
        assert face["truth"] == list(Emotion)[FACES.labels[face["index"]]].label
        assert face["pictures"][0] == data_url(resize(FACES.face(face["index"]), 96))


def test_the_faces_that_a_small_change_turns_are_named_by_their_rows(suite):
    class Dark:
        """Happy where the picture is brighter than its own mean by a hair, so that a little light changes
        it.
        """

        def predict(self, faces):
            from fer_models.classifiers.base import Predictions

            rows = np.full((len(faces), 7), 0.01)
            rows[np.arange(len(faces)), [int(face.sum()) % 2 for face in faces]] = 0.94
            return Predictions.from_probabilities(rows)

    run = suite(limit=140, depth=STANDARD)
    run.runner.models = Registry("model", ModelSpec("dark", lambda runtime: Dark()))
    flips = run.robustness.measure("metamorphic", ("dark", "raw")).as_json()["flips"]
    assert flips
    for flip in flips:
        assert FACES.hashes[flip["index"]].startswith(flip["face"])
