"""The command line `fer-models`: one module per command. `add` defines its arguments, `run` executes it and
imports what is heavy.
"""

from fer_models.cli.app import main

__all__ = ["main"]
