"""Controls: accuracy on blank and shuffled faces is at chance, and a batch does not change a prediction.

A model above chance without a face has learnt the test set, not faces. The score of a model whose predictions
depend on the other faces of a batch is invalid.
"""

import math

import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment
from scipy.stats import binomtest

from fer_models.classifiers.dummy import Abstainer, Constant
from fer_models.emotions import EMOTIONS
from fer_models.scoring.metrics import measure

#: Level of the tests of the controls: one false alarm in ten thousand.
ALPHA = 1e-4


@pytest.fixture(scope="session")
def sample(faces, evaluation):
    """The first rows of each emotion, as many in all as the depth's `control_limit`."""
    each = evaluation.runner.options.depth.control_limit // len(EMOTIONS)
    return np.concatenate([np.flatnonzero(faces.labels == e)[:each] for e in EMOTIONS])


def assert_at_chance(predictions, truth, images):
    n_correct = int((predictions.answer == truth).sum())
    share = np.bincount(truth).max() / len(truth)
    p = binomtest(n_correct, len(truth), share, alternative="greater").pvalue
    assert p > ALPHA, (
        f"{n_correct} of {len(truth)} predictions are correct on {images}, "
        f"where at most {share:.0%} can be expected (p = {p:.1g})"
    )


def test_blank_faces_score_at_chance_level(predict, faces, sample):
    blank = [np.full_like(face, int(face.mean())) for face in faces.faces(sample)]
    assert_at_chance(predict(blank), faces.labels[sample], "blank images of the faces' own brightness")


def test_shuffled_faces_score_at_chance_level(predict, faces, sample):
    rng = np.random.default_rng(0)
    shuffled = [rng.permutation(face.reshape(-1, 3)).reshape(face.shape) for face in faces.faces(sample)]
    assert_at_chance(predict(shuffled), faces.labels[sample], "faces whose pixels are shuffled")


def test_predictions_do_not_depend_on_the_batch(predict, predict_reversed, faces, sample):
    images = faces.faces(sample[::7])
    forward, backward = predict(images), predict_reversed(images)
    np.testing.assert_allclose(
        forward.probabilities,
        backward.probabilities[::-1],
        atol=1e-3,
        err_msg="the same faces in another order get other predictions",
    )


def test_predictions_in_lower_precision_match_float32(predict, predict_in_float32, faces, sample):
    """For models that run in lower precision here: few predictions differ."""
    images = faces.faces(sample[::3])
    fast, exact = predict(images), predict_in_float32(images)
    changed = int((fast.answer != exact.answer).sum())
    bound = max(1, 0.05 * len(images))
    assert changed <= bound, (
        f"{changed} of {len(images)} predictions differ from those in float32; use --precision float32"
    )


def test_label_order_is_plausible(predictions, model):
    """No permutation of the labels has a far better score: that would be the sign of a wrong label order."""
    answered = predictions.answer >= 0
    truth, answer = predictions.truth[answered], predictions.answer[answered]
    confusion = np.zeros((len(EMOTIONS), len(EMOTIONS)), dtype=int)
    np.add.at(confusion, (truth, answer), 1)
    true_labels, columns = linear_sum_assignment(-confusion)
    permuted = true_labels[np.argsort(columns)][answer]
    corrected = int(((permuted == truth) & (answer != truth)).sum())
    broken = int(((permuted != truth) & (answer == truth)).sum())
    p = 1.0
    if corrected > broken:  # the best of 5,040 orders was chosen: Bonferroni
        p = binomtest(corrected, corrected + broken, 0.5, alternative="greater").pvalue
        p *= math.factorial(len(EMOTIONS))
    if p < ALPHA and corrected - broken > 0.05 * len(truth):
        renamed = ", ".join(
            f"{EMOTIONS[t].label} instead of {EMOTIONS[c].label}"
            for t, c in zip(true_labels, columns, strict=True)
            if t != c
        )
        n_correct = int(np.trace(confusion))
        pytest.fail(
            f"{n_correct} of {len(truth)} predictions of {model.name} are correct, "
            f"but {n_correct + corrected - broken} would be with {renamed}: "
            f"its columns are probably not in the declared order ({', '.join(model.labels)}).",
            pytrace=False,
        )


@pytest.mark.parametrize("emotion", EMOTIONS, ids=str)
def test_constant_model_scores_the_share_of_its_emotion(faces, emotion):
    answers = Constant(emotion).predict(faces.faces(range(len(faces)))).answer
    scored = measure(faces.labels, answers, None)
    assert scored.overall["accuracy"].value == pytest.approx(
        faces.counts[emotion.label] / len(faces), abs=1e-12
    )


def test_abstaining_model_scores_zero(faces, sample):
    answers = Abstainer().predict(faces.faces(sample)).answer
    scored = measure(faces.labels[sample], answers, None)
    assert scored.overall["accuracy"].value == 0.0
    assert scored.unanswered == len(sample)
