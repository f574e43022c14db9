"""Effect of the evaluation protocol on the accuracy of one network, trained by one recipe.

The network is trained and scored by every protocol of `protocol_splits`, with several seeds. Every test
face is counted once per epoch, in one of four groups, so every accuracy is computed from the same counts:
with the epoch chosen on the validation faces or on the test faces, with augmented copies or without, on all
images or on new ones only.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from fer_models.artifacts import safetensors_io
from fer_models.artifacts.atomic_write import atomic_write
from fer_models.artifacts.hashing import sha256_of
from fer_models.classifiers.architecture import Architecture
from fer_models.errors import UsageError
from fer_models.images import grey, resize, to_rgb
from fer_models.studies.protocol_runs import MEMORIZE, Group, ProtocolRun
from fer_models.studies.protocol_splits import COPY_AUGMENTATION, Protocol, Restore, SplitImages, Splits
from fer_models.training.provenance import row_order
from fer_models.training.recipes import BY_LABEL, NO_AUGMENTATION, Recipe
from fer_models.training.session import RunOptions, TrainingData
from fer_models.training.supervised import SupervisedTraining
from fer_models.zoo.restorers import GFPGAN_NANO
from fer_models.zoo.spec import Runtime

#: A small plain network that memorizes its training faces within minutes on two cores: no weight decay,
#: no label smoothing, no dropout, and no augmentation.
PLAIN = Recipe(
    Architecture("plain_cnn"),
    epochs=10,
    batch_size=64,
    lr=0.05,
    weight_decay=0.0,
    label_smoothing=0.0,
    ema=0.9,
    precision="float32",
    validate_from=0.0,
    augmentation=NO_AUGMENTATION,
)
#: The same with ordinary augmentation, sampled again in each epoch.
AUGMENTED = replace(PLAIN, augmentation=COPY_AUGMENTATION)
#: The trainings of the study, by name.
RECIPES: Mapping[str, Recipe] = {"plain": PLAIN, "augmented": AUGMENTED}
#: Epochs of a training called `NAME+memorize`.
_MEMORIZE_EPOCHS = 3
#: The most training faces on which the training accuracy is measured, drawn at random.
_TRAINING_SAMPLE = 2000
#: Faces per batch of the restoration, and batches after which it is saved.
_BATCH, _BATCHES_PER_SAVE = 64, 32


def for_study(recipe: Recipe) -> Recipe:
    """The recipe as the study uses it.

    Every epoch is validated. Trained networks help in none: they have seen test faces. The
    protocol alone decides the labels.
    """
    return replace(recipe, teacher=None, hint=None, validate_from=0.0, targets=BY_LABEL)


def unregularized(recipe: Recipe) -> Recipe:
    """The recipe of three more epochs from the weights of `recipe`, so that the network memorizes its faces.

    `Recipe.continued`, without augmentation, weight decay, label smoothing and dropout.
    """
    return replace(
        recipe.continued(),
        epochs=_MEMORIZE_EPOCHS,
        weight_decay=0.0,
        label_smoothing=0.0,
        drop_rate=0.0,
        augmentation=NO_AUGMENTATION,
    )


@dataclass(frozen=True)
class Plan:
    """What a study trains.

    Attributes:
        protocols: the ways to split.
        recipes: the trainings, by name, each `for_study`. `NAME+memorize` is `unregularized`, and needs NAME.
        seeds: of splits and trainings.
    """

    protocols: Sequence[Protocol]
    recipes: Mapping[str, Recipe]
    seeds: Sequence[int]


def run_study(splits: Splits, folder: Path, plan: Plan, options: RunOptions) -> list[ProtocolRun]:
    """Train and score by every protocol.

    Args:
        splits: the official training, validation and test splits.
        folder: for results and checkpoints; a stopped study resumes from them.
        plan: what to train.
        options: device and progress callback.

    Raises:
        UsageError: the folder has results of other options, and `options.resume` is set; a protocol needs
            votes that the faces do not have; and as `Session.run`.
    """
    folder = folder.absolute()

    def restore(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        return _restore(pixels, folder / "restored.safetensors", options)

    def task(seed: int, training: str, protocol: Protocol) -> _Task:
        start = training.removesuffix(MEMORIZE)
        starts_from = None if start == training else task(seed, start, protocol)
        return _Task(protocol, training, plan.recipes[training], replace(options, seed=seed), starts_from)

    tasks = [task(*run) for run in product(plan.seeds, plan.recipes, plan.protocols)]
    for planned in tasks:
        _check_result(planned, splits, folder)
    return [_run(planned, splits, restore, folder) for planned in tasks]


@dataclass(frozen=True)
class _Task:
    """One run of a study."""

    protocol: Protocol
    training: str
    recipe: Recipe
    options: RunOptions
    starts_from: _Task | None = None

    @property
    def name(self) -> str:
        return f"{self.protocol.name}-{self.training}-{self.options.seed}"

    def inputs(self, splits: Splits) -> str:
        """Everything that decides the run, as JSON."""
        start = [] if self.starts_from is None else [self.starts_from.inputs(splits)]
        return json.dumps(
            [
                self.name,
                asdict(self.recipe),
                [faces.fingerprint for faces in splits],
                [self.recipe.size_at(epoch) for epoch in range(self.recipe.epochs)],
                [row_order(faces) for faces in splits],
                [_hash(faces.votes) for faces in splits] if self.protocol.needs_votes else None,
                GFPGAN_NANO.identity(Runtime()) if self.protocol.needs_restoration else None,
                *start,
            ]
        )


def _read_result(task: _Task, folder: Path) -> dict[str, Any]:
    """The file of a finished run: `inputs`, `result` and `weights_sha256`; empty without one."""
    path = folder / f"{task.name}.json"
    return json.loads(path.read_text()) if path.exists() else {}


def _check_result(task: _Task, splits: Splits, folder: Path) -> None:
    """Refuse to replace the result of other options, which may have taken hours; remove it if told to.

    It is removed before anything is trained, so that a killed study can be resumed.

    Raises:
        UsageError: there is one, and `resume` is set.
    """
    stored = _read_result(task, folder)
    if stored and stored.get("inputs") != task.inputs(splits):
        if not task.options.resume:
            (folder / f"{task.name}.json").unlink()
            return
        raise UsageError(
            f"{folder / task.name}.json is the result of a study with other options. Choose another folder "
            "(--output FOLDER), or replace it (--no-resume)."
        )


def _has_hash(weights: Path, stored: Mapping[str, Any]) -> bool:
    """Whether a file has the weights of a stored result."""
    return weights.exists() and sha256_of(weights) == stored.get("weights_sha256")


def _run(
    task: _Task, splits: Splits, restore: Restore, folder: Path, *, needs_weights: bool = False
) -> ProtocolRun:
    """The result of one run, from its file in `folder` where that has the same inputs.

    Args:
        task: the run.
        splits: the official splits.
        restore: see `Protocol.split`.
        folder: of files.
        needs_weights: train again where the weights of that result are missing or were replaced.
    """
    inputs, stored = task.inputs(splits), _read_result(task, folder)
    weights = folder / f"{task.name}.safetensors"
    if stored.get("inputs") == inputs and not (needs_weights and not _has_hash(weights, stored)):
        return ProtocolRun.from_json(stored["result"])
    if task.starts_from is not None:
        _run(task.starts_from, splits, restore, folder, needs_weights=True)
    images = task.protocol.split(splits, task.options.seed, restore)
    result = _train(task, images, folder)
    content = {"inputs": inputs, "result": asdict(result), "weights_sha256": sha256_of(weights)}
    with atomic_write(folder / f"{task.name}.json") as part:
        part.write_text(json.dumps(content, indent=1))
    return result


def _train(task: _Task, images: SplitImages, folder: Path) -> ProtocolRun:
    """Train by a protocol, and count correct predictions of the test faces."""

    def report(title: str, step: int, steps: int, metrics: dict[str, float]) -> None:
        if task.options.report is not None:
            task.options.report(f"{task.name}, {title}", step, steps, metrics)

    rows = np.random.default_rng(task.options.seed).permutation(len(images.training))[:_TRAINING_SAMPLE]
    groups = {
        f"group {number}": (is_copy, is_seen, np.flatnonzero(in_group))
        for number, (is_copy, is_seen) in enumerate(product((False, True), repeat=2))
        if (in_group := (images.is_copy == is_copy) & (images.is_seen == is_seen)).any()
    }
    extra = {name: images.test.select(members) for name, (_, _, members) in groups.items()}
    data = TrainingData(
        [images.training], images.validation, {**extra, "training": images.training.select(rows)}
    )
    init_from = None if task.starts_from is None else folder / f"{task.starts_from.name}.safetensors"
    options = replace(task.options, init_from=init_from, report=report)
    history = SupervisedTraining(task.name, task.recipe, data, options).run(folder).history

    def curve(metric: str) -> tuple[float, ...]:
        return tuple(record[metric] for record in history)

    return ProtocolRun(
        protocol=task.protocol.name,
        training=task.training,
        seed=task.options.seed,
        n_training=len(images.training),
        training_accuracy=curve("accuracy on training"),
        validation_accuracy=curve("validation_accuracy"),
        groups=tuple(
            Group(
                is_copy,
                is_seen,
                len(members),
                tuple(round(share * len(members)) for share in curve(f"accuracy on {name}")),
            )
            for name, (is_copy, is_seen, members) in groups.items()
        ),
        seconds=sum(record["seconds"] for record in history),
    )


def _restore(pixels: NDArray[np.uint8], path: Path, options: RunOptions) -> NDArray[np.uint8]:
    """Restore grey images (n, side, side) with gfpgan-nano, from the first one that no earlier study did."""
    n, side = pixels.shape[:2]
    inputs = {"inputs": json.dumps([_hash(pixels), GFPGAN_NANO.identity(Runtime())])}
    restored: NDArray[np.uint8] = np.empty((0, side, side), np.uint8)
    if path.exists():
        tensors, metadata = safetensors_io.read(path)
        if metadata.get("inputs") == inputs["inputs"]:
            restored = tensors["pixels"].numpy()
    if len(restored) == n:
        return restored
    restorer = GFPGAN_NANO.load(GFPGAN_NANO.resolve(Runtime(options.device)))
    for number, start in enumerate(range(len(restored), n, _BATCH), start=1):
        faces = restorer.restore([to_rgb(face) for face in pixels[start : start + _BATCH]])
        restored = np.concatenate([restored, [grey(resize(face, side)) for face in faces]])
        if number % _BATCHES_PER_SAVE == 0 or len(restored) == n:
            safetensors_io.write({"pixels": torch.from_numpy(restored)}, path, inputs)
        if options.report is not None:
            options.report("restoring", len(restored), n, {})
    return restored


def _hash(values: NDArray[Any] | None) -> str | None:
    return None if values is None else hashlib.sha256(np.ascontiguousarray(values).data).hexdigest()
