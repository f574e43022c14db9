"""The tests' fixtures. What they are made of is in `fakes.py`."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from bench import Bench, make_bench
from fakes import toy_faces
from hypothesis import settings

from fer_models.datasets.base import FaceSet

settings.register_profile("untimed", deadline=None)  # how fast this machine is decides no test
settings.load_profile("untimed")
os.environ["FER_MODELS_WEIGHTS"] = os.devnull  # weights that happen to be on this machine decide no test


@pytest.fixture(scope="session")
def few() -> FaceSet:
    """28 faces, four of each emotion."""
    return toy_faces(28)


@pytest.fixture(scope="session")
def repository() -> Path:
    """The project's root folder."""
    return Path(__file__).parents[1]


@pytest.fixture
def bench(tmp_path: Path, repository: Path) -> Bench:
    """A folder in which the evals run on a few faces."""
    return make_bench(tmp_path, repository)
