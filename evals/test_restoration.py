"""Does restoration pay? Each model on the same faces with and without it, face by face.

Whatever the effect is, it is told (page, evals.json, terminal) and fails nothing: that a restoration harms is a finding, and that a model answers
restored faces worse than it did is for the gate (`test_accuracy.py`). What must hold is that a restored face is still that face.
"""


def test_the_effect_of_a_restoration_is_measured_on_the_same_faces(effect, faces):
    assert effect.n == len(faces)
    assert effect.helped + effect.hurt <= effect.n
    assert effect.verdict in ("helps", "harms", "no difference shown")


def test_a_restored_face_is_still_that_face(effect):
    assert effect.likeness > 0.5, f"{effect.restoration}: restored faces correlate with what they were by {effect.likeness:.2f} only"
