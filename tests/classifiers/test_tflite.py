"""Networks in TFLite files: predictions against NumPy, what a file tells, and damaged or hostile files."""

import json
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import softmax

from fer_models.classifiers.base import Preprocessable
from fer_models.classifiers.network_classifier import dequantize, quantize
from fer_models.classifiers.network_file import Tensor, read_format
from fer_models.classifiers.network_format import NetworkFormat
from fer_models.emotions import EMOTIONS, LABELS
from fer_models.errors import FerModelsError, UsageError, WeightsError
from fer_models.zoo.models import MODELS
from fer_models.zoo.resolve import resolve_model
from fer_models.zoo.spec import Runtime

pytest.importorskip("ai_edge_litert", reason='not installed: pip install "fer-models[tflite]"')
from tflite_files import TFLiteWriter, dense_network, quantized_network

from fer_models.classifiers import tflite, tflite_file

SIZE = 4
SHAPE = (1, SIZE, SIZE, 3)
DESCRIPTION = {
    "labels": list(LABELS),
    "size": SIZE,
    "channels": 3,
    "layout": "nhwc",
    "range": [0, 1],
    "output": "logits",
}
RNG = np.random.default_rng(0)
WEIGHTS, BIAS = RNG.normal(0, 0.1, (7, 3 * SIZE * SIZE)), RNG.normal(size=7)


def faces(n, size=SIZE, seed=1):
    return list(np.random.default_rng(seed).integers(0, 256, (n, size, size, 3), dtype=np.uint8))


def logits(network_format, weights, bias, batch):
    return network_format.preprocess(batch).reshape(len(batch), -1).astype(float) @ weights.T + bias


def in_emotion_order(columns, labels):
    return columns[:, [labels.index(emotion.label) for emotion in EMOTIONS]]


def model_file(folder, content=None, description=DESCRIPTION, **options):
    if content is None:
        text = None if description is None else json.dumps(description)
        content = dense_network(WEIGHTS, BIAS, SHAPE, metadata=text, **options)
    path = folder / "my.tflite"
    path.write_bytes(content)
    return path


def spec_of(path):
    return resolve_model(f"tflite:{path}", MODELS)


def load(path):
    return spec_of(path).load(Runtime("cpu"))


# -- predictions -------------------------------------------------------------------------------------


formats = st.builds(
    NetworkFormat,
    labels=st.permutations(LABELS).map(tuple),
    size=st.just(SIZE),
    channels=st.just(3),
    layout=st.sampled_from(["nchw", "nhwc"]),
    range=st.sampled_from([(0, 1), (0, 255), (-1, 1)]),
    output=st.sampled_from(["logits", "probabilities"]),
    color_order=st.sampled_from(["rgb", "bgr"]),
)


@given(formats, st.sampled_from(["free", "one that can be resized", "one", "three"]), st.integers(1, 5))
def test_predictions_are_those_of_numpy(tmp_path_factory, network_format, batch_axis, n):
    weights = WEIGHTS / network_format.range[1]
    axes = (3 if batch_axis == "three" else 1, *network_format.input_shape)
    content = dense_network(
        weights,
        BIAS,
        axes,
        softmax=network_format.output == "probabilities",
        signature=(-1, *axes[1:]) if batch_axis == "free" else None,
        flat_batch={"one": 1, "three": 3}.get(batch_axis, -1),
    )
    path = model_file(tmp_path_factory.mktemp("tflite"), content)
    predictions = tflite.load(path, network_format).predict(faces(n))
    expected = softmax(logits(network_format, weights, BIAS, faces(n)), axis=1)
    expected = in_emotion_order(expected, network_format.labels)
    np.testing.assert_allclose(predictions.probabilities, expected, atol=1e-5)


@pytest.mark.parametrize(("dtype", "zero_point"), [("int8", -128), ("uint8", 0)])
def test_a_quantized_network_predicts_with_its_scales(tmp_path, dtype, zero_point):
    weights, bias = RNG.integers(-50, 50, (7, 3 * SIZE * SIZE)), RNG.integers(-2000, 2000, 7)
    content = quantized_network(
        weights,
        bias,
        SHAPE,
        dtype,
        source=(1 / 255, zero_point),
        weight_scale=0.01,
        target=(0.1, zero_point + 128),
    )
    path = model_file(tmp_path, content)
    path.with_suffix(".json").write_text(json.dumps(DESCRIPTION))
    network_format, batch = read_format(tflite_file.read(path)), faces(5)
    exact = logits(network_format, weights * 0.01, bias / 255 * 0.01, batch)
    steps = np.clip(np.rint(exact / 0.1), -128, 127) * 0.1
    predictions = load(path).predict(batch).probabilities
    rounding = np.abs(softmax(steps, axis=1) - predictions)
    assert rounding.max() < 0.03  # one step of one logit is worth at most 0.1 / 4
    assert np.median(rounding) < 1e-6
    reading = load(path).preprocess(batch)
    assert reading.dtype == dtype
    np.testing.assert_array_equal(reading.astype(int) - zero_point, np.stack(batch))


def test_probabilities_of_a_quantized_network_sum_to_one_in_spite_of_rounding(tmp_path):
    writer = TFLiteWriter()
    d = WEIGHTS.shape[1]
    image = writer.tensor("image", SHAPE, "int8", scale=1 / 255, zero_point=-128)
    flat = writer.tensor("flat", [1, d], "int8", scale=1 / 255, zero_point=-128)
    writer.reshape(image, flat, [-1, d])
    scores = writer.tensor("logits", [1, 7], "int8", scale=0.02, zero_point=0)
    w = writer.tensor("w", [7, d], "int8", values=RNG.integers(-9, 9, (7, d)).astype(np.int8), scale=0.01)
    b = writer.tensor("b", [7], "int32", values=np.zeros(7, np.int32), scale=0.01 / 255)
    writer.dense(flat, scores, w, b, 4)
    shares = writer.tensor("probabilities", [1, 7], "int8", scale=1 / 256, zero_point=-128)
    writer.softmax(scores, shares, 2)
    path = model_file(tmp_path, writer.bytes([image], [shares]))
    path.with_suffix(".json").write_text(json.dumps(DESCRIPTION | {"output": "probabilities"}))
    predictions = load(path).predict(faces(200))
    assert predictions.status == ("ok",) * 200


@given(
    st.floats(1e-3, 1),
    st.integers(-128, 127),
    st.lists(st.floats(-100, 100, width=32), min_size=1, max_size=20),
)
def test_a_quantized_value_is_the_nearest_one_of_its_type(scale, zero_point, values):
    tensor = Tensor("", None, "int8", scale, zero_point)
    array = np.array(values, np.float32)
    low, high = ((limit - zero_point) * scale for limit in (-128, 127))
    back = dequantize(quantize(array, tensor), tensor)
    np.testing.assert_array_less(np.abs(back - np.clip(array, low, high)), scale / 2 + 1e-4)


def test_one_of_several_outputs_is_chosen_by_name(tmp_path):
    options = {"softmax": True, "outputs": 2}
    batch, network_format = faces(3), NetworkFormat.from_json(DESCRIPTION)
    by_name = {}
    for name, output in (("logits", "logits"), ("probabilities", "probabilities")):
        description = DESCRIPTION | {"output_name": name, "output": output}
        by_name[name] = load(model_file(tmp_path, None, description, **options)).predict(batch).probabilities
    np.testing.assert_allclose(by_name["logits"], by_name["probabilities"], atol=1e-6)
    expected = softmax(logits(network_format, WEIGHTS, BIAS, batch), axis=1)
    np.testing.assert_allclose(by_name["logits"], in_emotion_order(expected, LABELS), atol=1e-5)
    with pytest.raises(UsageError, match="output_name is one of 'logits', 'probabilities'"):
        spec_of(model_file(tmp_path, **options))


def test_preprocessing_and_network_can_be_timed_separately(tmp_path):
    assert isinstance(load(model_file(tmp_path)), Preprocessable)


# -- description -------------------------------------------------------------------------------------


def test_metadata_and_sidecar_describe_the_same_network(tmp_path):
    inside = spec_of(model_file(tmp_path)).settings
    path = model_file(tmp_path, None, None)
    path.with_suffix(".json").write_text(json.dumps(DESCRIPTION))
    assert spec_of(path).settings == inside
    assert spec_of(path).name == "tflite:my"


def test_one_message_asks_for_all_that_is_missing_with_an_example_that_is_complete(tmp_path):
    path = model_file(tmp_path, None, None)
    with pytest.raises(UsageError, match="labels, range, output must be given") as error:
        spec_of(path)
    message = str(error.value)
    path.with_suffix(".json").write_text(message[message.index("{") : message.rindex("}") + 1])
    assert spec_of(path).settings["format"]["size"] == SIZE


def test_without_the_extra_the_command_that_installs_it_is_given(tmp_path, monkeypatch):
    path = model_file(tmp_path)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r'pip install "fer-models\[tflite\]"'):
        spec_of(path)


def test_a_description_is_read_without_the_interpreter(tmp_path):
    code = (
        "import sys; from fer_models.zoo import models, resolve; "
        f"resolve.resolve_model('tflite:{model_file(tmp_path)}', models.MODELS); "
        "assert 'ai_edge_litert.interpreter' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


# -- damaged and hostile files -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "content", [b"", b"PK\x03\x04" + bytes(100), bytes(1000), b"\x10\0\0\0TFL3", b"\xff" * 900]
)
def test_a_file_of_another_kind_is_a_sentence(tmp_path, content):
    with pytest.raises(WeightsError, match=r"my\.tflite cannot be read as a TFLite file"):
        spec_of(model_file(tmp_path, content))


def test_a_file_that_claims_two_gigabytes_is_refused_unread(tmp_path):
    path = model_file(tmp_path)
    with path.open("r+b") as file:
        file.truncate(2**31)
    with pytest.raises(WeightsError, match="2,147,483,648 bytes"):
        spec_of(path)


@pytest.mark.parametrize(("code", "custom"), [(32, "FlexErf"), (32, "MyOperator"), (250, None)])
def test_operators_that_are_not_built_in_are_a_sentence(tmp_path, code, custom):
    writer = TFLiteWriter()
    image, scores = writer.tensor("image", SHAPE), writer.tensor("logits", [1, 7])
    writer.operator(code, [image], [scores], custom=custom)
    path = model_file(tmp_path, writer.bytes([image], [scores]))
    path.with_suffix(".json").write_text(json.dumps(DESCRIPTION))
    with pytest.raises(WeightsError, match="convert the network with built-in operators only"):
        load(path)


@given(st.floats(0, 0.97))
def test_a_file_that_is_cut_anywhere_is_a_sentence(tmp_path_factory, share):
    path = model_file(tmp_path_factory.mktemp("cut"), None, None)
    path.with_suffix(".json").write_text(json.dumps(DESCRIPTION))
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(FerModelsError, match=r"my\.tflite"):
        load(path)
