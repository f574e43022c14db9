"""The tests' fixtures. What they are made of is in `fakes.py`."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from bench import Bench, make_bench
from fakes import toy_faces
from hypothesis import settings
from object_stores import folder_in, s3_server
from processes import share_compiled_modules

from fer_models.artifacts.object_storage import ObjectPath
from fer_models.datasets.base import FaceSet

settings.register_profile("untimed", deadline=None)  # how fast this machine is decides no test
settings.load_profile("untimed")
os.environ["FER_MODELS_WEIGHTS"] = os.devnull  # weights that happen to be on this machine decide no test
for _name in (
    "GITHUB_ACTIONS",
    "GITHUB_STEP_SUMMARY",
):  # the runs of these tests are no results of a workflow
    os.environ.pop(_name, None)


def pytest_configure(config: pytest.Config) -> None:
    """Give each process of `-n` neighbouring tests: most fixtures of a module are then set up once."""
    if getattr(config.option, "dist", "no") == "load":
        config.option.dist = "worksteal"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave the slow tests out of `pytest tests`; those that -m, -k, a file or a folder selects are run."""
    tests = Path(__file__).parent
    folders = [(config.invocation_params.dir / argument).resolve() for argument in config.args]
    if config.option.markexpr or config.option.keyword or not {tests, tests.parent} & set(folders):
        return
    slow = [item for item in items if item.get_closest_marker("slow")]
    config.hook.pytest_deselected(items=slow)
    items[:] = [item for item in items if not item.get_closest_marker("slow")]


@pytest.fixture(scope="session", autouse=True)
def compiled_modules(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Share one folder of compiled modules among the processes that these tests start."""
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent
    share_compiled_modules(folder / "compiled-modules")


@pytest.fixture(scope="session")
def few() -> FaceSet:
    """28 faces, four of each emotion."""
    return toy_faces(28)


@pytest.fixture(scope="session")
def repository() -> Path:
    """The project's root folder."""
    return Path(__file__).parents[1]


@pytest.fixture(scope="module")
def s3_address() -> Iterator[str]:
    """The address of a folder on an S3 server of the module."""
    with s3_server() as address:
        yield address


@pytest.fixture
def s3_folder(s3_address: str, request: pytest.FixtureRequest) -> ObjectPath:
    """The test's own folder on the server of its module."""
    return folder_in(s3_address, request.node.name)


@pytest.fixture
def bench(tmp_path: Path, repository: Path) -> Bench:
    """A folder in which the evals run on a few faces."""
    return make_bench(tmp_path, repository)
