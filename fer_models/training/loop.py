"""The training loop: one for every network, on any device, resumable at every epoch.

`train` reads faces, follows a `Recipe` and leaves two files: `NAME.safetensors` (the averaged weights of the epoch that scored best
on the validation split, with architecture, label order and provenance in its metadata) and, while it runs, `NAME.checkpoint.safetensors`
from which a killed run goes on. Everything random is drawn from (seed, epoch, step), and what is remembered of each face
is in the checkpoint, so a resumed run has the same loss curve.
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
from torch import nn

from fer_models import tensors
from fer_models.classifiers.cnn import build, normalise
from fer_models.datasets.base import FaceSet
from fer_models.emotions import LABELS
from fer_models.errors import UsageError
from fer_models.images import grey, resize
from fer_models.registry import sha256_of
from fer_models.training import checkpoint, provenance
from fer_models.training.augment import augment
from fer_models.training.energy import Meter
from fer_models.training.hints import Hint
from fer_models.training.recipes import Recipe
from fer_models.training.sampling import Sampler, cross_entropies
from fer_models.training.targets import described, targets

Report = Callable[[str, int, int, dict[str, float]], None]  # epoch title, step, steps, figures


@dataclass(frozen=True)
class Outcome:
    """What a training run left.

    Attributes:
        weights: the safetensors file.
        best_epoch: the epoch kept, from 1.
        best_accuracy: its accuracy on the validation split, 0..1.
        history: one record per epoch: loss, learning rate, seconds, and validation accuracy where it was measured.
    """

    weights: Path
    best_epoch: int
    best_accuracy: float
    history: list[dict[str, float]]


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
    report: Report | None = None,
    also: Mapping[str, FaceSet] = MappingProxyType({}),
) -> Outcome:
    """Train one network and write its weights.

    Args:
        name: what the files are called.
        training: the face sets that are put together and shuffled.
        validation: the split on which the epoch is chosen; its faces never train.
        output: a folder; made if missing.
        device: `auto` (what accelerate finds) or `cpu`.
        resume: go on from a checkpoint of the same recipe, data and seed where there is one.
        start: weights to go on from instead of random ones, such as an earlier run's; its record becomes part of this one's.
        report: called after each step, for a progress bar.
        also: further splits, by name, that are scored whenever the validation split is (`accuracy on NAME` in the history). They choose nothing.

    Raises:
        UsageError: the checkpoint found belongs to another run, or the loss stopped being a number.
        WeightsError: `start` is not a network of this recipe.
    """
    accelerator = _accelerator(device)
    output.mkdir(parents=True, exist_ok=True)
    session = _Session(name, recipe, training, validation, seed, accelerator, start, also)
    kept = output / f"{name}.checkpoint.safetensors"
    if resume and kept.exists():
        session.restore(kept)
    best = output / f"{name}.safetensors"
    for epoch in range(len(session.history), recipe.epochs):
        record = session.epoch(epoch, report)
        if not np.isfinite(record["loss"]):
            raise UsageError(
                f"Training {name}: the loss is {record['loss']} in epoch {epoch + 1}. Lower the learning rate (now {recipe.lr}) with --lr."
            )
        if accelerator.is_main_process:
            if session.is_best(record):
                session.save_weights(best)
            session.save(kept)
        accelerator.wait_for_everyone()
    best_epoch, best_accuracy = session.best()
    if accelerator.is_main_process:
        kept.unlink(missing_ok=True)
    return Outcome(best, best_epoch, best_accuracy, session.history)


def _accelerator(device: str) -> Accelerator:
    return Accelerator(cpu=device == "cpu")


class _Session:
    """The moving parts of one run."""

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
        self.name, self.recipe, self.seed, self.accelerator = name, recipe, seed, accelerator
        torch.manual_seed(seed)
        side = max(recipe.architecture.size, max(size for _, size in recipe.sizes))
        self.faces = torch.cat([as_tensor(s, recipe.architecture.channels, side) for s in training])
        self.targets, self.learnt_from = targets(training, recipe, accelerator.device), described(training, recipe)
        self.validation, self.also = self._held_out(validation), {name: self._held_out(faces) for name, faces in also.items()}
        self.data = [provenance.described(faces) for faces in (*training, validation)]
        self.steps = len(self.faces) // recipe.batch_size or 1
        # Several processes would have to tell each other what they saw; they have the power to see every face instead.
        prune = recipe.prune if accelerator.num_processes == 1 else 0.0
        self.sampler = Sampler(self.targets, recipe.label_smoothing, recipe.epochs, prune)
        network = build(recipe.architecture, drop_rate=recipe.drop_rate).to(memory_format=torch.channels_last)
        self.started_from = None if start is None else start_from(network, recipe.architecture.timm, start)
        optimizer = create_optimizer_v2(network, opt=recipe.optimizer, lr=recipe.lr, weight_decay=recipe.weight_decay, momentum=recipe.momentum)
        self.scheduler = CosineLRScheduler(
            optimizer,
            t_initial=self.steps * recipe.epochs,
            warmup_t=max(1, int(recipe.warmup * self.steps * recipe.epochs)),
            warmup_lr_init=recipe.lr / 25,
            warmup_prefix=False,
            t_in_epochs=False,
        )
        self.network, self.optimizer = accelerator.prepare(network, optimizer)
        self.ema = ModelEmaV3(accelerator.unwrap_model(self.network), decay=recipe.ema, use_warmup=True)
        self.hint = None if recipe.hint is None else Hint(recipe.hint, accelerator.unwrap_model(self.network), accelerator.device)
        self.history: list[dict[str, float]] = []

    # -- one epoch --------------------------------------------------------------------------------

    def epoch(self, epoch: int, report: Report | None) -> dict[str, float]:
        """Train one epoch and, late enough, score the averaged weights."""
        recipe, device = self.recipe, self.accelerator.device
        size, losses, started, meter = recipe.size_at(epoch), [], time.perf_counter(), Meter(device.type)
        batches = self._batches(epoch)
        self.network.train()
        for step, (rows, counts) in enumerate(batches):
            losses.append(self.step(rows, counts, size, epoch, step, step / len(batches)))
            if report is not None:
                report(f"epoch {epoch + 1}/{recipe.epochs} at {size} px", step + 1, len(batches), {"loss": float(np.mean(losses[-50:]))})
        seconds = time.perf_counter() - started
        record = {"epoch": epoch + 1, "size": size, "loss": float(np.mean(losses)), "lr": self.optimizer.param_groups[0]["lr"], "seconds": seconds}
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

    def step(self, rows: torch.Tensor, counts: torch.Tensor, size: int, epoch: int, step: int, done: float) -> float:
        """One update on the faces in `rows`, each counting as much as `counts` says, when `done` of the epoch is over; returns the loss."""
        recipe, device, update = self.recipe, self.accelerator.device, epoch * self.steps + int(done * self.steps)
        self.scheduler.step_update(update)
        torch.manual_seed(_mix(self.seed, epoch, step, 1))  # dropout
        seed = _mix(self.seed, epoch, step, 2 + 2 * self.accelerator.process_index)  # each process augments its own share
        faces = augment(self.faces[rows].to(device), size, recipe.augmentation, seed)
        x = normalise(faces, recipe.architecture).contiguous(memory_format=torch.channels_last)
        with self._autocast():
            losses = cross_entropies(self.network(x), self.targets[rows].to(device), recipe.label_smoothing)
        self.sampler.learn(rows, losses)
        loss = (losses * counts.to(device)).mean()
        if self.hint is not None:
            loss = loss + self.hint.loss(faces)
        self.accelerator.backward(loss)
        if recipe.clip_grad is not None:
            self.accelerator.clip_grad_norm_(self.network.parameters(), recipe.clip_grad)
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.ema.update(self.accelerator.unwrap_model(self.network), step=update)
        return float(loss.item())

    def _autocast(self) -> torch.autocast:
        # Not accelerate's own: its precision is fixed for the life of a process, and one process may run several recipes.
        return torch.autocast(self.accelerator.device.type, torch.bfloat16, enabled=self.recipe.precision == "bf16")

    def _batches(self, epoch: int) -> list[tuple[torch.Tensor, torch.Tensor]]:
        """The rows of each step and how much they count: a fresh shuffle per epoch; each process takes its share of every batch."""
        rows, counts = self.sampler.epoch(epoch, torch.Generator().manual_seed(_mix(self.seed, epoch, 0, 0)))
        size, ranks, rank = self.recipe.batch_size, self.accelerator.num_processes, self.accelerator.process_index
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

    def best(self) -> tuple[int, float]:
        """The epoch (from 1) with the highest validation accuracy so far, the first one where several tie."""
        scored = [(r["validation_accuracy"], -r["epoch"]) for r in self.history if "validation_accuracy" in r]
        accuracy, epoch = max(scored)
        return int(-epoch), accuracy

    def is_best(self, record: dict[str, float]) -> bool:
        return "validation_accuracy" in record and self.best()[0] == record["epoch"]

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
        tensors.write(self.ema.module.state_dict(), path, metadata)

    def save(self, path: Path) -> None:
        """Everything needed to go on after this epoch."""
        network, more = self.accelerator.unwrap_model(self.network), {"sampler.losses": self.sampler.losses}
        checkpoint.save(path, self._identity(), network, self.ema.module, self.optimizer, self.history, more)

    def restore(self, path: Path) -> None:
        """Go on from a checkpoint. Raises as `checkpoint.restore`."""
        network = self.accelerator.unwrap_model(self.network)
        self.history, saved = checkpoint.restore(path, self._identity(), network, self.ema.module, self.optimizer)
        if "sampler.losses" in saved:  # a checkpoint of an earlier version has seen every face every time
            self.sampler.losses = saved["sampler.losses"]

    def _identity(self) -> str:
        return json.dumps(
            {"recipe": asdict(self.recipe), "seed": self.seed, "data": self.data, **self.learnt_from, "start": self.started_from}, sort_keys=True
        )


def single_step(recipe: Recipe, faces: FaceSet, device: str = "auto", batch: int = 32) -> tuple[Callable[[], float], int]:
    """One update of a fresh network by `recipe` at its full size, for timing: (a call that returns the loss, faces per call)."""
    few = faces.take(np.arange(min(batch, len(faces))))
    session = _Session("step", replace(recipe, batch_size=len(few), teacher=None, hint=None), [few], few, 0, _accelerator(device))
    session.network.train()
    return lambda: session.step(torch.arange(len(few)), torch.ones(len(few)), recipe.architecture.size, 0, 0, 0.0), len(few)


def start_from(network: nn.Module, kind: str, path: Path) -> dict[str, Any]:
    """Put the weights at `path` into `network`, which errors call `kind`; returns their sha256 and the record of how they were trained.

    Raises:
        WeightsError: they are of another network.
    """
    state, metadata = tensors.read(path)
    tensors.require_fit(network, state, kind, path)
    network.load_state_dict(state)
    return {"sha256": sha256_of(path), "provenance": json.loads(metadata.get("provenance", "null"))}


def as_tensor(faces: FaceSet, channels: int, side: int) -> torch.Tensor:
    """A face set as one uint8 tensor (n, channels, side, side)."""
    out = torch.empty(len(faces), channels, side, side, dtype=torch.uint8)
    for i in range(len(faces)):
        face = resize(faces.face(i), side)
        out[i] = torch.from_numpy(grey(face)[None] if channels == 1 else face.transpose(2, 0, 1).copy())
    return out


def _mix(*numbers: int) -> int:
    """One seed from several numbers."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> 1)


def _peak_memory_mb(device: torch.device) -> float | None:
    """The most memory this process ever held, on the GPU where it trains on one; None where the system does not tell."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    if sys.platform == "win32":
        return None
    import resource

    unit = 2**20 if sys.platform == "darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit
