"""Training session: the epochs, checkpoint, history and provenance that all recipes share.

A `Session` writes the weights of the epoch to keep and, while it runs, `NAME.checkpoint.safetensors`:
everything that the next epoch needs. A subclass takes every random number from the seed, the epoch and the
step, and returns what else an epoch leaves for the next one in `extra_state`. Then a resumed run has the loss
curve of an undisturbed one.
"""

from __future__ import annotations

import json
import math
import os
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from timm.utils import ModelEmaV3  # type: ignore[attr-defined]
from torch import nn

from fer_models.artifacts import safetensors_io
from fer_models.artifacts.device import resolve_precision
from fer_models.cost.energy import EnergyMeter
from fer_models.datasets.base import FaceSet
from fer_models.errors import UsageError
from fer_models.training.checkpoint import load_optimizer_state, pack_state, read_checkpoint
from fer_models.training.provenance import describe_environment, describe_faces, row_order
from fer_models.training.schedule import warmup_cosine

#: Called after each step, for a progress bar: title, steps done, all steps, metrics.
ProgressCallback = Callable[[str, int, int, dict[str, float]], None]
#: One record of metrics per epoch.
History = list[dict[str, float]]
#: Policies of a session: keep the weights of the best epoch, or those of the last one.
KEEP_BEST, KEEP_LAST = "best", "last"
#: The latest steps whose mean loss is reported.
_LATEST = 50


@dataclass(frozen=True)
class TrainingData:
    """Face sets of a run.

    Attributes:
        training: the sets that are put together and shuffled.
        validation: the split that is scored after an epoch; its faces never train.
        extra: further splits, by name, that are scored whenever the validation split is (`accuracy on NAME`
            in the history; supervised training only). They choose nothing.
    """

    training: list[FaceSet]
    validation: FaceSet
    extra: Mapping[str, FaceSet] = field(default_factory=dict)


@dataclass(frozen=True)
class RunOptions:
    """Options of a run that are no part of its recipe.

    Attributes:
        seed: decides everything random.
        device: `auto` or `cpu`.
        resume: continue from a checkpoint of the same run where there is one.
        init_from: weights to start from instead of random ones, such as those of an earlier run, whose record
            becomes part of the new one (supervised and restoration training only).
        report: called after each step, for a progress bar.
    """

    seed: int = 0
    device: str = "auto"
    resume: bool = True
    init_from: Path | None = None
    report: ProgressCallback | None = None


@dataclass(frozen=True)
class TrainingResult:
    """Result of a training run.

    Attributes:
        weights: the safetensors file, or the folder of files.
        kept_record: the record of the epoch whose weights were kept.
        history: one record per epoch: epoch (from 1), size (pixels), loss, lr, seconds (including the
            preparation after each start), faces, images_per_second; peak_memory_mb and joules where the
            machine measures them; validation metrics where they were computed.
        reference: validation metrics without the network, to compare with; empty for classifiers.
    """

    weights: Path
    kept_record: dict[str, float]
    history: History
    reference: dict[str, float]

    @property
    def best_epoch(self) -> int:
        """Number of the epoch whose weights were kept, from 1."""
        return int(self.kept_record["epoch"])


@dataclass(frozen=True)
class Step:
    """Position of one update in a run.

    Attributes:
        epoch: the epoch, from 0.
        index: the number of the update in its epoch, from 0.
        update: its number in the learning rate schedule, from 0.
    """

    epoch: int
    index: int
    update: int


class Session(ABC):
    """One training run: a subclass gives the steps, the validation and the files to write.

    Attributes:
        keep: the policy: `best` (the epoch with the best `criterion`; the first of equals) or `last`.
        criterion: the metric that chooses the epoch.
        minimize: whether a smaller `criterion` is better.
        suffix: what follows the run's name in the name of its weights; empty for a folder.
        packages: the distributions whose versions the record names.
        has_processes: whether several processes can train together.
        network: the network that is trained.
        ema: its averaged weights, or None.
        optimizer: the optimizer.
        warmup: the number of updates until the peak learning rate.
        steps: the number of updates in an epoch over all faces.
        rng: the random numbers of an epoch.
        history: the records of the epochs so far.
        reference: see `TrainingResult`.
        is_main_process: whether this process writes the files; one of several that train together does.
    """

    keep: ClassVar[str] = KEEP_BEST
    criterion: ClassVar[str] = "validation_accuracy"
    minimize: ClassVar[bool] = False
    suffix: ClassVar[str] = ".safetensors"
    packages: ClassVar[tuple[str, ...]]
    has_processes: ClassVar[bool] = False

    network: nn.Module
    ema: ModelEmaV3 | None = None
    optimizer: torch.optim.Optimizer
    warmup: float
    rng: np.random.Generator
    is_main_process: bool = True

    def __init__(
        self, name: str, recipe: Any, data: TrainingData, options: RunOptions, device: torch.device
    ) -> None:
        """Seed torch and describe the run.

        Args:
            name: the first part of the names of its files.
            recipe: a dataclass with `epochs`, `batch_size` and `lr`; `precision` is resolved for the device.
            data: the face sets.
            options: the options.
            device: the device that trains.

        Raises:
            UsageError: several processes were started, and this kind of run has one.
        """
        if not self.has_processes and int(os.environ.get("WORLD_SIZE", "1")) > 1:
            raise UsageError(
                f"{name} is trained by a single process. Start it without torchrun: fer-models train {name}"
            )
        if hasattr(recipe, "precision"):
            recipe = replace(recipe, precision=resolve_precision(recipe.precision, device.type))
        self.name, self.recipe, self.data, self.options, self.device = name, recipe, data, options, device
        self.n_faces = sum(map(len, data.training))
        self.steps: int = max(1, self.n_faces // recipe.batch_size)
        self.history: History = []
        self.reference: dict[str, float] = {}
        self._is_prepared = False
        torch.manual_seed(options.seed)

    # -- given by subclasses ----------------------------------------------------------------------

    @abstractmethod
    def size_at(self, epoch: int) -> int:
        """The side of the training faces in `epoch` (from 0), in pixels."""

    def batches(self, epoch: int) -> Sequence[Any]:
        """The batches of an epoch (from 0) in order, as `train_batch` takes them: the rows of each.

        Every epoch has a shuffle of its own, and `rng`, from which further random numbers are drawn.
        """
        self.rng = np.random.default_rng([self.options.seed, epoch])
        return self.shuffled_batches(self.rng)

    @abstractmethod
    def train_batch(self, batch: Any, step: Step) -> float:
        """Update the network on one batch; returns the loss."""

    @abstractmethod
    def validate(self) -> dict[str, float]:
        """Metrics of the weights to save on the validation split."""

    @abstractmethod
    def save_weights(self, path: Path) -> None:
        """Write the weights with their record."""

    @abstractmethod
    def inputs(self) -> dict[str, Any]:
        """What decides the run in addition to recipe, seed and face sets, as JSON: other weights, texts."""

    def details(self) -> dict[str, Any]:
        """Facts for the record of the run that do not decide it, as JSON."""
        return {}

    def prepare(self) -> None:  # noqa: B027 (most recipes precompute nothing)
        """Precompute what all epochs need; called once, before the first epoch of this process."""

    def set_training_mode(self) -> None:
        """Set the network to training mode."""
        self.network.train()

    def set_learning_rate(self, update: int) -> None:
        """Set the learning rate of an update (from 0)."""
        share = warmup_cosine(update, self.steps * self.recipe.epochs, self.warmup)
        for group in self.optimizer.param_groups:
            group["lr"] = self.recipe.lr * share

    def update_number(self, epoch: int, index: int, n_batches: int) -> int:
        """The number of an update in the schedule (from 0): batch `index` of `n_batches` of an epoch."""
        return epoch * self.steps + index

    def is_validated(self, epoch: int) -> bool:
        """Whether the validation split is scored after `epoch` (from 0)."""
        return True

    def extra_state(self) -> dict[str, torch.Tensor]:
        """What an epoch leaves for the next one in addition to weights and optimizer state."""
        return {}

    def load_extra_state(self, state: Mapping[str, torch.Tensor]) -> None:  # noqa: B027 (most have none)
        """Restore `extra_state` from a checkpoint."""

    def wait(self) -> None:  # noqa: B027 (most recipes train in one process)
        """Wait for the other processes that train together."""

    # -- for subclasses ---------------------------------------------------------------------------

    def autocast(self) -> torch.autocast:
        """Autocast to bfloat16 if the recipe says so."""
        enabled = getattr(self.recipe, "precision", None) == "bf16"
        return torch.autocast(self.device.type, torch.bfloat16, enabled=enabled)

    def shuffled_batches(self, rng: np.random.Generator) -> list[NDArray[np.int64]]:
        """The rows of each batch of an epoch over all faces, in random order; the rest is left out."""
        order, size = rng.permutation(self.n_faces), self.recipe.batch_size
        return [order[step * size : (step + 1) * size] for step in range(self.steps)]

    def apply_gradients(self, loss: torch.Tensor, max_norm: float | None = None) -> float:
        """One optimizer update; returns the loss.

        Args:
            loss: a scalar.
            max_norm: the bound to which the norm of all gradients is clipped, None for none.
        """
        self.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        if max_norm is not None:
            parameters = [p for group in self.optimizer.param_groups for p in group["params"]]
            torch.nn.utils.clip_grad_norm_(parameters, max_norm)
        self.optimizer.step()
        return float(loss.item())

    def provenance(self) -> dict[str, Any]:
        """The record of the weights: how and from what they were trained, as JSON."""
        return {
            "model": self.name,
            "recipe": asdict(self.recipe),
            "seed": self.options.seed,
            **self._data(),
            **self.inputs(),
            **self.details(),
            "history": self.history,
            **describe_environment(self.device, self.packages),
        }

    def identity(self) -> dict[str, Any]:
        """What a checkpoint must agree with to be resumed, as JSON."""
        recipe, seed = asdict(self.recipe), self.options.seed
        order = [row_order(faces) for faces in self.data.training]
        # The accuracies on them are in the history that a checkpoint keeps.
        extra = {name: describe_faces(faces) for name, faces in self.data.extra.items()}
        sizes = [self.size_at(epoch) for epoch in range(self.recipe.epochs)]
        facts = {"recipe": recipe, "sizes": sizes, "seed": seed, "row_order": order, "extra": extra}
        return {**facts, **self._data(), **self.inputs()}

    # -- the run ----------------------------------------------------------------------------------

    def run(self, output: Path) -> TrainingResult:
        """Train all epochs that are left.

        Args:
            output: the folder of the weights and the checkpoint; made if missing.

        Raises:
            UsageError: the checkpoint belongs to another run, the weights would replace those that the
                training starts from or learns from, or the loss is not finite.
            WeightsError: the checkpoint cannot be read.
        """
        output.mkdir(parents=True, exist_ok=True)
        checkpoint = output / f"{self.name}.checkpoint.safetensors"
        result = output / f"{self.name}{self.suffix}"
        self._check_is_no_input(result)
        if self.options.resume and checkpoint.exists():
            self._load_checkpoint(checkpoint)
        for epoch in range(len(self.history), self.recipe.epochs):
            record = self._train_epoch(epoch)
            if self.is_main_process:
                if self.find_kept_record() is record:
                    self.save_weights(result)
                self._save_checkpoint(checkpoint)
            self.wait()
        if self.is_main_process:
            checkpoint.unlink(missing_ok=True)
        return TrainingResult(result, self.find_kept_record() or {}, self.history, self.reference)

    def _check_is_no_input(self, output: Path) -> None:
        """Refuse to replace an input: a killed training could not resume, and the input would be lost."""
        if output.resolve() in (path.resolve() for path in self.input_files()):
            raise UsageError(
                f"The training would write its weights to {output}, which it starts from or learns from. "
                "Choose another folder: --output FOLDER"
            )

    def input_files(self) -> list[Path]:
        """The weights that the training starts from or learns from."""
        return [] if self.options.init_from is None else [self.options.init_from]

    def find_kept_record(self) -> dict[str, float] | None:
        """The record of the epoch to keep so far; None where there is none yet."""
        if self.keep == KEEP_LAST:
            return self.history[-1] if len(self.history) == self.recipe.epochs else None
        scored = [record for record in self.history if self.criterion in record]
        sign = -1 if self.minimize else 1
        return max(scored, key=lambda record: sign * record[self.criterion], default=None)

    def _train_epoch(self, epoch: int) -> dict[str, float]:
        started, meter = time.perf_counter(), EnergyMeter(self.device.type)
        if not self._is_prepared:
            self.prepare()
            self._is_prepared = True
        batches = self.batches(epoch)
        loss = self._train_batches(epoch, batches)
        seconds = time.perf_counter() - started
        record = {"epoch": epoch + 1, "size": self.size_at(epoch), "loss": loss}
        record |= {"lr": self.optimizer.param_groups[0]["lr"], "seconds": seconds}
        record["faces"] = min(len(batches) * self.recipe.batch_size, self.n_faces)
        record["images_per_second"] = record["faces"] / seconds
        for metric, value in (("peak_memory_mb", _peak_memory_mb(self.device)), ("joules", meter.joules())):
            if value is not None:
                record[metric] = value
        if not math.isfinite(loss):
            problem = f"Training {self.name}: the loss is {loss} in epoch {epoch + 1}."
            raise UsageError(f"{problem} Lower the learning rate (now {self.recipe.lr}) with --lr.")
        if self.is_validated(epoch):
            record |= self.validate()
        self.history.append(record)
        return record

    def _train_batches(self, epoch: int, batches: Sequence[Any]) -> float:
        """Train on the batches of one epoch; returns the mean loss."""
        title = f"epoch {epoch + 1}/{self.recipe.epochs} at {self.size_at(epoch)} px"
        losses: list[float] = []
        self.set_training_mode()
        for index, batch in enumerate(batches):
            step = Step(epoch, index, self.update_number(epoch, index, len(batches)))
            self.set_learning_rate(step.update)
            losses.append(self.train_batch(batch, step))
            if self.options.report is not None:
                latest = {"loss": float(np.mean(losses[-_LATEST:]))}
                self.options.report(title, index + 1, len(batches), latest)
        return float(np.mean(losses))

    # -- checkpoint -------------------------------------------------------------------------------

    def _save_checkpoint(self, path: Path) -> None:
        state = pack_state(self.network, self.ema, self.optimizer, self.extra_state())
        safetensors_io.write(state, path, {"run": self._run_id(), "history": json.dumps(self.history)})

    def _load_checkpoint(self, path: Path) -> None:
        parts, history = read_checkpoint(path, self._run_id())
        self.network.load_state_dict(parts["network"])
        if self.ema is not None:
            self.ema.module.load_state_dict(parts["ema"])
        load_optimizer_state(self.optimizer, parts["optimizer"])
        self.load_extra_state(parts["extra"])
        self.history = json.loads(history)

    def _run_id(self) -> str:
        return json.dumps(self.identity(), sort_keys=True)

    def _data(self) -> dict[str, Any]:
        return {
            "training_data": [describe_faces(faces) for faces in self.data.training],
            "validation_data": describe_faces(self.data.validation),
        }


def _peak_memory_mb(device: torch.device) -> float | None:
    """Peak memory in MiB, of the GPU if it trains there; None if the system does not report it."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    if sys.platform == "win32":
        return None
    import resource

    unit = 2**20 if sys.platform == "darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit
