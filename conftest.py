"""The parametrized fixtures of the evals, with one definition for clone and package, and the plugin behind them."""

from fer_models.parametrized_fixtures import faces, model, restoration

__all__ = ["faces", "model", "restoration"]

pytest_plugins = ["fer_models.plugin"]
