import json
import os
import subprocess
import sys

import numpy as np
import pytest
from bench import write_faces
from fakes import full_disk, toy_faces
from PIL import Image

from fer_models import cli, datasets
from fer_models.cli import common, gate
from fer_models.datasets.schemes import SCHEMES
from fer_models.emotions import LABELS
from fer_models.errors import UsageError
from fer_models.scoring.sample_size import required_sample_size
from fer_models.store.partition import Store
from fer_models.store.predictions import PredictionTable
from fer_models.store.subject import Subject
from fer_models.zoo.models import MODELS


@pytest.fixture
def faces(tmp_path):
    """A class folder with train, validation and test."""
    for split, n in (("train", 42), ("val", 14), ("test", 14)):
        split_faces = toy_faces(n)
        for i, (image, label) in enumerate(zip(split_faces.images, split_faces.labels, strict=True)):
            folder = tmp_path / "faces" / split / LABELS[label]
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(folder / f"{i:03d}.png")
    return tmp_path / "faces"


def test_list_names_every_model_and_the_command_for_missing_weights(capsys):
    assert cli.main(["list"]) == 0
    output = capsys.readouterr().out
    models = ("vgg19", "resnet50", "efficientnet_b0")
    restorers = ("raw", "bicubic", "gfpgan", "gfpgan-1.3", "gfpgan-nano")
    for name in models + restorers:
        assert name in output
    assert "fer-models weights fetch clip-vit-b-32" in output
    assert "fer-models weights fetch gfpgan-1.3" in output


def test_list_imports_no_model_library():
    heavy = ("torch", "timm", "open_clip", "transformers", "spandrel", "sklearn", "scipy")
    check = f"sys.exit(any(m in sys.modules for m in {heavy}))"
    code = f"import sys; from fer_models.cli import main; main(['list']); {check}"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True).returncode == 0


def test_data_prints_counts_and_fingerprint_and_writes_a_sheet(capsys, faces, tmp_path):
    sheet = tmp_path / "sheet.png"
    options = ["--dataset", str(faces), "--split", "test", "--format", "json", "--sheet", str(sheet)]
    assert cli.main(["data", *options]) == 0
    out = capsys.readouterr().out
    report = json.loads(out)["faces/test"]
    assert report["n"] == 14
    assert report["counts"] == dict.fromkeys(LABELS, 2)
    assert len(report["fingerprint"]) == 64
    with Image.open(sheet) as picture:
        assert picture.size == (14 * 96, 7 * 96)


def test_a_trained_restorer_is_found_by_the_evals(capsys, faces, tmp_path, monkeypatch):
    from fer_models.restorers.gfpgan import GfpganConfig
    from fer_models.training import restoration
    from fer_models.zoo import restorers
    from fer_models.zoo.spec import Runtime

    recipe = restoration.RestorationRecipe(
        GfpganConfig(out_size=16, num_style_feat=8, num_mlp=0, narrow=1 / 64), side=16, recogniser=None
    )
    monkeypatch.setattr(restoration, "RestorationRecipe", lambda: recipe)
    monkeypatch.setenv("FER_MODELS_WEIGHTS", str(tmp_path / "weights"))
    monkeypatch.setattr("fer_models.artifacts.weights.SHIPPED", tmp_path / "nothing shipped")
    assert restorers.GFPGAN_NANO.weights.locate() is None
    common = ["train", "gfpgan-nano", "--dataset", str(faces), "--no-synthetic", "--device", "cpu"]
    assert cli.main([*common, "--epochs", "1", "--batch-size", "14"]) == 0
    output = capsys.readouterr().out
    assert "dB on faces/validation" in output
    assert "kept epoch 1 (" in output
    restorer = restorers.GFPGAN_NANO.load(restorers.GFPGAN_NANO.resolve(Runtime("cpu")))
    assert [face.shape for face in restorer.restore(toy_faces(2).faces([0, 1]))] == [(16, 16, 3)] * 2
    assert cli.main(["weights", "provenance", "gfpgan-nano"]) == 0
    assert json.loads(capsys.readouterr().out)["recipe"]["batch_size"] == 14
    assert cli.main([*common, "--teacher", "vgg19"]) == 4
    assert "gfpgan-nano cannot be trained with --teacher. Leave it out." in capsys.readouterr().err


def test_a_network_is_trained_quantized_and_predicts(capsys, faces, tmp_path, monkeypatch):
    from fer_models.classifiers.architecture import Architecture
    from fer_models.training import recipes

    tiny = recipes.Recipe(
        Architecture("resnet10t", size=32), epochs=2, batch_size=14, lr=0.02, sizes=((0.0, 32),)
    )
    monkeypatch.setitem(recipes.RECIPES, "tiny", tiny)
    common = ["--dataset", str(faces), "--no-synthetic", "--device", "cpu", "--output", str(tmp_path / "out")]
    assert cli.main(["train", "tiny", *common]) == 0
    output = capsys.readouterr().out
    assert "kept epoch" in output
    assert "faces/val" in output
    weights, quantized = tmp_path / "out" / "tiny.safetensors", tmp_path / "quantized.safetensors"
    assert cli.main(["weights", "quantize", str(weights), "--bits", "8", "--output", str(quantized)]) == 0
    assert quantized.stat().st_size < 0.4 * weights.stat().st_size
    capsys.readouterr()
    assert cli.main(["weights", "provenance", f"tiny@{quantized}"]) == 0
    assert json.loads(capsys.readouterr().out)["validation_data"]["name"] == "faces/validation"
    assert cli.main(["weights", "average", str(weights), str(weights)]) == 0
    averaged = tmp_path / "out" / "tiny-average.safetensors"
    assert str(averaged) in capsys.readouterr().out
    assert cli.main(["weights", "provenance", f"tiny@{averaged}"]) == 0
    averaged_from = json.loads(capsys.readouterr().out)["averaged"]
    assert [one["provenance"]["model"] for one in averaged_from] == ["tiny", "tiny"]
    picture = next((faces / "test").rglob("*.png"))
    capsys.readouterr()
    assert (
        cli.main(["predict", f"tiny@{quantized}", str(picture), "--format", "json", "--device", "cpu"]) == 0
    )
    prediction = json.loads(capsys.readouterr().out)
    assert prediction["answer"] in LABELS
    assert sum(prediction["probabilities"].values()) == pytest.approx(1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "vgg18"], "Did you mean 'vgg19'"),
        (["train", "vgg19"], "--data-root"),
        (["train", "vgg19", "--dataset", "nowhere"], "nowhere"),
        (["data", "--dataset", "fer2013", "--data-root", "/nowhere"], "/nowhere"),
        (["predict", "vgg18", "x.png"], "Did you mean 'vgg19'"),
        (["weights", "quantize", "none.safetensors"], "none.safetensors"),
        (["weights", "average", "none.safetensors"], "at least two files"),
    ],
)
def test_a_usage_error_ends_with_code_4_and_one_line(capsys, arguments, message):
    assert cli.main(arguments) == 4
    output = capsys.readouterr().err
    assert message in output
    assert output.count("\n") == 1


@pytest.fixture
def predictions():
    """Predictions for 600 faces, correct as often as their probabilities."""
    rng = np.random.default_rng(0)
    p, n = rng.dirichlet(np.full(7, 0.35), 600), 600
    truth = np.array([rng.choice(7, p=row) for row in p])
    faces = tuple(f"{i:064x}" for i in range(n))
    return PredictionTable(faces, np.arange(n), truth, p.argmax(axis=1), p, ("ok",) * n, ("",) * n)


def store(root, predictions, restoration="raw", model="net"):
    """Write the partition of one subject."""
    subject, p = Subject("toy", "test", restoration, model), predictions
    partition = Store(root).partition(subject, "k" * 64, p.faces, p.truth, p.index)
    with partition.locked():
        for shard in range(partition.shards):
            rows = partition.rows(shard)
            partition.write(shard, p.select(np.arange(rows.start, rows.stop)), {}, 0.1)
    return partition.folder


@pytest.mark.slow
def test_gate_power_simulates_runs_from_stored_predictions(capsys, tmp_path, predictions, monkeypatch):
    monkeypatch.setattr(os, "cpu_count", lambda: 1)  # no other processes: starting them takes longer
    folder = store(tmp_path, predictions)
    options = ["--runs", "3", "--full-runs", "2", "--n", "300", "--format", "json"]
    assert cli.main(["gate", "power", "--store", str(tmp_path), *options]) == 0
    output = json.loads(capsys.readouterr().out)
    assert output["source"]["model"] == "net"
    assert [s["fall"] for s in output["scenarios"]][:3] == [0.0, 0.0, 0.005]
    tests = {"FAIL", "FAIL or DEGRADED", "McNemar", "DEGRADED", "unpaired", "threshold"}
    assert set(output["scenarios"][0]["rejection_rate"]) == set(output["minimum_detectable_fall"]) == tests
    standard, full = output["full_runs"]["depths"]
    assert (standard["depth"], standard["n_metrics"], full["n_metrics"]) == ("standard", 52, 77)
    assert set(standard["false_positive_rates"]) == {
        "any",
        "accuracy",
        "recall",
        "slice",
        "robustness",
        "DEGRADED",
    }
    assert standard["minimum_detectable_change"]["corruptions: mean error"] is None  # seven faces
    assert 0.02 < full["minimum_detectable_change"]["corruptions: mean error"] < 0.6
    next(folder.glob("part-00002*")).unlink()
    assert cli.main(["gate", "power", "--store", str(tmp_path)]) == 4
    assert "no finished run" in capsys.readouterr().err
    assert cli.main(["gate", "power", str(folder)]) == 1
    assert "predictions for 512 of 600 faces" in capsys.readouterr().err


def test_gate_plan_prints_the_number_of_faces_and_a_table_of_neighbours(capsys):
    assert cli.main(["gate", "plan", "--fall", "1.0", "--discordant", "10"]) == 0
    output = capsys.readouterr().out
    assert output.startswith("11,851 faces: the gate then fails by accuracy in 80 % of runs")
    assert "(652 become wrong, 533 become correct)" in output
    rows = [line.split() for line in output.splitlines() if line.lstrip()[:1].isdigit()]
    assert ["10", "%", "11,851", "652", "533"] in rows
    assert [row[0] for row in rows[-5:]] == ["5", "7.5", "10", "15", "20"]


def test_gate_plan_takes_power_family_and_alpha(capsys):
    options = ["--power", "0.9", "--family", "36", "--alpha", "0.05"]
    assert cli.main(["gate", "plan", "--fall", "2", "--discordant", "5", *options]) == 0
    n = required_sample_size(0.02, 0.05, alpha=0.05, power=0.9, family=36, margin=0.005)
    output = capsys.readouterr().out
    assert output.startswith(f"{n:,} faces: the gate then fails by accuracy in 90 % of runs")
    assert "p < 0.05 after Holm's adjustment for 36 tests" in output


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--fall 2 --discordant 1", "A true fall of 2 points with 1 % changed faces is impossible"),
        ("--fall 0.5 --discordant 10", "Choose a larger fall"),
        ("--fall nan --discordant 10", "is impossible"),
        ("--fall 1 --discordant 10 --power 1", "0 < alpha < power"),
        ("--fall 1 --discordant 10 --family 0", "1 to 1,000,000 tests"),
        ("--fall one --discordant 10", "invalid float value"),
    ],
)
def test_an_impossible_plan_is_a_usage_error(capsys, options, message):
    try:
        code = cli.main(["gate", "plan", *options.split()])
    except SystemExit as ended:
        code = ended.code
    assert code == 4
    assert message in capsys.readouterr().err


def test_gate_power_takes_the_most_faces_then_raw_ones_then_the_order_of_the_zoo(tmp_path, predictions):
    first, second = MODELS.names[:2]
    assert first > second  # the order of the zoo is not alphabetical
    few = predictions.select(np.arange(300))
    for rank in (
        [("net", "raw", few), (second, "bicubic", predictions), ("a-net", "raw", predictions)],
        [("a-net", "raw", predictions), (second, "raw", predictions), (first, "raw", predictions)],
    ):
        for model, restoration, table in rank:
            store(tmp_path, table, restoration, model)
        _, _, subject = gate._largest(tmp_path)
        assert (subject.model, subject.restoration) == rank[-1][:2]


def test_an_unknown_command_ends_with_code_4(capsys):
    with pytest.raises(SystemExit) as caught:
        cli.main(["evaluate"])
    assert caught.value.code == 4


def test_the_help_names_every_label_scheme(capsys):
    with pytest.raises(SystemExit):
        cli.main(["data", "--help"])
    output = " ".join(capsys.readouterr().out.split())
    assert f"{', '.join(SCHEMES)}, or a JSON file" in output


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("data --dataset synthetic --split test --sheet faces", "no picture can be written with this suffix"),
        ("gate power --seed -1", "--seed must be at least 0"),
        ("gate power --runs 0", "--runs and --full-runs at least 1"),
        ("train resnet50 --seed -1", "--seed must be at least 0"),
        ("train resnet50 --lr -1", "--lr must be above 0"),
        ("export vgg19 --calibration 7", "--calibration is for --quantize int8-static"),
    ],
)
def test_options_that_cannot_work_are_refused_before_anything_is_computed(
    tmp_path, monkeypatch, capsys, command, message
):
    monkeypatch.chdir(tmp_path)
    assert cli.main(command.split()) == 4
    assert message in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize("name", ["phi3v-nano", "vgg19"], ids=["a folder", "a file"])
def test_the_record_of_trained_weights_is_printed(name, capsys):
    assert cli.main(["weights", "provenance", name]) == 0
    assert json.loads(capsys.readouterr().out)["history"]


def test_a_fit_has_no_training_record(capsys):
    assert cli.main(["weights", "provenance", "vgg19+calibrated"]) == 0
    assert "have no training record" in capsys.readouterr().out


def test_output_to_a_file_is_utf_8_in_every_locale(faces):
    command = [sys.executable, "-m", "fer_models.cli", "data", "--dataset", str(faces), "--split", "test"]
    environment = {**os.environ, "PYTHONIOENCODING": "latin-1"}
    done = subprocess.run(command, capture_output=True, check=True, env=environment)
    assert "…" in done.stdout.decode("utf-8")


def test_a_fit_needs_a_validation_split_and_no_training_split(tmp_path):
    for split in ("val", "test"):
        write_faces(tmp_path / split, 7)
    assert datasets.validation_split(str(tmp_path)) == "validation"
    with pytest.raises(UsageError, match="no training split"):
        datasets.training_splits(str(tmp_path))
    assert datasets.recorded_names(str(tmp_path / "."), "val") == (tmp_path.name, "validation")
    assert datasets.recorded_names("fer2013", "public_test") == ("fer2013", "public_test")


@pytest.mark.parametrize("suffix", ["psd", "mpg", "unknown"])
def test_a_sheet_in_a_format_that_cannot_be_written_is_refused(faces, tmp_path, capsys, suffix):
    options = ["--dataset", str(faces), "--split", "test", "--sheet", str(tmp_path / f"sheet.{suffix}")]
    assert cli.main(["data", *options]) == 4
    assert "no picture can be written with this suffix" in capsys.readouterr().err


def test_an_output_that_the_disk_cannot_hold_leaves_the_earlier_file(faces, tmp_path, capsys):
    output = tmp_path / "model.md"
    output.write_text("earlier")
    with full_disk(3), pytest.raises(UsageError, match="cannot be written"):
        common.write_output("a longer text", output)
    assert output.read_text() == "earlier"
    assert [path.name for path in tmp_path.iterdir() if path.suffix == ".part"] == []


def test_a_name_that_the_system_refuses_is_one_sentence(tmp_path, capsys):
    assert cli.main(["report", "--store", str(tmp_path / ("x" * 300))]) == 4
    assert "File name too long" in capsys.readouterr().err


def test_options_of_a_dataset_have_no_effect_on_an_export_without_calibration(capsys):
    assert cli.main(["export", "vgg19", "--dataset", "fer2013"]) == 4
    assert "The options of a dataset are for --quantize int8-static" in capsys.readouterr().err
