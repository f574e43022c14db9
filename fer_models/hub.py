"""Models on the Hugging Face Hub: found in its local cache without asking the network; fetched only when the user asks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from fer_models.errors import WeightsError


def cached(repository: str, files: Sequence[str]) -> Path | None:
    """The first of `files` that the Hub's local cache holds of `repository`; None where it holds none. The network is not asked."""
    from huggingface_hub import try_to_load_from_cache

    for name in files:
        found = try_to_load_from_cache(repository, name)
        if isinstance(found, str):
            return Path(found)
    return None


def fetch(repository: str, files: Sequence[str], beside: Sequence[str] = ()) -> Path:
    """Fetch the first of `files` that `repository` has, and all files there that match the patterns `beside`.

    Raises:
        WeightsError: the Hub cannot be reached, or has none of them. The text names the command that helps.
    """
    from huggingface_hub import hf_hub_download, snapshot_download
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

    by_hand = f"hf download {repository} {files[0]}"
    try:
        if beside:
            snapshot_download(repository, allow_patterns=list(beside))
        for name in files:
            try:
                return Path(hf_hub_download(repository, name))
            except LocalEntryNotFoundError:  # no network: the next name would meet the same
                raise
            except EntryNotFoundError:
                continue
    except (OSError, ValueError) as error:  # no network, no such repository, an impossible name
        reason = " ".join((str(error) or type(error).__name__).split())[:200]
        raise WeightsError(
            f"{repository} could not be fetched from the Hub ({reason}). Check the network, or run on a machine that has one: {by_hand}"
        ) from error
    raise WeightsError(f"{repository} holds none of {', '.join(files)} on the Hub. Only safetensors are read.")
