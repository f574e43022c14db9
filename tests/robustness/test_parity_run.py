"""Spoiled exports of a small network: each fails next to its reference, in a real run over colour faces."""

import json
import shutil

import pytest
from PIL import Image
from small_networks import colour_faces, small_checkpoint

from fer_models.config import EvalConfig
from fer_models.emotions import LABELS
from fer_models.errors import UsageError
from fer_models.evaluation import Evaluation
from fer_models.gate import gate
from fer_models.inference.runner import Combination
from fer_models.zoo.models import MODELS
from fer_models.zoo.registry import Registry
from fer_models.zoo.resolve import resolve_model
from fer_models.zoo.restorers import RESTORERS

pytest.importorskip("onnxscript", reason='not installed: pip install "fer-models[export]"')
pytest.importorskip("onnxruntime", reason='not installed: pip install "fer-models[export]"')
onnx = pytest.importorskip("onnx", reason='not installed: pip install "fer-models[export]"')
from fer_models.export.export import export  # noqa: E402

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    return small_checkpoint(tmp_path_factory.mktemp("weights") / "small.safetensors")


@pytest.fixture(scope="module")
def exported(small, tmp_path_factory):
    return export(small, tmp_path_factory.mktemp("exports")).path


@pytest.fixture(scope="module")
def folder(small, tmp_path_factory):
    """Colour faces with the labels that the small network predicts, so that it is always right."""
    root, faces = tmp_path_factory.mktemp("faces"), colour_faces(84)
    answers = small.load(None).predict(faces).answer
    for i, (face, answer) in enumerate(zip(faces, answers, strict=True)):
        path = root / LABELS[answer] / f"{i:03d}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(face).save(path)
    return root


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """The store of all runs: the reference is predicted once."""
    return tmp_path_factory.mktemp("runs") / "store"


@pytest.fixture
def judged(small, folder, store, tmp_path):
    """A function from an exported file to the verdict on it; the run names the export only."""

    def judge(path):
        spec = resolve_model(f"onnx:{path}", MODELS)
        models = Registry("model", spec)
        available = Registry("model", small, spec)
        options = EvalConfig(str(folder), store=store, baselines=tmp_path / "none.json")
        run = Evaluation(options, models, RESTORERS, available_models=available)
        combination = Combination(spec.name, "raw")
        run.robustness.judge.select([("parity", combination)])
        run.parity.judge.select([combination])
        return run.parity.verdict(combination)

    return judge


def altered(exported, folder, **description):
    """A copy of an export whose description is changed by a file next to it."""
    path = shutil.copy(exported, folder / "altered.onnx")
    (folder / "altered.json").write_text(json.dumps(description))
    return path


def test_a_sound_export_passes(judged, exported):
    verdict = judged(exported)
    assert verdict.status == gate.PASS
    assert verdict.measured.reference == "small"
    assert verdict.measured.agreement.is_exact
    assert not verdict.fails(strict=True)


@pytest.mark.parametrize(
    "description",
    [
        {"mean": [0.2, 0.3, 0.25], "std": [0.5, 0.4, 0.3]},
        {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]},
        {"color_order": "bgr"},
        {"labels": list(LABELS)},
        {"range": [-1, 1]},
        {"resample": "nearest"},
    ],
    ids=["mean and std swapped", "ImageNet's mean and std", "BGR", "labels permuted", "range", "resample"],
)
def test_a_wrong_description_fails(judged, exported, tmp_path, description):
    verdict = judged(altered(exported, tmp_path, **description))
    assert verdict.status == gate.FAIL
    assert "differ" in verdict.disagreement


def test_a_layer_that_is_two_percent_off_fails(judged, exported, tmp_path):
    model = onnx.load(exported)
    weights = next(one for one in model.graph.initializer if len(one.dims) == 4)
    values = onnx.numpy_helper.to_array(weights) * 1.02
    weights.CopyFrom(onnx.numpy_helper.from_array(values, weights.name))
    onnx.save(model, tmp_path / "scaled.onnx")
    assert judged(tmp_path / "scaled.onnx").status == gate.FAIL


def test_permuted_labels_of_a_quantized_export_fail_by_the_paired_test(judged, exported, tmp_path):
    path = altered(exported, tmp_path, labels=list(LABELS), quantization="int8-dynamic")
    verdict = judged(path)
    assert (verdict.disagreement, verdict.status) == (None, gate.FAIL)
    assert "accuracy" in [check.metric for check in verdict.paired.failed_checks]


@pytest.mark.parametrize(
    "name", ["endpoint:m@http://localhost:1/v1", "timm:resnet18@{file}", "hf-hub:someone/model", "{file}.py"]
)
def test_a_description_cannot_name_a_server_or_another_file(judged, exported, tmp_path, name):
    with pytest.raises(UsageError, match="No model named"):
        judged(altered(exported, tmp_path, same_as=name.format(file=exported)))


def test_an_export_is_not_its_own_reference(judged, exported, tmp_path):
    with pytest.raises(UsageError, match="its own name"):
        judged(altered(exported, tmp_path, same_as="onnx:altered"))


def test_a_reference_that_is_not_known_is_one_clear_error(judged, exported, tmp_path):
    with pytest.raises(UsageError, match=r"declared to be the same as 'smal'.*Did you mean 'small'"):
        judged(altered(exported, tmp_path, same_as="smal"))
