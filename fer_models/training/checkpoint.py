"""Everything a training run needs to go on after an epoch, in one safetensors file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import torch
from torch import nn

from fer_models import tensors
from fer_models.errors import UsageError, WeightsError

History = list[dict[str, float]]


def save(
    path: Path,
    run: str,
    network: nn.Module,
    average: nn.Module,
    optimizer: torch.optim.Optimizer,
    history: History,
    more: Mapping[str, torch.Tensor] = MappingProxyType({}),
) -> None:
    """Write the state of a run whose recipe, data and seed are `run`; `average` are its averaged weights, `more` is kept as it is."""
    state = {f"network.{k}": v for k, v in network.state_dict().items()}
    state |= {f"ema.{k}": v for k, v in average.state_dict().items()}
    for index, slot in optimizer.state_dict()["state"].items():
        state |= {f"optimizer.{index}.{k}": torch.as_tensor(v) for k, v in slot.items() if v is not None}
    tensors.write(state | dict(more), path, {"run": run, "history": json.dumps(history)})


def restore(
    path: Path, run: str, network: nn.Module, average: nn.Module, optimizer: torch.optim.Optimizer
) -> tuple[History, dict[str, torch.Tensor]]:
    """Put the state at `path` into the parts of the same run; returns its history and all tensors in the file.

    Raises:
        UsageError: the checkpoint is of another recipe, data or seed.
        WeightsError: it cannot be read.
    """
    try:
        saved, metadata = tensors.read(path)
    except WeightsError as error:
        raise WeightsError(f"{error} Or delete it to start afresh.") from error
    if metadata.get("run") != run:
        raise UsageError(f"{path} belongs to a run with another recipe, data or seed. Use another --output, or delete it to start afresh.")
    part = {p: {k.removeprefix(p + "."): v for k, v in saved.items() if k.startswith(p + ".")} for p in ("network", "ema", "optimizer")}
    network.load_state_dict(part["network"])
    average.load_state_dict(part["ema"])
    state: dict[int, dict[str, torch.Tensor]] = {}
    for key, tensor in part["optimizer"].items():
        index, field = key.split(".", 1)
        state.setdefault(int(index), {})[field] = tensor
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
    history: History = json.loads(metadata["history"])
    return history, saved
