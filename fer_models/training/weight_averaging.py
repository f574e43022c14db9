"""One network from several trainings of it: the mean of their weights.

Networks that went on from common weights lie in one valley of the loss, and its middle answers new faces
better than its walls do (Izmailov et al. 2018, arXiv:1803.05407; Wortsman et al. 2022, arXiv:2203.05482).
Networks that began at random weights of their own have nothing in common, and their mean has nothing of
either.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from fer_models.artifacts import safetensors_io
from fer_models.artifacts.hashing import sha256_of
from fer_models.errors import UsageError, WeightsError

_PROVENANCE = "provenance"


def average(files: Sequence[Path], output: Path) -> None:
    """Write the mean of several files' weights; what is no float, such as a count of batches, is the last
    file's.

    Args:
        files: at least two that `fer-models train` wrote, of one architecture.
        output: a safetensors file, whose record names what was averaged: the sha256 of each file and how it
            was trained.

    Raises:
        UsageError: fewer than two files.
        WeightsError: a file cannot be read, says not what it is, or is of another network than the first.
    """
    if len(files) < 2:
        raise UsageError(f"An average wants at least two files, got {len(files)}.")
    mean: dict[str, torch.Tensor] = {}
    what: dict[str, str] = {}
    made: list[dict[str, Any]] = []
    for path in files:
        state, metadata = safetensors_io.read(path)
        said = {key: value for key, value in metadata.items() if key != _PROVENANCE}
        if "format" not in said:
            raise WeightsError(
                f"{path} does not say what it is: fer-models train did not write it. Average files that it wrote."
            )
        what = what or said
        if said != what or (mean and _shapes(state) != _shapes(mean)):
            raise WeightsError(
                f"{path} is of another network than {files[0]}. Average trainings of one network."
            )
        for name, tensor in state.items():
            share = tensor / len(files)
            mean[name] = (
                (mean[name] + share if name in mean else share) if tensor.is_floating_point() else tensor
            )
        made.append({"sha256": sha256_of(path), _PROVENANCE: json.loads(metadata.get(_PROVENANCE, "null"))})
    last = made[-1][_PROVENANCE] or {}
    safetensors_io.write(
        mean, output, what | {_PROVENANCE: json.dumps({"model": last.get("model"), "averaged": made})}
    )


def _shapes(state: dict[str, torch.Tensor]) -> dict[str, torch.Size]:
    return {name: tensor.shape for name, tensor in state.items()}
