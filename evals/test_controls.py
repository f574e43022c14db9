"""Controls: what must fall to chance does, and what must not matter does not.

A model that scores above chance without seeing a face has learnt the test, not faces; one whose answers depend on the neighbours in
the batch is measured wrongly.
"""

import math

import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment
from scipy.stats import binomtest

from fer_models.classifiers.controls import Constant, Mute
from fer_models.emotions import EMOTIONS
from fer_models.evaluation.metrics import measure
from fer_models.evaluation.run import predict_checked

#: Faces asked per control, spread evenly over the emotions: enough to tell 1/7 from 1/3 beyond doubt.
N = 210
#: How surely a control must beat chance before it fails: one false alarm in ten thousand.
SURE = 1e-4


@pytest.fixture(scope="session")
def sample(faces):
    """Up to N / 7 rows of each emotion, the first ones."""
    return np.concatenate([np.flatnonzero(faces.labels == e)[: N // len(EMOTIONS)] for e in EMOTIONS])


def ask(classifier, model, pictures):
    return predict_checked(classifier, model.name, model.labels, pictures)


def assert_at_chance(predictions, truth, what):
    right = int((predictions.answer == truth).sum())
    share = np.bincount(truth).max() / len(truth)
    p = binomtest(right, len(truth), share, alternative="greater").pvalue
    assert p > SURE, f"{right} of {len(truth)} answers are right on {what}, where at most {share:.0%} can be expected (p = {p:.1g})"


def test_blank_faces_fall_to_chance(classifier, model, faces, sample):
    blank = [np.full_like(face, int(face.mean())) for face in faces.faces(sample)]
    assert_at_chance(ask(classifier, model, blank), faces.labels[sample], "blank pictures of the faces' own brightness")


def test_shuffled_faces_fall_to_chance(classifier, model, faces, sample):
    rng = np.random.default_rng(0)
    shuffled = [rng.permutation(face.reshape(-1, 3)).reshape(face.shape) for face in faces.faces(sample)]
    assert_at_chance(ask(classifier, model, shuffled), faces.labels[sample], "faces whose pixels are shuffled")


def test_neighbours_in_the_batch_do_not_matter(classifier, model, faces, sample):
    pictures = faces.faces(sample[::7])
    forward = ask(classifier, model, pictures)
    backward = ask(classifier, model, pictures[::-1])
    np.testing.assert_allclose(
        forward.probabilities, backward.probabilities[::-1], atol=1e-3, err_msg="the same faces, asked in another order, get other answers"
    )


def test_less_precise_arithmetic_gives_the_same_answers(classifier, in_float32, model, faces, sample):
    """Asked only of models that run in less than float32 here; what differs is told, and bounded."""
    pictures = faces.faces(sample[::3])
    fast, exact = ask(classifier, model, pictures), ask(in_float32, model, pictures)
    changed = int((fast.answer != exact.answer).sum())
    assert changed <= 0.05 * len(pictures), f"{changed} of {len(pictures)} answers are others than in float32; ask with --precision float32"


def test_the_label_order_is_plausible(predictions, model):
    """With the columns renamed in the best possible way, the answers must not score far better: that is what a wrong order looks like."""
    truth, answer = predictions.truth[predictions.answer >= 0], predictions.answer[predictions.answer >= 0]
    confusion = np.zeros((len(EMOTIONS), len(EMOTIONS)), dtype=int)
    np.add.at(confusion, (truth, answer), 1)
    meant, said = linear_sum_assignment(-confusion)
    rename = meant[np.argsort(said)]
    gained, lost = int(((rename[answer] == truth) & (answer != truth)).sum()), int(((rename[answer] != truth) & (answer == truth)).sum())
    # The best of all 5,040 orders was picked, so its gain must be surer by that factor (Bonferroni).
    p = 1.0 if gained <= lost else binomtest(gained, gained + lost, 0.5, alternative="greater").pvalue * math.factorial(len(EMOTIONS))
    renamed = ", ".join(f"{EMOTIONS[m].label} where it says {EMOTIONS[s].label}" for m, s in zip(meant, said, strict=True) if m != s)
    if p < SURE and gained - lost > 0.05 * len(truth):
        pytest.fail(
            f"{model.name} gets {np.trace(confusion)} of {len(truth)} right, "
            f"but would get {np.trace(confusion) + gained - lost} if it meant {renamed}: "
            f"its columns are probably not in the declared order ({', '.join(model.labels)}).",
            pytrace=False,
        )


@pytest.mark.parametrize("emotion", EMOTIONS, ids=str)
def test_the_constant_model_scores_the_share_of_its_emotion(faces, emotion):
    answers = Constant(emotion).predict(faces.faces(range(len(faces)))).answer
    scored = measure(faces.labels, answers, None)
    assert scored.overall["accuracy"].value == pytest.approx(faces.counts[emotion.label] / len(faces), abs=1e-12)


def test_the_mute_model_scores_nothing(faces, sample):
    answers = Mute().predict(faces.faces(sample)).answer
    scored = measure(faces.labels[sample], answers, None)
    assert scored.overall["accuracy"].value == 0.0
    assert scored.unanswered == len(sample)
