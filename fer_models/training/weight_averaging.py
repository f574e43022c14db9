"""Weight averaging: one network with the mean weights of several trainings of it.

Networks that were trained from common weights lie in one valley of the loss, and the mean of their weights is
often more accurate on new faces than each of them (Izmailov et al. 2018, arXiv:1803.05407; Wortsman et al.
2022, arXiv:2203.05482). Networks that were trained from different random weights have no common valley: their
mean is useless.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from fer_models.artifacts import safetensors_io
from fer_models.artifacts.hashing import sha256_of
from fer_models.artifacts.weights import training_record
from fer_models.errors import UsageError, WeightsError

_PROVENANCE = "provenance"


def average(files: Sequence[Path], output: Path) -> None:
    """Write the mean of several files' weights; a tensor of integers is taken from the last file.

    Args:
        files: at least two that `fer-models train` wrote, of one architecture.
        output: a safetensors file, whose record has the sha256 and the record of each file.

    Raises:
        UsageError: fewer than two files.
        WeightsError: a file cannot be read, is not from `fer-models train`, or is of another network than the
            first one.
    """
    if len(files) < 2:
        raise UsageError(f"An average needs at least two files, got {len(files)}.")
    mean: dict[str, torch.Tensor] = {}
    network: dict[str, str] = {}
    records: list[dict[str, Any]] = []
    for path in files:
        state, metadata = safetensors_io.read(path)
        description = {key: value for key, value in metadata.items() if key != _PROVENANCE}
        if not description.get("format", "").startswith("fer-models-"):
            problem = f"{path} has no format of fer-models: fer-models train did not write it."
            raise WeightsError(f"{problem} Average files that it wrote.")
        network = network or description
        if description != network or (mean and _shapes(state) != _shapes(mean)):
            problem = f"{path} is of another network than {files[0]}."
            raise WeightsError(f"{problem} Average trainings of one network.")
        for name, tensor in state.items():
            if tensor.is_floating_point():
                share = tensor / len(files)
                mean[name] = mean[name] + share if name in mean else share
            else:
                mean[name] = tensor
        provenance = training_record(metadata, path)
        records.append({"sha256": sha256_of(path), _PROVENANCE: provenance})
    last = records[-1][_PROVENANCE] or {}
    record = json.dumps({"model": last.get("model"), "averaged": records})
    safetensors_io.write(mean, output, network | {_PROVENANCE: record})


def _shapes(state: dict[str, torch.Tensor]) -> dict[str, torch.Size]:
    return {name: tensor.shape for name, tensor in state.items()}
