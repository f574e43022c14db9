"""Models on the Hugging Face Hub: found in its local cache without asking the network; fetched only when the
user asks.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from fer_models.artifacts.json_io import parse_json, read_text
from fer_models.errors import UsageError, WeightsError, one_line


def check_repository(name: str, form: str) -> str:
    """`name`, if it can name a repository on the Hub. The network is not asked.

    Args:
        form: how the user writes it, such as `hf-hub:ORGANISATION/NAME`.

    Raises:
        UsageError: it cannot.
    """
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]  # documented, without an export for type checkers

    try:
        validate_repo_id(name)
    except HFValidationError as error:
        raise UsageError(f"'{one_line(name)}' names no repository on the Hub. Write {form}.") from error
    return name


def find_cached(repository: str, files: Sequence[str]) -> Path | None:
    """The first of `files` that the Hub's local cache holds of `repository`; None where it holds none. The
    network is not asked.
    """
    from huggingface_hub import try_to_load_from_cache

    for name in files:
        found = try_to_load_from_cache(repository, name)
        if isinstance(found, str):
            return Path(found)
    return None


def find_cached_model(repository: str) -> Path | None:
    """The folder in which the Hub's local cache holds a model of transformers' layout, whole; None where it
    does not. The network is not asked.
    """
    config = find_cached(repository, ["config.json"])
    if config is None:
        return None
    folder = config.parent
    try:
        index = parse_json(read_text(folder / "model.safetensors.index.json"))
        whole = all((folder / str(name)).exists() for name in index["weight_map"].values())
    except FileNotFoundError:
        whole = any(folder.glob("*.safetensors"))
    except (OSError, ValueError, KeyError, AttributeError, TypeError):
        whole = False
    return folder if whole else None


def fetch_model(repository: str) -> Path:
    """Fetch a model of transformers' layout: its safetensors, its settings and its words, and no code.

    Raises:
        WeightsError: the Hub cannot be reached, or has no such model.
    """
    from huggingface_hub import snapshot_download

    try:
        folder = Path(
            snapshot_download(
                repository, allow_patterns=["*.json", "*.safetensors", "*.txt", "*.model", "*.jinja"]
            )
        )
    except (OSError, ValueError) as error:
        raise _unfetched(repository, f"hf download {repository}", error) from error
    if not (folder / "config.json").exists() or not any(folder.glob("*.safetensors")):
        raise WeightsError(
            f"{repository} holds no model in safetensors on the Hub. Only safetensors are read."
        )
    return folder


def _unfetched(repository: str, by_hand: str, error: Exception) -> WeightsError:
    reason = " ".join((str(error) or type(error).__name__).split())[:200]
    return WeightsError(
        f"{repository} could not be fetched from the Hub ({reason}). Check the network, or run on a machine that has one: {by_hand}"
    )


def fetch(repository: str, files: Sequence[str], patterns: Sequence[str] = ()) -> Path:
    """Fetch the first of `files` that `repository` has, and all files there that match the patterns `beside`.

    Raises:
        WeightsError: the Hub cannot be reached, or has none of them. The text names the command that helps.
    """
    from huggingface_hub import hf_hub_download, snapshot_download
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

    by_hand = f"hf download {repository} {files[0]}"
    try:
        if patterns:
            snapshot_download(repository, allow_patterns=list(patterns))
        for name in files:
            try:
                return Path(hf_hub_download(repository, name))
            except LocalEntryNotFoundError:  # no network: the next name would meet the same
                raise
            except EntryNotFoundError:
                continue
    except (OSError, ValueError) as error:  # no network, no such repository, an impossible name
        raise _unfetched(repository, by_hand, error) from error
    raise WeightsError(
        f"{repository} holds none of {', '.join(files)} on the Hub. Only safetensors are read."
    )
