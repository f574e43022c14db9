"""Identity of the code that computes predictions: the modules of this package and the libraries they call.

It is part of every key in the store and its caches, so a change of code makes stored predictions invalid. A
module counts unless it is listed in `AFTER_PREDICTION`: a new module that is forgotten there still counts.
"""

from __future__ import annotations

from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from fer_models.artifacts.hashing import sha256_of_sources

#: Folders and modules that predictions do not depend on. No module of the prediction pipeline imports them
#: (a test checks it).
AFTER_PREDICTION = (
    "changed_faces.py",
    "cli",
    "cost",
    "cost_ratios.py",
    "datasets/audit.py",
    "datasets/audit_examples.py",
    "datasets/audit_results.py",
    "datasets/audit_text.py",
    "depth.py",
    "diagnosis.py",
    "evaluation.py",
    "export",
    "gate",
    "history",
    "parametrized_fixtures.py",
    "plugin",
    "report",
    "result_entries.py",
    "robustness",
    "scoring",
    "slices",
    "studies",
    "time_estimate.py",
    "training",
)
#: The libraries that pixels or logits depend on: they decode and resize images, or compute networks.
LIBRARIES = (
    "torch", "torchvision", "timm", "open-clip-torch", "transformers", "tokenizers", "spandrel",
    "ai-edge-litert", "onnxruntime", "onnxruntime-gpu", "pillow", "numpy", "scipy",
)  # fmt: skip


@lru_cache
def code_identity() -> dict[str, str]:
    """Return the sha256 of the code that computes predictions, and the versions of `LIBRARIES`."""
    return {"fer-models": sha256_of_sources(source_files()), **library_versions()}


def source_files(package: Path = Path(__file__).parents[1]) -> list[Path]:
    """List the modules of `package` that predictions may depend on, sorted."""
    excluded = {package / name for name in AFTER_PREDICTION}
    return [path for path in sorted(package.rglob("*.py")) if excluded.isdisjoint((path, *path.parents))]


@lru_cache
def library_versions() -> dict[str, str]:
    """Return the version of each of `LIBRARIES`, without importing it."""
    return {name: installed_version(name) for name in LIBRARIES}


def installed_version(package: str) -> str:
    """Return the version of an installed package, or `not installed`."""
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"
