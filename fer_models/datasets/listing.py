"""What a folder shows: names that begin with a dot, and those that macOS adds to archives, are left out."""

from __future__ import annotations

from pathlib import Path

from fer_models.errors import DatasetError


def list_visible(folder: Path) -> list[Path]:
    """List the visible files and folders in a folder, sorted.

    Raises:
        DatasetError: it cannot be listed.
    """
    try:
        return sorted(child for child in folder.iterdir() if not child.name.startswith((".", "__MACOSX")))
    except OSError as error:
        raise DatasetError(f"{folder} cannot be listed ({error.strerror}).") from error
