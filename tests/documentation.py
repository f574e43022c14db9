"""Run the code blocks of README.md and of `docs/`: `pytest tests/documentation.py`, by `nox -s docs`.

Not part of `pytest tests`.

The blocks of a page run one after another, in a folder with what the evals need of a clone, or (a page about
a repository of your own) in an empty one. Files with the names that the pages use are there. `FOLDER` in a
command is a small FER-2013 of synthetic faces. A run evaluates 14 faces at depth `quick`, unless its command
says otherwise or needs another depth. All clones share one store.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from doc_blocks import RUNNABLE, Block, check_data, missing_lines, read_blocks
from fer2013_files import Row, write_csv
from image_classifiers import vit
from onnx_files import dense_model, save
from PIL import Image

from fer_models.datasets import synthetic_drawing
from fer_models.emotions import LABELS

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
#: Pages about a repository of your own.
WITHOUT_CLONE = ("docs/ci-gate.md", "docs/writing-evals.md")
CLONE = ("evals", "benchmarks", "docs", "conftest.py", "pyproject.toml")

#: Words in a command -> what makes its run short. The first that occurs counts.
SHORT_RUNS = {
    "--update-baselines": "",  # it records whole splits only
    "restoration)": "--limit 14",  # depth `quick` has no such checks
    "inference)": "--limit 14",
    "slower": "--limit 14",
    "parity": "--limit 14",
    "": "--limit 14 --depth quick",
}
BLOCKS = [
    block
    for page in PAGES
    for block in read_blocks(page.relative_to(ROOT).as_posix(), page.read_text(encoding="utf-8"))
]


def parameter(block: Block):
    marks = [pytest.mark.skip(reason=block.note.strip("*"))] if block.note else []
    return pytest.param(block, id=block.id, marks=marks)


@pytest.fixture(scope="session")
def store(tmp_path_factory) -> Path:
    """The folder `.evals` of all clones."""
    return tmp_path_factory.mktemp("evals")


@pytest.fixture(scope="session")
def fer2013(tmp_path_factory) -> Path:
    """A FER-2013 of 70 + 35 + 35 synthetic faces."""
    folder = tmp_path_factory.mktemp("fer2013")
    splits = ["train"] * 70 + ["public_test"] * 35 + ["private_test"] * 35
    rows = [Row(i % 7, split, synthetic_drawing.draw("test", i)) for i, split in enumerate(splits)]
    write_csv(folder, rows)
    return folder


@pytest.fixture(scope="session")
def folders(tmp_path_factory, store):
    """A function that returns the folders of a page: a clone, and an empty repository."""
    made: dict[str, tuple[Path, Path]] = {}

    def of(page: str) -> tuple[Path, Path]:
        if page not in made:
            folder = tmp_path_factory.mktemp(Path(page).stem)
            made[page] = folder / "clone", folder / "repository"
            for each in made[page]:
                each.mkdir()
                add_pictures(each)
            (made[page][0] / ".evals").symlink_to(store)
            copy_clone(made[page][0], with_fer2013=page == "docs/results.md")
        return made[page]

    return of


def copy_clone(folder: Path, *, with_fer2013: bool) -> None:
    """What the evals need of a clone. The records of FER-2013 are about other faces than those here."""
    for name in CLONE:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, folder / name)
    (folder / "tests").mkdir()  # `pytest-benchmark compare` reads `testpaths`
    records = json.loads((ROOT / "baselines.json").read_text(encoding="utf-8"))
    records["measured"] = [r for r in records["measured"] if with_fer2013 or r["dataset"] == "synthetic"]
    (folder / "baselines.json").write_text(json.dumps(records), encoding="utf-8")


def add_pictures(folder: Path) -> None:
    """Pictures, and class folders with names and with numbers."""
    picture = Image.fromarray(synthetic_drawing.draw("test", 3)).convert("RGB")
    picture.save(folder / "face.jpg")
    for i in range(14):
        picture = Image.fromarray(synthetic_drawing.draw("test", i))
        for name in (f"my-faces/{LABELS[i % 7]}", f"my-numbered-faces/{i % 3}"):
            (folder / name).mkdir(parents=True, exist_ok=True)
            picture.save(folder / name / f"{i}.png")


def add_networks(folder: Path, text: str) -> None:
    """The networks that a block names."""
    if "my-vit" in text and not (folder / "my-vit").exists():
        vit(folder / "my-vit")
    if "my.onnx" in text:
        weights = np.random.default_rng(0).normal(size=(7, 3 * 112 * 112)) / 500
        save(dense_model(weights, np.zeros(7), ["n", 3, 112, 112]), folder / "my.onnx")


@pytest.mark.parametrize("block", [parameter(block) for block in BLOCKS])
def test_a_block_works_as_it_is_shown(block, folders, fer2013):
    clone, repository = folders(block.page)
    own = block.page in WITHOUT_CLONE or "fer-models init" in block.text
    folder = repository if own else clone
    last_output = folder / "output-of-the-last-block.txt"
    if block.title:
        (folder / block.title).parent.mkdir(parents=True, exist_ok=True)
        (folder / block.title).write_text(block.text, encoding="utf-8")
    if block.language in RUNNABLE:
        add_networks(folder, block.text)
        last_output.write_text(run(block, folder, fer2013), encoding="utf-8")
    elif block.language == "text":
        assert not (missing := missing_lines(block.text, last_output.read_text(encoding="utf-8"))), missing
    else:
        check_data(block)


def run(block: Block, folder: Path, fer2013: Path) -> str:
    """Run a block; returns its output. A command that fails fails the test, with the output."""
    short = next(options for word, options in SHORT_RUNS.items() if word in block.text)
    outside = {name: value for name, value in os.environ.items() if not name.startswith("GITHUB_")}
    environment = outside | {
        "FER_MODELS_WEIGHTS": str(folder / "weights"),
        "HF_HUB_OFFLINE": "1",
        "PYTEST_ADDOPTS": f"-p no:cacheprovider {short}",
    }
    text = re.sub(r"\bFOLDER\b", str(fer2013), block.text)
    program = ["bash", "-euo", "pipefail", "-c"] if block.language == "sh" else [sys.executable, "-c"]
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True, "timeout": 240}
    done = subprocess.run([*program, text], cwd=folder, env=environment, **options)
    assert done.returncode == 0, f"{text}\nended with {done.returncode}:\n{done.stdout[-4000:]}"
    return done.stdout
