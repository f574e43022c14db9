"""The parametrized fixtures that the questions in `evals/` are asked with. What stands behind them is in
`fer_models.plugin`.
"""

import pytest

pytest_plugins = ["fer_models.plugin"]


@pytest.fixture(scope="session")
def model(request, suite):
    """One model: parametrized over the zoo, installed packages, `--model-file` and `--model`."""
    return suite.models[request.param]


@pytest.fixture(scope="session")
def restoration(request, suite):
    """One restoration configuration: parametrized over all that are known."""
    return suite.restorers[request.param]


@pytest.fixture(scope="session")
def faces(suite):
    """The faces of this run."""
    return suite.data.faces
