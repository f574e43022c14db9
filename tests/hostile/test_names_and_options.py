"""Unusual names and options: an error of one sentence, exit code 4, and files stay unchanged."""

import os
import re
from functools import partial
from pathlib import Path

import guards
import pytest
from bench import SEVERAL_CODES, write_faces
from guards import no_hang
from hypothesis import given
from hypothesis import strategies as st
from processes import run_python

from fer_models import datasets
from fer_models.classifiers import clip as clip  # imports open_clip and torch, for which no test here waits
from fer_models.corruptions import Corruption
from fer_models.errors import FerModelsError, UsageError, encodable, one_line
from fer_models.zoo import models, resolve
from fer_models.zoo.registry import Registry
from fer_models.zoo.spec import LONGEST_NAME, Runtime

assert_sentence = partial(guards.assert_sentence, longest=2500)


NAMES = [
    *("", " ", "@", "+", "++", "-probe", "@@", "+tta", "+likelihood", "@file", "+1crops", "vgg19+"),
    *("+vgg19", "vgg19++resnet50", "VGG19"),
    *("phi3v-nano+likelihood+likelihood-calibrated", "phi3v-nano+4crops+16crops", "vgg19+ta", "open_clp:x/y"),
    *("vgg19@", "vgg19@/", "vgg19@.", "vgg19@nowhere", "vgg19@~nobodyhere/x", "vgg19@" + "x" * 5000),
    *("vgg19@" + "x/" * 3000, "vgg19@\x00"),
    *("vgg19+" * 500, "vgg19+" * 499 + "vgg19", "vgg19+tta" * 200, "vgg19" + "+tta" * 30),
    *("vgg19+resnet50+" * 30 + "vgg19", "x" * 100_000),
    *("vgg19-probe", "clip-nano-probe-probe", "resnet50+tta-probe", "vgg19+likelihood", "vgg19+4crops"),
    *("vgg19+0crops", "vgg19+tta+likelihood"),
    *("phi3v-nano+99crops", "phi3v-nano+17crops", "phi3v-nano+100crops"),
    *("phi3v-nano+" + "9" * 90 + "crops", "phi3v-nano+" + "9" * 5000 + "crops"),
    *("phi3v-nano+-1crops", "phi3v-nano+1.5crops", "phi3v-nano+01crops", "phi3v-nano+\u0664crops"),
    *("phi3v-nano@nowhere", "clip-nano@nowhere"),
    *("hf-hub:", "hf-hub:/", "hf-hub:..", "hf-hub:../../etc", "hf-hub:a/b/c", "hf-hub:a//b", "hf-hub: "),
    *("hf-hub:a/", "hf-hub:/a", "hf-hub:.git"),
    *("hf-hub:a/b.git", "hf-hub:a--b/c", "hf-hub:" + "a" * 97, "hf-hub:" + "a" * 5000, "hf-hub:\x00"),
    *("hf-hub:http://x", "hf-hub:a b", "hf-hub:\u00e9"),
    *("hf-vlm:", "hf-vlm:/", "hf-vlm:..", "hf-vlm:../../etc", "hf-vlm:a/b/c", "hf-vlm:@"),
    *("hf-vlm:@nowhere", "hf-vlm:a@", "hf-vlm:a@/etc/passwd"),
    *("hf-vlm:" + "a" * 5000, "hf-vlm:a@" + "x" * 5000, "hf-vlm:\ud83d", "hf-vlm:-a", "hf-vlm:a."),
    *("hf-vlm:+tta", "hf-hub:+tta", "hf:+tta", "hf:a/b", "hf:a/b@", "hf:a/b@nowhere.json"),
    *("hf:", "hf:/", "hf:..", "hf:../../etc", "hf:a/b/c", "hf:@", "hf:@nowhere", "hf:a@/dev/zero", "hf:-a"),
    *("hf:" + "a" * 5000, "hf:a@" + "x" * 5000, "hf:\ud83d", "hf:a@\x00", "hf:a/b+likelihood", "hf:a-probe"),
    *("open_clip:", "open_clip:/", "open_clip:ViT-B-32", "open_clip:ViT-B-32/", "open_clip:ViT-B-32/nothing"),
    *("open_clip:nothing/openai", "open_clip:@"),
    *("open_clip:ViT-B-32@nowhere", "open_clip:../../x/openai", "open_clip:ViT-B-32/openai", "timm:"),
    *("timm:resnet18", "timm:@", "timm:x@nowhere"),
    *("endpoint:", "endpoint:x", "endpoint:@", "endpoint:x@", "endpoint:@http://localhost", "\ud83d"),
    *("\x00", "\x1b[2J", "\n", "a\nb", "{}", "%s"),
    *("nobody.pyc", "../vgg19", "/etc/passwd", "~", "~nobodyhere", "vgg19;rm", "$(touch x)", "`x`", "vgg 19"),
    *("\u0435fficientnet_b0", "vgg\u200b19", "vgg19+tta+tta", "phi3v-nano+4crops+4crops"),
]  # fmt: skip


@pytest.mark.parametrize("name", NAMES, ids=lambda name: ascii(name[:40]))
def test_a_name_that_names_no_model_is_a_sentence(name):
    with no_hang(), pytest.raises(FerModelsError) as caught:
        select_and_locate(name)
    assert_sentence(caught.value)


def select_and_locate(name):
    """The model of a name, and its identity, for which its weights are located."""
    resolve.resolve_model(name, models.MODELS).identity(Runtime("cpu"))


@given(st.text(st.sampled_from("vgg19+@-:/.tapc0 resn5lihfomd"), max_size=60))
def test_any_name_is_a_model_or_a_sentence(name):
    try:
        resolve.resolve_model(name, models.MODELS)
    except FerModelsError as error:
        assert_sentence(error)


@pytest.mark.parametrize("crops", [1, 4, 16])
def test_a_sensible_number_of_crops_stays_possible(crops):
    assert resolve.resolve_model(f"phi3v-nano+{crops}crops", models.MODELS).settings["num_crops"] == crops


def test_the_longest_name_fits_into_the_name_of_a_folder():
    assert LONGEST_NAME < 200
    longest = "endpoint:" + "m" * (LONGEST_NAME - 27) + "@http://localhost"
    assert len(resolve.resolve_model(longest, models.MODELS).name) <= LONGEST_NAME


FILES = [
    "nowhere.py",
    "",
    ".py",
    "/",
    "/etc",
    "folder.py",
    "pipe.py",
    "circle.py",
    "dangling.py",
    "/dev/zero",
    "/dev/null",
    "~nobodyhere.py",
    "x" * 5000 + ".py",
    "notes.txt",
    "\ud83d.py",
]


@pytest.mark.parametrize("name", FILES, ids=lambda name: ascii(name[:40]))
def test_an_invalid_file_of_models_is_a_sentence_without_delay(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("folder.py").mkdir()
    os.mkfifo("pipe.py")
    Path("circle.py").symlink_to("circle.py")
    Path("dangling.py").symlink_to("nowhere")
    Path("notes.txt").write_text("MODELS = []")
    with no_hang(), pytest.raises(UsageError) as caught:
        resolve.available_models([Path(name)])
    assert_sentence(caught.value)


FOLDERS = [
    "",
    " ",
    ".",
    "/nowhere",
    "~nobodyhere",
    "~nobodyhere/faces",
    "~",
    "x" * 5000,
    "x/" * 3000,
    "/dev/zero",
    "/dev/null",
    "/etc/passwd",
    "\ud83d",
    "\x1b[2J",
    "fer2014",
    "FER2013",
    "synthetic/test",
    "pipe",
    "circle",
    "empty",
]


@pytest.mark.parametrize("name", FOLDERS, ids=lambda name: ascii(name[:40]))
def test_an_invalid_dataset_is_a_sentence_without_delay(name, tmp_path, monkeypatch):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "circle").symlink_to(tmp_path / "circle")
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "empty"))
    with no_hang(), pytest.raises(FerModelsError) as caught:
        datasets.load(name)
    assert_sentence(caught.value)


CORRUPTIONS = [
    "",
    "@",
    "gaussian-noise",
    "gaussian-noise@",
    "@3",
    "gaussian-noise@-1",
    "gaussian-noise@6",
    "gaussian-noise@3.5",
    "gaussian-noise@\u0663",
    "gaussian-noise@" + "9" * 5000,
    "gaussian-noise@" + "0" * 5000 + "9",
    "rain@3",
    "gaussian-noise@3@3",
    "x" * 100_000 + "@3",
    "\ud83d@3",
    "\x1b[2J@3",
]


@pytest.mark.parametrize("text", CORRUPTIONS, ids=lambda text: ascii(text[:30]))
def test_an_invalid_corruption_is_a_sentence(text):
    with no_hang(), pytest.raises(UsageError) as caught:
        Corruption.parse(text)
    assert_sentence(caught.value)


@given(st.text(st.characters()))
def test_any_text_becomes_one_line_that_can_be_printed(text):
    line = one_line(text)
    assert line.isprintable()
    assert len(line) <= 301
    encodable(text).encode("utf-8")


@given(st.text(st.characters()))
def test_any_text_can_be_part_of_an_error(text):
    str(UsageError(text)).encode("utf-8")


def test_a_registry_never_holds_two_of_one_name():
    with pytest.raises(UsageError, match="already registered"):
        Registry("model", models.VGG19, models.VGG19)


# -- complete runs ------------------------------------------------------------------------------------

MODEL = """
import numpy as np
from fer_models import ModelSpec, Predictions
class Mine:
    def predict(self, faces):
        return Predictions.from_probabilities(np.full((len(faces), 7), 1 / 7))
MODELS = [ModelSpec("mine", load=lambda runtime: Mine())]
"""


@pytest.fixture
def folder(tmp_path):
    write_faces(tmp_path / "faces", 14)
    (tmp_path / "mine.py").write_text(MODEL)
    return tmp_path


def command(folder, *arguments):
    options = {
        "--dataset": folder / "faces",
        "--model-file": folder / "mine.py",
        "--store": folder / "store",
        "-p": "no:cacheprovider",
    }
    options |= {"--report-dir": folder / "reports", "--work-dir": folder, "-k": "macro_f1 and raw and mine"}
    return ["evals", *(str(one) for pair in options.items() for one in pair), *map(str, arguments)]


def run_each(repository, folder, commands):
    (folder / "runs.py").write_text(SEVERAL_CODES.format(commands=commands))
    alone = {key: value for key, value in os.environ.items() if not key.startswith("PYTEST_")}
    done = run_python([str(folder / "runs.py")], repository, alone)
    outputs = done.stdout.split("=-=-=")[1:]
    assert len(outputs) == len(commands), done.stdout + done.stderr
    return outputs


@pytest.mark.slow
def test_options_that_cannot_work_end_a_run_with_code_4_and_a_sentence(folder, repository):
    (folder / "file").write_text("mine")
    (folder / "dangling").symlink_to(folder / "nowhere" / "deeper")
    (folder / "taken" / "evals.json").mkdir(parents=True)
    (folder / "deep.json").write_text("[" * 100_000)
    os.mkfifo(folder / "pipe")
    digits = "1" * 5000
    cases = [
        ["--report-dir", folder / "file"],
        ["--report-dir", folder / "file" / "deeper"],
        ["--report-dir", folder / "dangling"],
        ["--report-dir", folder / "taken"],
        ["--report-dir", "/proc/reports"],
        ["--report-dir", "/dev/null"],
        ["--report-dir", folder / ("x" * 300)],
        ["--model", "hf-hub:"],
        ["--model", "hf-hub:../../etc"],
        ["--model", "hf-vlm:"],
        ["--model", "vgg19+" * 500],
        ["--model", "phi3v-nano+99crops"],
        ["--dataset", "~nobodyhere"],
        ["--dataset", "x" * 5000],
        ["--prompts", folder / "deep.json"],
        ["--prompts", folder / "pipe"],
        ["--prompts", "/dev/zero"],
        ["--question", folder / "pipe"],
        ["--question", "/dev/zero"],
        ["--baselines", folder / "deep.json"],
        ["--baselines", folder / "pipe"],
        ["--model-file", folder / "pipe"],
        ["--model-file", folder / "mine.py", "--model-file", write_twin(folder)],
        ["--corruption", f"gaussian-noise@{digits}"],
        ["--limit", digits],
        ["--limit", "x"],
        ["--batch-size", digits],
        ["--batch-size", "-1"],
        ["--restoration-limit", digits],
        ["--question-limit", "0"],
    ]
    outputs = run_each(repository, folder, [command(folder, *arguments) for arguments in cases])
    for arguments, text in zip(cases, outputs, strict=True):
        assert text.strip().endswith("ended with 4"), (arguments, text[-3000:])
        assert "Traceback" not in text
        assert "INTERNALERROR" not in text
        assert re.search(r"(?m)^ERROR: ", text), text
    assert (folder / "file").read_text() == "mine"
    assert (folder / "deep.json").read_text() == "[" * 100_000
    assert not (folder / "store").exists()


def write_twin(folder):
    (folder / "twin.py").write_text(MODEL)
    return folder / "twin.py"


FULL = """
import errno
from pathlib import Path
_open, _write = Path.open, Path.write_text
def full(path):
    return "reports" in path.parts and path.suffix in {suffixes}
def open(self, mode="r", *args, **options):
    if full(self) and "w" in mode:
        raise OSError(errno.ENOSPC, "No space left on device", str(self))
    return _open(self, mode, *args, **options)
Path.open = open
def write_text(self, *args, **options):
    if full(self):
        raise OSError(errno.ENOSPC, "No space left on device", str(self))
    return _write(self, *args, **options)
Path.write_text = write_text
"""


@pytest.mark.parametrize("suffixes", [{".html"}, {".html", ".json", ".part"}], ids=["the page", "both"])
def test_a_full_disk_for_the_report_fails_the_run_with_a_sentence(suffixes, folder, repository):
    (folder / "mine.py").write_text(MODEL + FULL.format(suffixes=suffixes))
    (text,) = run_each(repository, folder, [command(folder)])
    assert text.strip().endswith("ended with 1"), text[-3000:]
    assert "No space left on device" in text
    assert "Traceback" not in text
    assert "INTERNALERROR" not in text
    assert "accuracy" in text  # the table in the terminal is there all the same
