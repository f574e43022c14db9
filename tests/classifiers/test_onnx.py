"""Networks in ONNX files: predictions against NumPy, what a file tells, and damaged or hostile files."""

import json
import os
import sys
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import softmax

from fer_models.classifiers.base import Preprocessable
from fer_models.classifiers.network_file import METADATA_KEY, read_format
from fer_models.classifiers.network_format import NetworkFormat
from fer_models.emotions import EMOTIONS, LABELS
from fer_models.errors import FerModelsError, PredictionError, UsageError, WeightsError
from fer_models.zoo.models import MODELS
from fer_models.zoo.resolve import resolve_model, selected_models
from fer_models.zoo.spec import Runtime

pytest.importorskip("onnxruntime", reason='not installed: pip install "fer-models[onnx]"')
onnx_files = pytest.importorskip("onnx_files", reason="not installed: pip install onnx")
from fer_models.classifiers import onnx, onnx_file  # noqa: E402

SIZE = 4
DESCRIPTION = {
    "labels": list(LABELS),
    "size": SIZE,
    "channels": 3,
    "layout": "nchw",
    "range": [0, 1],
    "output": "logits",
}


def parameters(k=7, d=3 * SIZE * SIZE, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(0, 0.1, (k, d)), rng.normal(size=k)


WEIGHTS, BIAS = parameters()


def faces(n, size=SIZE, seed=1):
    return list(np.random.default_rng(seed).integers(0, 256, (n, size, size, 3), dtype=np.uint8))


def expected(network_format, weights, bias, batch):
    """Probabilities in `EMOTIONS` order, by NumPy."""
    values = network_format.preprocess(batch).reshape(len(batch), -1).astype(float)
    columns = softmax(values @ weights.T + bias, axis=1)
    return columns[:, [network_format.labels.index(emotion.label) for emotion in EMOTIONS]]


def model_file(folder, description=DESCRIPTION, shape=("n", 3, SIZE, SIZE), name="my.onnx", **options):
    text = None if description is None else json.dumps(description)
    model = onnx_files.dense_model(WEIGHTS, BIAS, shape, description=text, **options)
    return onnx_files.save(model, folder / name)


def spec_of(path, **options):
    return resolve_model(f"onnx:{path}", MODELS, **options)


def load(path):
    return spec_of(path).load(Runtime("cpu"))


def assert_predicts_like_numpy(path, n=5, atol=1e-5):
    network_format = read_format(onnx_file.read(path))
    batch = faces(n)
    predictions = load(path).predict(batch)
    np.testing.assert_allclose(
        predictions.probabilities, expected(network_format, WEIGHTS, BIAS, batch), atol=atol
    )


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
    mean=st.sampled_from([(0.0,), (0.5, 0.25, 0.125)]),
    std=st.sampled_from([(1.0,), (0.5, 0.25, 2.0)]),
)


@given(
    formats,
    st.sampled_from(["n", 1, 2, 3]),
    st.integers(1, 5),
    st.sampled_from([np.float32, np.float16, np.float64]),
)
def test_predictions_are_those_of_numpy(tmp_path_factory, network_format, batch_axis, n, dtype):
    path = tmp_path_factory.mktemp("onnx") / "x.onnx"
    weights, bias = WEIGHTS / network_format.range[1], BIAS
    outputs = ("logits",) if network_format.output == "logits" else ("probabilities",)
    axes = (3, SIZE, SIZE) if network_format.layout == "nchw" else (SIZE, SIZE, 3)
    model = onnx_files.dense_model(weights, bias, (batch_axis, *axes), dtype=dtype, outputs=outputs)
    onnx_files.save(model, path)
    predictions = onnx.load(path, network_format, "cpu").predict(faces(n))
    tolerance = 2e-2 if dtype == np.float16 else 1e-5
    np.testing.assert_allclose(
        predictions.probabilities, expected(network_format, weights, bias, faces(n)), atol=tolerance
    )


def test_pixels_are_the_input_of_a_network_of_uint8(tmp_path):
    description = {key: value for key, value in DESCRIPTION.items() if key != "range"}
    path = model_file(tmp_path, description, dtype=np.uint8)
    assert read_format(onnx_file.read(path)).range == (0, 255)
    assert_predicts_like_numpy(path)
    with pytest.raises(UsageError, match=r"uint8, so it takes pixels: \"range\": \[0, 255\]"):
        read_format(onnx_file.read(model_file(tmp_path, DESCRIPTION, dtype=np.uint8)))


def test_an_output_with_axes_of_size_one_is_flattened(tmp_path):
    assert_predicts_like_numpy(model_file(tmp_path, outputs=("square",)))


def test_one_of_several_outputs_is_chosen_by_name(tmp_path):
    outputs = ("probabilities", "logits")
    assert_predicts_like_numpy(model_file(tmp_path, DESCRIPTION | {"output_name": "logits"}, outputs=outputs))
    with pytest.raises(UsageError, match="output_name is one of 'probabilities', 'logits'"):
        spec_of(model_file(tmp_path, outputs=outputs))
    with pytest.raises(UsageError, match="'x' is none of them"):
        spec_of(model_file(tmp_path, DESCRIPTION | {"output_name": "x"}, outputs=outputs))


def test_no_faces_give_no_predictions(tmp_path):
    assert len(load(model_file(tmp_path)).predict([]).probabilities) == 0


def test_preprocessing_and_network_can_be_timed_separately(tmp_path):
    classifier = load(model_file(tmp_path))
    batch = faces(3)
    together = classifier.predict(batch)
    assert isinstance(classifier, Preprocessable)
    apart = classifier.infer(classifier.preprocess(batch))
    np.testing.assert_array_equal(together.probabilities, apart.probabilities)


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("output", ["logits", "probabilities"])
def test_an_output_that_is_no_number_is_refused(tmp_path, value, output):
    model = onnx_files.dense_model(WEIGHTS, np.full(7, value), ("n", 3, SIZE, SIZE))
    path = onnx_files.save(model, tmp_path / "nan.onnx")
    network_format = NetworkFormat.from_json(DESCRIPTION | {"output": output})
    with pytest.raises(PredictionError, match="is not a number"):
        onnx.load(path, network_format).predict(faces(2))


def test_an_output_without_the_batch_axis_is_refused(tmp_path):
    model = onnx_files.dense_model(WEIGHTS, BIAS, ("n", 3, SIZE, SIZE))
    model.graph.node[-3].op_type = "Gemm"
    model.graph.node.extend([onnx_files.onnx.helper.make_node("Transpose", ["logits"], ["turned"])])
    model.graph.output[0].name = "turned"
    path = onnx_files.save(model, tmp_path / "turned.onnx")
    with pytest.raises(PredictionError, match=r"shape \(7, 4\) for 4 faces and 7 labels"):
        onnx.load(path, NetworkFormat.from_json(DESCRIPTION)).predict(faces(4))


def test_a_device_that_onnx_runtime_does_not_have_is_a_sentence(tmp_path):
    path = model_file(tmp_path)
    with pytest.raises(UsageError, match="ONNX files run on cpu or cuda"):
        spec_of(path).load(Runtime("mps"))


# -- description -------------------------------------------------------------------------------------


def test_metadata_and_sidecar_describe_the_same_network(tmp_path):
    inside = spec_of(model_file(tmp_path, name="inside.onnx"))
    described = model_file(tmp_path, None, name="described.onnx")
    described.with_suffix(".json").write_text(json.dumps(DESCRIPTION))
    assert inside.settings == spec_of(described).settings
    assert inside.labels == LABELS


def test_the_sidecar_replaces_values_of_the_metadata(tmp_path):
    path = model_file(tmp_path)
    path.with_suffix(".json").write_text(json.dumps({"range": [-1, 1]}))
    assert spec_of(path).settings["format"]["range"] == [-1, 1]
    assert spec_of(path).settings["format"]["labels"] == list(LABELS)


def test_a_file_tells_its_size_channels_and_layout_where_they_are_certain(tmp_path):
    few = {key: DESCRIPTION[key] for key in ("labels", "range", "output")}
    for shape, layout in ((("n", 3, SIZE, SIZE), "nchw"), (("n", SIZE, SIZE, 3), "nhwc")):
        network_format = read_format(onnx_file.read(model_file(tmp_path, few, shape)))
        found = (network_format.size, network_format.channels, network_format.layout)
        assert found == (SIZE, 3, layout)
    with pytest.raises(UsageError, match=r"size, channels, layout must be given"):
        read_format(onnx_file.read(model_file(tmp_path, few, ("n", "c", "h", "w"))))


def test_a_softmax_at_the_end_gives_probabilities(tmp_path):
    few = {key: value for key, value in DESCRIPTION.items() if key != "output"}
    path = model_file(tmp_path, few, outputs=("probabilities",))
    assert read_format(onnx_file.read(path)).output == "probabilities"
    with pytest.raises(UsageError, match="they are probabilities, not logits"):
        read_format(onnx_file.read(model_file(tmp_path, DESCRIPTION, outputs=("probabilities",))))


def test_one_message_asks_for_all_that_is_missing_with_an_example_that_is_complete(tmp_path):
    path = model_file(tmp_path, None)
    with pytest.raises(UsageError) as error:
        spec_of(path)
    message = str(error.value)
    assert "labels, range, output must be given" in message
    example = message[message.index("{") : message.rindex("}") + 1]
    path.with_suffix(".json").write_text(example)
    assert spec_of(path).settings["format"]["size"] == SIZE


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"size": 5}, f"its input is \\? x 3 x {SIZE} x {SIZE}, by its description \\? x 3 x 5 x 5"),
        ({"channels": 1}, "by its description . x 1 x"),
        ({"layout": "nhwc"}, "by its description . x 4 x 4 x 3"),
        ({"labels": ["happy", "sad"]}, "7 outputs, and its description 2 labels"),
        ({"labels": [*LABELS, "contempt"]}, "7 outputs, and its description 8 labels"),
        ({"output": "scores"}, "output is 'scores'; it must be logits or probabilities"),
        ({"colour": "rgb"}, "'colour' is unknown"),
    ],
)
def test_a_description_that_is_wrong_or_contradicts_the_file_is_a_sentence(tmp_path, change, message):
    model = onnx_files.dense_model(
        WEIGHTS, BIAS, ("n", 3, SIZE, SIZE), description=json.dumps(DESCRIPTION | change)
    )
    axes = model.graph.output[0].type.tensor_type.shape.dim
    axes.add(dim_param="n")
    axes.add(dim_value=7)
    path = onnx_files.save(model, tmp_path / "my.onnx")
    with pytest.raises(UsageError, match=message):
        spec_of(path)


@pytest.mark.parametrize("text", ["", "[]", "{", '{"size": NaN}', "[" * 10**5])
def test_a_description_that_is_no_json_object_is_a_sentence(tmp_path, text):
    path = model_file(tmp_path, None)
    path.with_suffix(".json").write_text(text)
    with pytest.raises(UsageError, match=r"my\.json is no JSON object"):
        spec_of(path)
    path.with_suffix(".json").unlink()
    model = onnx_files.dense_model(WEIGHTS, BIAS, ("n", 3, SIZE, SIZE), description=text)
    with pytest.raises(UsageError, match=f"The metadata '{METADATA_KEY}' of"):
        spec_of(onnx_files.save(model, path))


# -- record ------------------------------------------------------------------------------------------


def test_a_model_is_named_by_its_file_and_by_folders_where_two_would_share_a_name(tmp_path):
    paths = []
    for folder in ("a", "b+tta@1"):
        (tmp_path / folder).mkdir()
        paths.append(model_file(tmp_path / folder, name="vgg19-int8.onnx"))
    assert spec_of(paths[0]).name == "onnx:vgg19-int8"
    chosen = selected_models([f"onnx:{path}" for path in paths], [])[3]
    assert chosen.names == ["onnx:a/vgg19-int8", "onnx:b+tta@1/vgg19-int8"]


def test_a_long_path_is_no_long_name(tmp_path):
    folder = tmp_path.joinpath(*["f" * 60] * 4)
    folder.mkdir(parents=True)
    assert spec_of(model_file(folder)).name == "onnx:my"


def test_the_identity_is_that_of_the_file_its_data_and_its_format(tmp_path):
    path = model_file(tmp_path, location="my.onnx.data")
    data = tmp_path / "my.onnx.data"
    data.write_bytes(onnx_files.external_bytes(WEIGHTS))
    first = spec_of(path).identity(Runtime("cpu"))
    assert_predicts_like_numpy(path)
    data.write_bytes(onnx_files.external_bytes(-WEIGHTS))
    second = spec_of(path).identity(Runtime("cpu"))
    path.with_suffix(".json").write_text('{"range": [-1, 1]}')
    third = spec_of(path).identity(Runtime("cpu"))
    assert len({json.dumps(identity, sort_keys=True) for identity in (first, second, third)}) == 3
    path.with_suffix(".json").write_text('{"range": [-1, 1], "same_as": "vgg19"}')
    assert spec_of(path).identity(Runtime("cpu")) == third  # no prediction depends on it


def test_a_description_is_read_without_onnx_runtime(tmp_path):
    path = model_file(tmp_path)
    code = (
        "import sys; from fer_models.zoo import models, resolve; "
        f"resolve.resolve_model('onnx:{path}', models.MODELS); assert 'onnxruntime' not in sys.modules"
    )
    assert os.spawnl(os.P_WAIT, sys.executable, sys.executable, "-c", code) == 0


def test_without_the_extra_the_command_that_installs_it_is_given(tmp_path, monkeypatch):
    path = model_file(tmp_path)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r'pip install "fer-models\[onnx\]"'):
        spec_of(path)


@pytest.mark.parametrize("text", ["onnx:", "onnx:missing.onnx", "onnx:/dev/null", "onnx:."])
def test_a_path_that_is_no_file_is_a_sentence(text):
    with pytest.raises(UsageError, match=r"Give an ONNX file\."):
        resolve_model(text, MODELS)


def test_a_network_in_a_file_is_no_part_of_a_fusion(tmp_path):
    with pytest.raises(UsageError, match="cannot be a part of a fusion"):
        resolve_model(f"vgg19+onnx:{model_file(tmp_path)}", MODELS)


def test_a_network_of_two_inputs_is_refused(tmp_path):
    model = onnx_files.dense_model(WEIGHTS, BIAS, ("n", 3, SIZE, SIZE))
    model.graph.input.add().CopyFrom(model.graph.input[0])
    model.graph.input[1].name = "mask"
    with pytest.raises(WeightsError, match=r"2 inputs \('image', 'mask'\)"):
        spec_of(onnx_files.save(model, tmp_path / "two.onnx"))


# -- damaged and hostile files -----------------------------------------------------------------------


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04" + bytes(100), b"\x80\x04" + bytes(50), bytes(1000)])
def test_a_file_of_another_kind_is_a_sentence(tmp_path, content):
    (tmp_path / "x.onnx").write_bytes(content)
    with pytest.raises(WeightsError, match=r"x\.onnx"):
        spec_of(tmp_path / "x.onnx")


@given(share=st.floats(0, 0.999))
def test_a_file_that_is_cut_anywhere_is_a_sentence(tmp_path_factory, share):
    folder = tmp_path_factory.mktemp("cut")
    path = model_file(folder, None)
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    path.with_suffix(".json").write_text(json.dumps(DESCRIPTION))
    with pytest.raises(FerModelsError, match=r"my\.onnx"):
        load(path)


@given(st.integers(0, 10**6), st.integers(0, 255))
def test_any_changed_byte_is_a_sentence_or_harmless(tmp_path_factory, place, value):
    folder = tmp_path_factory.mktemp("byte")
    path = model_file(folder)
    data = bytearray(path.read_bytes())
    data[place % len(data)] = value
    path.write_bytes(data)
    with suppress(FerModelsError):
        assert isinstance(load(path), Preprocessable)


@pytest.mark.parametrize(
    "location",
    [
        "../outside.data",
        "{outside}",
        "link",
        "a/../../outside.data",
        "*/_ORT_MEM_ADDR_/*",
        "\0",
        "",
        "x" * 5000,
    ],
)
def test_weights_outside_the_folder_of_the_file_are_not_opened(tmp_path, location):
    (tmp_path / "outside.data").write_bytes(onnx_files.external_bytes(WEIGHTS))
    folder = tmp_path / "folder"
    (folder / "*/_ORT_MEM_ADDR_").mkdir(parents=True)
    (folder / "*/_ORT_MEM_ADDR_/*").write_bytes(onnx_files.external_bytes(WEIGHTS))
    (folder / "link").symlink_to(tmp_path / "outside.data")
    location = location.format(outside=tmp_path / "outside.data")
    path = model_file(folder, location=location)
    with pytest.raises(WeightsError, match=r"outside its folder|needs the file"):
        spec_of(path)
    with pytest.raises(WeightsError, match=r"outside its folder|needs the file"):
        onnx.load(path, NetworkFormat.from_json(DESCRIPTION))


def test_every_location_of_a_tensor_is_checked_and_part_of_the_identity(tmp_path):
    """ONNX Runtime reads the last one."""
    (tmp_path / "outside.data").write_bytes(onnx_files.external_bytes(WEIGHTS))
    folder = tmp_path / "folder"
    (folder / "a").mkdir(parents=True)
    for name in ("w.bin", "a/w.bin"):
        (folder / name).write_bytes(onnx_files.external_bytes(WEIGHTS))
    path = model_file(folder, location="w.bin")
    model = onnx_files.onnx.load(path, load_external_data=False)
    (external,) = (t for t in model.graph.initializer if t.external_data)
    external.external_data.add(key="location", value="a/w.bin")
    onnx_files.save(model, path)
    before = spec_of(path).identity(Runtime("cpu"))
    (folder / "a" / "w.bin").write_bytes(onnx_files.external_bytes(WEIGHTS + 1))
    assert spec_of(path).identity(Runtime("cpu")) != before
    external.external_data[-1].value = "../outside.data"
    onnx_files.save(model, path)
    with pytest.raises(WeightsError, match="outside its folder"):
        spec_of(path)


def test_missing_external_weights_are_named(tmp_path):
    with pytest.raises(WeightsError, match=r"needs the file 'my\.onnx\.data' in its folder"):
        spec_of(model_file(tmp_path, location="my.onnx.data"))


def test_a_file_that_claims_two_gigabytes_is_refused_unread(tmp_path):
    with (tmp_path / "x.onnx").open("wb") as file:
        file.truncate(2**31)
    with pytest.raises(WeightsError, match="2,147,483,648 bytes"):
        spec_of(tmp_path / "x.onnx")


def test_a_batch_that_only_uses_memory_is_refused(tmp_path):
    with pytest.raises(UsageError, match="1,000,000,000 faces at once"):
        spec_of(model_file(tmp_path, shape=(10**9, 3, SIZE, SIZE)))


def test_weights_that_claim_more_numbers_than_there_are_are_a_sentence(tmp_path):
    model = onnx_files.dense_model(WEIGHTS, BIAS, ("n", 3, SIZE, SIZE), description=json.dumps(DESCRIPTION))
    model.graph.initializer[0].dims[:] = [2**40, 2**20]
    with pytest.raises(WeightsError, match="cannot load"):
        load(onnx_files.save(model, tmp_path / "huge.onnx"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"domain": "my.operators"}, "my.operators:Gemm"),
        ({"opset": 99}, "Opset 99"),
        ({"ir": 99}, "IR version: 99"),
    ],
)
def test_operators_and_versions_that_onnx_runtime_does_not_have_are_a_sentence(tmp_path, options, message):
    domain = options.get("domain", "")
    model = onnx_files.dense_model(
        WEIGHTS, BIAS, ("n", 3, SIZE, SIZE), description=json.dumps(DESCRIPTION), domain=domain
    )
    model.ir_version = options.get("ir", onnx_files.IR)
    model.opset_import[0].version = options.get("opset", onnx_files.OPSET)
    with pytest.raises(WeightsError, match=message) as error:
        load(onnx_files.save(model, Path(tmp_path / "new.onnx")))
    assert "\n" not in str(error.value)
