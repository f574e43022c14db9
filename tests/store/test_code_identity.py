"""A change of the code that predicts makes stored predictions invalid."""

import ast
from pathlib import Path

import pytest

import fer_models
from fer_models.artifacts.hashing import sha256_of_sources
from fer_models.store import code_identity
from fer_models.store.code_identity import AFTER_PREDICTION, source_files

PACKAGE = Path(fer_models.__file__).parent
#: What computes predictions, besides what it imports.
PIPELINE = (
    "classifiers", "restorers", "corruptions.py", "images.py", "emotions.py", "zoo", "artifacts/weights.py",
    "artifacts/safetensors_io.py", "inference/loop.py", "inference/embeddings.py",
    "inference/restoration_cache.py", "inference/prediction_cache.py", "store",
)  # fmt: skip


def imported(path):
    """List the modules of the package that a module imports, also inside functions."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("fer_models"):
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names if alias.name.startswith("fer_models")]
        else:
            continue
        for name in names:
            base = PACKAGE.joinpath(*name.split(".")[1:])
            yield from (p for p in (base.with_suffix(".py"), base / "__init__.py") if p.is_file())


def reachable():
    """Every module that predictions may depend on, by following imports from `PIPELINE`."""
    roots = [PACKAGE / name for name in PIPELINE]
    pending = [path for root in roots for path in (root.rglob("*.py") if root.is_dir() else [root])]
    modules = set()
    while pending:
        path = pending.pop()
        if path not in modules:
            modules.add(path)
            pending += imported(path)
    return modules


def test_everything_that_computes_predictions_is_part_of_the_identity():
    assert sorted(reachable() - set(source_files())) == []


@pytest.mark.parametrize("name", AFTER_PREDICTION)
def test_excluded_modules_exist(name):
    assert (PACKAGE / name).exists()


@pytest.mark.parametrize(
    "module",
    [
        *("classifiers/cnn.py", "restorers/gfpgan.py", "corruptions.py", "images.py", "inference/loop.py"),
        "zoo/models.py",
    ],
)
def test_a_change_of_code_that_predicts_is_another_identity(monkeypatch, module):
    before, changed, read = sha256_of_sources(source_files()), PACKAGE / module, Path.read_bytes
    monkeypatch.setattr(
        Path, "read_bytes", lambda path: read(path) + (b"# edited" if path == changed else b"")
    )
    assert sha256_of_sources(source_files()) != before


def test_line_ends_of_a_checkout_are_no_change(monkeypatch):
    before, read = sha256_of_sources(source_files()), Path.read_bytes
    monkeypatch.setattr(Path, "read_bytes", lambda path: read(path).replace(b"\n", b"\r\n"))
    assert sha256_of_sources(source_files()) == before


@pytest.mark.parametrize("library", code_identity.LIBRARIES)
def test_another_version_of_a_library_is_another_identity(monkeypatch, library):
    code_identity.library_versions.cache_clear()
    before = code_identity.library_versions()
    code_identity.library_versions.cache_clear()
    monkeypatch.setattr(code_identity, "version", lambda name: "0.0.0" if name == library else before[name])
    try:
        assert code_identity.library_versions() != before
    finally:
        code_identity.library_versions.cache_clear()
