"""Does each model still answer as well as it did, overall and for each emotion?"""


def test_accuracy_holds(gate):
    gate.assert_no_regression("accuracy")


def test_macro_f1_holds(gate):
    gate.assert_no_regression("macro_f1")


def test_recall_of_each_emotion_holds(gate):
    gate.assert_no_regression("recall")


def test_log_loss(gate):
    """Sees smaller changes than accuracy does; a verdict carries DEGRADED, which fails with --strict-gate."""
    gate.assert_no_regression("log_loss")


def test_every_face_is_accounted_for(predictions, suite, pair):
    faces = suite.dataset_of(pair).faces
    assert len(predictions) == len(faces)
    assert sorted(predictions.faces) == sorted(faces.hashes)


def test_every_baseline_is_judged(suite):
    """A model that vanished, or a record that nothing matches, must not look like a pass."""
    assert not suite.unjudged(), "\n".join(suite.unjudged().values())
