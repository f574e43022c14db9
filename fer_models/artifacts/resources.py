"""Paths of the files that come with the package: evals, baselines of the embedded default, templates."""

from __future__ import annotations

from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1]
#: Data files: weights, prompt sets, templates.
ASSETS = PACKAGE / "assets"
#: The name by which `pytest --pyargs` finds the evals.
EVALS_MODULE = "fer_models.evals"
#: The templates of `fer-models init`.
TEMPLATES = ASSETS / "templates"
#: The pytest configuration of `fer-models eval`. The user's own configuration is not read.
EVALS_INI = ASSETS / "evals.ini"


def evals_dir() -> Path:
    """Folder of the evals: inside an installed package, beside the package in a clone."""
    return _installed_or_cloned("evals")


def shipped_baselines() -> Path:
    """Baselines that come with the package: the records of the synthetic faces, or all records in a clone."""
    return _installed_or_cloned("baselines.json")


def is_installed() -> bool:
    """Whether the evals lie inside the package, which is so for a wheel and not for a clone."""
    return (PACKAGE / "evals").is_dir()


def _installed_or_cloned(name: str) -> Path:
    installed = PACKAGE / name
    return installed if installed.exists() else PACKAGE.parent / name
