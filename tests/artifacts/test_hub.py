"""Downloads from the Hub: the files that are needed only, and errors with the command that helps."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from fer_models.artifacts import hub as models_hub
from fer_models.classifiers import hf_image_files
from fer_models.datasets import hub
from fer_models.errors import DatasetError, WeightsError
from fer_models.zoo import models, resolve


@pytest.fixture
def hub_calls(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, Any]:
    """Replace the Hub's library by a fake.

    It records its arguments, raises `hub_calls["raises"]`, and returns a folder with one file.
    """
    calls: dict[str, Any] = {"file": "data/train-00000-of-00001.parquet"}

    def snapshot_download(repo_id: str, **options: Any) -> str:
        calls["arguments"] = (repo_id, options)
        if "raises" in calls:
            raise calls["raises"]
        path = tmp_path / "snapshot" / calls["file"]
        path.parent.mkdir(parents=True)
        path.touch()
        return str(tmp_path / "snapshot")

    module = ModuleType("huggingface_hub")
    module.snapshot_download = snapshot_download  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "huggingface_hub", module)
    return calls


def test_only_parquet_files_are_downloaded_into_the_selected_cache(
    hub_calls: dict[str, Any], tmp_path: Path
) -> None:
    assert hub.download("someone/faces", tmp_path / "cache") == tmp_path / "snapshot"
    assert hub_calls["arguments"] == (
        "someone/faces",
        {"repo_type": "dataset", "cache_dir": tmp_path / "cache", "allow_patterns": "*.parquet"},
    )


@pytest.mark.parametrize(
    "error",
    [
        ConnectionError("offline mode\nis enabled"),
        FileNotFoundError("no snapshot on disk"),
        ValueError("Repo id must be 'owner/name'"),
        OSError(),
    ],
    ids=["offline", "nothing cached", "impossible id", "without text"],
)
def test_a_failed_download_is_one_line_with_the_command_to_run_elsewhere(
    hub_calls: dict[str, Any], error: Exception
) -> None:
    hub_calls["raises"] = error
    with pytest.raises(DatasetError, match=r"someone/faces could not be downloaded \(.+\)") as caught:
        hub.download("someone/faces")
    text = str(caught.value)
    assert "\n" not in text
    assert "hf download someone/faces --repo-type dataset --include '*.parquet' --local-dir FOLDER" in text
    assert "--data-root FOLDER" in text


def test_a_programming_error_is_not_reported_as_a_network_problem(hub_calls: dict[str, Any]) -> None:
    hub_calls["raises"] = TypeError("unexpected keyword")
    with pytest.raises(TypeError, match="unexpected keyword"):
        hub.download("someone/faces")


def test_a_dataset_without_parquet_files_is_refused(hub_calls: dict[str, Any]) -> None:
    hub_calls["file"] = "README.md"
    with pytest.raises(DatasetError, match="holds no parquet file"):
        hub.download("someone/faces")


def test_the_real_library_accepts_our_arguments() -> None:
    import inspect

    snapshot_download = pytest.importorskip("huggingface_hub").snapshot_download
    assert {"repo_id", "repo_type", "cache_dir", "allow_patterns"} <= set(
        inspect.signature(snapshot_download).parameters
    )


#: Files of a published repository, and whether an image classifier needs them.
PUBLISHED = {
    "config.json": True,
    "preprocessor_config.json": True,
    "processor_config.json": True,
    "model.safetensors": True,
    "model-00001-of-00002.safetensors": True,
    "model.safetensors.index.json": True,
    "README.md": False,
    "pytorch_model.bin": False,
    "training_args.bin": False,
    "optimizer.pt": False,
    "trainer_state.json": False,
    "modeling_evil.py": False,
    "checkpoint-500/model.safetensors": False,
    "onnx/config.json": False,
    "onnx/model.onnx": False,
}


def test_an_image_classifier_is_downloaded_without_what_it_does_not_need(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from huggingface_hub.utils import filter_repo_objects

    def snapshot_download(repo_id: str, *, allow_patterns: list[str], ignore_patterns: list[str]) -> str:
        assert repo_id == "someone/faces"
        patterns = {"allow_patterns": allow_patterns, "ignore_patterns": ignore_patterns}
        for name in filter_repo_objects(PUBLISHED, **patterns):
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (tmp_path / name).touch()
        return str(tmp_path)

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot_download)
    weights = resolve.resolve_model("hf:someone/faces", models.MODELS).weights
    assert weights is not None
    assert weights.fetch is not None
    assert weights.fetch() == tmp_path
    downloaded = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()}
    assert downloaded == {name for name, is_needed in PUBLISHED.items() if is_needed}


def test_a_repository_without_safetensors_is_no_model(
    hub_calls: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    hub_calls["file"] = "config.json"
    with pytest.raises(WeightsError, match=r"someone/faces holds no model in safetensors.*Only safetensors"):
        models_hub.fetch_model("someone/faces", hf_image_files.PATTERNS)
