"""The training loop: one for every network, on any device, resumable at every epoch.

`train` reads faces, follows a `Recipe` and leaves `NAME.safetensors`: the averaged weights of the epoch that
scored best on the validation split, with architecture, label order and provenance in its metadata. How a
killed run goes on is told in `session`.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from timm.optim import create_optimizer_v2  # type: ignore[attr-defined]
from timm.scheduler import CosineLRScheduler  # type: ignore[attr-defined]
from timm.utils import ModelEmaV3  # type: ignore[attr-defined]

from fer_models.artifacts import safetensors_io
from fer_models.artifacts.device import resolve_precision
from fer_models.classifiers.cnn import build, normalise
from fer_models.cost.energy import EnergyMeter
from fer_models.datasets.base import FaceSet
from fer_models.emotions import LABELS
from fer_models.images import grey, resize
from fer_models.training import provenance
from fer_models.training.augment import augment
from fer_models.training.feature_distillation import FeatureDistillation
from fer_models.training.infobatch import InfoBatchSampler, cross_entropies
from fer_models.training.recipes import Recipe
from fer_models.training.session import History, ProgressCallback, Session, init_from
from fer_models.training.soft_targets import described, targets


@dataclass(frozen=True)
class TrainingResult:
    """What a training run left.

    Attributes:
        weights: the safetensors file.
        best_epoch: the epoch kept, from 1.
        best_accuracy: its accuracy on the validation split, 0..1.
        history: one record per epoch: loss, learning rate, seconds, and validation accuracy where it was
            measured.
    """

    weights: Path
    best_epoch: int
    best_accuracy: float
    history: History


def train(
    name: str,
    recipe: Recipe,
    training: list[FaceSet],
    validation: FaceSet,
    output: Path,
    *,
    seed: int = 0,
    device: str = "auto",
    resume: bool = True,
    start: Path | None = None,
    report: ProgressCallback | None = None,
    also: Mapping[str, FaceSet] = MappingProxyType({}),
) -> TrainingResult:
    """Train one network and write its weights.

    Args:
        name: what the files are called.
        training: the face sets that are put together and shuffled.
        validation: the split on which the epoch is chosen; its faces never train.
        output: a folder; made if missing.
        device: `auto` (what accelerate finds) or `cpu`.
        resume: go on from a checkpoint of the same recipe, data and seed where there is one.
        start: weights to go on from instead of random ones, such as an earlier run's; its record becomes part
            of this one's.
        report: called after each step, for a progress bar.
        also: further splits, by name, that are scored whenever the validation split is (`accuracy on NAME` in
            the history). They choose nothing.

    Raises:
        UsageError: the checkpoint found belongs to another run, or the loss stopped being a number.
        WeightsError: `start` is not a network of this recipe.
    """
    session = _Training(name, recipe, training, validation, seed, _accelerator(device), start, also)
    weights = session.run(output, resume, report)
    best = max(session.scored(), key=_accuracy)
    return TrainingResult(weights, int(best["epoch"]), best["validation_accuracy"], session.history)


def _accelerator(device: str) -> Accelerator:
    return Accelerator(cpu=device == "cpu")


class _Training(Session):
    """One run of a network that learns to answer."""

    recipe: Recipe

    def __init__(
        self,
        name: str,
        recipe: Recipe,
        training: list[FaceSet],
        validation: FaceSet,
        seed: int,
        accelerator: Accelerator,
        start: Path | None = None,
        also: Mapping[str, FaceSet] = MappingProxyType({}),
    ) -> None:
        recipe = replace(recipe, precision=resolve_precision(recipe.precision, accelerator.device.type))
        self.name, self.recipe, self.seed, self.accelerator = name, recipe, seed, accelerator
        torch.manual_seed(seed)
        side = max(recipe.architecture.size, max(size for _, size in recipe.sizes))
        self.faces = torch.cat([as_tensor(s, recipe.architecture.channels, side) for s in training])
        self.targets, self.learnt_from = (
            targets(training, recipe, accelerator.device),
            described(training, recipe),
        )
        self.validation, self.also = (
            self._held_out(validation),
            {name: self._held_out(faces) for name, faces in also.items()},
        )
        self.data = [provenance.described(faces) for faces in (*training, validation)]
        self.steps = len(self.faces) // recipe.batch_size or 1
        # Several processes would have to tell each other what they saw; they have the power to see every face
        # instead.
        prune = recipe.infobatch_ratio if accelerator.num_processes == 1 else 0.0
        self.sampler = InfoBatchSampler(self.targets, recipe.label_smoothing, recipe.epochs, prune)
        network = build(recipe.architecture, drop_rate=recipe.drop_rate).to(memory_format=torch.channels_last)
        self.started_from = None if start is None else init_from(network, recipe.architecture.timm, start)
        optimizer = create_optimizer_v2(
            network,
            opt=recipe.optimizer,
            lr=recipe.lr,
            weight_decay=recipe.weight_decay,
            momentum=recipe.momentum,
        )
        self.scheduler = CosineLRScheduler(
            optimizer,
            t_initial=self.steps * recipe.epochs,
            warmup_t=max(1, int(recipe.warmup * self.steps * recipe.epochs)),
            warmup_lr_init=recipe.lr / 25,
            warmup_prefix=False,
            t_in_epochs=False,
        )
        self.trained, self.optimizer = accelerator.prepare(network, optimizer)
        self.network = accelerator.unwrap_model(self.trained)
        self.ema = ModelEmaV3(self.network, decay=recipe.ema, use_warmup=True)
        self.hint = (
            None
            if recipe.hint is None
            else FeatureDistillation(recipe.hint, self.network, accelerator.device)
        )
        self.history = []
        self.is_main_process = accelerator.is_main_process

    # -- one epoch --------------------------------------------------------------------------------

    def epoch(self, epoch: int, report: ProgressCallback | None) -> dict[str, float]:
        """Train one epoch and, late enough, score the averaged weights."""
        recipe, device = self.recipe, self.accelerator.device
        size, losses, started, meter = (
            recipe.size_at(epoch),
            [],
            time.perf_counter(),
            EnergyMeter(device.type),
        )
        batches = self._batches(epoch)
        self.network.train()
        for step, (rows, counts) in enumerate(batches):
            losses.append(self.step(rows, counts, size, epoch, step, step / len(batches)))
            if report is not None:
                report(
                    f"epoch {epoch + 1}/{recipe.epochs} at {size} px",
                    step + 1,
                    len(batches),
                    {"loss": float(np.mean(losses[-50:]))},
                )
        seconds = time.perf_counter() - started
        record = {
            "epoch": epoch + 1,
            "size": size,
            "loss": float(np.mean(losses)),
            "lr": self.optimizer.param_groups[0]["lr"],
            "seconds": seconds,
        }
        record["faces"] = len(batches) * recipe.batch_size
        record["images_per_second"] = record["faces"] / seconds
        if (peak := _peak_memory_mb(device)) is not None:
            record["peak_memory_mb"] = peak
        if (joules := meter.joules()) is not None:
            record["joules"] = joules
        if epoch + 1 >= recipe.validate_from * recipe.epochs or epoch + 1 == recipe.epochs:
            record["validation_accuracy"] = self.score(*self.validation)
            record |= {f"accuracy on {name}": self.score(*held_out) for name, held_out in self.also.items()}
        self.history.append(record)
        return record

    def step(
        self, rows: torch.Tensor, counts: torch.Tensor, size: int, epoch: int, step: int, done: float
    ) -> float:
        """One update on the faces in `rows`, each counting as much as `counts` says, when `done` of the epoch
        is over; returns the loss.
        """
        recipe, device, update = (
            self.recipe,
            self.accelerator.device,
            epoch * self.steps + int(done * self.steps),
        )
        self.scheduler.step_update(update)
        torch.manual_seed(_mix(self.seed, epoch, step, 1))  # dropout
        seed = _mix(
            self.seed, epoch, step, 2 + 2 * self.accelerator.process_index
        )  # each process augments its own share
        faces = augment(self.faces[rows].to(device), size, recipe.augmentation, seed)
        x = normalise(faces, recipe.architecture).contiguous(memory_format=torch.channels_last)
        with self._autocast():
            losses = cross_entropies(self.trained(x), self.targets[rows].to(device), recipe.label_smoothing)
        self.sampler.learn(rows, losses)
        loss = (losses * counts.to(device)).mean()
        if self.hint is not None:
            loss = loss + self.hint.loss(faces)
        self.accelerator.backward(loss)
        if recipe.clip_grad is not None:
            self.accelerator.clip_grad_norm_(self.network.parameters(), recipe.clip_grad)
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.ema.update(self.network, step=update)
        return float(loss.item())

    def _autocast(self) -> torch.autocast:
        # Not accelerate's own: its precision is fixed for the life of a process, and one process may run
        # several recipes.
        return torch.autocast(
            self.accelerator.device.type, torch.bfloat16, enabled=self.recipe.precision == "bf16"
        )

    def _batches(self, epoch: int) -> list[tuple[torch.Tensor, torch.Tensor]]:
        """The rows of each step and how much they count: a fresh shuffle per epoch; each process takes its
        share of every batch.
        """
        rows, counts = self.sampler.epoch(epoch, torch.Generator().manual_seed(_mix(self.seed, epoch, 0, 0)))
        size, ranks, rank = (
            self.recipe.batch_size,
            self.accelerator.num_processes,
            self.accelerator.process_index,
        )
        cuts = [slice(start, start + size) for start in range(0, max(1, len(rows) - size + 1), size)]
        return [(rows[cut][rank::ranks], counts[cut][rank::ranks]) for cut in cuts]

    def _held_out(self, faces: FaceSet) -> tuple[torch.Tensor, torch.Tensor]:
        architecture = self.recipe.architecture
        return as_tensor(faces, architecture.channels, architecture.size), torch.from_numpy(faces.labels)

    @torch.inference_mode()
    def score(self, faces: torch.Tensor, labels: torch.Tensor) -> float:
        """Accuracy of the averaged weights on `faces`, at full size, without augmentation."""
        device, right = self.accelerator.device, 0
        self.ema.module.eval()
        for rows in torch.split(torch.arange(len(faces)), 256):
            x = normalise(faces[rows].to(device).float(), self.recipe.architecture)
            with self._autocast():
                logits = self.ema.module(x.contiguous(memory_format=torch.channels_last))
            right += int((logits.argmax(1).cpu() == labels[rows]).sum())
        return right / len(faces)

    def scored(self) -> History:
        """The records of the epochs that were scored on the validation split."""
        return [r for r in self.history if "validation_accuracy" in r]

    def best(self) -> dict[str, float] | None:
        return max(self.scored(), key=_accuracy, default=None)

    def wait(self) -> None:
        self.accelerator.wait_for_everyone()

    # -- files ------------------------------------------------------------------------------------

    def provenance(self) -> dict[str, Any]:
        """What these weights are and how they came about."""
        return provenance.record(
            self.name,
            self.recipe,
            seed=self.seed,
            training=self.data[:-1],
            validation=self.data[-1],
            history=self.history,
            device=self.accelerator.device,
            packages=("torch", "timm", "accelerate", "numpy"),
            **self.learnt_from,
            started_from=self.started_from,
            processes=self.accelerator.num_processes,
        )

    def save_weights(self, path: Path) -> None:
        metadata = {
            "format": "fer-models-cnn",
            "architecture": json.dumps(asdict(self.recipe.architecture)),
            "labels": json.dumps(list(LABELS)),
            "provenance": json.dumps(self.provenance()),
        }
        safetensors_io.write(self.ema.module.state_dict(), path, metadata)

    def identity(self) -> dict[str, Any]:
        return {
            "recipe": asdict(self.recipe),
            "seed": self.seed,
            "data": self.data,
            **self.learnt_from,
            "start": self.started_from,
        }

    def remembered(self) -> dict[str, torch.Tensor]:
        return {"losses": self.sampler.losses}

    def remember(self, saved: Mapping[str, torch.Tensor]) -> None:
        self.sampler.losses = saved["losses"]


def _accuracy(record: dict[str, float]) -> float:
    return record["validation_accuracy"]


def single_step(
    recipe: Recipe, faces: FaceSet, device: str = "auto", batch: int = 32
) -> tuple[Callable[[], float], int]:
    """One update of a fresh network by `recipe` at its full size, for timing: (a call that returns the loss,
    faces per call).
    """
    few = faces.select(np.arange(min(batch, len(faces))))
    session = _Training(
        "step",
        replace(recipe, batch_size=len(few), teacher=None, hint=None),
        [few],
        few,
        0,
        _accelerator(device),
    )
    session.network.train()
    return lambda: session.step(
        torch.arange(len(few)), torch.ones(len(few)), recipe.architecture.size, 0, 0, 0.0
    ), len(few)


def as_tensor(faces: FaceSet, channels: int, side: int) -> torch.Tensor:
    """A face set as one uint8 tensor (n, channels, side, side)."""
    out = torch.empty(len(faces), channels, side, side, dtype=torch.uint8)
    for i in range(len(faces)):
        face = resize(faces.face(i), side)
        out[i] = torch.from_numpy(grey(face)[None] if channels == 1 else face.transpose(2, 0, 1).copy())
    return out


def _mix(*numbers: int) -> int:
    """One seed from several numbers."""
    return (
        int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0]) >> 1
    )  # numpy 1 cannot shift a uint64 by an int


def _peak_memory_mb(device: torch.device) -> float | None:
    """The most memory this process ever held, on the GPU where it trains on one; None where the system does
    not tell.
    """
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    if sys.platform == "win32":
        return None
    import resource

    unit = 2**20 if sys.platform == "darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit
