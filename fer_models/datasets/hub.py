"""Datasets from the Hugging Face Hub: fetched only when the user asks for it with `--download`, and then read
like any local folder.
"""

from __future__ import annotations

from pathlib import Path

from fer_models.errors import DatasetError

#: FER-2013 with its three official splits, as parquet files.
FER2013_REPO = "Aaryan333/fer2013_train_publicTest_privateTest"


def download(repo_id: str, cache: Path | None = None) -> Path:
    """The folder that holds the parquet files of the Hub's dataset `repo_id`, fetched unless the cache has
    them.

    Args:
        repo_id: `owner/name` on the Hub.
        cache: where to keep what was fetched; the Hub library's own cache by default.

    Raises:
        DatasetError: huggingface_hub is not installed, the Hub cannot be reached or has no such dataset, or
            it holds no parquet file. The text names the command that helps.
    """
    by_hand = f"hf download {repo_id} --repo-type dataset --include '*.parquet' --local-dir FOLDER"
    try:
        from huggingface_hub import snapshot_download
    except ImportError as error:
        raise DatasetError(
            "--download needs the package huggingface_hub, which is not installed. Run: pip install huggingface_hub"
        ) from error
    try:
        folder = Path(
            snapshot_download(repo_id, repo_type="dataset", cache_dir=cache, allow_patterns="*.parquet")
        )
    except (
        OSError,
        ValueError,
    ) as error:  # what the Hub's library raises: no network, no such dataset, an impossible id
        reason = " ".join((str(error) or type(error).__name__).split())[:200]
        raise DatasetError(
            f"The dataset {repo_id} could not be downloaded ({reason}). "
            f"Check the network, or run on a machine that has one: {by_hand} and then give --data-root FOLDER."
        ) from error
    if not any(folder.rglob("*.parquet")):
        raise DatasetError(
            f"The dataset {repo_id} was downloaded to {folder}, but holds no parquet file. Look with: {by_hand}"
        )
    return folder
