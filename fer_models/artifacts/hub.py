"""Models on the Hugging Face Hub: looked up in the local cache, downloaded only on request."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path

from fer_models.artifacts.json_io import parse_json, read_text
from fer_models.errors import UsageError, WeightsError, one_line, reason_of

_TEXT_FILES = ("*.json", "*.txt", "*.model")
_MODEL_FILES = (*_TEXT_FILES, "*.safetensors", "*.jinja")


@contextlib.contextmanager
def offline() -> Iterator[None]:
    """Keep the Hub's library off the network: settings of a model can name other repositories."""
    from huggingface_hub import constants

    before = constants.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before


def check_repository(name: str, form: str) -> str:
    """Check that `name` is a valid name of a repository, without the network, and return it.

    Args:
        name: the name.
        form: the form of a valid option, such as `hf-hub:ORGANISATION/NAME`.

    Raises:
        UsageError: it is not valid.
    """
    from huggingface_hub.errors import HFValidationError

    # The function is documented, but not exported for type checkers.
    from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]

    try:
        validate_repo_id(name)
    except HFValidationError as error:
        raise UsageError(f"'{one_line(name)}' names no repository on the Hub. Write {form}.") from error
    return name


def find_cached(repository: str, files: Sequence[str]) -> Path | None:
    """Find the first of `files` of a repository in the local cache, without the network, or None."""
    from huggingface_hub import try_to_load_from_cache

    for name in files:
        path = try_to_load_from_cache(repository, name)
        if isinstance(path, str):
            return Path(path)
    return None


def find_cached_model(repository: str) -> Path | None:
    """Find a complete model in transformers' layout in the local cache, without the network, or None."""
    config = find_cached(repository, ["config.json"])
    if config is None:
        return None
    folder = config.parent
    try:
        index = parse_json(read_text(folder / "model.safetensors.index.json"))
        is_complete = all((folder / str(name)).exists() for name in index["weight_map"].values())
    except FileNotFoundError:
        is_complete = any(folder.glob("*.safetensors"))
    except (OSError, ValueError, KeyError, AttributeError, TypeError):
        is_complete = False
    return folder if is_complete else None


def fetch_model(repository: str, files: Sequence[str] = _MODEL_FILES, excluded: Sequence[str] = ()) -> Path:
    """Download a model in transformers' layout: safetensors, settings and vocabulary, and no code.

    Args:
        repository: its name.
        files: patterns of the files to download, in which `*` also matches `/`.
        excluded: patterns of the files among them that are not downloaded.

    Raises:
        WeightsError: the Hub cannot be reached, or has no such model.
    """
    from huggingface_hub import snapshot_download

    try:
        folder = Path(
            snapshot_download(repository, allow_patterns=list(files), ignore_patterns=list(excluded))
        )
    except download_errors() as error:
        raise _download_error(repository, f"hf download {repository}", error) from error
    if not (folder / "config.json").exists() or not any(folder.glob("*.safetensors")):
        raise WeightsError(
            f"{repository} holds no model in safetensors on the Hub. "
            "Only safetensors are read: choose another repository, or convert its weights."
        )
    return folder


def fetch_texts(repository: str) -> None:
    """Download the vocabulary and the settings of a repository, and no weights.

    Raises:
        WeightsError: the Hub cannot be reached, or has no such repository.
    """
    from huggingface_hub import snapshot_download

    try:
        snapshot_download(repository, allow_patterns=list(_TEXT_FILES))
    except download_errors() as error:
        raise _download_error(repository, f"hf download {repository}", error) from error


def download_errors() -> tuple[type[Exception], ...]:
    """Exceptions of a failed download: those of the HTTP client are no OSError."""
    from huggingface_hub.errors import HfHubHTTPError

    return (OSError, ValueError, *(kind for kind in HfHubHTTPError.__bases__ if issubclass(kind, Exception)))


def _download_error(repository: str, command: str, error: Exception) -> WeightsError:
    return WeightsError(
        f"{repository} could not be fetched from the Hub ({reason_of(error)}). "
        f"Check the network, or run on a machine that has one: {command}"
    )


def fetch(repository: str, files: Sequence[str], patterns: Sequence[str] = ()) -> Path:
    """Download the first of `files` that a repository has, and all its files that match `patterns`.

    Raises:
        WeightsError: the Hub cannot be reached, or has none of them. The text names the command that helps.
    """
    from huggingface_hub import hf_hub_download, snapshot_download
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

    try:
        if patterns:
            snapshot_download(repository, allow_patterns=list(patterns))
        for name in files:
            try:
                return Path(hf_hub_download(repository, name))
            except LocalEntryNotFoundError:  # no network: the next name would fail too
                raise
            except EntryNotFoundError:
                continue
    except download_errors() as error:  # no network, no such repository, an impossible name
        raise _download_error(repository, f"hf download {repository} {files[0]}", error) from error
    raise WeightsError(
        f"{repository} holds none of {', '.join(files)} on the Hub. "
        "Only safetensors are read: choose another repository, or convert its weights."
    )
