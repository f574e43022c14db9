"""`fer-models predict`."""

import json
import os
import re
import warnings
from pathlib import Path

import numpy as np
import pytest
from fakes import toy_faces
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from fer_models import cli
from fer_models.cli.predict import picture_name
from fer_models.emotions import LABELS
from fer_models.report.prediction_picture import draw

MODEL = "efficientnet_b0"


@pytest.fixture
def picture(tmp_path):
    path = tmp_path / "face.png"
    Image.fromarray(toy_faces(1).face(0)).save(path)
    return path


def test_the_emotion_and_a_bar_for_each_probability_are_printed(capsys, picture):
    assert cli.main(["predict", MODEL, str(picture)]) == 0
    headline, *bars = capsys.readouterr().out.splitlines()
    emotion, percent = re.fullmatch(r".*face\.png: (\w+) \((\d+)%\)", headline).groups()
    rows = {label: (float(p), "".join(bar)) for label, p, *bar in map(str.split, bars)}
    assert tuple(rows) == LABELS
    assert sum(p for p, _ in rows.values()) == pytest.approx(1, abs=0.04)
    assert max(rows, key=lambda label: rows[label][0]) == emotion
    assert round(100 * rows[emotion][0]) == int(percent)
    assert max(rows, key=lambda label: len(rows[label][1])) == emotion, "the longest bar"
    assert max(map(len, [*bars])) <= 80


def test_a_picture_that_cannot_be_read_does_not_stop_the_others(capsys, picture, tmp_path):
    bad = tmp_path / "bad.jpg"
    bad.write_bytes(picture.read_bytes()[:100])
    arguments = [str(bad), str(picture), str(tmp_path / "none.png"), "--output", str(tmp_path / "out")]
    assert cli.main(["predict", MODEL, *arguments, "--format", "json"]) == 1
    printed = capsys.readouterr()
    (prediction,) = map(json.loads, printed.out.splitlines())
    assert prediction["picture"] == str(picture)
    errors = [line for line in printed.err.splitlines() if line.startswith("fer-models: ")]
    assert ["bad.jpg" in errors[0], "none.png" in errors[1], len(errors)] == [True, True, 2]
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["002-face.png"]


def test_no_model_is_loaded_where_no_picture_can_be_read(capsys, tmp_path):
    (tmp_path / "model.py").write_text(
        "from fer_models import ModelSpec\n"
        "def load(runtime):\n    raise SystemExit('loaded')\n"
        "MODELS = [ModelSpec('mine', load=load)]\n"
    )
    options = ["--model-file", str(tmp_path / "model.py")]
    assert cli.main(["predict", "mine", str(tmp_path / "none.png"), *options]) == 1
    assert "none.png" in capsys.readouterr().err


def test_each_face_becomes_a_picture_and_an_input_is_never_overwritten(capsys, picture, tmp_path):
    out = tmp_path / "out"
    assert cli.main(["predict", MODEL, str(picture), str(picture), "--output", str(out)]) == 0
    written = sorted(out.iterdir())
    assert [path.name for path in written] == ["001-face.png", "002-face.png"]
    with Image.open(written[0]) as image:
        assert min(image.size) >= 300
    capsys.readouterr()
    before = (out / "001-face.png").read_bytes()
    renamed = (out / "001-face.png").rename(out / "face.png")
    os.link(renamed, out / "001-face.png")  # the output would be the input
    assert cli.main(["predict", MODEL, str(renamed), "--output", str(out)]) == 4
    assert "would be overwritten" in capsys.readouterr().err
    assert renamed.read_bytes() == before


def test_an_output_that_is_no_folder_is_one_line(capsys, picture):
    assert cli.main(["predict", MODEL, str(picture), "--output", str(picture)]) == 4
    assert "Choose another: --output FOLDER" in capsys.readouterr().err


@pytest.mark.skipif(os.name != "posix", reason="names of POSIX")
@pytest.mark.parametrize(("form", "lines"), [([], 8), (["--format", "json"], 1)], ids=["text", "json"])
def test_a_picture_whose_name_is_no_utf8_is_predicted(tmp_path, capsys, picture, form, lines):
    path = picture.rename(tmp_path / "\udcff\n[red]\x1b[31m.png")
    output = str(tmp_path / "out")
    assert cli.main(["predict", MODEL, str(path), "--output", output, *form]) == 0
    printed = capsys.readouterr().out
    assert "\\udcff" in printed
    assert "[red]" in printed
    assert "\x1b" not in printed
    assert len(printed.encode().splitlines()) == lines
    assert [path.name for path in Path(output).iterdir()] == ["001-_red_31m.png"]


@given(st.text(max_size=300), st.integers(1, 999))
def test_the_name_of_a_picture_is_safe_and_unique_for_each_number(name, number):
    made = picture_name(number, Path(name))
    assert re.fullmatch(r"\d{3}-[A-Za-z0-9_-]{0,60}\.png", made)
    assert made != picture_name(number + 1, Path(name))


def test_text_of_a_model_is_drawn_as_it_is_and_a_face_without_probabilities_has_no_bars():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        hostile = draw(np.zeros((3, 5, 3), np.uint8), "$\\frac{$ \u4e2d \x00", None)
    assert hostile.startswith(b"\x89PNG")
    assert hostile != draw(np.zeros((3, 5, 3), np.uint8), "happy", [0, 0, 0, 1.0, 0, 0, 0])


def test_many_pictures_are_read_and_predicted_in_groups(capsys, tmp_path):
    (tmp_path / "model.py").write_text(
        "import numpy as np\n"
        "from fer_models import ModelSpec, Predictions\n"
        "class Few:\n"
        "    def predict(self, faces):\n"
        "        assert len(faces) <= 64\n"
        "        return Predictions.from_probabilities(np.eye(7)[[len(faces) % 7] * len(faces)])\n"
        "MODELS = [ModelSpec('few', load=lambda runtime: Few())]\n"
    )
    paths = [tmp_path / f"{i}.png" for i in range(70)]
    for path in paths:
        Image.fromarray(toy_faces(1).face(0)).save(path)
    options = ["--model-file", str(tmp_path / "model.py"), "--device", "cpu", "--format", "json"]
    assert cli.main(["predict", "few", *map(str, paths), *options]) == 0
    printed = [json.loads(line)["picture"] for line in capsys.readouterr().out.splitlines()]
    assert printed == list(map(str, paths))


@pytest.mark.parametrize("command", [["predict", MODEL, "x.png"], ["restore", "x.png"], ["calibrate", MODEL]])
def test_an_unknown_device_is_refused_with_those_that_exist(command, capsys):
    with pytest.raises(SystemExit) as stopped:
        cli.main([*command, "--device", "gpu"])
    assert stopped.value.code == 4
    assert "cuda" in capsys.readouterr().err
