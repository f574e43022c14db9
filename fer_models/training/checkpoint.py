"""Checkpoints of training runs, and weights to start from: safetensors files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from timm.utils import ModelEmaV3  # type: ignore[attr-defined]
from torch import nn

from fer_models.artifacts import safetensors_io
from fer_models.artifacts.hashing import sha256_of
from fer_models.artifacts.weights import training_record
from fer_models.errors import UsageError, WeightsError

#: The parts of a checkpoint; the name of each tensor begins with one of them.
PARTS = ("network", "ema", "optimizer", "extra")


def pack_state(
    network: nn.Module,
    ema: ModelEmaV3 | None,
    optimizer: torch.optim.Optimizer,
    extra: Mapping[str, torch.Tensor],
) -> dict[str, torch.Tensor]:
    """State of a training run as tensors with names in `PARTS`.

    Args:
        network: the trained network.
        ema: its averaged weights, or None.
        optimizer: its state for each parameter is packed; the learning rate is not.
        extra: further tensors.
    """
    state = {f"network.{key}": tensor for key, tensor in network.state_dict().items()}
    if ema is not None:
        state |= {f"ema.{key}": tensor for key, tensor in ema.module.state_dict().items()}
    for index, slot in optimizer.state_dict()["state"].items():
        state |= {f"optimizer.{index}.{k}": torch.as_tensor(v) for k, v in slot.items() if v is not None}
    return state | {f"extra.{key}": tensor for key, tensor in extra.items()}


def read_checkpoint(path: Path, run_id: str) -> tuple[dict[str, dict[str, torch.Tensor]], str]:
    """The tensors of a checkpoint, by part and name, and the history of its run as JSON.

    Args:
        path: the file.
        run_id: what the checkpoint must have as its run.

    Raises:
        UsageError: the checkpoint belongs to another run.
        WeightsError: the file cannot be read.
    """
    try:
        tensors, metadata = safetensors_io.read(path)
    except WeightsError as error:
        raise WeightsError(f"{error} Or delete it to start again.") from error
    parts: dict[str, dict[str, torch.Tensor]] = {part: {} for part in PARTS}
    if metadata.get("run") != run_id or not {key.split(".")[0] for key in tensors} <= parts.keys():
        problem = f"{path} belongs to a run with another recipe, data or seed, or of another version."
        raise UsageError(f"{problem} Use another --output, or --no-resume to start again.")
    for key, tensor in tensors.items():
        part, name = key.split(".", 1)
        parts[part][name] = tensor
    return parts, metadata["history"]


def load_optimizer_state(optimizer: torch.optim.Optimizer, tensors: Mapping[str, torch.Tensor]) -> None:
    """Restore the state of an optimizer from the tensors of `pack_state`."""
    slots: dict[int, dict[str, torch.Tensor]] = {}
    for key, tensor in tensors.items():
        index, name = key.split(".", 1)
        slots.setdefault(int(index), {})[name] = tensor
    groups = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": slots, "param_groups": groups})


def load_initial_weights(network: nn.Module, kind: str, path: Path | None) -> dict[str, Any] | None:
    """Load weights to start from; returns their sha256 and record, None without a file.

    Args:
        network: the network to fill.
        kind: the name of the network in error messages.
        path: a safetensors file, or None.

    Raises:
        WeightsError: the file holds another network.
    """
    if path is None:
        return None
    state, metadata = safetensors_io.read(path)
    safetensors_io.check_state_dict(network, state, kind, path)
    network.load_state_dict(state)
    return {"sha256": sha256_of(path), "provenance": training_record(metadata, path)}
