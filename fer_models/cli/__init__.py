"""Command line `fer-models`, one module per command.

`add` defines the arguments of a command; `run` executes it, and imports heavy libraries only then.
"""

from fer_models.cli.app import main

__all__ = ["main"]
