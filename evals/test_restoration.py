"""Effect of restorations: each model on the same faces with and without restoration, face by face.

An effect is reported (page, evals.json, terminal) and fails no test: a harmful restoration is a result. A
regression on restored faces is a matter of the gate (`test_accuracy.py`). A restored face must still be the
same face.
"""

import pytest


def test_restoration_effect_is_the_balance_of_flipped_predictions(effect, predictions, evaluation, model):
    data = evaluation.runner.dataset_of((model.name, effect.restoration))
    before, after = evaluation.runner.predictions_on((model.name, effect.against), data), predictions
    assert before.faces == after.faces
    assert effect.corrected - effect.broken == after.correct.sum() - before.correct.sum()
    assert effect.accuracy["change"] * effect.n == pytest.approx(effect.corrected - effect.broken, abs=1e-6)


def test_fidelity_of_restored_faces(effect):
    if effect.fidelity is None:
        pytest.skip("all measured faces are of one tone")
    assert effect.fidelity > 0.5, (
        f"{effect.restoration}: restored faces correlate with the originals by {effect.fidelity:.2f} only"
    )
