"""Controls: what must fall to chance does, and what must not matter does not.

A model that scores above chance without seeing a face has learnt the test, not faces; one whose answers
depend on the neighbours in the batch is measured wrongly.
"""

import math

import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment
from scipy.stats import binomtest

from fer_models.classifiers.dummy import Abstainer, Constant
from fer_models.emotions import EMOTIONS
from fer_models.scoring.metrics import measure

#: How surely a control must beat chance before it fails: one false alarm in ten thousand.
SURE = 1e-4


@pytest.fixture(scope="session")
def sample(faces, suite):
    """The first rows of each emotion, as many in all as the depth's `control_limit`."""
    each = suite.options.depth.control_limit // len(EMOTIONS)
    return np.concatenate([np.flatnonzero(faces.labels == e)[:each] for e in EMOTIONS])


def assert_at_chance(predictions, truth, what):
    right = int((predictions.answer == truth).sum())
    share = np.bincount(truth).max() / len(truth)
    p = binomtest(right, len(truth), share, alternative="greater").pvalue
    assert p > SURE, (
        f"{right} of {len(truth)} predictions are correct on {what}, where at most {share:.0%} can be expected (p = {p:.1g})"
    )


def test_blank_faces_fall_to_chance(predict, faces, sample):
    blank = [np.full_like(face, int(face.mean())) for face in faces.faces(sample)]
    assert_at_chance(predict(blank), faces.labels[sample], "blank images of the faces' own brightness")


def test_shuffled_faces_fall_to_chance(predict, faces, sample):
    rng = np.random.default_rng(0)
    shuffled = [rng.permutation(face.reshape(-1, 3)).reshape(face.shape) for face in faces.faces(sample)]
    assert_at_chance(predict(shuffled), faces.labels[sample], "faces whose pixels are shuffled")


def test_neighbours_in_the_batch_do_not_matter(predict, predict_reversed, faces, sample):
    pictures = faces.faces(sample[::7])
    forward, backward = predict(pictures), predict_reversed(pictures)
    np.testing.assert_allclose(
        forward.probabilities,
        backward.probabilities[::-1],
        atol=1e-3,
        err_msg="the same faces in another order get other predictions",
    )


def test_less_precise_arithmetic_gives_the_same_answers(predict, predict_in_float32, faces, sample):
    """For models that run in less than float32 here; what differs is bounded."""
    pictures = faces.faces(sample[::3])
    fast, exact = predict(pictures), predict_in_float32(pictures)
    changed = int((fast.answer != exact.answer).sum())
    bound = max(1, 0.05 * len(pictures))
    assert changed <= bound, (
        f"{changed} of {len(pictures)} predictions differ from those in float32; use --precision float32"
    )


def test_the_label_order_is_plausible(predictions, model):
    """With the columns renamed in the best possible way, the answers must not score far better: that is what
    a wrong order looks like.
    """
    truth, answer = predictions.truth[predictions.answer >= 0], predictions.answer[predictions.answer >= 0]
    confusion = np.zeros((len(EMOTIONS), len(EMOTIONS)), dtype=int)
    np.add.at(confusion, (truth, answer), 1)
    meant, said = linear_sum_assignment(-confusion)
    rename = meant[np.argsort(said)]
    gained, lost = (
        int(((rename[answer] == truth) & (answer != truth)).sum()),
        int(((rename[answer] != truth) & (answer == truth)).sum()),
    )
    # The best of all 5,040 orders was picked, so its gain must be surer by that factor (Bonferroni).
    p = (
        1.0
        if gained <= lost
        else binomtest(gained, gained + lost, 0.5, alternative="greater").pvalue
        * math.factorial(len(EMOTIONS))
    )
    renamed = ", ".join(
        f"{EMOTIONS[m].label} where it says {EMOTIONS[s].label}"
        for m, s in zip(meant, said, strict=True)
        if m != s
    )
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
    assert scored.overall["accuracy"].value == pytest.approx(
        faces.counts[emotion.label] / len(faces), abs=1e-12
    )


def test_the_mute_model_scores_nothing(faces, sample):
    answers = Abstainer().predict(faces.faces(sample)).answer
    scored = measure(faces.labels[sample], answers, None)
    assert scored.overall["accuracy"].value == 0.0
    assert scored.unanswered == len(sample)
