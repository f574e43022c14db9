"""Controls: accuracy on blank and shuffled faces is at chance, and a batch does not change a prediction.

A model above chance without a face has learnt the test set, not faces. The score of a model whose predictions
depend on the other faces of a batch is invalid.
"""

import warnings

import numpy as np
import pytest

from fer_models.classifiers.dummy import Abstainer, Constant
from fer_models.emotions import EMOTIONS
from fer_models.inference.model_check import TOLERANCE
from fer_models.scoring.metrics import measure
from fer_models.scoring.plausibility import ALPHA, best_label_order, chance_p_value

#: The largest difference of a probability of an 8-bit network, whose scales can be those of a batch.
QUANTIZED_TOLERANCE = 0.1


@pytest.fixture(scope="session")
def sample(faces, evaluation):
    """The first rows of each emotion, as many in all as the depth's `control_limit`."""
    each = evaluation.runner.options.depth.control_limit // len(EMOTIONS)
    return np.concatenate([np.flatnonzero(faces.labels == e)[:each] for e in EMOTIONS])


def assert_at_chance(predictions, truth, images):
    n_correct = int((predictions.answer == truth).sum())
    p, share = chance_p_value(n_correct, truth), np.bincount(truth).max() / len(truth)
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


def test_predictions_do_not_depend_on_the_batch(predict, predict_alone, faces, sample, model, evaluation):
    images = faces.faces(sample[::7])
    precision = model.resolve(evaluation.runner.options.runtime).precision
    np.testing.assert_allclose(
        predict(images).probabilities,
        predict_alone(images).probabilities,
        atol=QUANTIZED_TOLERANCE if model.quantization else TOLERANCE.get(precision, QUANTIZED_TOLERANCE),
        err_msg="the same faces get other predictions alone than together",
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
    best = best_label_order(predictions.truth, predictions.answer)
    if best.is_far_better:
        pytest.fail(
            f"{best.n_correct} of {best.n} predictions of {model.name} are correct, "
            f"but {best.n_correct + best.gain} would be with {best.name}: "
            f"its columns are probably not in the declared order ({', '.join(model.labels)}).",
            pytrace=False,
        )


def test_input_format_is_plausible(input_plausibility):
    """For third-party models: with no other channel order, range, mean and std is the score far better."""
    if input_plausibility.failure is not None:
        pytest.fail(input_plausibility.failure, pytrace=False)
    if input_plausibility.remark is not None:
        warnings.warn(input_plausibility.remark, stacklevel=1)


@pytest.mark.parametrize("emotion", EMOTIONS, ids=str)
def test_constant_model_scores_the_share_of_its_emotion(faces, emotion):
    answers = Constant(emotion).predict([faces.face(0)] * len(faces)).answer
    scored = measure(faces.labels, answers, None)
    assert scored.overall["accuracy"].value == pytest.approx(
        faces.counts[emotion.label] / len(faces), abs=1e-12
    )


def test_abstaining_model_scores_zero(faces, sample):
    answers = Abstainer().predict(faces.faces(sample)).answer
    scored = measure(faces.labels[sample], answers, None)
    assert scored.overall["accuracy"].value == 0.0
    assert scored.unanswered == len(sample)
