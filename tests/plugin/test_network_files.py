"""`pytest evals --model onnx:FILE` and `tflite:FILE`, as a user runs them on the synthetic faces."""

import json

import numpy as np
import pytest

from fer_models.emotions import LABELS

pytestmark = pytest.mark.slow

DESCRIPTION = {"labels": list(LABELS), "channels": 1, "range": [0, 1], "output": "logits"}
RNG = np.random.default_rng(0)
WEIGHTS, BIAS = RNG.normal(0, 0.1, (7, 48 * 48)), np.zeros(7)


def write_onnx(path):
    onnx_files = pytest.importorskip("onnx_files", reason='not installed: pip install "fer-models[onnx]"')
    pytest.importorskip("onnxruntime", reason='not installed: pip install "fer-models[onnx]"')
    text = json.dumps(DESCRIPTION)
    onnx_files.save(onnx_files.dense_model(WEIGHTS, BIAS, ("n", 1, 48, 48), description=text), path)


def write_tflite(path):
    tflite_files = pytest.importorskip(
        "tflite_files", reason='not installed: pip install "fer-models[tflite]"'
    )
    path.write_bytes(tflite_files.dense_network(WEIGHTS, BIAS, (1, 48, 48, 1)))
    path.with_suffix(".json").write_text(json.dumps(DESCRIPTION))


@pytest.mark.parametrize(("source", "write"), [("onnx", write_onnx), ("tflite", write_tflite)])
def test_a_network_in_a_file_is_evaluated_and_its_predictions_are_stored(bench, source, write):
    write(path := bench.folder / f"mine.{source}")
    command = ["-m", "pytest", "evals", "-p", "no:cacheprovider", "--work-dir", bench.folder, "--limit", 21]
    command += ["--model", f"{source}:{path}", "-k", "accuracy and raw"]
    for from_store in (False, True):
        bench.run_python(list(map(str, command)), 0)
        (result,) = bench.report()["results"]
        assert result["subject"]["model"] == f"{source}:mine"
        assert (result["n"], result["unanswered"], result["from_store"]) == (21, 0, from_store)
