import json
import os
import subprocess
import sys

import numpy as np
import pytest
from fakes import drawn
from PIL import Image

from fer_models import cli
from fer_models.datasets.schemes import SCHEMES
from fer_models.emotions import LABELS
from fer_models.store.partition import Store
from fer_models.store.predictions import PredictionTable
from fer_models.store.subject import Subject


@pytest.fixture
def faces(tmp_path):
    """A class folder with train, validation and test."""
    for split, n in (("train", 42), ("val", 14), ("test", 14)):
        some = drawn(n)
        for i, (image, label) in enumerate(zip(some.images, some.labels, strict=True)):
            folder = tmp_path / "faces" / split / LABELS[label]
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(folder / f"{i:03d}.png")
    return tmp_path / "faces"


def test_list_names_every_model_and_the_command_for_missing_weights(capsys):
    assert cli.main(["list"]) == 0
    said = capsys.readouterr().out
    for name in (
        "vgg19",
        "resnet50",
        "efficientnet_b0",
        "raw",
        "bicubic",
        "gfpgan",
        "gfpgan-1.3",
        "gfpgan-nano",
    ):
        assert name in said
    assert "fer-models weights fetch clip-vit-b-32" in said
    assert "fer-models weights fetch gfpgan-1.3" in said


def test_list_imports_no_model_library():
    heavy = ("torch", "timm", "open_clip", "transformers", "spandrel", "sklearn", "scipy")
    code = f"import sys; from fer_models.cli import main; main(['list']); sys.exit(any(m in sys.modules for m in {heavy}))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True).returncode == 0


def test_data_tells_counts_and_fingerprint_and_draws_a_sheet(capsys, faces, tmp_path):
    sheet = tmp_path / "sheet.png"
    assert (
        cli.main(["data", "--dataset", str(faces), "--split", "test", "--json", "--sheet", str(sheet)]) == 0
    )
    out = capsys.readouterr().out
    report = json.loads(out[out.index("{") :])["faces/test"]
    assert report["n"] == 14
    assert report["counts"] == dict.fromkeys(LABELS, 2)
    assert len(report["fingerprint"]) == 64
    with Image.open(sheet) as picture:
        assert picture.size == (14 * 96, 7 * 96)


def test_a_restorer_is_trained_where_the_evals_find_it(capsys, faces, tmp_path, monkeypatch):
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
    said = capsys.readouterr().out
    assert "dB on faces/validation" in said
    assert "kept epoch 1 (" in said
    restorer = restorers.GFPGAN_NANO.load(restorers.GFPGAN_NANO.resolve(Runtime("cpu")))
    assert [face.shape for face in restorer.restore(drawn(2).faces([0, 1]))] == [(16, 16, 3)] * 2
    assert cli.main(["weights", "provenance", "gfpgan-nano"]) == 0
    assert json.loads(capsys.readouterr().out)["recipe"]["batch_size"] == 14
    assert cli.main([*common, "--teacher", "vgg19"]) == 4
    assert "gfpgan-nano cannot be trained with --teacher. Leave it out." in capsys.readouterr().err


def test_a_network_is_trained_packed_and_asked(capsys, faces, tmp_path, monkeypatch):
    from fer_models.classifiers.architecture import Architecture
    from fer_models.training import recipes

    tiny = recipes.Recipe(
        Architecture("resnet10t", size=32), epochs=2, batch_size=14, lr=0.02, sizes=((0.0, 32),)
    )
    monkeypatch.setitem(recipes.RECIPES, "tiny", tiny)
    common = ["--dataset", str(faces), "--no-synthetic", "--device", "cpu", "--output", str(tmp_path / "out")]
    assert cli.main(["train", "tiny", *common]) == 0
    said = capsys.readouterr().out
    assert "kept epoch" in said
    assert "faces/val" in said
    weights, packed = tmp_path / "out" / "tiny.safetensors", tmp_path / "packed.safetensors"
    assert cli.main(["weights", "quantize", str(weights), "--bits", "8", "--output", str(packed)]) == 0
    assert packed.stat().st_size < 0.4 * weights.stat().st_size
    capsys.readouterr()
    assert cli.main(["weights", "provenance", f"tiny@{packed}"]) == 0
    assert json.loads(capsys.readouterr().out)["validation_data"]["name"] == "faces/validation"
    assert cli.main(["weights", "average", str(weights), str(weights)]) == 0
    averaged = tmp_path / "out" / "tiny-average.safetensors"
    assert str(averaged) in capsys.readouterr().out
    assert cli.main(["weights", "provenance", f"tiny@{averaged}"]) == 0
    assert [made["provenance"]["model"] for made in json.loads(capsys.readouterr().out)["averaged"]] == [
        "tiny",
        "tiny",
    ]
    picture = next((faces / "test").rglob("*.png"))
    capsys.readouterr()
    assert cli.main(["predict", f"tiny@{packed}", str(picture), "--json", "--device", "cpu"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["answer"] in LABELS
    assert sum(answer["probabilities"].values()) == pytest.approx(1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "vgg18"], "Did you mean 'vgg19'"),
        (["train", "vgg19"], "--data-root"),
        (["train", "vgg19", "--dataset", "nowhere"], "nowhere"),
        (["data", "--dataset", "fer2013", "--data-root", "/nowhere"], "/nowhere"),
        (["predict", "vgg18", "x.png"], "Did you mean 'vgg19'"),
        (["predict", "vgg19", "no-such-picture.png"], "no-such-picture.png"),
        (["weights", "quantize", "none.safetensors"], "none.safetensors"),
        (["weights", "average", "none.safetensors"], "at least two files"),
    ],
)
def test_what_cannot_work_ends_with_code_4_and_one_line(capsys, arguments, message):
    assert cli.main(arguments) == 4
    said = capsys.readouterr().err
    assert message in said
    assert said.count("\n") == 1


def test_the_gate_is_tested_on_runs_simulated_from_stored_answers(capsys, tmp_path):
    rng = np.random.default_rng(0)
    p = rng.dirichlet(np.full(7, 0.35), 600)
    truth = np.array([rng.choice(7, p=row) for row in p])
    answers = PredictionTable(
        tuple(f"{i:064x}" for i in range(600)),
        np.arange(600),
        truth,
        p.argmax(axis=1),
        p,
        ("ok",) * 600,
        ("",) * 600,
    )
    shelf = Store(tmp_path).partition(
        Subject("drawn", "test", "raw", "net"), "k" * 64, answers.faces, answers.truth, answers.index
    )
    with shelf.locked():
        for shard in range(shelf.shards):
            rows = shelf.rows(shard)
            columns = (answers.index, answers.truth, answers.answer, answers.probabilities)
            shelf.write(
                shard,
                PredictionTable(
                    answers.faces[rows], *(c[rows] for c in columns), answers.status[rows], answers.text[rows]
                ),
                {},
                0.1,
            )
    assert (
        cli.main(
            [
                "gate",
                "power",
                "--store",
                str(tmp_path),
                "--runs",
                "3",
                "--whole-runs",
                "2",
                "--n",
                "300",
                "--json",
            ]
        )
        == 0
    )
    said = json.loads(capsys.readouterr().out)
    assert said["source"]["model"] == "net"
    assert [s["fall"] for s in said["scenarios"]][:3] == [0.0, 0.0, 0.005]
    assert set(said["scenarios"][0]["rejection_rate"]) == {
        "FAIL",
        "FAIL or DEGRADED",
        "McNemar",
        "DEGRADED",
        "unpaired",
        "threshold",
    }
    standard, full = said["whole_runs"]["depths"]
    assert (standard["depth"], standard["figures"], full["figures"]) == ("standard", 52, 77)
    assert set(standard["false_alarms"]) == {"any", "accuracy", "recall", "robustness", "DEGRADED"}
    assert standard["smallest_found"]["corruptions: mean error"] is None  # seven faces
    assert 0.02 < full["smallest_found"]["corruptions: mean error"] < 0.6
    next(shelf.folder.glob("part-00002*")).unlink()
    assert cli.main(["gate", "power", "--store", str(tmp_path)]) == 4
    assert "no finished run" in capsys.readouterr().err
    assert cli.main(["gate", "power", str(shelf.folder)]) == 1
    assert "predictions for 512 of 600 faces" in capsys.readouterr().err


def test_an_unknown_command_ends_with_code_4(capsys):
    with pytest.raises(SystemExit) as caught:
        cli.main(["evaluate"])
    assert caught.value.code == 4


def test_the_help_names_every_label_scheme(capsys):
    with pytest.raises(SystemExit):
        cli.main(["data", "--help"])
    said = " ".join(capsys.readouterr().out.split())
    assert f"{', '.join(SCHEMES)}, or a JSON file" in said


@pytest.mark.skipif(os.name != "posix", reason="names of POSIX")
@pytest.mark.parametrize("form", [[], ["--json"]], ids=["text", "json"])
def test_a_picture_whose_name_is_no_utf8_is_predicted(tmp_path, capsys, form):
    path = tmp_path / "\udcff\n.png"
    Image.fromarray(drawn(1).face(0)).save(path)
    assert cli.main(["predict", "efficientnet_b0", str(path), *form]) == 0
    said = capsys.readouterr().out
    assert "\\udcff" in said
    assert len(said.encode().splitlines()) == 1
