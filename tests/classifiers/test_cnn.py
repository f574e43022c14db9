import json
import os
from dataclasses import replace

import numpy as np
import pytest
import torch

from fer_models.artifacts import safetensors_io
from fer_models.classifiers import cnn
from fer_models.classifiers.architecture import Architecture
from fer_models.classifiers.base import Reformattable
from fer_models.emotions import LABELS
from fer_models.errors import UnknownNameError, UsageError, WeightsError
from fer_models.training.face_tensors import as_tensor
from fer_models.zoo import models, resolve
from fer_models.zoo.spec import Runtime

#: The real classes, at their real widths, are small enough to build; what is slow is their size in pixels.
SMALL = Architecture("efficientnet_b0", size=32, stem_stride=1)


def saved(path, architecture=SMALL, labels=LABELS, bits=None, **metadata):
    torch.manual_seed(0)
    network = cnn.build(architecture, len(labels))
    state = network.state_dict() if bits is None else safetensors_io.quantize(network.state_dict(), bits)
    metadata = {
        "format": cnn.FORMAT,
        "architecture": json.dumps(architecture.__dict__),
        "labels": json.dumps(list(labels)),
    } | metadata
    safetensors_io.write(state, path, metadata)
    return network


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "net.safetensors"
    saved(path)
    return path


@pytest.mark.slow
def test_vgg19_ends_in_global_pooling_and_one_linear_layer():
    network = cnn.build(Architecture("vgg19_bn", linear_head=True))
    assert sum(p.numel() for p in network.head.parameters()) == 512 * 7 + 7
    assert network(torch.zeros(1, 1, 48, 48)).shape == (1, 7)


def test_a_stride_of_one_in_the_stem_keeps_the_resolution():
    network = cnn.build(SMALL)
    assert network.forward_features(torch.zeros(1, 1, 48, 48)).shape[-1] == 3


def test_an_unknown_network_gets_a_suggestion():
    with pytest.raises(UnknownNameError, match="Did you mean"):
        cnn.build(Architecture("efficientnet_b00"))


def test_a_saved_network_predicts_as_before(checkpoint, few):
    model = cnn.load(checkpoint, device="cpu")
    faces = few.faces(range(5))
    metadata = model.predict(faces)
    torch.manual_seed(0)
    network = cnn.build(SMALL).eval()
    expected = network(model.preprocess(faces)).softmax(1).detach().numpy()
    np.testing.assert_allclose(metadata.probabilities, expected, atol=1e-5)
    assert model.parameters == sum(p.numel() for p in network.parameters())
    assert model.macs > 1e6


def test_a_face_gets_the_same_prediction_alone_and_among_others(checkpoint, few):
    model = cnn.load(checkpoint, device="cpu")
    faces = few.faces(range(6))
    together = model.predict(faces).probabilities
    alone = np.concatenate([model.predict([face]).probabilities for face in faces])
    np.testing.assert_allclose(together, alone, atol=1e-5)


def test_the_models_own_label_order_is_mapped_by_name(tmp_path, few):
    saved(tmp_path / "csv.safetensors")
    saved(tmp_path / "alphabetical.safetensors", labels=tuple(sorted(LABELS)))
    one, two = (
        cnn.load(tmp_path / f"{name}.safetensors", device="cpu").predict(few.faces([0]))
        for name in ("csv", "alphabetical")
    )
    assert two.labels == tuple(sorted(LABELS))
    np.testing.assert_allclose(
        two.probabilities[0, [LABELS.index(n) for n in sorted(LABELS)]], one.probabilities[0], atol=1e-6
    )


@pytest.mark.parametrize(("bits", "share", "error"), [(16, 0.55, 2e-3), (8, 0.35, 2e-2)])
def test_quantized_weights_are_smaller_and_close(tmp_path, bits, share, error):
    whole, packed = tmp_path / "whole.safetensors", tmp_path / "packed.safetensors"
    saved(whole)
    saved(packed, bits=bits)
    assert packed.stat().st_size < share * whole.stat().st_size
    a, _ = safetensors_io.read(whole)
    b, _ = safetensors_io.read(packed)
    assert a.keys() == b.keys()
    for name, tensor in a.items():
        if tensor.is_floating_point() and tensor.ndim > 1:
            assert (b[name] - tensor).abs().max() <= error * tensor.abs().max()
        else:
            assert torch.equal(b[name], tensor)


def test_bf16_predicts_nearly_as_float32_does(checkpoint, few):
    faces = few.faces(range(4))
    full, half = (
        cnn.load(checkpoint, device="cpu", precision=p).predict(faces).probabilities
        for p in ("float32", "bf16")
    )
    assert not np.array_equal(full, half)
    np.testing.assert_allclose(full, half, atol=0.05)


def test_a_third_party_checkpoint_needs_its_classes(tmp_path, few):
    path = tmp_path / "theirs.safetensors"
    network = cnn.build(Architecture("efficientnet_b0", channels=3), 7)
    safetensors_io.write(network.state_dict(), path, {})
    with pytest.raises(WeightsError, match="timm:NETWORK@"):
        cnn.load(path)
    with pytest.raises(WeightsError, match=r"theirs\.json"):
        cnn.load(path, timm_name="efficientnet_b0")
    path.with_suffix(".json").write_text(
        '{"labels": ["neutral", "happy", "sad", "surprise", "fear", "disgust", "anger"], "size": 64}'
    )
    model = cnn.load(path, device="cpu", timm_name="efficientnet_b0")
    assert model.architecture.size == 64
    assert model.architecture.mean == (0.485, 0.456, 0.406)
    assert model.predict(few.faces([0])).labels[0] == "neutral"
    path.with_suffix(".json").write_text('{"labels": ["neutral"], "colour": 3}')
    with pytest.raises(WeightsError, match="cannot be used"):
        cnn.load(path, timm_name="efficientnet_b0")


def test_a_third_party_checkpoint_declares_range_and_order_of_channels(tmp_path, few):
    path = tmp_path / "theirs.safetensors"
    network = cnn.build(Architecture("test_resnet", channels=3), 7)
    safetensors_io.write(network.state_dict(), path, {})
    sidecar = {"labels": list(LABELS), "size": 48, "mean": 0, "std": 1}
    path.with_suffix(".json").write_text(
        json.dumps(sidecar | {"range": [0, 255], "color_order": "bgr", "resample": "bilinear"})
    )
    model = cnn.load(path, device="cpu", timm_name="test_resnet")
    face = np.random.default_rng(0).integers(0, 256, (48, 48, 3), dtype=np.uint8)
    assert isinstance(model, Reformattable)
    assert model.network_format.resample == "bilinear"
    np.testing.assert_allclose(model.preprocess([face])[0], face.transpose(2, 0, 1)[::-1], atol=1e-3)
    rgb = model.with_format(replace(model.network_format, color_order="rgb"))
    np.testing.assert_array_equal(rgb.preprocess([face]), model.preprocess([face]).flip(1))
    assert rgb.network is model.network
    assert model.network_format.color_order == "bgr"
    for wrong in ({"range": [1, 0]}, {"color_order": "gbr"}, {"channels": 4}, {"std": 0}, {"mean": "x"}):
        path.with_suffix(".json").write_text(json.dumps(sidecar | wrong))
        with pytest.raises(WeightsError, match=rf"theirs.*{next(iter(wrong))} is "):
            cnn.load(path, device="cpu", timm_name="test_resnet")


def test_faces_are_preprocessed_as_in_training(checkpoint, few):
    model = cnn.load(checkpoint, device="cpu")
    trained = cnn.normalise(as_tensor(few, channels=1, side=SMALL.size).float(), SMALL)
    torch.testing.assert_close(model.preprocess(few.faces(range(len(few)))), trained, rtol=0, atol=1e-6)


def test_a_checkpoint_of_another_network_is_refused(tmp_path, checkpoint):
    state, _ = safetensors_io.read(checkpoint)
    other = tmp_path / "other.safetensors"
    metadata = {
        "format": cnn.FORMAT,
        "architecture": json.dumps({"timm": "resnet18"}),
        "labels": json.dumps(list(LABELS)),
    }
    safetensors_io.write(state, other, metadata)
    with pytest.raises(WeightsError, match="does not fit resnet18"):
        cnn.load(other)
    state.pop("classifier.weight")
    safetensors_io.write(state, other, metadata | {"architecture": json.dumps(SMALL.__dict__)})
    with pytest.raises(WeightsError, match=r"1 tensors missing \(classifier\.weight"):
        cnn.load(other)
    state["classifier.weight"] = torch.zeros(3, 3)
    safetensors_io.write(state, other, metadata | {"architecture": json.dumps(SMALL.__dict__)})
    with pytest.raises(WeightsError, match="has shape"):
        cnn.load(other)


@pytest.mark.parametrize("content", [b"", b"not safetensors", b"\xff" * 100])
def test_a_file_that_is_not_safetensors_is_refused(tmp_path, content):
    path = tmp_path / "bad.safetensors"
    path.write_bytes(content)
    with pytest.raises(WeightsError, match=r"bad\.safetensors"):
        safetensors_io.read(path)


def test_pickles_are_not_opened(tmp_path):
    path = tmp_path / "model.pth"
    path.write_bytes(b"cos\nsystem\n(S'touch pwned'\ntR.")
    with pytest.raises(WeightsError, match="pickle"):
        safetensors_io.read(path)


def test_a_device_that_is_not_here_is_a_usage_error():
    if torch.cuda.is_available():
        pytest.skip("there is a CUDA device here; run on a machine without one")
    with pytest.raises(UsageError, match="--device"):
        safetensors_io.pick_device("cuda")


@pytest.mark.parametrize("name", ["timm:resnet18", "timm:nope", "vgg19"])
def test_a_checkpoint_of_another_network_than_the_named_one_is_refused(checkpoint, name):
    spec = resolve.resolve_model(f"{name}@{checkpoint}", models.MODELS)
    with pytest.raises(WeightsError, match=r"holds the network efficientnet_b0.*timm:efficientnet_b0@"):
        spec.load(Runtime("cpu", "float32"))


@pytest.mark.parametrize(
    "name", ["timm:efficientnet_b0", "timm:efficientnet_b0.ra_in1k", "efficientnet_b0", "a-name-of-mine"]
)
def test_a_checkpoint_of_the_named_network_or_of_an_unknown_name_is_loaded(checkpoint, name):
    spec = resolve.resolve_model(f"{name}@{checkpoint}", models.MODELS)
    loaded = spec.load(Runtime("cpu", "float32"))
    assert isinstance(loaded, cnn.CNN)
    assert loaded.architecture == SMALL


def test_a_description_that_cannot_be_read_or_is_huge_is_a_sentence(checkpoint, tmp_path):
    path = tmp_path / "net.safetensors"
    path.symlink_to(checkpoint)
    path.with_suffix(".json").write_text(" " * 1_000_001)
    with pytest.raises(UsageError, match="has 1,000,001 bytes"):
        resolve.resolve_model(f"timm:efficientnet_b0@{path}", models.MODELS)
    path.with_suffix(".json").unlink()
    os.mkfifo(path.with_suffix(".json"))
    with pytest.raises(UsageError, match="not a regular file"):
        resolve.resolve_model(f"timm:efficientnet_b0@{path}", models.MODELS)
