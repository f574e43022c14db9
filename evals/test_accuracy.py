"""Accuracy (also in slices), macro-F1, recall and log loss of each model, compared with the baselines."""


def test_accuracy(gate):
    gate.assert_no_regression("accuracy")


def test_macro_f1(gate):
    gate.assert_no_regression("macro_f1")


def test_recall_of_each_emotion(gate):
    gate.assert_no_regression("recall")


def test_accuracy_in_each_slice(gate):
    """Detect a fall on some faces that the accuracy of all of them does not show."""
    gate.assert_no_regression("slice")


def test_log_loss(gate):
    """Detect smaller changes than accuracy does: the verdict is DEGRADED, which fails with --strict-gate."""
    gate.assert_no_regression("log_loss")


def test_each_face_has_one_prediction(predictions, evaluation, combination):
    faces = evaluation.runner.dataset_of(combination).faces
    assert len(predictions) == len(faces)
    assert sorted(predictions.faces) == sorted(faces.hashes)


def test_every_baseline_is_judged(evaluation):
    """A model that vanished, or a record that matches no subject, is not a pass."""
    reasons = evaluation.coverage.unjudged()
    assert not reasons, "\n".join(reasons.values())
