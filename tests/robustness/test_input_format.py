"""The check of the input format, with a small timm network that depends on colours and values."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from sklearn.linear_model import LogisticRegression

from fer_models.artifacts import safetensors_io
from fer_models.classifiers import cnn
from fer_models.classifiers.architecture import Architecture
from fer_models.classifiers.base import Predictions
from fer_models.classifiers.dummy import Constant
from fer_models.classifiers.network_format import NetworkFormat
from fer_models.config import EvalConfig
from fer_models.emotions import LABELS, Emotion
from fer_models.inference.runner import Combination, Runner
from fer_models.robustness.input_format import FACES, MOST_ALTERNATIVES, alternatives, check_input
from fer_models.zoo import models, resolve
from fer_models.zoo.registry import Registry
from fer_models.zoo.restorers import RESTORERS
from fer_models.zoo.spec import ModelSpec

NETWORK, SIZE = "test_resnet", 32
#: The colour of the faces of each emotion.
COLORS = np.array(
    [
        (220, 40, 40),
        (40, 40, 220),
        (220, 200, 40),
        (40, 200, 220),
        (120, 60, 160),
        (160, 60, 90),
        (60, 160, 100),
    ]
)
#: What the network is made for, and mistakes in it: the declaration, and what the message must name.
RIGHT = {"labels": list(LABELS), "size": SIZE, "channels": 3, "mean": 0.0, "std": 1.0}
MISTAKES = {
    "range": ({"range": [0, 255]}, '"range": [0, 1] instead of [0, 255]'),
    "normalisation": (
        {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]},
        '"mean": [0] instead of [0.485, 0.456, 0.406], "std": [1] instead of [0.229, 0.224, 0.225]',
    ),
    "color_order": ({"color_order": "bgr"}, '"color_order": "rgb" instead of "bgr"'),
}
formats = st.builds(
    NetworkFormat,
    labels=st.just(LABELS),
    size=st.integers(1, 9),
    channels=st.just(3),
    layout=st.sampled_from(["nchw", "nhwc"]),
    range=st.sampled_from([(0, 1), (0, 255), (-1, 1), (0, 2)]),
    output=st.just("logits"),
    color_order=st.sampled_from(["rgb", "bgr"]),
    mean=st.sampled_from([(0.0,), (0.5,), (0.485, 0.456, 0.406), (0.6,)]),
    std=st.sampled_from([(1.0,), (0.5,), (0.229, 0.224, 0.225)]),
)


def face(i, seed):
    rng = np.random.default_rng([seed, i])
    pixels = COLORS[i % 7] + rng.normal(0, 25, (SIZE, SIZE, 3)) + rng.normal(0, 12, 3)
    return np.clip(pixels, 0, 255).astype(np.uint8)


def write_faces(root, n=FACES, grey=False):
    for i in range(n):
        folder = root / LABELS[i % 7]
        folder.mkdir(parents=True, exist_ok=True)
        pixels = Image.fromarray(face(i, 2))
        (pixels.convert("L") if grey else pixels).save(folder / f"{i:03d}.png")
    return root


@pytest.fixture(scope="module")
def network():
    """A timm network without training: its normalisation layers are calibrated on faces, and its last layer
    is a logistic regression.
    """
    torch.manual_seed(0)
    network = cnn.build(Architecture(NETWORK, size=SIZE, channels=3))
    faces = np.stack([face(i, 1) for i in range(140)]).transpose(0, 3, 1, 2)
    batch = torch.from_numpy(np.ascontiguousarray(faces)).float() / 255
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = 1.0
    with torch.no_grad():
        network.train()(batch)
        network.eval()
        features = network.forward_head(network.forward_features(batch), pre_logits=True).numpy()
        fit = LogisticRegression(max_iter=300).fit(features, np.arange(140) % 7)
        network.get_classifier().weight.copy_(torch.from_numpy(fit.coef_))
        network.get_classifier().bias.copy_(torch.from_numpy(fit.intercept_))
    return network


@pytest.fixture
def declare(network, tmp_path):
    """Write the weights with a sidecar; returns the model's name on the command line."""

    def write(name, **declared):
        path = tmp_path / f"{name}.safetensors"
        safetensors_io.write(network.state_dict(), path, {})
        path.with_suffix(".json").write_text(json.dumps(RIGHT | declared))
        return f"timm:{NETWORK}@{path}"

    return write


def check(tmp_path, faces, model):
    spec = resolve.resolve_model(model, models.MODELS) if isinstance(model, str) else model
    options = EvalConfig(str(faces), store=tmp_path / "store")
    runner = Runner(options, Registry("model", spec), RESTORERS)
    return check_input(runner, Combination(spec.name, "raw"))


def black_box(predict):
    class Mine:
        def __init__(self):
            self.predict = predict

    return ModelSpec("mine", lambda runtime: Mine(), source=Path(__file__))


@given(formats, st.booleans())
def test_each_alternative_gives_other_values_and_keeps_the_shape(declared, has_color):
    faces = [np.random.default_rng(0).integers(0, 256, (declared.size, declared.size, 3), dtype=np.uint8)]
    others = alternatives(declared, has_color)
    assert 4 <= len(others) <= MOST_ALTERNATIVES
    batches = [f.preprocess(faces) for f in (declared, *others)]
    assert {batch.shape for batch in batches} == {batches[0].shape}
    for i, batch in enumerate(batches):
        assert not any(np.allclose(batch, other, atol=1e-6) for other in batches[:i])
    swapped = [f for f in others if f.color_order != declared.color_order]
    assert len(swapped) == has_color
    for other in others:
        normalisation = (declared.mean, declared.std) != (other.mean, other.std)
        changes = (
            (other.range != declared.range) + normalisation + (other.color_order != declared.color_order)
        )
        is_raw = (other.range, other.mean, other.std) == ((0, 255), (0,), (1,))
        assert changes == 1 or (is_raw and changes == 2)


def test_a_grey_network_has_no_order_of_channels():
    grey = NetworkFormat(LABELS, 4, 1, "nchw", (0, 1), "logits")
    others = alternatives(grey, has_color=True)
    assert {f.color_order for f in others} == {"rgb"}
    assert all(len(f.mean) == len(f.std) == 1 for f in others)


def test_the_right_declaration_passes(declare, tmp_path):
    result = check(tmp_path, write_faces(tmp_path / "faces"), declare("right"))
    assert result.failure is None
    assert result.remark is None
    assert result.best.n_correct > 0.9 * FACES


@pytest.mark.slow
def test_every_mistake_is_named_in_a_run_of_the_evals(declare, bench, network):
    faces = write_faces(bench.folder / "patches")
    names = [declare("right"), declare("labels", labels=[*LABELS[2:], *LABELS[:2]])]
    names += [declare(name, **wrong) for name, (wrong, _) in MISTAKES.items()]
    chosen = [argument for name in [*names, "efficientnet_b0"] for argument in ("--model", name)]
    command = bench.command(*chosen, "-v", faces=faces.name)
    command[command.index("-k") + 1] = "input_format or (label_order and raw and labels)"
    output = bench.run_python(["-m", "pytest", *command], code=1).stdout
    for name, (_, named) in MISTAKES.items():
        message = next(line for line in output.splitlines() if named in line)
        assert f"of 70 predictions of timm:{NETWORK}@{name} are correct" in message
        assert message.endswith(f"Make this change in {name}.json.")
    assert "its columns are probably not in the declared order" in output
    assert f"test_input_format_is_plausible[timm:{NETWORK}@right] PASSED" in output
    assert f"test_input_format_is_plausible[timm:{NETWORK}@labels] PASSED" in output
    assert "test_input_format_is_plausible[efficientnet_b0]" not in output
    assert "4 failed, 2 passed" in output


def test_grey_faces_show_no_order_of_channels(declare, tmp_path):
    result = check(tmp_path, write_faces(tmp_path / "faces", grey=True), declare("bgr", color_order="bgr"))
    assert "color_order" not in result.best.name


def test_predictions_of_alternatives_are_cached(declare, tmp_path, monkeypatch):
    faces, model = write_faces(tmp_path / "faces"), declare("wrong", range=[0, 255])
    first = check(tmp_path, faces, model)
    monkeypatch.setattr(cnn.CNN, "predict", None)
    assert check(tmp_path, faces, model) == first


def test_an_alternative_that_gives_no_numbers_is_no_better(tmp_path):
    class Overflowing:
        network_format = NetworkFormat(LABELS, 8, 3, "nchw", (0, 1), "logits")

        def with_format(self, network_format):
            other = Overflowing()
            other.network_format = network_format
            return other

        def predict(self, faces):
            logits = self.network_format.preprocess(faces)[:, :1].max(axis=(2, 3)) * np.ones(7)
            logits[logits > 100] = np.inf
            with np.errstate(invalid="ignore"):
                return Predictions.from_probabilities(self.network_format.probabilities(logits), LABELS)

    spec = ModelSpec("overflowing", lambda runtime: Overflowing())
    result = check(tmp_path, write_faces(tmp_path / "faces", 28), spec)
    assert result.failure is None
    assert result.best.gain == 0


def test_mistakes_in_the_description_of_an_onnx_file_are_named(tmp_path):
    pytest.importorskip("onnx", reason="needs the package onnx")
    pytest.importorskip("onnxruntime", reason="needs the package onnxruntime")
    import onnx_files

    right = {"labels": list(LABELS), "size": 2, "channels": 3, "layout": "nchw", "range": [0, 1]}
    right["output"] = "logits"
    network_format = NetworkFormat.from_json(right)
    pixels = network_format.preprocess([face(i, 1) for i in range(140)]).reshape(140, -1)
    fit = LogisticRegression(C=100, max_iter=1000).fit(pixels, np.arange(140) % 7)
    faces = write_faces(tmp_path / "faces")
    for name, (wrong, named) in {"right": ({}, ""), **MISTAKES}.items():
        description = json.dumps(right | wrong)
        model = onnx_files.dense_model(
            fit.coef_, fit.intercept_, ["n", 3, 2, 2], dtype=np.float32, description=description
        )
        path = onnx_files.save(model, tmp_path / f"{name}.onnx")
        failure = check(tmp_path / name, faces, f"onnx:{path}").failure
        if wrong:
            assert failure is not None
            assert named in failure
            assert failure.endswith(f"Make this change in {name}.json.")
        else:
            assert failure is None


def test_a_model_without_a_declared_format_is_tried_with_exchanged_channels(declare, tmp_path):
    declare("right")
    write_faces(tmp_path / "faces")
    classifier = cnn.load(tmp_path / "right.safetensors", device="cpu", timm_name=NETWORK)
    bgr = classifier.with_format(replace(classifier.network_format, color_order="bgr"))
    assert check(tmp_path, tmp_path / "faces", black_box(classifier.predict)).failure is None
    failure = check(tmp_path / "2", tmp_path / "faces", black_box(bgr.predict)).failure
    assert failure is not None
    assert "with the red and blue channels exchanged" in failure
    assert failure.endswith(f"Make this change in {Path(__file__).name}.")
    negative = black_box(lambda faces: classifier.predict([255 - face for face in faces]))
    failure = check(tmp_path / "3", tmp_path / "faces", negative).failure
    assert failure is not None
    assert "negative (255 - face)" in failure


def test_a_model_at_chance_level_gets_a_remark_and_does_not_fail(tmp_path):
    constant = ModelSpec("constant", lambda runtime: Constant(Emotion.HAPPY))
    result = check(tmp_path, write_faces(tmp_path / "faces"), constant)
    assert result.failure is None
    assert result.remark == (
        "10 of 70 predictions of constant are correct, which is not significantly above chance; "
        "no input format is far better (2 were tried)."
    )
