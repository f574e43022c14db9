"""Datasets on the Hugging Face Hub, downloaded only with `--download` and then read as local folders."""

from __future__ import annotations

from pathlib import Path

from fer_models.artifacts.hub import download_errors
from fer_models.errors import DatasetError, reason_of

#: FER-2013 with its three official splits, as parquet files.
FER2013_REPO = "Aaryan333/fer2013_train_publicTest_privateTest"


def download(repo_id: str, cache: Path | None = None) -> Path:
    """Download the parquet files of a dataset, unless they are cached, and return their folder.

    Args:
        repo_id: `owner/name` on the Hub.
        cache: the cache folder; that of the Hub's library by default.

    Raises:
        DatasetError: the Hub cannot be reached or has no such dataset, or it holds no parquet file. The text
            names the command that helps.
    """
    command = f"hf download {repo_id} --repo-type dataset --include '*.parquet' --local-dir FOLDER"
    from huggingface_hub import snapshot_download

    try:
        path = snapshot_download(repo_id, repo_type="dataset", cache_dir=cache, allow_patterns="*.parquet")
    except download_errors() as error:  # no network, no such dataset, an impossible id
        raise DatasetError(
            f"The dataset {repo_id} could not be downloaded ({reason_of(error)}). "
            f"Check the network, or use another machine: {command} and then give --data-root FOLDER."
        ) from error
    folder = Path(path)
    if not any(folder.rglob("*.parquet")):
        raise DatasetError(
            f"The dataset {repo_id} was downloaded to {folder}, but holds no parquet file. "
            f"Check it with: {command}"
        )
    return folder
