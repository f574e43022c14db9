"""Whole runs: models that score without a face, or by the other faces of a batch, fail the controls."""

import pytest

pytestmark = pytest.mark.slow

#: A prediction by a table of the test faces.
TABLE = """from fer_models import datasets
        known = datasets.load({folder!r})
        key = {key}
        table = {{key(known.face(i)): int(label) for i, label in enumerate(known.labels)}}
        answers = [table.get(key(face), 0) for face in faces]
        return Predictions.from_probabilities(np.eye(7)[answers] * 0.93 + 0.01)"""
#: A prediction by the mean of the batch.
BATCH = """levels = np.array([face.mean() for face in faces])
        answers = (levels > levels.mean()).astype(int)
        return Predictions.from_probabilities(np.eye(7)[answers] * 0.93 + 0.01)"""


KEYS = {
    "its brightness": ("lambda face: int(face.mean())", "blank_faces"),
    "its pixels in any order": ("lambda face: np.sort(face, axis=None).tobytes()", "shuffled_faces"),
}


def run(bench, control, code=0):
    command = bench.command()
    command[command.index("-k") + 1] = control  # these tests have no restoration in their names
    return bench.run_python(["-m", "pytest", *command], code)


@pytest.mark.parametrize(("key", "control"), KEYS.values(), ids=KEYS)
def test_a_model_that_knows_a_test_face_by_something_else_than_the_face_fails(bench, key, control):
    bench.write_model(body=TABLE.format(folder=str(bench.folder / "faces"), key=key))
    done = run(bench, control, code=1)
    assert "predictions are correct on" in done.stdout


def test_a_model_that_predicts_by_the_other_faces_of_a_batch_fails(bench):
    bench.write_model(body=BATCH)
    done = run(bench, "depend_on_the_batch", code=1)
    assert "the same faces get other predictions alone than together" in done.stdout


def test_a_model_without_such_a_defect_passes(bench):
    run(bench, "blank_faces or shuffled_faces or depend_on_the_batch")
