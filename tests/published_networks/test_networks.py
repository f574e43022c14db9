"""The rebuilt networks, with random weights of the published shapes in files of the published formats."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import tarfile
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.lib.stride_tricks import sliding_window_view
from PIL import Image

from fer_models.emotions import Emotion, parse_label
from fer_models.errors import WeightsError
from fer_models.published_networks import face_api, facemood, packages, pyemotion, what_the_face
from fer_models.published_networks.packages import PinnedFile, PublishedModel

FER2013_ORDER = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")
#: The face-api network as its manifest has it: the tensors of each layer, and their shapes.
FACE_API_WIDTHS = (3, 32, 64, 128, 256)


def smooth_faces(n: int) -> list[np.ndarray]:
    """Smooth grey images of 48 x 48 pixels, as RGB."""
    coarse = np.random.default_rng(0).integers(0, 256, (n, 8, 8), dtype=np.uint8)
    smooth = [np.asarray(Image.fromarray(image).resize((48, 48))) for image in coarse]
    return [np.repeat(image[..., None], 3, axis=2) for image in smooth]


def pinned(model: PublishedModel, **contents: bytes) -> PublishedModel:
    """The model, with other content for its files."""
    files = [
        PinnedFile(file.name, len(data), hashlib.sha256(data).hexdigest())
        for file, data in zip(model.files, contents.values(), strict=True)
    ]
    return dataclasses.replace(model, files=tuple(files))


def random_state(network: torch.nn.Module, seed: int = 0) -> dict[str, torch.Tensor]:
    """Random tensors; variances are positive, and counters stay."""
    generator = torch.Generator().manual_seed(seed)
    state = {}
    for name, tensor in network.state_dict().items():
        if tensor.is_floating_point():
            scale = 1.5 / max(1, tensor[0].numel()) ** 0.5 if tensor.ndim > 1 else 0.3
            tensor = torch.randn(tensor.shape, generator=generator) * scale
        state[name] = tensor.abs() + 0.5 if name.endswith("running_var") else tensor
    return state


# The networks in NumPy: an oracle that shares no code with them. Images are (height, width, channels).


def convolve(image, kernel, bias, stride=1):
    """Kernel (h, w, in, out); no padding."""
    windows = sliding_window_view(image, kernel.shape[:2], axis=(0, 1))[::stride, ::stride]
    columns = windows.transpose(0, 1, 3, 4, 2).reshape(*windows.shape[:2], -1)
    return columns @ kernel.reshape(-1, kernel.shape[3]) + bias


def pool(image):
    h, w = (side // 2 for side in image.shape[:2])
    return image[: 2 * h, : 2 * w].reshape(h, 2, w, 2, -1).max(axis=(1, 3))


def softmax(logits):
    shares = np.exp(logits - logits.max())
    return shares / shares.sum()


def relu(x):
    return np.maximum(x, 0)


def normalise(x, mean, variance, gamma, beta, epsilon):
    return (x - mean) / np.sqrt(variance + epsilon) * gamma + beta


def hwio(tensor):
    return tensor.numpy().astype(np.float64).transpose(2, 3, 1, 0)


def what_the_face_in_numpy(image, state):
    t = {name: tensor.numpy().astype(np.float64) for name, tensor in state.items()}
    for i in (1, 2, 3):
        image = pool(np.tanh(convolve(image, hwio(state[f"conv{i}.weight"]), t[f"conv{i}.bias"])))
    x = image.transpose(2, 0, 1).ravel()
    x = relu(t["fc1.weight"] @ x + t["fc1.bias"])
    x = relu(t["fc2.weight"] @ x + t["fc2.bias"])
    return softmax(t["fc3.weight"] @ x + t["fc3.bias"])


def pyemotion_in_numpy(image, state):
    t = {name: tensor.numpy().astype(np.float64) for name, tensor in state.items()}
    for i in (1, 2, 3, 4):
        image = np.pad(image, ((1, 1), (1, 1), (0, 0)), mode="reflect")
        stride = 1 if i == 1 else 2
        image = convolve(image, hwio(state[f"conv_{i}.1.weight"]), t[f"conv_{i}.1.bias"], stride)
        parameters = ("running_mean", "running_var", "weight", "bias")
        image = relu(normalise(image, *(t[f"conv_{i}.2.{name}"] for name in parameters), epsilon=1e-5))
    x = relu(t["linear.0.weight"] @ image.transpose(2, 0, 1).ravel() + t["linear.0.bias"])
    scores = 1 / (1 + np.exp(-(t["linear.2.weight"] @ x + t["linear.2.bias"])))
    return np.exp(scores) / np.exp(scores).sum()


def facemood_in_numpy(image, arrays):
    for suffix in ("", "_1", "_2", "_3", "_4"):
        conv, norm = arrays[f"conv2d{suffix}"], arrays[f"batch_normalization{suffix}"]
        image = relu(convolve(image, conv["kernel:0"], conv["bias:0"]))
        image = pool(keras_normalise(image, norm))
    x = image.ravel() @ arrays["dense"]["kernel:0"] + arrays["dense"]["bias:0"]
    x = keras_normalise(x, arrays["batch_normalization_5"])
    return softmax(x @ arrays["dense_1"]["kernel:0"] + arrays["dense_1"]["bias:0"])


def keras_normalise(x, norm):
    names = ("moving_mean:0", "moving_variance:0", "gamma:0", "beta:0")
    return normalise(x, *(norm[name] for name in names), epsilon=1e-3)


def face_api_in_numpy(image, tensors):
    def separable(x, layer, stride):
        h, w = (-(-side // stride) for side in x.shape[:2])
        missing = [max((n - 1) * stride + 3 - side, 0) for n, side in zip((h, w), x.shape[:2], strict=True)]
        x = np.pad(x, [*((m // 2, m - m // 2) for m in missing), (0, 0)])
        if f"{layer}/filters" in tensors:
            return convolve(x, tensors[f"{layer}/filters"], tensors[f"{layer}/bias"], stride)
        windows = sliding_window_view(x, (3, 3), axis=(0, 1))[::stride, ::stride]
        deep = np.einsum("hwcij,ijc->hwc", windows, tensors[f"{layer}/depthwise_filter"][..., 0])
        return deep @ tensors[f"{layer}/pointwise_filter"][0, 0] + tensors[f"{layer}/bias"]

    for block in range(4):
        out1 = relu(separable(image, f"dense{block}/conv0", 2))
        out2 = separable(out1, f"dense{block}/conv1", 1)
        out3 = separable(relu(out1 + out2), f"dense{block}/conv2", 1)
        out4 = separable(relu(out1 + out2 + out3), f"dense{block}/conv3", 1)
        image = relu(out1 + out2 + out3 + out4)
    return softmax(image.mean(axis=(0, 1)) @ tensors["fc/weights"] + tensors["fc/bias"])


# Files of the published formats.


def torch_file(path: Path, content) -> bytes:
    torch.save(content, path)
    return path.read_bytes()


def keras_file(path: Path, seed: int = 0):
    """A Keras file of facemood's shapes, and its arrays by layer."""
    h5py = pytest.importorskip("h5py", reason="not installed: pip install h5py")
    rng = np.random.default_rng(seed)
    widths, arrays = (3, 32, 60, 80, 100, 120), {}

    def norm(width):
        values = {name: rng.normal(size=width) * 0.3 for name in ("gamma:0", "beta:0", "moving_mean:0")}
        return values | {"moving_variance:0": rng.random(width) + 0.5}

    for i in range(5):
        suffix = f"_{i}" if i else ""
        kernel = rng.normal(size=(3, 3, widths[i], widths[i + 1])) / (3 * widths[i] ** 0.5)
        arrays[f"conv2d{suffix}"] = {"kernel:0": kernel, "bias:0": rng.normal(size=widths[i + 1]) * 0.1}
        arrays[f"batch_normalization{suffix}"] = norm(widths[i + 1])
    arrays["dense"] = {"kernel:0": rng.normal(size=(1080, 128)) / 32, "bias:0": rng.normal(size=128)}
    arrays["batch_normalization_5"] = norm(128)
    arrays["dense_1"] = {"kernel:0": rng.normal(size=(128, 7)) / 8, "bias:0": rng.normal(size=7)}
    arrays = {
        layer: {k: np.float32(v).astype(np.float64) for k, v in tensors.items()}
        for layer, tensors in arrays.items()
    }
    with h5py.File(path, "w") as file:
        for layer, tensors in arrays.items():
            for name, value in tensors.items():
                file[f"model_weights/{layer}/{layer}/{name}"] = np.float32(value)
        file.create_group("model_weights/flatten")
        file["optimizer_weights/Adam/m"] = np.zeros(3)
    return arrays


def face_api_shapes() -> dict[str, tuple[int, ...]]:
    """Name and shape of every tensor, in the order of the manifest."""
    shapes: dict[str, tuple[int, ...]] = {}
    for block in range(4):
        before, after = FACE_API_WIDTHS[block : block + 2]
        for i in range(4):
            layer, width = f"dense{block}/conv{i}", before if i == 0 else after
            if block == i == 0:
                shapes[f"{layer}/filters"] = (3, 3, width, after)
            else:
                shapes[f"{layer}/depthwise_filter"] = (3, 3, width, 1)
                shapes[f"{layer}/pointwise_filter"] = (1, 1, width, after)
            shapes[f"{layer}/bias"] = (after,)
    return shapes | {"fc/weights": (256, 7), "fc/bias": (7,)}


def face_api_files(seed: int = 0) -> tuple[dict[str, np.ndarray], bytes, bytes]:
    """The dequantized tensors, and the manifest and the bytes of the quantized ones."""
    rng = np.random.default_rng(seed)
    tensors, entries, data = {}, [], b""
    for name, shape in face_api_shapes().items():
        entry = {"name": name, "shape": list(shape), "dtype": "float32"}
        if name.endswith("bias"):
            stored = rng.normal(size=shape).astype("<f4") * np.float32(0.1)
            tensors[name] = stored.astype(np.float64)
        else:
            stored = rng.integers(0, 256, size=shape, dtype=np.uint8)
            inputs = 9 if "depthwise" in name else np.prod(shape[:-1])
            scale = 0.016 / float(inputs) ** 0.5
            entry["quantization"] = {"dtype": "uint8", "scale": scale, "min": -127.5 * scale}
            tensors[name] = stored * scale - 127.5 * scale
        entries.append(entry)
        data += stored.tobytes()
    return tensors, json.dumps([{"weights": entries, "paths": ["weights.bin"]}]).encode(), data


def npm_archive(path: Path, contents: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        for name, data in contents.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return path


def face_api_model(tmp_path: Path) -> tuple[dict[str, np.ndarray], Path, PublishedModel]:
    tensors, manifest, data = face_api_files()
    names = [file.name for file in packages.FACE_API.files]
    path = npm_archive(tmp_path / "face-api.tgz", dict(zip(names, (manifest, data), strict=True)))
    return tensors, path, pinned(packages.FACE_API, manifest=manifest, data=data)


def loaded(name: str, tmp_path: Path):
    """A classifier with random weights, and its oracle for one preprocessed face (h, w, channels)."""
    path = tmp_path / name
    if name == "what-the-face":
        state = random_state(what_the_face.build())
        model = pinned(packages.WHAT_THE_FACE, content=torch_file(path, state))
        classifier = what_the_face.load(path, model, device="cpu")
        return classifier, lambda x: what_the_face_in_numpy(x, state)
    if name == "pyemotion":
        state = random_state(pyemotion.build())
        model = pinned(packages.PYEMOTION, content=torch_file(path, {"network": state, "accuracy": 0.5}))
        classifier = pyemotion.load(path, model, device="cpu")
        return classifier, lambda x: pyemotion_in_numpy(x, state)
    if name == "facemood":
        arrays = keras_file(path)
        model = pinned(packages.FACEMOOD, content=path.read_bytes())
        return facemood.load(path, model, device="cpu"), lambda x: facemood_in_numpy(x, arrays)
    tensors, path, model = face_api_model(tmp_path)
    return face_api.load(path, model, device="cpu"), lambda x: face_api_in_numpy(x, tensors)


NAMES = ("what-the-face", "pyemotion", "facemood", "face-api")


@pytest.fixture(scope="module")
def make(tmp_path_factory):
    """`loaded`, once for each network."""
    return cache(lambda name: loaded(name, tmp_path_factory.mktemp("weights")))


@pytest.mark.parametrize("name", NAMES)
def test_a_network_computes_what_its_definition_says(name, make):
    classifier, oracle = make(name)
    batch = classifier.preprocess(smooth_faces(1))
    with torch.inference_mode():
        computed = classifier.network(batch).softmax(dim=1).numpy()
    expected = [oracle(face.numpy().astype(np.float64).transpose(1, 2, 0)) for face in batch]
    assert np.ptp(expected, axis=1).min() > 1e-3  # no constant would pass
    np.testing.assert_allclose(computed, expected, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_a_face_is_predicted_the_same_alone_and_in_a_batch(name, make):
    classifier, _ = make(name)
    faces = smooth_faces(2)
    alone = np.concatenate([classifier.predict([face]).probabilities for face in faces])
    np.testing.assert_allclose(classifier.predict(faces).probabilities, alone, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "order"),
    [
        *((name, FER2013_ORDER) for name in NAMES[:3]),
        ("face-api", ("neutral", "happy", "sad", "angry", "fearful", "disgusted", "surprised")),
    ],
)
def test_each_class_is_the_emotion_that_the_package_names(name, order, make):
    classifier, _ = make(name)
    batch = classifier.preprocess(smooth_faces(1))
    last = [module for module in classifier.network.modules() if isinstance(module, torch.nn.Linear)][-1]
    bias = last.bias.detach().clone()
    for column, label in enumerate(order):
        with torch.no_grad():
            last.bias.copy_(torch.eye(7)[column] * 100 - 50)
        assert classifier.infer(batch).answer == [parse_label(label)]
    with torch.no_grad():
        last.bias.copy_(bias)


def test_parameters_and_operations_are_those_of_the_published_sizes(make):
    networks = {name: make(name)[0] for name in ("what-the-face", "pyemotion", "face-api")}
    assert networks["what-the-face"].parameters == 4_267_447
    assert networks["pyemotion"].parameters == 2_750_151
    assert networks["face-api"].parameters == 323_687
    assert networks["face-api"].macs == 51_538_816


# Preprocessing.


def test_what_the_face_keeps_the_pixels_of_a_48_pixel_face():
    (face,) = smooth_faces(1)
    np.testing.assert_array_equal(what_the_face.preprocess([face])[0, 0], np.float32(face[..., 0]) / 255)


def test_what_the_face_takes_the_centre_of_an_oblong_face():
    face = np.zeros((48, 148, 3), np.uint8)
    face[:, 50:98] = 255
    assert what_the_face.preprocess([face]).min() == 1


def test_pyemotion_maps_black_to_minus_one_and_white_to_one_and_stretches_an_oblong_face():
    face = np.zeros((48, 96, 3), np.uint8)
    face[:, 48:] = 255
    pixels = pyemotion.preprocess([face])
    assert pixels.shape == (1, 1, 48, 48)
    np.testing.assert_allclose(pixels[0, 0, :, :23], -1, atol=1e-6)
    np.testing.assert_allclose(pixels[0, 0, :, 25:], 1, atol=1e-6)


def test_facemood_resizes_colours_as_pillow_does_by_default():
    face = np.random.default_rng(0).integers(0, 256, (60, 48, 3), dtype=np.uint8)
    expected = np.asarray(Image.fromarray(face).resize((170, 170))) / 255
    np.testing.assert_allclose(facemood.FORMAT.preprocess([face])[0].transpose(1, 2, 0), expected, atol=1e-6)


def test_face_api_interpolates_between_pixels_from_the_upper_left_corner():
    face = np.random.default_rng(0).integers(0, 256, (56, 56, 3), dtype=np.uint8).astype(np.float32)
    pixels = face_api.preprocess([face.astype(np.uint8)])[0].transpose(1, 2, 0) * 255 + face_api.MEAN_RGB
    np.testing.assert_allclose(pixels[::2, ::2], face, atol=1e-3)
    np.testing.assert_allclose(pixels[1:-1:2, ::2], (face[:-1] + face[1:]) / 2, atol=1e-3)
    np.testing.assert_allclose(pixels[-1], pixels[-2], atol=1e-3)


@pytest.mark.parametrize("transposed", [False, True])
def test_face_api_pads_an_oblong_face_with_black_bars(transposed):
    face = np.full((107, 112, 3), 255, np.uint8)
    if transposed:
        face = face.transpose(1, 0, 2)
    red = face_api.preprocess([face])[0, 0]
    if transposed:
        red = red.T
    black, white = (0 - 122.782) / 255, (255 - 122.782) / 255
    np.testing.assert_allclose(red[[0, 1, 109, 110, 111]], black, atol=1e-6)
    np.testing.assert_allclose(red[2:109], white, atol=1e-6)


# Files that are not the published ones.

LOADERS = {
    "what-the-face": (what_the_face, packages.WHAT_THE_FACE),
    "pyemotion": (pyemotion, packages.PYEMOTION),
    "facemood": (facemood, packages.FACEMOOD),
    "face-api": (face_api, packages.FACE_API),
}


def refused(name: str, path: Path, model: PublishedModel | None = None) -> str:
    """The message of the error."""
    module, published = LOADERS[name]
    with pytest.raises(WeightsError) as error:
        module.load(path, model or published, device="cpu")
    message = str(error.value)
    assert "\n" not in message
    assert path.name in message
    return message


@pytest.mark.parametrize("name", NAMES)
def test_another_file_is_refused_with_the_command(name, tmp_path):
    if name == "facemood":
        pytest.importorskip("h5py", reason="not installed: pip install h5py")
    (tmp_path / "file").write_bytes(b"something else")
    assert LOADERS[name][1].install_hint in refused(name, tmp_path / "file")


@pytest.mark.parametrize("name", NAMES[:2])
def test_a_pickle_of_another_content_is_refused_by_its_sha256_before_torch_reads_it(
    name, tmp_path, monkeypatch
):
    path = tmp_path / "file"
    torch_file(path, random_state(what_the_face.build()))
    monkeypatch.setattr(torch, "load", lambda *a, **k: pytest.fail("torch.load was called"))
    assert "has sha256" in refused(name, path)


class Attack:
    """Object whose pickle would write a file when it is read."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return (Path.write_text, (self.path, "harmed"))


@pytest.mark.parametrize("name", NAMES[:2])
def test_a_pickle_with_code_is_refused_even_with_the_right_sha256(name, tmp_path):
    path = tmp_path / "file"
    model = pinned(LOADERS[name][1], content=torch_file(path, Attack(tmp_path / "harm")))
    assert "holds no tensors" in refused(name, path, model)
    assert not (tmp_path / "harm").exists()


def test_a_file_of_another_network_is_refused(tmp_path):
    path = tmp_path / "file"
    model = pinned(packages.WHAT_THE_FACE, content=torch_file(path, random_state(pyemotion.build())))
    assert "does not fit" in refused("what-the-face", path, model)
    state = random_state(what_the_face.build()) | {"fc3.bias": torch.zeros(8)}
    model = pinned(packages.WHAT_THE_FACE, content=torch_file(path, state))
    assert "fc3.bias has shape (8,)" in refused("what-the-face", path, model)


@pytest.mark.parametrize("name", NAMES[:2])
@pytest.mark.parametrize("content", [[1, 2], {"network": [1]}, {"network": {"conv1.weight": 1}}])
def test_a_checkpoint_without_tensors_is_refused(name, content, tmp_path):
    path = tmp_path / "file"
    refused(name, path, pinned(LOADERS[name][1], content=torch_file(path, content)))


@pytest.mark.parametrize("missing", [True, False])
@pytest.mark.parametrize("name", NAMES)
def test_a_folder_or_a_missing_file_is_refused(name, missing, tmp_path):
    if name == "facemood":
        pytest.importorskip("h5py", reason="not installed: pip install h5py")
    assert LOADERS[name][1].install_hint in refused(name, tmp_path / "absent" if missing else tmp_path)


@pytest.mark.parametrize("share", [0.0, 0.3, 0.999])
def test_a_cut_keras_file_is_refused(share, tmp_path):
    path = tmp_path / "file"
    keras_file(path)
    data = path.read_bytes()
    path.write_bytes(cut := data[: int(len(data) * share)])
    refused("facemood", path, pinned(packages.FACEMOOD, content=cut))


def test_weights_that_do_not_fit_their_manifest_are_refused(tmp_path):
    _, manifest, data = face_api_files()
    names = [file.name for file in packages.FACE_API.files]
    path = npm_archive(tmp_path / "face-api.tgz", dict(zip(names, (manifest, data[:-1]), strict=True)))
    message = refused("face-api", path, pinned(packages.FACE_API, manifest=manifest, data=data[:-1]))
    assert "fc/bias" in message


def test_predictions_of_one_black_pixel_are_probabilities(make):
    classifier, _ = make("face-api")
    predictions = classifier.predict([np.zeros((1, 1, 3), np.uint8)])
    np.testing.assert_allclose(predictions.probabilities.sum(axis=1), 1)
    assert predictions.answer[0] in set(Emotion)
