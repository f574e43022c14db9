"""Image classifiers of transformers: tiny random ones of the real classes, saved as published ones are."""

import json
import os
import shutil
import socket

import image_classifiers
import numpy as np
import pytest
import torch
import transformers
from fakes import toy_faces
from guards import no_hang
from image_classifiers import ALPHABETICAL
from PIL import Image
from safetensors.torch import load_file, save_file

from fer_models.artifacts.hashing import sha256_of
from fer_models.classifiers import hf_image
from fer_models.classifiers.base import Preprocessable, Profiled
from fer_models.emotions import LABELS
from fer_models.errors import UsageError, WeightsError, WeightsMissingError
from fer_models.zoo import models, resolve
from fer_models.zoo.spec import Runtime

KINDS = ("vit", "resnet", "mobilenet", "siglip")
ON_CPU = Runtime(device="cpu", precision="float32")


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """One folder for each kind of network."""
    parent = tmp_path_factory.mktemp("classifiers")
    return {kind: getattr(image_classifiers, kind)(parent / kind) for kind in (*KINDS, "grey_vit")}


@pytest.fixture
def vit(folders, tmp_path):
    """A copy of the ViT, to be changed."""
    return shutil.copytree(folders["vit"], tmp_path / "vit")


def faces():
    """Faces of several sizes, and one of noise."""
    sizes = [(48, 48), (20, 70), (224, 200), (3, 5)]
    resized = [np.asarray(Image.fromarray(toy_faces(4).faces([i])[0]).resize(s)) for i, s in enumerate(sizes)]
    return [*resized, np.random.default_rng(0).integers(0, 256, (60, 61, 3), dtype=np.uint8)]


def edit(folder, file="config.json", **fields):
    """Change fields of a JSON file; `...` removes one."""
    path = folder / file
    content = {**json.loads(path.read_text()), **fields}
    path.write_text(json.dumps({key: value for key, value in content.items() if value is not ...}))


def spec_of(text):
    return resolve.resolve_model(text, models.MODELS)


# -- predictions ----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_each_face_has_the_probabilities_of_the_pipeline_of_transformers(kind, folders):
    spec = spec_of(f"hf:{kind}@{folders[kind]}")
    predictions = spec.load(spec.resolve(ON_CPU)).predict(faces())
    pipeline = transformers.pipeline(
        "image-classification", model=str(folders[kind]), device="cpu", dtype=torch.float32, top_k=7
    )
    expected = np.zeros((len(faces()), 7))
    for row, face in zip(expected, faces(), strict=True):
        for score in pipeline(Image.fromarray(face)):
            row[LABELS.index(score["label"])] = score["score"]
    assert np.ptp(expected, axis=0).max() > 1e-3  # the faces matter
    np.testing.assert_allclose(predictions.probabilities, expected, atol=1e-5)
    assert predictions.labels == spec.labels == ALPHABETICAL


def test_a_network_with_one_channel_gets_grey_faces(folders):
    model = hf_image.load(folders["grey_vit"], device="cpu")
    for face in faces():
        image = np.asarray(Image.fromarray(face).convert("L").resize((32, 32), Image.Resampling.BILINEAR))
        pixels = (torch.tensor(image)[None, None] / 255 - 0.4) / 0.2
        with torch.inference_mode():
            expected = model.model(pixel_values=pixels).logits.softmax(1).numpy()
        found = model.predict([face]).probabilities[0, [LABELS.index(name) for name in ALPHABETICAL]]
        np.testing.assert_allclose(found, expected[0], atol=0.02)  # two libraries resize


@pytest.mark.parametrize("kind", KINDS)
def test_a_face_gets_the_same_prediction_alone_and_among_others(kind, folders):
    model = hf_image.load(folders[kind], device="cpu")
    given = faces()
    together = model.predict(given).probabilities
    alone = np.concatenate([model.predict([face]).probabilities for face in faces()])
    np.testing.assert_allclose(together, alone, atol=1e-5)
    assert all(np.array_equal(face, before) for face, before in zip(given, faces(), strict=True))


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_a_lower_precision_predicts_nearly_as_float32_does(precision, folders):
    full, half = (
        hf_image.load(folders["vit"], device="cpu", precision=p).predict(faces()).probabilities
        for p in ("float32", precision)
    )
    assert not np.array_equal(full, half)
    np.testing.assert_allclose(full, half, atol=0.05)


def test_parameters_and_operations_are_counted(folders):
    model = hf_image.load(folders["vit"], device="cpu")
    assert isinstance(model, Preprocessable)
    assert isinstance(model, Profiled)
    tensors = load_file(folders["vit"] / "model.safetensors")
    assert model.parameters == sum(tensor.numel() for tensor in tensors.values())
    tokens, width, hidden, layers = 17, 16, 32, 2
    per_layer = 4 * tokens * width**2 + 2 * tokens**2 * width + 2 * tokens * width * hidden
    assert model.macs == 16 * (3 * 8 * 8) * width + layers * per_layer + width * 7


def test_weights_in_several_files_predict_as_in_one(folders, tmp_path):
    network = transformers.ViTForImageClassification.from_pretrained(folders["vit"])
    network.save_pretrained(tmp_path, max_shard_size="10KB")
    shutil.copy(folders["vit"] / "preprocessor_config.json", tmp_path)
    assert len(list(tmp_path.glob("*.safetensors"))) > 2
    one, several = (hf_image.load(path, device="cpu").predict(faces()) for path in (folders["vit"], tmp_path))
    np.testing.assert_array_equal(one.probabilities, several.probabilities)


def test_an_image_processor_with_its_name_of_transformers_4_is_the_same(folders, vit):
    edit(vit, "preprocessor_config.json", image_processor_type="ViTFeatureExtractor")
    old, new = (hf_image.load(path, device="cpu").predict(faces()) for path in (vit, folders["vit"]))
    np.testing.assert_array_equal(old.probabilities, new.probabilities)


def test_a_model_that_timm_saved_has_its_preprocessing_in_its_configuration(tmp_path):
    import timm

    torch.manual_seed(0)
    network = timm.create_model("lcnet_035", num_classes=7)
    config = {"architecture": "lcnet_035", "num_classes": 7, "label_names": list(ALPHABETICAL)}
    pretrained = {"input_size": [3, 32, 32], "interpolation": "bicubic", "crop_pct": 1.0}
    pretrained |= {"mean": [0.5] * 3, "std": [0.5] * 3, "num_classes": 7}
    (tmp_path / "config.json").write_text(json.dumps(config | {"pretrained_cfg": pretrained}))
    save_file(network.state_dict(), tmp_path / "model.safetensors", {"format": "pt"})
    model = hf_image.load(tmp_path, device="cpu")
    assert model.labels == ALPHABETICAL
    face = faces()[0]
    pixels = torch.tensor(np.asarray(Image.fromarray(face).resize((32, 32), Image.Resampling.BICUBIC)))
    with torch.inference_mode():
        expected = network.eval()((pixels.permute(2, 0, 1)[None] / 255 - 0.5) / 0.5).softmax(1)[0].numpy()
    found = model.predict([face]).probabilities[0, [LABELS.index(name) for name in ALPHABETICAL]]
    np.testing.assert_allclose(found, expected, atol=1e-5)


# -- labels ---------------------------------------------------------------------------------------


def test_the_order_of_the_classes_is_that_of_their_names(folders, vit):
    reordered = ("surprise", *ALPHABETICAL[:-1])
    edit(vit, id2label={str(i): name for i, name in enumerate(reordered)})
    one, other = (hf_image.load(path, device="cpu").predict(faces()) for path in (folders["vit"], vit))
    for name, same in zip(reordered, ALPHABETICAL, strict=True):
        np.testing.assert_array_equal(
            other.probabilities[:, LABELS.index(name)], one.probabilities[:, LABELS.index(same)]
        )


def test_classes_outside_the_seven_are_dropped_and_the_others_rescaled(tmp_path):
    labels = ("Anger", "Contempt", "Disgust", "Fear", "Happiness", "Neutral", "Sadness", "Surprised")
    spec = spec_of(f"hf:eight@{image_classifiers.vit(tmp_path, labels)}")
    assert spec.labels == labels
    model = spec.load(spec.resolve(ON_CPU))
    raw = model.logits(model.preprocess(faces())).softmax(1).double().numpy()
    kept = raw[:, [0, 2, 3, 4, 6, 7, 5]]
    expected = kept / kept.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(model.predict(faces()).probabilities, expected, atol=1e-6)


def test_an_emotion_without_a_class_has_probability_zero(tmp_path):
    labels = ("Ahegao", "Angry", "Happy", "Neutral", "Sad", "Surprise")
    rows = hf_image.load(image_classifiers.vit(tmp_path, labels), device="cpu").predict(faces())
    assert not rows.probabilities[:, [LABELS.index("disgust"), LABELS.index("fear")]].any()


@pytest.mark.parametrize("names", [[f"LABEL_{i}" for i in range(7)], [str(i) for i in range(7)], range(7)])
def test_numbers_are_no_classes_until_their_names_are_declared(names, folders, vit):
    edit(vit, id2label={str(i): name for i, name in enumerate(names)})
    with pytest.raises(WeightsError, match=r"only numbers .*fer-models\.json in the model's folder"):
        hf_image.load(vit, device="cpu")
    (vit / "fer-models.json").write_text(json.dumps({"labels": ALPHABETICAL}))
    declared, named = (hf_image.load(path, device="cpu").predict(faces()) for path in (vit, folders["vit"]))
    np.testing.assert_array_equal(declared.probabilities, named.probabilities)
    assert spec_of(f"hf:mine@{vit}").labels == ALPHABETICAL


# -- by name --------------------------------------------------------------------------------------


@pytest.fixture
def cache(monkeypatch, tmp_path):
    """An empty cache of the Hub, without the network."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("huggingface_hub.file_download.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "hub"


def publish(folder, cache):
    """Lay out a model as the Hub's library does; the folder of its files."""
    repository = cache / "models--someone--faces"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text("abc")
    return shutil.copytree(folder, repository / "snapshots" / "abc")


def test_a_repository_that_is_not_here_names_the_command_and_downloads_nothing(cache, tmp_path):
    (tmp_path / "labels.json").write_text(json.dumps({"labels": ALPHABETICAL}))
    for name in ("hf:someone/faces", f"hf:someone/faces@{tmp_path / 'labels.json'}"):
        with pytest.raises(WeightsMissingError, match=r"fer-models weights fetch hf:someone/faces$"):
            spec_of(name).weights_path()
    assert not cache.exists()


def test_a_repository_in_the_hubs_cache_is_used_as_it_is(cache, folders):
    snapshot = publish(folders["vit"], cache)
    spec = spec_of("hf:someone/faces")
    assert (spec.name, spec.labels, spec.weights_path()) == ("hf:someone/faces", ALPHABETICAL, snapshot)
    expected = hf_image.load(folders["vit"], device="cpu").predict(faces()).probabilities
    np.testing.assert_array_equal(spec.load(ON_CPU).predict(faces()).probabilities, expected)


def test_the_classes_of_a_repository_are_declared_in_a_file(cache, vit, folders, tmp_path):
    edit(vit, id2label=...)
    publish(vit, cache)
    with pytest.raises(WeightsError, match=r"names no classes .*hf:ORGANISATION/NAME@FILE\.json"):
        spec_of("hf:someone/faces").load(ON_CPU)
    (tmp_path / "order.json").write_text(json.dumps({"labels": ALPHABETICAL}))
    spec = spec_of(f"hf:someone/faces@{tmp_path / 'order.json'}")
    assert (spec.name, spec.labels) == ("hf:someone/faces@order", ALPHABETICAL)
    expected = hf_image.load(folders["vit"], device="cpu").predict(faces()).probabilities
    np.testing.assert_array_equal(spec.load(ON_CPU).predict(faces()).probabilities, expected)
    before = spec.identity(ON_CPU)
    (tmp_path / "order.json").write_text(json.dumps({"labels": ALPHABETICAL[::-1]}))
    assert spec_of(f"hf:someone/faces@{tmp_path / 'order.json'}").identity(ON_CPU) != before


@pytest.mark.parametrize("file", ["config.json", "preprocessor_config.json", "model.safetensors"])
def test_every_file_that_decides_predictions_is_part_of_the_identity(file, vit):
    before = spec_of(f"hf:mine@{vit}").identity(ON_CPU)
    assert before["weights"] == sha256_of(vit)
    content = (vit / file).read_bytes()
    (vit / file).write_bytes(
        content.replace(b"0.5", b"0.4") if file.endswith(".json") else content[:-1] + b"1"
    )
    if file == "config.json":
        edit(vit, hidden_act="relu")
    assert spec_of(f"hf:mine@{vit}").identity(ON_CPU) != before


def test_a_folder_without_a_model_is_refused_with_the_name_as_it_was_typed(tmp_path):
    with pytest.raises(UsageError, match=r"--model hf:mine@.*holds no config\.json"):
        spec_of(f"hf:mine@{tmp_path}")


# -- models that cannot be used -------------------------------------------------------------------


def cut(folder):
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])


def without_head(folder):
    state = load_file(folder / "model.safetensors")
    state["vit.pooler.dense.weight"] = torch.zeros(16, 16)  # as the file of a network without classes has it
    del state["classifier.weight"], state["classifier.bias"]
    save_file(state, folder / "model.safetensors", {"format": "pt"})


def with_nan(folder):
    state = load_file(folder / "model.safetensors")
    state["classifier.bias"][3] = float("nan")
    save_file(state, folder / "model.safetensors", {"format": "pt"})


def in_shards(folder, **weight_map):
    (folder / "model.safetensors").rename(folder / "one.safetensors")
    text = json.dumps({"metadata": {}, "weight_map": {"a": "one.safetensors", **weight_map}})
    (folder / "model.safetensors.index.json").write_text(text)


UNUSABLE = {
    "no preprocessing": (
        lambda f: (f / "preprocessor_config.json").unlink(), r"no preprocessor_config\.json, which says how"
    ),
    "broken preprocessing": (
        lambda f: (f / "preprocessor_config.json").write_text("{"), "preprocessor_config.json cannot be read"
    ),
    "preprocessing of nothing": (
        lambda f: (f / "preprocessor_config.json").write_text("[]"), "holds a list, not an object"
    ),
    "a processor without a size": (
        lambda f: edit(f, "preprocessor_config.json", size=None), "image processor .* does not fit"
    ),
    "a processor of another size": (
        lambda f: edit(f, "preprocessor_config.json", size={"height": 64, "width": 64}), r"\(64\*64\)"
    ),
    "a processor of other channels": (
        lambda f: edit(f, "preprocessor_config.json", image_mean=[0.5] * 5), "does not fit its network"
    ),
    "an unknown processor": (
        lambda f: edit(f, "preprocessor_config.json", image_processor_type="Unheard"), "Unrecognized image"
    ),
    "a processor of sound": (
        lambda f: edit(f, "preprocessor_config.json", image_processor_type="WhisperFeatureExtractor"),
        "transformers does not have: WhisperImageProcessor",
    ),
    "code of its own": (
        lambda f: edit(f, auto_map={"AutoModel": "evil.Model"}), r"config\.json names code .* never run"
    ),
    "code of its processor": (
        lambda f: edit(f, "preprocessor_config.json", auto_map={"AutoImageProcessor": "evil.Processor"}),
        r"preprocessor_config\.json names code",
    ),
    "a broken configuration": (lambda f: (f / "config.json").write_text("{"), r"config\.json cannot be read"),
    "no type": (lambda f: edit(f, model_type=...), "Unrecognized model"),
    "an unknown type": (lambda f: edit(f, model_type="unheard"), "does not recognize this architecture"),
    "a text model": (lambda f: edit(f, model_type="bert", architectures=...), "Unrecognized configuration"),
    "a CLIP model": (
        lambda f: edit(f, model_type="clip", architectures=["CLIPModel"]), "holds a CLIPModel, .* hf-hub:"
    ),
    "architectures of another type": (lambda f: edit(f, architectures=3), "no list of names"),
    "several emotions at once": (
        lambda f: edit(f, problem_type="multi_label_classification"), "no probabilities of exclusive classes"
    ),
    "a regression": (lambda f: edit(f, problem_type="regression"), "problem type 'regression'"),
    "another number of classes": (lambda f: edit(f, num_labels=8), "7 classes in id2label, .* is 8"),
    "a class without a weight": (
        lambda f: edit(f, id2label={str(i): n for i, n in enumerate([*ALPHABETICAL, "contempt"])}),
        "7,992 parameters, its weights hold 7,975 numbers",
    ),
    "a weight without a class": (
        lambda f: edit(f, id2label={str(i): n for i, n in enumerate(ALPHABETICAL[:6])}),
        r"classifier\.bias has \(7,\), not \(6,\)",
    ),
    "a gap in the classes": (
        lambda f: edit(f, id2label={str(i + 1): n for i, n in enumerate(ALPHABETICAL)}), "for each of 0, 1, 2"
    ),
    "classes that are a list": (lambda f: edit(f, id2label=list(ALPHABETICAL)), "for each of 0, 1, 2"),
    "classes that are objects": (
        lambda f: edit(f, id2label={str(i): {} for i in range(7)}), "something that is no name"
    ),
    "an emotion twice": (
        lambda f: edit(f, id2label={str(i): n for i, n in enumerate(["anger", *ALPHABETICAL[:6]])}),
        "names an emotion twice",
    ),
    "other classes": (
        lambda f: edit(f, id2label={"0": "tench, Tinca tinca", "1": "goldfish"}), "'tench, Tinca tinca' is no"
    ),
    "no emotion": (lambda f: edit(f, id2label={"0": "contempt", "1": "other"}), "no class that is one of"),
    "a declaration of too few": (
        lambda f: (f / "fer-models.json").write_text('{"labels": ["happy", "sad"]}'), "names 2 .* 7 outputs"
    ),
    "a declaration of something else": (
        lambda f: (f / "fer-models.json").write_text('{"labels": ["happy"], "size": 3}'), "does not declare"
    ),
    "a declaration of numbers": (
        lambda f: (f / "fer-models.json").write_text('{"labels": [1, 2]}'), "does not declare the classes"
    ),
    "an adapter": (lambda f: (f / "adapter_config.json").write_text("{}"), "adapter of another model"),
    "weights of another name": (lambda f: edit(f, transformers_weights="x.safetensors"), "another file"),
    "weights that are cut": (cut, "cannot be read as safetensors"),
    "weights without a head": (without_head, r"lacks 2 tensors \(classifier\.bias, classifier\.weight"),
    "weights that are no numbers": (with_nan, "outputs that are no numbers"),
    "another network": (lambda f: edit(f, num_hidden_layers=3), "10,199 parameters"),
    "a network of a petabyte": (lambda f: edit(f, hidden_size=2**24), "parameters, its weights hold"),
    "a network without a size": (lambda f: edit(f, hidden_size="x"), "hidden_size"),
    "a missing file": (lambda f: in_shards(f, b="two.safetensors"), r"two\.safetensors is missing \(1 of 2"),
    "a file of another folder": (lambda f: in_shards(f, b="../two.safetensors"), "no files of this folder"),
    "weights in a pipe": (
        lambda f: ((f / "model.safetensors").unlink(), os.mkfifo(f / "model.safetensors")), "holds no model"
    ),
    "weights that are a folder": (
        lambda f: ((f / "model.safetensors").unlink(), (f / "model.safetensors").mkdir()), "holds no model"
    ),
    "a declaration in a pipe": (lambda f: os.mkfifo(f / "fer-models.json"), "not a regular file"),
    "preprocessing nested deeply": (
        lambda f: (f / "preprocessor_config.json").write_text("[" * 100_000), "nested too deeply"
    ),
    "an empty index": (
        lambda f: (in_shards(f), (f / "model.safetensors.index.json").write_text("{}")), "no files of this"
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", UNUSABLE)
def test_a_model_that_cannot_be_used_is_refused_in_one_sentence(name, vit, capfd):
    change, message = UNUSABLE[name]
    change(vit)
    with no_hang(60), pytest.raises(WeightsError, match=message) as caught:
        hf_image.load(vit, device="cpu")
    text = str(caught.value)
    assert text.isprintable()
    assert len(text) < 1200
    assert "".join(capfd.readouterr()) == ""  # no table of transformers


def test_loading_a_model_opens_no_connection(vit, monkeypatch):
    connections = []
    monkeypatch.setattr(socket.socket, "connect", lambda self, address: connections.append(address))
    monkeypatch.setattr(socket, "getaddrinfo", lambda *address, **options: connections.append(address))
    hf_image.load(vit, device="cpu").predict(faces())
    assert connections == []


@pytest.mark.parametrize("suffix", ["bin", "pth", "pt"])
def test_a_model_without_safetensors_is_never_unpickled(suffix, vit, tmp_path):
    proof = tmp_path / "was-here"
    pickle = f"cos\nsystem\n(S'touch {proof}'\ntR.".encode()
    (vit / "model.safetensors").unlink()
    (vit / f"pytorch_model.{suffix}").write_bytes(pickle)
    with pytest.raises(WeightsError, match=r"holds no model\.safetensors\. Only safetensors are read"):
        hf_image.load(vit, device="cpu")
    (vit / "model.safetensors").write_bytes(pickle)
    with pytest.raises(WeightsError, match="cannot be read as safetensors"):
        hf_image.load(vit, device="cpu")
    assert not proof.exists()


@pytest.mark.parametrize(
    "settings",
    [
        {"architecture": "hf-hub:someone/network"},
        {"architecture": "lcnet_035", "model_args": {"checkpoint_path": "other.pth"}},
        {"architecture": "lcnet_035", "model_args": {"cache_dir": "/tmp/elsewhere"}},
        {"attn_implementation": "someone/kernel"},
        {"backbone_config": {"backbone": "someone/backbone"}},
    ],
    ids=["another repository", "another file", "another folder", "a kernel", "a backbone"],
)
def test_a_configuration_that_names_something_outside_its_folder_is_refused(settings, vit, monkeypatch):
    connections = []
    monkeypatch.setattr(socket.socket, "connect", lambda self, address: connections.append(address))
    monkeypatch.setattr(socket, "getaddrinfo", lambda *address, **options: connections.append(address))
    edit(vit, pretrained_cfg={}, **settings)
    with pytest.raises(WeightsError, match="outside its folder"):
        hf_image.load(vit, device="cpu")
    assert connections == []
