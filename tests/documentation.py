"""Run the code blocks of README.md and of `docs/`: `pytest tests/documentation.py`, by `nox -s docs`. Not part
of `pytest tests`.

The blocks of a page run one after another in a folder of their own: a copy of what the evals need, and files
with the names that the pages use. `FOLDER` in a command is a small FER-2013 of synthetic faces. Runs evaluate
14 faces unless their command has a number. The predictions are shared by all pages.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from doc_blocks import RUNNABLE, Block, check_data, missing_lines, read_blocks
from fer2013_files import Row, write_csv
from image_classifiers import vit
from onnx_files import dense_model, save
from PIL import Image

from fer_models.datasets import synthetic_drawing

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
#: Pages about a repository of your own: their folder is empty.
WITHOUT_CLONE = ("docs/ci-gate.md", "docs/writing-evals.md")
CLONE = ("evals", "benchmarks", "conftest.py", "pyproject.toml", "baselines.json")
FACES_OF_A_RUN = "--limit 14 --depth quick -p no:cacheprovider"
BLOCKS = [
    block
    for page in PAGES
    for block in read_blocks(page.relative_to(ROOT).as_posix(), page.read_text(encoding="utf-8"))
]


def parameter(block: Block):
    marks = [pytest.mark.xdist_group(block.page)]
    if block.note:
        marks.append(pytest.mark.skip(reason=block.note.strip("*")))
    return pytest.param(block, id=block.id, marks=marks)


@pytest.fixture(scope="session")
def shared(tmp_path_factory) -> Path:
    """A folder for all processes of `-n`: the store."""
    folder = tmp_path_factory.getbasetemp()
    folder = (folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder) / "shared"
    (folder / "evals").mkdir(parents=True, exist_ok=True)
    return folder


@pytest.fixture(scope="session")
def fer2013(tmp_path_factory) -> Path:
    """A FER-2013 of 70 + 35 + 35 synthetic faces."""
    folder = tmp_path_factory.mktemp("fer2013")
    splits = [*["train"] * 70, *["public_test"] * 35, *["private_test"] * 35]
    write_csv(folder, [Row(i % 7, s, synthetic_drawing.draw("test", i)) for i, s in enumerate(splits)])
    return folder


@pytest.fixture(scope="session")
def folders(tmp_path_factory, shared) -> dict[str, Path]:
    """The folder of each page, and (as `output of PAGE`) the file with the output of its last block."""
    folders = {}
    for page in {block.page for block in BLOCKS}:
        folder = tmp_path_factory.mktemp(Path(page).stem)
        (folder / ".evals").symlink_to(shared / "evals")
        for name in CLONE if page not in WITHOUT_CLONE else ():
            copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
            copy(ROOT / name, folder / name)
        folders[page] = folder
    return folders


@pytest.fixture
def folder(request, folders, fer2013) -> Path:
    """The folder of a block's page."""
    block = request.node.callspec.params["block"]
    page_folder = folders[block.page]
    if not (page_folder / "face.jpg").exists():
        add_files(page_folder)
    return page_folder


def add_files(folder: Path) -> None:
    """The files that the pages name."""
    for i, name in enumerate(("face.jpg", "holiday.jpg", "party.jpg")):
        Image.fromarray(synthetic_drawing.draw("test", i)).convert("RGB").save(folder / name)


@pytest.mark.parametrize("block", map(parameter, BLOCKS))
def test_a_block_works_as_it_is_shown(block, folder, fer2013):
    if block.language not in RUNNABLE:
        last = folder / "output of the last block"
        if block.language == "text":
            assert not (missing := missing_lines(block.text, last.read_text())), missing
        else:
            check_data(block)
    if block.title:
        (folder / block.title).parent.mkdir(parents=True, exist_ok=True)
        (folder / block.title).write_text(block.text, encoding="utf-8")
    if block.language in RUNNABLE:
        run(block, folder, fer2013)


def run(block: Block, folder: Path, fer2013: Path) -> None:
    environment = os.environ | {
        "PYTEST_ADDOPTS": FACES_OF_A_RUN,
        "FER_MODELS_WEIGHTS": str(folder / "weights"),
        "HF_HUB_OFFLINE": "1",
        "PYTHONPATH": os.pathsep.join([str(ROOT)]),
    }
    text = re.sub(r"\bFOLDER\b", str(fer2013), block.text)
    command = (
        ["bash", "-euo", "pipefail", "-c", text] if block.language == "sh" else [sys.executable, "-c", text]
    )
    done = subprocess.run(
        command,
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=240,
    )
    (folder / "output of the last block").write_text(done.stdout)
    assert done.returncode == 0, f"{text}\nended with {done.returncode}:\n{done.stdout[-4000:]}"
