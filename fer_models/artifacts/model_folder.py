"""Weights of a model in a folder as transformers saves it: one safetensors file, or several with an index."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from fer_models.artifacts.json_io import parse_json, read_text
from fer_models.errors import WeightsError, one_line

CONFIG = "config.json"
WEIGHTS = "model.safetensors"
INDEX = f"{WEIGHTS}.index.json"
#: Settings with a path that timm reads or writes.
_PATHS = frozenset({"checkpoint_path", "cache_dir"})
#: Ends of the names of settings with the name of a network or a kernel, which may be one on the Hub.
_NAMES = ("architecture", "backbone", "attn_implementation")


def refuse_adapter(folder: Path) -> None:
    """Refuse a folder with an adapter: transformers reads it only where another package, peft, is installed.

    Raises:
        WeightsError: there is one.
    """
    if (folder / "adapter_config.json").exists():
        raise WeightsError(
            f"{folder} holds an adapter of another model (adapter_config.json). "
            "Merge them with peft's merge_and_unload(), and save the merged model."
        )


def refuse_other_files(folder: Path) -> None:
    """Refuse a `config.json` by which timm or transformers would read files outside its folder, or code.

    Raises:
        WeightsError: a setting names a repository, a path or a kernel.
    """
    for key, value in _settings(read_object(folder / CONFIG)):
        text = value if isinstance(value, str) else ""
        is_path = key in _PATHS and bool(text)
        is_elsewhere = key.endswith(_NAMES) and (":" in text or "/" in text)
        if is_path or is_elsewhere:
            raise WeightsError(
                f"{folder / CONFIG} names something outside its folder ({key}: '{one_line(text, 80)}'). "
                "It is not read. Remove that setting, or use a model whose files are complete."
            )


def _settings(value: Any) -> Iterator[tuple[str, Any]]:
    """Each key of nested JSON with its value."""
    for key, inner in value.items() if isinstance(value, Mapping) else ():
        yield key, inner
        yield from _settings(inner)
    for inner in value if isinstance(value, list) else ():
        yield from _settings(inner)


def safetensors_files(folder: Path) -> list[Path]:
    """List the files of the weights: `model.safetensors`, or those that its index names; none without both.

    A name with a folder is refused: a model's identity contains the files of its own folder only.

    Raises:
        WeightsError: the index is damaged, or names a file that is missing.
    """
    if (folder / WEIGHTS).is_file():  # no pipe, which may never end
        return [folder / WEIGHTS]
    if not (folder / INDEX).is_file():
        return []
    index = read_object(folder / INDEX).get("weight_map")
    names = list(index.values()) if isinstance(index, dict) else []
    if not names or not all(isinstance(name, str) and Path(name).name == name for name in names):
        raise WeightsError(
            f"{folder / INDEX} names no files of this folder as its weights. Get a sound copy of the model."
        )
    files = [folder / name for name in sorted(set(names))]
    if missing := [file for file in files if not file.is_file()]:
        raise WeightsError(
            f"{missing[0]} is missing ({len(missing)} of {len(files)} files that {INDEX} names). "
            "Get the complete model."
        )
    return files


def read_object(path: Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        WeightsError: it cannot be read, or is something else.
    """
    try:
        content = parse_json(read_text(path))
        if not isinstance(content, dict):
            raise ValueError(f"it holds a {type(content).__name__}, not an object")
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or one_line(str(error), 150)
        raise WeightsError(f"{path} cannot be read ({reason}). Get a sound copy of the model.") from error
    return content
