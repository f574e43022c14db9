"""Exported files against the models in torch, on small networks of the real classes."""

import json

import numpy as np
import open_clip
import pytest
import torch
from bench import write_faces
from fakes import toy_faces
from small_networks import ORDER, classifier, colour_faces, small_checkpoint, small_network

pytest.importorskip("onnxscript", reason='not installed: pip install "fer-models[export]"')
pytest.importorskip("onnxruntime", reason='not installed: pip install "fer-models[export]"')
onnx = pytest.importorskip("onnx", reason='not installed: pip install "fer-models[export]"')

from fer_models import cli  # noqa: E402
from fer_models.artifacts.hashing import sha256_of  # noqa: E402
from fer_models.classifiers import clip, prompts  # noqa: E402
from fer_models.classifiers.dummy import Constant  # noqa: E402
from fer_models.classifiers.probe import LinearProbe, Probe  # noqa: E402
from fer_models.classifiers.tta import flip_tta  # noqa: E402
from fer_models.emotions import Emotion  # noqa: E402
from fer_models.errors import PredictionError, UsageError  # noqa: E402
from fer_models.export.export import export, file_name  # noqa: E402
from fer_models.export.onnx_graph import PROVENANCE_KEY  # noqa: E402
from fer_models.zoo.models import MODELS  # noqa: E402
from fer_models.zoo.resolve import resolve_model  # noqa: E402
from fer_models.zoo.spec import ModelSpec, Runtime  # noqa: E402

CLIP = {
    "embed_dim": 32,
    "vision_cfg": {"image_size": 32, "layers": 2, "width": 64, "head_width": 32, "patch_size": 8},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 2},
}


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    return small_checkpoint(tmp_path_factory.mktemp("weights") / "small.safetensors")


@pytest.fixture(scope="module")
def exported(small, tmp_path_factory):
    return export(small, tmp_path_factory.mktemp("exports"))


@pytest.fixture(scope="module")
def small_clip(tmp_path_factory):
    path = tmp_path_factory.mktemp("clip") / "export-clip.json"
    path.write_text(json.dumps(CLIP))
    open_clip.add_model_config(path)
    torch.manual_seed(0)
    tokenizer = open_clip.get_tokenizer("export-clip")
    return clip.Clip(clip.create("export-clip"), tokenizer, prompts.load("plain"), torch.device("cpu"))


def loaded(path):
    return resolve_model(f"onnx:{path}", MODELS).load(Runtime("cpu"))


def assert_same_predictions(path, reference, faces):
    one, two = loaded(path).predict(faces), reference.predict(faces)
    np.testing.assert_allclose(one.probabilities, two.probabilities, atol=1e-5)
    assert two.probabilities.std(axis=0).max() > 1e-3  # far more than the tolerance


def metadata_of(path):
    return {entry.key: json.loads(entry.value) for entry in onnx.load(path).metadata_props}


@pytest.mark.parametrize("n", [1, 2, 30])
def test_an_exported_cnn_predicts_any_number_of_faces_as_in_torch(exported, small, n):
    reference = small.load(Runtime("cpu", "float32"))
    faces = colour_faces(30)[:n]
    one, two = loaded(exported.path).predict(faces), reference.predict(faces)
    np.testing.assert_allclose(one.probabilities, two.probabilities, atol=1e-4)
    assert exported.agreement.is_exact


def test_an_export_describes_itself(exported, small):
    spec = resolve_model(f"onnx:{exported.path}", MODELS)
    assert (spec.name, spec.same_as, spec.quantization) == ("onnx:small", "small", None)
    assert spec.labels == ORDER
    provenance = metadata_of(exported.path)[PROVENANCE_KEY]
    assert provenance["weights_sha256"] == sha256_of(small.weights_path())
    assert provenance["versions"]["onnx"] == onnx.__version__
    assert list(exported.path.parent.iterdir()) == [exported.path]


@pytest.mark.slow
def test_an_exported_clip_model_has_its_prompts_inside(small_clip, tmp_path):
    spec = ModelSpec("small-clip", lambda runtime: small_clip)
    done = export(spec, tmp_path)
    assert_same_predictions(done.path, small_clip, colour_faces(40))
    assert small_clip.preprocess_config.resize_mode == "shortest"
    assert "not square is cropped by the model" in done.note


@pytest.mark.slow
def test_an_exported_linear_probe_predicts_as_in_torch(small_clip, tmp_path):
    rng = np.random.default_rng(0)
    weights, bias = rng.normal(size=(7, 32)).astype(np.float32), rng.normal(size=7).astype(np.float32)
    probe = LinearProbe(small_clip, Probe(9 * weights, bias, None, {}))
    spec = ModelSpec("small-clip-probe", lambda runtime: probe)
    assert_same_predictions(export(spec, tmp_path).path, probe, colour_faces(40))


@pytest.mark.slow
@pytest.mark.parametrize("method", ["int8-dynamic", "int8-static", "fp16"])
def test_a_quantized_export_is_smaller_and_close(small, exported, tmp_path, method):
    calibration = toy_faces(32, "train") if method == "int8-static" else None
    quantized = export(small, tmp_path, method=method, calibration=calibration)
    assert quantized.path.name == f"small-{method}.onnx"
    assert quantized.path.stat().st_size < 0.6 * exported.path.stat().st_size
    assert 0 < quantized.agreement.mean_difference < 0.2
    assert resolve_model(f"onnx:{quantized.path}", MODELS).quantization == method
    faces = metadata_of(quantized.path)[PROVENANCE_KEY]["calibration"]
    assert (faces and faces["fingerprint"]) == (calibration and calibration.fingerprint)


@pytest.mark.slow
def test_dynamic_ranges_do_not_depend_on_the_other_faces_of_a_batch(small, tmp_path):
    model, faces = loaded(export(small, tmp_path, method="int8-dynamic").path), colour_faces(6)
    faces[0] = np.full_like(faces[0], 255)  # its range is another one
    together = model.predict(faces).probabilities
    alone = np.concatenate([model.predict([face]).probabilities for face in faces])
    np.testing.assert_allclose(together, alone, atol=1e-6)


@pytest.mark.slow
def test_an_existing_file_is_kept_unless_it_shall_be_replaced(small, tmp_path):
    (tmp_path / "small.onnx").write_text("mine")
    with pytest.raises(UsageError, match="--overwrite"):
        export(small, tmp_path)
    assert (tmp_path / "small.onnx").read_text() == "mine"
    export(small, tmp_path, overwrite=True)
    assert len(loaded(tmp_path / "small.onnx").predict(colour_faces(1))) == 1


class ChangedWhenExported(torch.nn.Module):
    """A network whose logits are in the reverse order while it is exported."""

    def __init__(self):
        super().__init__()
        self.network = small_network()

    def forward(self, batch):
        logits = self.network(batch)
        return logits.flip(1) if torch.compiler.is_exporting() else logits


@pytest.mark.slow
def test_an_export_that_predicts_otherwise_is_not_written(tmp_path):
    changed = classifier(ChangedWhenExported())
    (tmp_path / "changed.onnx").write_text("an earlier one")
    with pytest.raises(PredictionError, match="does not predict as changed does"):
        export(ModelSpec("changed", lambda runtime: changed), tmp_path, overwrite=True)
    assert [path.name for path in tmp_path.iterdir()] == ["changed.onnx"]
    assert (tmp_path / "changed.onnx").read_text() == "an earlier one"


@pytest.mark.parametrize("model", [Constant(Emotion.SAD), flip_tta(Constant(Emotion.SAD))])
def test_what_is_no_single_network_is_refused_with_one_sentence(tmp_path, model):
    with pytest.raises(UsageError, match=f"mine cannot be exported: it is a {type(model).__name__}"):
        export(ModelSpec("mine", lambda runtime: model), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_made_is_a_usage_error(small, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="--output FOLDER"):
        export(small, tmp_path / "file")


@pytest.mark.parametrize(
    ("model", "method", "name"),
    [
        ("vgg19", None, "vgg19.onnx"),
        ("vgg19", "int8-static", "vgg19-int8-static.onnx"),
        ("timm:resnet18@../x/y", "fp16", "timm-resnet18-..-x-y-fp16.onnx"),
        ("open_clip:ViT-B-32/openai", None, "open_clip-ViT-B-32-openai.onnx"),
    ],
)
def test_the_name_of_a_file_has_no_folder_in_it(model, method, name):
    assert file_name(model, method) == name


def test_the_command_refuses_bf16_with_the_reason(capsys):
    assert cli.main(["export", "vgg19", "--quantize", "bf16"]) == 4
    assert "ONNX Runtime has no bfloat16 convolution" in capsys.readouterr().err


@pytest.mark.slow
def test_the_command_calibrates_on_the_train_split(small, tmp_path, capsys):
    for split, n in (("train", 42), ("val", 14), ("test", 21)):
        write_faces(tmp_path / "faces" / split, n)
    model, output = f"small@{small.weights_path()}", tmp_path / "out"
    options = ["--dataset", str(tmp_path / "faces"), "--calibration", "14", "--output", str(output)]
    assert cli.main(["export", model, "--quantize", "int8-static", *options]) == 0
    assert "Calibrated on faces/train: 14 faces." in capsys.readouterr().out
    (path,) = output.iterdir()
    assert metadata_of(path)[PROVENANCE_KEY]["calibration"]["name"] == "faces/train"
