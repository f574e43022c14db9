import hypothesis.strategies as st
import numpy as np
import pytest
from fakes import oracle_labels
from hypothesis import given

from fer_models.classifiers.base import Predictions, Profiled
from fer_models.classifiers.dummy import Abstainer, Constant, Oracle
from fer_models.classifiers.tta import flip_tta
from fer_models.emotions import EMOTIONS, LABELS, Emotion
from fer_models.errors import DatasetError, PredictionError


@given(st.permutations(LABELS), st.integers(1, 5), st.integers(0, 2**32 - 1))
def test_columns_are_mapped_by_name_whatever_their_order(order, n, seed):
    rows = np.random.default_rng(seed).dirichlet(np.ones(7), size=n)
    predictions = Predictions.from_probabilities(rows, order)
    for emotion in EMOTIONS:
        np.testing.assert_allclose(predictions.probabilities[:, emotion], rows[:, order.index(emotion.label)])
    assert predictions.answer.tolist() == [int(Emotion[order[i].upper()]) for i in rows.argmax(axis=1)]


def test_classes_outside_the_seven_are_dropped_and_the_rest_rescaled():
    predictions = Predictions.from_probabilities([[0.5, 0.3, 0.2]], ["contempt", "happiness", "anger"])
    assert predictions.probabilities[0, Emotion.HAPPY] == pytest.approx(0.6)
    assert predictions.probabilities[0, Emotion.ANGRY] == pytest.approx(0.4)


def test_a_face_without_prediction_has_a_reason():
    predictions = Predictions.from_probabilities(np.full((2, 7), 1 / 7), unanswered={1: "refused"})
    assert predictions.answer.tolist() == [0, -1]
    assert predictions.status == ("ok", "refused")
    assert np.isnan(predictions.probabilities[1]).all()


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([[np.nan] * 7], "not a number"),
        ([[0.5] * 7], "softmax"),
        ([[1.5, -0.5, 0, 0, 0, 0, 0]], "negative"),
        ([[1.0] * 6], "shape"),
        ([1.0, 0, 0, 0, 0, 0, 0], "shape"),
    ],
)
def test_wrong_probabilities_are_refused_in_one_line(rows, message):
    with pytest.raises(PredictionError, match=message) as caught:
        Predictions.from_probabilities(rows)
    assert "\n" not in str(caught.value)


def test_a_face_without_probability_on_any_of_the_seven_has_no_prediction():
    """As a network with eight-bit probabilities may give."""
    predictions = Predictions.from_probabilities([[1.0, 0.0], [0.5, 0.5]], ["contempt", "happy"])
    assert predictions.status == ("a class outside the seven emotions", "ok")
    assert predictions.answer.tolist() == [-1, Emotion.HAPPY]


def test_an_unknown_label_is_refused_by_name():
    with pytest.raises(DatasetError, match="'joyous'"):
        Predictions.from_probabilities([[1.0]], ["joyous"])


def test_the_oracle_is_always_correct_and_the_constant_model_predicts_one_emotion(few):
    faces = few.faces(range(len(few)))
    assert Oracle(oracle_labels(few)).predict(faces).answer.tolist() == few.labels.tolist()
    assert set(Constant(Emotion.FEAR).predict(faces).answer.tolist()) == {int(Emotion.FEAR)}
    assert set(Abstainer().predict(faces).answer.tolist()) == {-1}


class LeftHanded:
    """Sees happiness in the share of light that falls on the left half of a face; silent about faces that are
    all black.
    """

    parameters, macs = 3, 10

    def predict(self, faces):
        left = [face[:, : face.shape[1] // 2].sum() / max(1, face.sum()) for face in faces]
        rows = np.zeros((len(faces), 7))
        rows[:, Emotion.HAPPY], rows[:, Emotion.SAD] = left, 1 - np.array(left)
        return Predictions.from_probabilities(
            rows, unanswered={i: "dark" for i, face in enumerate(faces) if not face.any()}
        )


def lit(left, right):
    face = np.zeros((4, 4, 3), dtype=np.uint8)
    face[:, :2], face[:, 2:] = left, right
    return face


def test_flip_tta_predicts_the_mean_of_a_face_and_its_mirror_image():
    predictions = flip_tta(LeftHanded()).predict([lit(90, 10), lit(0, 200)])
    np.testing.assert_allclose(predictions.probabilities[:, Emotion.HAPPY], [0.5, 0.5])


@given(st.integers(0, 255), st.integers(0, 255))
def test_flip_tta_predicts_the_same_for_a_face_and_its_mirror_image(left, right):
    both = flip_tta(LeftHanded()).predict([lit(left, right), lit(right, left)])
    np.testing.assert_allclose(both.probabilities[0], both.probabilities[1])


def test_flip_tta_predicts_nothing_where_the_model_does_not():
    predictions = flip_tta(LeftHanded()).predict([lit(0, 0), lit(10, 20)])
    assert predictions.status == ("dark", "ok")
    assert predictions.answer[0] == -1


class Sided:
    """A generative model that is happy about light on the left, and angry about light on the right."""

    def predict(self, faces):
        emotions = ["happy" if face[0, 0, 0] > face[0, -1, 0] else "angry" for face in faces]
        rows = [[float(label == emotion) for label in LABELS] for emotion in emotions]
        return Predictions.from_probabilities(rows, text=emotions, has_probabilities=False)


def test_flip_tta_predicts_nothing_where_two_responses_differ():
    """The mean of two responses would be a tie, which the order of the emotions decides."""
    predictions = flip_tta(Sided()).predict([lit(90, 10), lit(20, 20)])
    assert predictions.status == ("different responses for the face and its mirror image", "ok")
    assert predictions.answer.tolist() == [-1, Emotion.ANGRY]


def test_flip_tta_costs_twice_and_has_as_many_parameters():
    counted = flip_tta(LeftHanded())
    assert isinstance(counted, Profiled)
    assert (counted.parameters, counted.macs) == (3, 20)
    assert not isinstance(flip_tta(Constant(Emotion.SAD)), Profiled)
