"""Does restoration pay? Each model on the same faces with and without it, face by face.

Whatever the effect is, it is told (page, evals.json, terminal) and fails nothing: that a restoration harms is
a finding, and that a model answers restored faces worse than it did is for the gate (`test_accuracy.py`).
What must hold is that a restored face is still that face.
"""

import pytest


def test_the_effect_of_a_restoration_is_that_of_the_faces_that_turned(effect, predictions, suite, model):
    restored = suite.dataset_of((model.name, effect.restoration))
    before, after = suite.answers_among((model.name, effect.against), restored), predictions
    assert before.faces == after.faces
    assert effect.corrected - effect.broken == after.correct.sum() - before.correct.sum()
    assert effect.accuracy["change"] * effect.n == pytest.approx(effect.corrected - effect.broken, abs=1e-6)


def test_a_restored_face_is_still_that_face(effect):
    assert effect.fidelity > 0.5, (
        f"{effect.restoration}: restored faces correlate with what they were by {effect.fidelity:.2f} only"
    )
