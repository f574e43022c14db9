"""Supervised training of the classification networks, on any device, resumable at every epoch.

`SupervisedTraining(...).run(FOLDER)` trains by a `Recipe` and writes `NAME.safetensors`: the averaged weights
of the epoch with the best validation accuracy, with architecture, label order and provenance in its metadata.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from timm.optim import create_optimizer_v2  # type: ignore[attr-defined]
from timm.scheduler import CosineLRScheduler  # type: ignore[attr-defined]
from timm.utils import ModelEmaV3  # type: ignore[attr-defined]

from fer_models.artifacts import safetensors_io
from fer_models.classifiers.cnn import FORMAT, build, normalise
from fer_models.datasets.base import FaceSet
from fer_models.emotions import LABELS
from fer_models.errors import UsageError
from fer_models.training.augment import augment
from fer_models.training.checkpoint import load_initial_weights
from fer_models.training.face_tensors import as_tensor, concatenate_sets
from fer_models.training.feature_distillation import FeatureDistillation
from fer_models.training.infobatch import InfoBatchSampler, cross_entropies
from fer_models.training.recipes import Recipe
from fer_models.training.session import RunOptions, Session, Step, TrainingData
from fer_models.training.soft_targets import (
    ConsistentTeachers,
    compute_targets,
    describe_targets,
    find_teachers,
)

#: One batch: rows of the training faces, int64 (k,), and their weights in the loss, float32 (k,).
Batch = tuple[torch.Tensor, torch.Tensor]


class SupervisedTraining(Session):
    """Training run of a classification network.

    Raises:
        UsageError: the recipe needs votes, and no face set has any; or it leaves out learned faces, and
            several processes train.
        WeightsError: the initial weights are of another network.
        WeightsMissingError: a teacher of the recipe is not on this machine.
    """

    packages = ("torch", "timm", "accelerate", "numpy")
    has_processes = True
    recipe: Recipe

    def __init__(self, name: str, recipe: Recipe, data: TrainingData, options: RunOptions) -> None:
        self.accelerator = accelerator = Accelerator(cpu=options.device == "cpu")
        super().__init__(name, recipe, data, options, accelerator.device)
        recipe, architecture = self.recipe, self.recipe.architecture
        side = max(architecture.size, max(size for _, size in recipe.sizes))
        self.faces = concatenate_sets(data.training, architecture.channels, side)
        self.targets = compute_targets(data.training, recipe, self.device, options.report)
        self.target_sources = describe_targets(data.training, recipe)
        has_consistent_teacher = recipe.consistent_teacher and recipe.teacher is not None
        self.teachers = ConsistentTeachers(recipe, self.device) if has_consistent_teacher else None
        self.logit_offsets = recipe.logit_adjustment * _log_shares(data.training)
        self.validation = self._scored_tensors(data.validation)
        self.extra = {name: self._scored_tensors(faces) for name, faces in data.extra.items()}
        if recipe.infobatch_ratio and accelerator.num_processes > 1:  # they do not exchange their losses
            raise UsageError("--infobatch-ratio needs a single process. Leave it out, or use one process.")
        self.sampler = InfoBatchSampler(
            self.targets, recipe.label_smoothing, recipe.epochs, recipe.infobatch_ratio
        )
        network = build(architecture, drop_rate=recipe.drop_rate).to(memory_format=torch.channels_last)
        self.started_from = load_initial_weights(network, architecture.timm, options.init_from)
        optimizer = self._build_optimizer(network)
        self.wrapped_network, self.optimizer = accelerator.prepare(network, optimizer)
        self.network = accelerator.unwrap_model(self.wrapped_network)
        self.ema: ModelEmaV3 = ModelEmaV3(self.network, decay=recipe.ema, use_warmup=True)
        self.distillation = (
            FeatureDistillation(recipe.hint, self.network, self.device) if recipe.hint is not None else None
        )
        self.is_main_process = accelerator.is_main_process

    def _build_optimizer(self, network: torch.nn.Module) -> torch.optim.Optimizer:
        """The optimizer of the recipe; its schedule is kept as `scheduler`."""
        recipe, updates = self.recipe, self.steps * self.recipe.epochs
        optimizer: torch.optim.Optimizer = create_optimizer_v2(
            network,
            opt=recipe.optimizer,
            lr=recipe.lr,
            weight_decay=recipe.weight_decay,
            momentum=recipe.momentum,
        )
        self.scheduler = CosineLRScheduler(
            optimizer,
            t_initial=updates,
            warmup_t=max(1, int(recipe.warmup * updates)),
            warmup_lr_init=recipe.lr / 25,
            warmup_prefix=False,
            t_in_epochs=False,
        )
        return optimizer

    # -- one epoch --------------------------------------------------------------------------------

    def size_at(self, epoch: int) -> int:
        """The side of the training faces in `epoch` (from 0), in pixels."""
        return self.recipe.size_at(epoch)

    def set_learning_rate(self, update: int) -> None:
        """Set the learning rate of an update (from 0) by timm's scheduler."""
        self.scheduler.step_update(update)

    def update_number(self, epoch: int, index: int, n_batches: int) -> int:
        """The number of an update in the schedule; InfoBatch's shorter epochs cover the same part of it."""
        return epoch * self.steps + index * self.steps // n_batches

    def batches(self, epoch: int) -> list[Batch]:
        """A new shuffle per epoch; each process takes its part of every batch."""
        generator = torch.Generator().manual_seed(_combine_seeds(self.options.seed, epoch, 0, 0))
        rows, weights = self.sampler.select_rows(epoch, generator)
        size = self.recipe.batch_size
        processes, process = self.accelerator.num_processes, self.accelerator.process_index
        cuts = [slice(start, start + size) for start in range(0, max(1, len(rows) - size + 1), size)]
        return [(rows[cut][process::processes], weights[cut][process::processes]) for cut in cuts]

    def train_batch(self, batch: Batch, step: Step) -> float:
        """Update on one batch of augmented faces."""
        recipe, seed, (rows, weights) = self.recipe, self.options.seed, batch
        torch.manual_seed(_combine_seeds(seed, step.epoch, step.index, 1))  # dropout
        stream = 2 + 2 * self.accelerator.process_index  # each process augments its own faces
        augmentation_seed = _combine_seeds(seed, step.epoch, step.index, stream)
        raw, size = self.faces[rows].to(self.device), recipe.size_at(step.epoch)

        def augmented(side: int) -> torch.Tensor:
            return augment(raw, side, recipe.augmentation, augmentation_seed)

        faces, targets = augmented(size), self.targets[rows].to(self.device)
        if self.teachers is not None:
            targets = self.teachers.mix_into(targets, augmented)
        x = normalise(faces, recipe.architecture).contiguous(memory_format=torch.channels_last)
        with self.autocast():
            logits = self.wrapped_network(x)
            logits = logits + self.logit_offsets[rows].to(self.device)
            losses = cross_entropies(logits, targets, recipe.label_smoothing)
        self.sampler.record_losses(rows, losses)
        loss = (losses * weights.to(self.device)).mean()
        if self.distillation is not None:
            loss = loss + self.distillation.loss(faces)
        self.accelerator.backward(loss)
        if recipe.clip_grad is not None:
            self.accelerator.clip_grad_norm_(self.network.parameters(), recipe.clip_grad)
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.ema.update(self.network, step=step.update)
        return float(loss.item())

    # -- validation -------------------------------------------------------------------------------

    def is_validated(self, epoch: int) -> bool:
        """Whether the averaged weights are scored after `epoch` (from 0)."""
        return epoch + 1 >= self.recipe.validate_from * self.recipe.epochs or epoch + 1 == self.recipe.epochs

    def validate(self) -> dict[str, float]:
        """Accuracy on the validation split and the extra splits."""
        extra = {f"accuracy on {name}": self.accuracy(*faces) for name, faces in self.extra.items()}
        return {"validation_accuracy": self.accuracy(*self.validation), **extra}

    def _scored_tensors(self, faces: FaceSet) -> tuple[torch.Tensor, torch.Tensor]:
        architecture = self.recipe.architecture
        return as_tensor(faces, architecture.channels, architecture.size), torch.from_numpy(faces.labels)

    @torch.inference_mode()
    def accuracy(self, faces: torch.Tensor, labels: torch.Tensor) -> float:
        """Accuracy of the averaged weights on `faces`, at full size, without augmentation."""
        correct = 0
        self.ema.module.eval()
        for rows in torch.split(torch.arange(len(faces)), 256):
            x = normalise(faces[rows].to(self.device).float(), self.recipe.architecture)
            with self.autocast():
                logits = self.ema.module(x.contiguous(memory_format=torch.channels_last))
            correct += int((logits.argmax(1).cpu() == labels[rows]).sum())
        return correct / len(faces)

    # -- files ------------------------------------------------------------------------------------

    def inputs(self) -> dict[str, Any]:
        """Teachers, votes, initial weights, and the number of processes: each augments by its own seed."""
        processes = self.accelerator.num_processes
        return {**self.target_sources, "started_from": self.started_from, "processes": processes}

    def input_files(self) -> list[Path]:
        """The initial weights, and those of the teachers."""
        return [*super().input_files(), *find_teachers(self.recipe).values()]

    def save_weights(self, path: Path) -> None:
        """Write the averaged weights to `NAME.safetensors`."""
        metadata = {
            "format": FORMAT,
            "architecture": json.dumps(asdict(self.recipe.architecture)),
            "labels": json.dumps(list(LABELS)),
            "provenance": json.dumps(self.provenance()),
        }
        safetensors_io.write(self.ema.module.state_dict(), path, metadata)

    def extra_state(self) -> dict[str, torch.Tensor]:
        """The losses by which InfoBatch leaves faces out; zero, with `is_seen` false, where there is none."""
        losses = self.sampler.losses  # NaN for a face without a loss, which a checkpoint cannot hold
        return {"losses": losses.nan_to_num(0.0), "is_seen": ~losses.isnan()}

    def load_extra_state(self, state: Mapping[str, torch.Tensor]) -> None:
        """Restore the losses by which InfoBatch leaves faces out."""
        self.sampler.losses = state["losses"].where(state["is_seen"], torch.tensor(float("nan")))

    def wait(self) -> None:
        """Wait for the other processes."""
        self.accelerator.wait_for_everyone()


def single_step(
    recipe: Recipe, faces: FaceSet, device: str = "auto", batch: int = 32
) -> tuple[Callable[[], float], int]:
    """One update of a new network at full size, for timing: (call that returns the loss, its faces)."""
    subset = faces.select(np.arange(min(batch, len(faces))))
    sizes = ((0.0, recipe.architecture.size),)
    recipe = replace(recipe, batch_size=len(subset), teacher=None, hint=None, sizes=sizes)
    session = SupervisedTraining("step", recipe, TrainingData([subset], subset), RunOptions(device=device))
    session.set_training_mode()
    every_row = (torch.arange(len(subset)), torch.ones(len(subset)))

    def train_once() -> float:
        session.set_learning_rate(0)
        return session.train_batch(every_row, Step(0, 0, 0))

    return train_once, len(subset)


def _log_shares(training: list[FaceSet]) -> torch.Tensor:
    """Logarithm of each emotion's share of the labels of a face's own set, float32 (n, 7).

    A network tells sets from each other, and learns the shares of each. Of an emotion without a face: the
    share of one face.
    """
    logs = []
    for faces in training:
        counts = torch.from_numpy(faces.labels).bincount(minlength=len(LABELS))
        logs.append(torch.log(counts.clamp(min=1) / len(faces)).expand(len(faces), -1))
    return torch.cat(logs)


def _combine_seeds(*numbers: int) -> int:
    """One seed from several numbers."""
    # numpy 1 cannot shift a uint64 by an int
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0]) >> 1
