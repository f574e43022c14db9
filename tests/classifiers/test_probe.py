import json

import numpy as np
import pytest
from fakes import TinyEncoder, toy_faces
from sklearn.linear_model import LogisticRegression

from fer_models import cli
from fer_models.artifacts.hashing import sha256_of
from fer_models.classifiers import probe
from fer_models.classifiers.probe import Probe, fit
from fer_models.config import EvalConfig
from fer_models.emotions import LABELS
from fer_models.errors import UsageError, WeightsError, WeightsMissingError
from fer_models.inference.runner import Runner
from fer_models.zoo import resolve, restorers
from fer_models.zoo.models import MODELS
from fer_models.zoo.registry import Registry
from fer_models.zoo.spec import ModelSpec, Runtime, Weights


def random_embeddings(n, seed=0, d=9):
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % 7
    return (rng.normal(0, 0.6, (n, d)) + np.eye(7, d)[labels]).astype(np.float32), labels


def test_a_probe_is_scikit_learns_logistic_regression():
    (x, y), (v, w) = random_embeddings(700), random_embeddings(350, 1)
    fitted_probe = fit(x, y, v, w, base=None, strengths=(1.0,))
    oracle = LogisticRegression(C=1.0, max_iter=500).fit(x, y)
    np.testing.assert_allclose(fitted_probe.classify(v).probabilities, oracle.predict_proba(v), atol=1e-4)


def test_the_penalty_is_the_most_accurate_on_other_faces():
    (x, y), (v, w) = random_embeddings(70, d=40), random_embeddings(700, 1, d=40)
    fitted_probe = fit(x, y, v, w, base="f")
    accuracies = fitted_probe.record["validation_accuracy"]
    assert accuracies[str(fitted_probe.record["strength"])] == max(accuracies.values())
    assert (fitted_probe.classify(v).answer == w).mean() == max(accuracies.values())
    assert fitted_probe.record["strength"] < 100


def test_a_probe_is_read_as_it_was_written(tmp_path):
    (x, y), (v, w) = random_embeddings(70), random_embeddings(70, 1)
    fitted_probe = fit(x, y, v, w, base="f" * 64, strengths=(1.0,))
    fitted_probe.write(tmp_path / "deep" / "p.safetensors")
    read = probe.read(tmp_path / "deep" / "p.safetensors")
    np.testing.assert_array_equal(read.weights, fitted_probe.weights)
    assert (read.base, dict(read.record)) == (fitted_probe.base, dict(fitted_probe.record))


@pytest.mark.parametrize("content", [b"", b"no safetensors", b"\x02\0\0\0\0\0\0\0{}"])
def test_what_is_no_probe_is_refused_with_the_way_out(tmp_path, content):
    (tmp_path / "p.safetensors").write_bytes(content)
    with pytest.raises(WeightsError, match="fer-models probe"):
        probe.read(tmp_path / "p.safetensors")


def test_a_probe_with_other_than_seven_rows_is_refused(tmp_path):
    Probe(np.zeros((3, 4), np.float32), np.zeros(3, np.float32), None, {}).write(tmp_path / "p.safetensors")
    with pytest.raises(WeightsError, match="shape"):
        probe.read(tmp_path / "p.safetensors")


def test_a_probe_needs_all_emotions():
    x, y = random_embeddings(60)
    with pytest.raises(WeightsError, match="all seven"):
        fit(x[y < 6], y[y < 6], x, y, base=None)


# -- as a model ---------------------------------------------------------------------------------


@pytest.fixture
def encoder(tmp_path, monkeypatch):
    monkeypatch.setenv("FER_MODELS_WEIGHTS", str(tmp_path / "weights"))
    monkeypatch.setattr(TinyEncoder, "embedded", 0)
    monkeypatch.setattr(
        "fer_models.datasets.synthetic.load",
        lambda split: toy_faces(140, "train" if split == "train" else "validation"),
    )
    file = tmp_path / "encoder.bin"
    file.write_bytes(b"encoder")
    return ModelSpec(
        "encoder",
        lambda runtime: TinyEncoder(),
        weights=Weights(lambda: file, "nowhere"),
        has_embeddings=True,
    )


def fitted(encoder, tmp_path):
    x, y = random_embeddings(140, d=64)
    fit(x, y, x, y, base=sha256_of(tmp_path / "encoder.bin"), strengths=(1.0,)).write(
        tmp_path / "weights" / "encoder-probe.safetensors"
    )


def test_a_probe_shares_its_models_embeddings(encoder, tmp_path):
    fitted(encoder, tmp_path)
    models = Registry("model", encoder)
    models.add(resolve.resolve_model("encoder-probe", models))
    runner = Runner(
        EvalConfig("synthetic", split="validation", store=tmp_path / "store"), models, restorers.RESTORERS
    )
    runner.predict(("encoder", "raw"))
    predictions = runner.predict(("encoder-probe", "raw")).predictions
    assert TinyEncoder.embedded == 140
    direct = (
        models["encoder-probe"]
        .load(Runtime())
        .predict(runner.data.faces.faces(range(len(runner.data.faces))))
    )
    np.testing.assert_array_equal(predictions.answer, direct.answer)
    np.testing.assert_array_equal(
        runner.embeddings(("encoder-probe", "raw")), runner.embeddings(("encoder", "raw"))
    )


def test_a_probe_of_other_weights_counts_as_none(encoder, tmp_path):
    fitted(encoder, tmp_path)
    spec = resolve.resolve_model("encoder-probe", Registry("model", encoder))
    assert spec.weights_path() is not None
    (tmp_path / "encoder.bin").write_bytes(b"other encoder")
    with pytest.raises(WeightsMissingError, match="fer-models probe encoder"):
        spec.weights_path()


def test_only_models_with_embeddings_can_be_probed():
    with pytest.raises(UsageError, match="no embeddings"):
        resolve.resolve_model("vgg19-probe", MODELS)


@pytest.mark.slow
def test_the_command_fits_and_prints_its_choice(encoder, tmp_path, capsys):
    (tmp_path / "mine.py").write_text(
        "from pathlib import Path\nfrom fakes import TinyEncoder\nfrom fer_models import ModelSpec\n"
        "from fer_models.zoo.spec import Weights\n"
        f"weights = Weights(lambda: Path({str(tmp_path / 'encoder.bin')!r}), 'x')\n"
        "MODELS = [ModelSpec('encoder', lambda runtime: TinyEncoder(), weights=weights, "
        "has_embeddings=True)]\n"
    )
    command = [
        "probe",
        "encoder",
        "--dataset",
        "synthetic",
        "--model-file",
        str(tmp_path / "mine.py"),
        "--store",
        str(tmp_path / "store"),
    ]
    assert cli.main(command) == 0
    output = capsys.readouterr().out
    assert "fer-models eval --model encoder-probe" in output
    fitted_probe = probe.read(tmp_path / "weights" / "encoder-probe.safetensors")
    assert fitted_probe.record["fitted_to"]["n"] == 140
    assert fitted_probe.record["chosen_on"]["name"] == "toy/validation"
    assert json.dumps(dict(fitted_probe.record))
    assert fitted_probe.weights.shape == (len(LABELS), 64)
    assert cli.main(["probe", "vgg19"]) == 4
