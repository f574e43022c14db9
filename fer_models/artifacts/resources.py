"""Paths of the files of the package: evals, shipped baselines, templates."""

from __future__ import annotations

from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1]
#: Data files: weights, prompt sets, templates.
ASSETS = PACKAGE / "assets"
#: The module of the evals, for `pytest --pyargs`.
EVALS_MODULE = "fer_models.evals"
#: The templates of `fer-models init`.
TEMPLATES = ASSETS / "templates"
#: The pytest configuration of `fer-models eval`. The user's own configuration is not read.
EVALS_INI = ASSETS / "evals.ini"


def evals_dir() -> Path:
    """The folder of the evals: in an installed package, or next to the package in a clone."""
    return _installed_or_cloned("evals")


def shipped_baselines() -> Path:
    """The shipped baselines: the records of the synthetic faces, or all records in a clone."""
    return _installed_or_cloned("baselines.json")


def is_installed() -> bool:
    """Whether the evals are in the package, as in a wheel, and not next to it, as in a clone."""
    return (PACKAGE / "evals").is_dir()


def _installed_or_cloned(name: str) -> Path:
    installed = PACKAGE / name
    return installed if installed.exists() else PACKAGE.parent / name
