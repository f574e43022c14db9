"""A training run that survives a kill: what every resumable training does after each epoch, and the file it
goes on from.

A `Session` keeps two files: `NAME.safetensors` (the averaged weights of the best epoch so far) and, while it
runs, `NAME.checkpoint.safetensors` (everything that the next epoch needs). What is random must be drawn from
the seed, the epoch and the step, and what else an epoch leaves for the next one must be in `remembered`: then
a run that goes on has the loss curve of one that was never stopped.
"""

from __future__ import annotations

import json
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from timm.utils import ModelEmaV3  # type: ignore[attr-defined]
from torch import nn

from fer_models.artifacts import safetensors_io
from fer_models.artifacts.hashing import sha256_of
from fer_models.errors import UsageError, WeightsError

#: Called after each step, for a progress bar: what is done, step, steps, figures.
ProgressCallback = Callable[[str, int, int, dict[str, float]], None]
#: One record of figures per epoch.
History = list[dict[str, float]]


class Session(ABC):
    """The moving parts of one run.

    Attributes:
        name: what the files are called.
        recipe: a dataclass with `epochs` and `lr`, among others.
        network, ema, optimizer: what learns, its averaged weights, and what teaches it.
        history: the records of the epochs so far.
        leads: whether this process writes the files; of several that train together, one does.
    """

    name: str
    recipe: Any
    network: nn.Module
    ema: ModelEmaV3
    optimizer: torch.optim.Optimizer
    history: History
    is_main_process: bool = True

    @abstractmethod
    def epoch(self, epoch: int, report: ProgressCallback | None) -> dict[str, float]:
        """Train one epoch (from 0), score it where that is due, and return its record, which is in the
        history too.
        """

    @abstractmethod
    def best(self) -> dict[str, float] | None:
        """The record of the epoch to be kept so far, the first one where several are as good; None where none
        was scored.
        """

    @abstractmethod
    def save_weights(self, path: Path) -> None:
        """Write the averaged weights with their record."""

    @abstractmethod
    def identity(self) -> Mapping[str, Any]:
        """What a checkpoint must agree with to be gone on with: recipe, seed, data and everything else that
        decides the run, as JSON.
        """

    def remembered(self) -> dict[str, torch.Tensor]:
        """What an epoch leaves for the next one, beside the network, its average and the optimizer."""
        return {}

    def remember(self, saved: Mapping[str, torch.Tensor]) -> None:  # noqa: B027 (most runs remember nothing)
        """Take back what was `remembered`."""

    def wait(self) -> None:  # noqa: B027 (most run alone)
        """Until all processes that train together are here."""

    def run(self, output: Path, resume: bool, report: ProgressCallback | None) -> Path:
        """All epochs that are left; returns the weights file.

        Args:
            output: a folder; made if missing.
            resume: go on from a checkpoint of the same run where there is one.

        Raises:
            UsageError: the checkpoint found belongs to another run, or the loss stopped being a number.
            WeightsError: the checkpoint cannot be read.
        """
        output.mkdir(parents=True, exist_ok=True)
        checkpoint, weights = (
            output / f"{self.name}.checkpoint.safetensors",
            output / f"{self.name}.safetensors",
        )
        if resume and checkpoint.exists():
            self._restore(checkpoint)
        for epoch in range(len(self.history), self.recipe.epochs):
            record = self.epoch(epoch, report)
            if not math.isfinite(record["loss"]):
                told = f"Training {self.name}: the loss is {record['loss']} in epoch {epoch + 1}."
                raise UsageError(f"{told} Lower the learning rate (now {self.recipe.lr}) with --lr.")
            if self.is_main_process:
                if self.best() is record:
                    self.save_weights(weights)
                self._save(checkpoint)
            self.wait()
        if self.is_main_process:
            checkpoint.unlink(missing_ok=True)
        return weights

    def _run(self) -> str:
        return json.dumps(self.identity(), sort_keys=True)

    def _save(self, path: Path) -> None:
        state = {f"network.{k}": v for k, v in self.network.state_dict().items()}
        state |= {f"ema.{k}": v for k, v in self.ema.module.state_dict().items()}
        for index, slot in self.optimizer.state_dict()["state"].items():
            state |= {f"optimizer.{index}.{k}": torch.as_tensor(v) for k, v in slot.items() if v is not None}
        state |= {f"remembered.{k}": v for k, v in self.remembered().items()}
        safetensors_io.write(state, path, {"run": self._run(), "history": json.dumps(self.history)})

    def _restore(self, path: Path) -> None:
        try:
            saved, metadata = safetensors_io.read(path)
        except WeightsError as error:
            raise WeightsError(f"{error} Or delete it to start afresh.") from error
        parts: dict[str, dict[str, torch.Tensor]] = {
            "network": {},
            "ema": {},
            "optimizer": {},
            "remembered": {},
        }
        if metadata.get("run") != self._run() or not {name.split(".")[0] for name in saved} <= parts.keys():
            told = f"{path} belongs to a run with another recipe, data or seed, or of another version."
            raise UsageError(f"{told} Use another --output, or delete it to start afresh.")
        for name, tensor in saved.items():
            part, field = name.split(".", 1)
            parts[part][field] = tensor
        self.network.load_state_dict(parts["network"])
        self.ema.module.load_state_dict(parts["ema"])
        slots: dict[int, dict[str, torch.Tensor]] = {}
        for name, tensor in parts["optimizer"].items():
            index, field = name.split(".", 1)
            slots.setdefault(int(index), {})[field] = tensor
        self.optimizer.load_state_dict(
            {"state": slots, "param_groups": self.optimizer.state_dict()["param_groups"]}
        )
        self.remember(parts["remembered"])
        self.history = json.loads(metadata["history"])


def init_from(network: nn.Module, kind: str, path: Path) -> dict[str, Any]:
    """Put the weights at `path` into `network`, which errors call `kind`; returns their sha256 and the record
    of how they were trained.

    Raises:
        WeightsError: they are of another network.
    """
    state, metadata = safetensors_io.read(path)
    safetensors_io.check_state_dict(network, state, kind, path)
    network.load_state_dict(state)
    return {"sha256": sha256_of(path), "provenance": json.loads(metadata.get("provenance", "null"))}
