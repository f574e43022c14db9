"""The parametrized fixtures of the tests in `evals/`. The plugin has the others."""

from fer_models.parametrized_fixtures import faces, model, restoration

__all__ = ["faces", "model", "restoration"]
pytest_plugins = ["fer_models.plugin"]
