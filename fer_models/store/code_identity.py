"""Identity of the code that computes predictions: this package's own modules and the libraries that they
call.

It is part of every key in the store and its caches, so no stored prediction outlives the code that made it. A
module counts unless it is listed in `AFTER_PREDICTION`: a new module can be left out of the list, but never
by mistake out of the identity.
"""

from __future__ import annotations

from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from fer_models.artifacts.hashing import sha256_of_sources

#: Folders and modules that work on stored predictions, or on nothing that a prediction depends on. No module
#: of the prediction pipeline imports them (a test says so).
AFTER_PREDICTION = (
    "cli",
    "cost",
    "datasets/audit.py",
    "depth.py",
    "evaluation.py",
    "gate",
    "parametrized_fixtures.py",
    "plugin",
    "report",
    "robustness",
    "scoring",
    "studies",
    "time_estimate.py",
    "training",
)
#: The libraries that decide pixels or logits: they decode and resize images, or compute networks.
LIBRARIES = (
    "torch", "torchvision", "timm", "open-clip-torch", "transformers", "tokenizers", "spandrel", "ai-edge-litert",
    "pillow", "numpy", "scipy",
)  # fmt: skip


@lru_cache
def code_identity() -> dict[str, str]:
    """The sha256 of the source code that computes predictions, and the version of each of `LIBRARIES`."""
    return {"fer-models": sha256_of_sources(source_files()), **library_versions()}


def source_files(package: Path = Path(__file__).parents[1]) -> list[Path]:
    """The modules of `package` that may decide a prediction, sorted."""
    excluded = {package / name for name in AFTER_PREDICTION}
    return [path for path in sorted(package.rglob("*.py")) if excluded.isdisjoint((path, *path.parents))]


@lru_cache
def library_versions() -> dict[str, str]:
    """The version of each of `LIBRARIES`, without importing it."""
    return {name: _version(name) for name in LIBRARIES}


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"
