"""The installed wheel alone, without a clone or an editable installation."""

import json
import os
import shutil
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pytest
from doc_blocks import read_blocks
from filelock import FileLock
from processes import run_python

pytestmark = pytest.mark.slow

SOURCES = ["fer_models", "evals", "setup.py", "pyproject.toml", "baselines.json", "README.md", "LICENSE"]
#: A clone or an editable installation comes later on the path than the unpacked wheel.
RUN = """
import runpy, sys
for name in [name for name in sys.modules if name.partition(".")[0] == "fer_models"]:
    del sys.modules[name]
sys.path.insert(0, {unpacked!r})
sys.argv = {arguments!r}
runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
"""


@pytest.fixture(scope="session")
def unpacked(tmp_path_factory, repository):
    """The content of the wheel; one of several test processes builds it."""
    shared = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent
    folder = shared / "unpacked-wheel"
    with FileLock(shared / "wheel.lock"):
        if not folder.exists():
            source = shared / "source"
            source.mkdir()
            for name in SOURCES:
                path = repository / name
                if path.is_dir():
                    shutil.copytree(path, source / name, ignore=shutil.ignore_patterns("__pycache__"))
                else:
                    shutil.copy(path, source / name)
            options = ["--wheel", "--no-isolation", "--outdir", str(shared / "dist")]
            command = [sys.executable, "-m", "build", *options, str(source)]
            built = subprocess.run(command, capture_output=True, text=True)
            assert built.returncode == 0, built.stdout + built.stderr
            (wheel,) = (shared / "dist").glob("*.whl")
            with zipfile.ZipFile(wheel) as archive:
                archive.extractall(folder)
    return folder


@dataclass
class Folder:
    """A folder in which commands run with the wheel alone."""

    path: Path
    unpacked: Path

    def write_model(self):
        template = self.unpacked / "fer_models" / "assets" / "templates" / "my_models.py.txt"
        shutil.copy(template, self.path / "my_models.py")

    def run(self, *arguments, code=0):
        alone = {k: v for k, v in os.environ.items() if not k.startswith(("PYTEST_", "PYTHON"))}
        script = self.path.parent / f"{self.path.name}.run.py"
        script.write_text(RUN.format(unpacked=str(self.unpacked), arguments=[*map(str, arguments)]))
        done = run_python([str(script)], self.path, alone)
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout


@pytest.fixture
def folder(tmp_path, unpacked):
    (tmp_path / "here").mkdir()
    return Folder(tmp_path / "here", unpacked)


def test_the_wheel_carries_the_evals_and_the_baselines_of_the_synthetic_faces(unpacked, repository):
    evals = {path.name: path.read_bytes() for path in (repository / "evals").glob("*.py")}
    installed = unpacked / "fer_models"
    assert {path.name: path.read_bytes() for path in (installed / "evals").glob("*.py")} == evals
    packaged = json.loads((unpacked / "fer_models" / "baselines.json").read_text())
    root = json.loads((repository / "baselines.json").read_text())
    assert packaged["measured"] == [record for record in root["measured"] if record["dataset"] == "synthetic"]
    assert packaged["measured"]
    assert packaged["published"] == root["published"]
    modules = {str(path.relative_to(repository)) for path in (repository / "fer_models").rglob("*.py")}
    packaged_modules = {
        str(path.relative_to(unpacked)) for path in installed.rglob("*.py") if path.parent.name != "evals"
    }
    assert packaged_modules == modules
    assets = ("evals.ini", "templates/conftest.py.txt", "weights/manifest.json", "prompts/openai.json")
    for name in assets:
        assert (installed / "assets" / name).is_file()


def test_eval_runs_in_an_empty_folder_and_writes_only_there(folder):
    before = {path for path in folder.unpacked.rglob("*") if "__pycache__" not in path.parts}
    output = folder.run(
        "fer_models.cli", "eval", "-k", "accuracy and efficientnet_b0 and raw", "--limit", "70"
    )
    assert output.startswith("fer-models 0.1.0: evaluating all models on synthetic, 70 faces")
    assert "efficientnet_b0-raw" in output
    assert "PASS" in output
    assert "those of the package" in output
    assert "efficientnet_b0-raw" in (folder.path / "reports" / "evals.html").read_text()
    assert (folder.path / ".evals" / "store").is_dir()
    page = (folder.path / "reports" / "evals.html").read_bytes()
    output = folder.run("fer_models.cli", "eval", "-k", "eficientnet or accurracy", code=5)
    assert "Did you mean efficientnet_b0?" in output
    assert "Did you mean test_accuracy" in output
    assert (folder.path / "reports" / "evals.html").read_bytes() == page
    assert {path for path in folder.unpacked.rglob("*") if "__pycache__" not in path.parts} == before


def test_pyargs_writes_into_the_current_folder_and_ignores_its_parents(folder):
    settings = '[tool.pytest.ini_options]\naddopts = "--strict-markers -ra"\ntestpaths = ["tests"]\n'
    (folder.path.parent / "pyproject.toml").write_text(settings)
    folder.write_model()
    common = ["-k", "accuracy and raw", "--model", "my_models.py"]
    evals = ["--pyargs", "fer_models.evals", "-p", "fer_models.plugin"]
    assert "NEW" in folder.run("pytest", *evals, *common, "--update-baselines")
    recorded = json.loads((folder.path / "baselines.json").read_text())["measured"]
    shipped = json.loads((folder.unpacked / "fer_models" / "baselines.json").read_text())["measured"]
    assert [r for r in recorded if r["model"] != "brightness"] == shipped
    assert len(recorded) == len(shipped) + 1
    assert (folder.path / "reports" / "evals.html").is_file()
    assert not (folder.path.parent / "reports").exists()
    (folder.path.parent / "conftest.py").write_text("raise RuntimeError('not for the packaged evals')")
    output = folder.run("fer_models.cli", "eval", *common)
    assert "PASS" in output
    assert "those of the package" not in output


def test_init_writes_a_gate_that_plain_pytest_runs(folder):
    output = folder.run("fer_models.cli", "init")
    assert "Next: pytest test_evals.py" in output
    files = {path: path.read_bytes() for path in folder.path.rglob("*") if path.is_file()}
    python = {"conftest.py", "my_models.py", "test_evals.py"}
    assert {path.name for path in files} == {*python, "baselines.json", "evals.yml", ".gitignore"}
    again = folder.run("fer_models.cli", "init")
    assert again.count("kept ") == len(files)
    assert {path: path.read_bytes() for path in files} == files
    assert "NEW" in folder.run("pytest", "-k", "raw")
    assert "brightness-raw" in (folder.path / "reports" / "evals.html").read_text()
    assert "recorded 1 subject" in folder.run("pytest", "-k", "raw", "--update-baselines")
    assert "PASS" in folder.run("pytest", "-k", "raw")
    model = folder.path / "my_models.py"
    model.write_text(model.read_text().replace("int(face.mean()) * len(LABELS) // 256", "0"))
    worse = folder.run("pytest", "-k", "raw", code=1)
    assert "fell below" in worse
    assert "FAIL" in worse


def test_init_does_not_change_a_conftest_and_prints_the_line_to_add(folder):
    (folder.path / "conftest.py").write_text("# mine\n")
    output = folder.run("fer_models.cli", "init")
    assert 'pytest_plugins = ["fer_models.plugin"]' in output
    assert "--model my_models.py" in output
    assert (folder.path / "conftest.py").read_text() == "# mine\n"


def test_the_documented_evals_run_with_the_plugin_alone_and_get_a_page(folder, repository):
    text = (repository / "docs" / "writing-evals.md").read_text(encoding="utf-8")
    (example,) = (b for b in read_blocks("docs/writing-evals.md", text) if b.title == "test_my_evals.py")
    (folder.path / example.title).write_text(example.text)
    (folder.path / "test_unit.py").write_text("def test_one():\n    pass\n")
    folder.write_model()
    common = ["-p", "fer_models.plugin", "--model", "my_models.py", "-k", "(raw or every_emotion)"]
    output = folder.run("pytest", *common)
    assert "3 passed" in output
    assert "brightness-raw" in (folder.path / "reports" / "evals.html").read_text()
    shutil.rmtree(folder.path / "reports")
    folder.run("pytest", "-p", "fer_models.plugin", "test_unit.py")
    assert not (folder.path / "reports").exists()
    assert "Did you mean brightness" in folder.run("pytest", *common[:-1], "brigtness", code=5)


def test_nothing_heavy_is_imported_before_the_first_line():
    heavy = (
        *("torch", "timm", "scipy", "sklearn", "matplotlib"),
        *("statsmodels", "pyarrow", "pandas", "hypothesis"),
    )
    commands = [["list"], ["--help"], ["--version"], ["eval", "--help"]]
    code = (
        "import contextlib, sys\n"
        "import fer_models.plugin, fer_models.plugin.fixtures\n"
        "from fer_models.cli import main\n"
        f"for command in {commands}:\n"
        "    with contextlib.suppress(SystemExit):\n"
        "        main(command)\n"
        f"sys.exit(', '.join(m for m in {heavy} if m in sys.modules) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
