import multiprocessing

import numpy as np
import pytest
from fakes import oracle_labels, predict_and_count, run

from fer_models.classifiers.base import Predictions
from fer_models.classifiers.dummy import Abstainer, Constant, Oracle
from fer_models.emotions import LABELS, Emotion
from fer_models.errors import PredictionError, RestorationError
from fer_models.restorers.base import Bicubic
from fer_models.store import partition as stores


class Counting:
    """Count the predicted faces, and stop after some."""

    def __init__(self, model, dies_after=None):
        self.model, self.dies_after, self.n_predicted = model, dies_after, 0

    def predict(self, faces):
        if self.dies_after is not None and self.n_predicted >= self.dies_after:
            raise KeyboardInterrupt
        self.n_predicted += len(faces)
        return self.model.predict(faces)


def test_the_oracle_scores_one_and_predicts_once(tmp_path, few):
    model = Counting(Oracle(oracle_labels(few)))
    first = run(tmp_path, few, model)
    assert first.predictions.correct.all()
    assert not first.from_store
    second = run(tmp_path, few, model)
    assert second.from_store
    assert model.n_predicted == len(few)
    assert second.predictions.answer.tolist() == first.predictions.answer.tolist()


def test_the_constant_model_scores_its_emotions_share(tmp_path, few):
    assert run(tmp_path, few, Constant(Emotion.SAD)).predictions.correct.mean() == pytest.approx(4 / 28)


def test_an_abstaining_model_is_counted_and_never_guessed(tmp_path, few):
    answers = run(tmp_path, few, Abstainer()).predictions
    assert (answers.answer == -1).all()
    assert (answers.p_true == 0).all()
    assert set(answers.status) == {"the model never predicts"}


def test_a_killed_run_resumes_and_ends_with_the_same_bytes(tmp_path, few, monkeypatch):
    monkeypatch.setattr(stores, "SHARD", 8)
    dying = Counting(Oracle(oracle_labels(few)), dies_after=20)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "killed", few, dying)
    survivor = Counting(Oracle(oracle_labels(few)))
    run(tmp_path / "killed", few, survivor)
    assert survivor.n_predicted == len(few) - 16  # two of four shards were complete
    run(tmp_path / "whole", few, Oracle(oracle_labels(few)))
    killed, whole = (sorted((tmp_path / name).rglob("*.parquet")) for name in ("killed", "whole"))
    assert [p.read_bytes() for p in killed] == [p.read_bytes() for p in whole]


def test_progress_counts_every_face_once(tmp_path, few):
    counts = []
    run(tmp_path, few, Constant(Emotion.SAD), progress=counts.append)
    assert sum(counts) == len(few)


class Wrong:
    def __init__(self, answer):
        self.answer = answer

    def predict(self, faces):
        return self.answer(faces)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (Wrong(lambda faces: np.zeros((len(faces), 7))), "Predictions.from_probabilities"),
        (
            Wrong(lambda faces: Predictions.from_probabilities(np.full((1, 7), 1 / 7))),
            "was given 4 faces and returned 1",
        ),
        (
            Wrong(lambda faces: Predictions.from_probabilities(np.full((len(faces), 7), np.nan))),
            "not a number",
        ),
        (
            Wrong(
                lambda faces: Predictions.from_probabilities(np.full((len(faces), 7), 1 / 7), LABELS[::-1])
            ),
            "declares the label order",
        ),
        (Wrong(lambda faces: 1 / 0), "ZeroDivisionError"),
    ],
)
def test_a_model_that_breaks_its_contract_is_named_and_stores_nothing(tmp_path, few, model, message):
    with pytest.raises(PredictionError, match=message) as caught:
        run(tmp_path, few, model)
    assert "'fake'" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.rglob("*.parquet"))


class Restoring:
    def __init__(self, restore):
        self.restore = restore


@pytest.mark.parametrize(
    ("restorer", "message"),
    [
        (Restoring(lambda faces: faces[:1]), "was given 4 faces and returned 1"),
        (Restoring(lambda faces: [f.astype(float) for f in faces]), "float64"),
        (Restoring(lambda faces: [None for f in faces]), "NoneType"),
        (Restoring(lambda faces: 1 / 0), "ZeroDivisionError"),
    ],
)
def test_a_restorer_that_fails_stops_the_run_instead_of_passing_the_face_through(
    tmp_path, few, restorer, message
):
    with pytest.raises(RestorationError, match=message):
        run(tmp_path, few, Constant(Emotion.SAD), restorer)
    assert not list(tmp_path.rglob("*.parquet"))


def test_bicubic_hands_over_larger_faces(few):
    assert Bicubic(96).restore(few.faces([0]))[0].shape == (96, 96, 3)


@pytest.mark.slow
def test_two_processes_share_a_store_and_predict_no_face_twice(tmp_path):
    context = multiprocessing.get_context("spawn")
    counter = context.Value("i", 0)
    processes = [context.Process(target=predict_and_count, args=(tmp_path, counter)) for _ in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [p.exitcode for p in processes] == [0, 0]
    assert counter.value == 28
