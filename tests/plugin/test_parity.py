"""Exports through `pytest evals`: which tests run, what fails, and what the report has."""

import pytest

COPY = """
class Copy(Oracle):
    def predict(self, faces):
        rows = super().predict(faces).probabilities.copy()
        rows[: {wrong}] = np.roll(rows[: {wrong}], 1, axis=1)
        return Predictions.from_probabilities(rows)

MODELS += [
    ModelSpec("copy", load=lambda runtime: Copy(), same_as={same_as!r}, quantization={quantization!r})
]
"""


def write_copy(bench, wrong=0, same_as="knowing", quantization=None):
    path = bench.folder / "model.py"
    text = COPY.format(wrong=wrong, same_as=same_as, quantization=quantization)
    path.write_text(path.read_text() + text)


def test_an_equal_export_passes_next_to_a_reference_that_the_run_does_not_name(bench):
    write_copy(bench)
    done = bench.run("--model", "copy", questions="parity")
    assert "copy-raw against knowing: PASS, 0 of 105 predictions differ" in done.stdout
    report = bench.report()
    (entry,) = report["parity"]
    assert (entry["reference"], entry["verdict"], entry["disagreements"]) == ("knowing", "PASS", 0)
    assert [result["id"] for result in report["results"]] == [entry["id"]]
    assert ">Exports<" in (bench.folder / "reports" / "evals.html").read_text()


def test_the_tests_of_a_model_without_a_reference_are_deselected(bench):
    done = bench.run("--collect-only", "-q", "--model", "knowing", questions="parity", code=5)
    assert "test_export" not in done.stdout


def test_an_export_with_other_answers_fails_and_names_the_faces(bench):
    write_copy(bench, wrong=40)
    done = bench.run("--model", "copy", questions="parity", code=1)
    assert "it is worse than knowing on the same faces" in done.stdout
    assert "predictions differ from those of knowing (0 may)" in done.stdout
    assert "  and " in done.stdout
    (entry,) = bench.report()["parity"]
    assert entry["fails"]
    assert entry["flips"][0]["answer"] != entry["flips"][0]["reference_answer"]


@pytest.mark.slow
def test_a_quantized_export_is_compared_with_the_recorded_disagreement(bench):
    write_copy(bench, wrong=1, quantization="int8-static")
    bench.run("--model", "copy", "--update-baselines", questions="accuracy or parity")
    assert "parity: disagreement" in (bench.folder / "baselines.json").read_text()
    bench.run("--model", "copy", questions="accuracy or parity")
    (entry,) = bench.report()["parity"]
    assert [figure["verdict"] for figure in entry["figures"]] == ["PASS"]


def test_a_record_without_a_disagreement_accepts_none_later(bench):
    write_copy(bench)
    bench.run("--model", "copy", "--update-baselines", questions="accuracy or parity")
    model = bench.folder / "model.py"
    model.write_text(model.read_text().replace("rows[: 0]", "rows[: 1]"))
    done = bench.run("--model", "copy", questions="parity", code=1)
    assert "predictions differ from those of knowing (0 may)" in done.stdout


def test_an_unknown_reference_is_one_clear_error(bench):
    write_copy(bench, same_as="knowin")
    done = bench.run("--model", "copy", questions="parity", code=1)
    assert "copy is declared to be the same as 'knowin'" in done.stdout
    assert "Did you mean 'knowing'?" in done.stdout
    assert "Traceback" not in done.stdout
