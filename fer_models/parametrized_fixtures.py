"""Parametrized fixtures: one test per model and restoration.

The plugin provides them wherever it is loaded, and the root `conftest.py` of a clone names them. A fixture
of the same name in a suite's own `conftest.py` overrides them. They are not in `fer_models.plugin`, because
pytest warns of a plugin that was imported before pytest loaded it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from fer_models.datasets.base import FaceSet
    from fer_models.evaluation import Evaluation
    from fer_models.zoo.spec import ModelSpec, RestorerSpec


@pytest.fixture(scope="session")
def model(request: pytest.FixtureRequest, evaluation: Evaluation) -> ModelSpec:
    """One model: parametrized over the zoo, installed packages, `--model-file` and `--model`."""
    return evaluation.runner.models[request.param]


@pytest.fixture(scope="session")
def restoration(request: pytest.FixtureRequest, evaluation: Evaluation) -> RestorerSpec:
    """One restoration configuration: parametrized over all known ones."""
    return evaluation.runner.restorers[request.param]


@pytest.fixture(scope="session")
def faces(evaluation: Evaluation) -> FaceSet:
    """The faces of this run."""
    return evaluation.runner.data.faces
