"""The parametrized fixtures of the evals, and the plugin that they belong to."""

from fer_models.parametrized_fixtures import faces, model, restoration

__all__ = ["faces", "model", "restoration"]

pytest_plugins = ["fer_models.plugin"]
