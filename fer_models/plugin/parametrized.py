"""The parametrized fixtures, provided wherever the plugin is loaded."""

from fer_models.parametrized_fixtures import faces, model, restoration

__all__ = ["faces", "model", "restoration"]
