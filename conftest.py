"""Parametrized fixtures of the tests in `evals/`. The other fixtures are in `fer_models.plugin`."""

import pytest

pytest_plugins = ["fer_models.plugin"]


@pytest.fixture(scope="session")
def model(request, evaluation):
    """One model: parametrized over the zoo, installed packages, `--model-file` and `--model`."""
    return evaluation.runner.models[request.param]


@pytest.fixture(scope="session")
def restoration(request, evaluation):
    """One restoration configuration: parametrized over all that are known."""
    return evaluation.runner.restorers[request.param]


@pytest.fixture(scope="session")
def faces(evaluation):
    """The faces of this run."""
    return evaluation.runner.data.faces
