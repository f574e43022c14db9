"""Downloads from the Hub: parquet files only, and errors with the command that helps."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from fer_models.datasets import hub
from fer_models.errors import DatasetError


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


def test_without_the_library_the_message_has_the_command_to_install_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(DatasetError, match="Run: pip install huggingface_hub"):
        hub.download("someone/faces")


def test_the_real_library_accepts_our_arguments() -> None:
    import inspect

    snapshot_download = pytest.importorskip("huggingface_hub").snapshot_download
    assert {"repo_id", "repo_type", "cache_dir", "allow_patterns"} <= set(
        inspect.signature(snapshot_download).parameters
    )
