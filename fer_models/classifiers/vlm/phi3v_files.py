"""Files of Phi-3.5-vision: tensors by the names that Microsoft's files give them, read and written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from tokenizers import Tokenizer

from fer_models.artifacts import safetensors_io
from fer_models.artifacts.atomic_write import atomic_write
from fer_models.artifacts.model_folder import safetensors_files
from fer_models.classifiers.vlm.phi3v_network import Phi3V
from fer_models.errors import WeightsError

#: Prefixes of the tensors that are not the language model's.
_JOINT, _TOWER = "model.vision_embed_tokens.", "model.vision_embed_tokens.img_processor.vision_model."
#: Suffixes of tensors that some files hold in addition: a table of 0, 1, 2, …, and the word embeddings once
#: more, by the name under which the image encoder shares them.
_REDUNDANT = (".position_ids", "vision_embed_tokens.wte.weight")


def save(
    network: Phi3V,
    config: dict[str, Any],
    tokenizer: Tokenizer,
    folder: Path,
    metadata: dict[str, str],
    dtype: str = "bf16",
) -> None:
    """Write a network as `phi3v.load` reads it."""
    folder.mkdir(parents=True, exist_ok=True)
    state, names = network.state_dict(), official_names(network)
    tensors = {official: state[name].to(safetensors_io.DTYPES[dtype]) for official, name in names.items()}
    safetensors_io.write(tensors, folder / "model.safetensors", metadata)
    texts = {
        "tokenizer.json": tokenizer.to_str(pretty=True),
        "config.json": json.dumps(config, indent=1) + "\n",
    }
    for name, text in texts.items():
        with atomic_write(folder / name) as part:
            part.write_text(text, encoding="utf-8")


def official_names(network: Phi3V) -> dict[str, str]:
    """Tensor names of the network: in Microsoft's files -> in `network`."""
    names = {}
    for name in network.state_dict():
        part, _, rest = name.partition(".")
        prefixed = {"language": rest, "tower": _TOWER + rest.removeprefix("vision_model.")}
        names[prefixed.get(part, _JOINT + name)] = name
    return names


def read_tensors(folder: Path, network: Phi3V, dtype: torch.dtype) -> dict[str, torch.Tensor]:
    """The tensors in a folder's files, by their names in `network`.

    Tensors that have the type `dtype` already are mapped from disk.

    Raises:
        WeightsError: a file is missing or unsound, or the tensors are not exactly those of the network.
    """
    names = official_names(network)
    state: dict[str, torch.Tensor] = {}
    unexpected: list[str] = []
    for path in _safetensors_files(folder):
        try:
            with safe_open(path, framework="pt") as file:
                for name in file.keys():  # noqa: SIM118 (not a dict)
                    if name in names:
                        state[names[name]] = file.get_tensor(name).to(dtype)
                    elif not name.endswith(_REDUNDANT):
                        unexpected.append(name)
        except (OSError, SafetensorError) as error:
            raise WeightsError(f"{path} cannot be read as safetensors ({error}). Fetch it anew.") from error
    _check_tensors(folder, network, state, unexpected)
    return state


def _check_tensors(
    folder: Path, network: Phi3V, state: dict[str, torch.Tensor], unexpected: list[str]
) -> None:
    names = official_names(network)
    shapes = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    missing = [official for official, name in names.items() if name not in state]
    misshapen = [
        f"{official} {tuple(state[name].shape)} for {shapes[name]}"
        for official, name in names.items()
        if name in state and tuple(state[name].shape) != shapes[name]
    ]
    for problem, tensors in (
        ("lacks", missing),
        ("has, unexpectedly,", unexpected),
        ("has in other shapes", misshapen),
    ):
        if tensors:
            more = f" and {len(tensors) - 3} more" if len(tensors) > 3 else ""
            raise WeightsError(
                f"{folder} {problem} {', '.join(tensors[:3])}{more}. "
                "It is no Phi-3.5-vision, or it is incomplete; fetch it anew."
            )


def _safetensors_files(folder: Path) -> list[Path]:
    """The safetensors files of a folder: those in its index, or all there are.

    Raises:
        WeightsError: there are none, or one of the index is missing.
    """
    paths = safetensors_files(folder) or sorted(folder.glob("*.safetensors"))
    if not paths:
        raise WeightsError(f"{folder} lacks its safetensors files. Fetch it anew.")
    return paths
