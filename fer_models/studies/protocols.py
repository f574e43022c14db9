"""Evaluation protocols: their effect on the accuracy of one network, trained by one recipe.

- *official*: trained on `train`, the epoch chosen on the validation split, tested on the test split.
- *random*: all images are shuffled; 80 % train, half of the rest is the validation split, the other half the
  test split. Duplicates of an image can be in several splits.
- *inflated*: every emotion is brought to the size of the largest one by augmented copies, and only then is
  everything shuffled and split in the same way. Augmented copies of training images are in the test split.

Each is scored twice: with the epoch chosen on the validation split, and with the epoch chosen on the test
split itself. All make about the same number of updates. Nothing here claims how any published number was
measured.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from fer_models.artifacts.atomic_write import atomic_write
from fer_models.artifacts.device import resolve_precision
from fer_models.classifiers import cnn
from fer_models.classifiers.architecture import Architecture
from fer_models.datasets.base import FaceSet
from fer_models.emotions import EMOTIONS
from fer_models.scoring.intervals import wilson_interval
from fer_models.training.augment import augment
from fer_models.training.face_tensors import as_tensor
from fer_models.training.recipes import Augmentation, Recipe
from fer_models.training.session import RunOptions, TrainingData
from fer_models.training.supervised import SupervisedTraining

#: A network small enough to run the study in an hour or two without a GPU.
RECIPE = Recipe(
    Architecture("resnet18"),
    epochs=12,
    batch_size=64,
    lr=0.05,
    validate_from=0.5,
    augmentation=Augmentation(erase=0.1),
)
#: Augmentation of the copies: what is usual where copies are made before the split.
COPY_AUGMENTATION = Augmentation(
    mirror=0.5, rotate=10.0, scale=0.1, shift=0.05, brightness=0.2, contrast=0.2, erase=0.0
)
#: The training split's share of all images, where the split is random.
TRAINING_SHARE = 0.8


@dataclass(frozen=True)
class Protocol:
    """Splits of a protocol.

    Attributes:
        name: short name.
        description: one line for the table.
        training: the faces that train.
        validation: the faces that choose the epoch.
        test: the faces whose accuracy is reported.
        origins: for each of the three splits, the pixel hash of the image that each face is, or was made
            from.
    """

    name: str
    description: str
    training: FaceSet
    validation: FaceSet
    test: FaceSet
    origins: tuple[Sequence[str], Sequence[str], Sequence[str]]

    @property
    def is_leaked(self) -> NDArray[np.bool_]:
        """Whether each test face is, or was made from, an image of the training split; (n,)."""
        training_images = set(self.origins[0])
        return np.array([origin in training_images for origin in self.origins[2]])


@dataclass(frozen=True)
class _Images:
    """Images of all splits: grey (n, side, side), labels (n,) and pixel hashes of their originals (n,)."""

    pixels: NDArray[np.uint8]
    labels: NDArray[np.int64]
    origins: NDArray[np.str_]


def official(training: FaceSet, validation: FaceSet, test: FaceSet) -> Protocol:
    """The official splits."""
    description = f"trained on {training.split}, chosen on {validation.split}, reported on {test.split}"
    origins = (training.hashes, validation.hashes, test.hashes)
    return Protocol("official", description, training, validation, test, origins)


def random(sets: Sequence[FaceSet], seed: int) -> Protocol:
    """A random split of all images."""
    return _split("random", "a random 80/20 split of all images", _concatenate(sets), seed)


def inflated(sets: Sequence[FaceSet], seed: int) -> Protocol:
    """A random split of all images and of augmented copies, which make all emotions equally frequent."""
    images = _concatenate(sets)
    rng, counts = np.random.default_rng(seed), np.bincount(images.labels, minlength=len(EMOTIONS))
    rows = np.concatenate(
        [rng.choice(np.flatnonzero(images.labels == e), counts.max() - n) for e, n in enumerate(counts) if n]
    )
    side = images.pixels.shape[1]
    copies = []
    for part in np.array_split(rows, max(1, len(rows) // 1024)):
        if len(part):
            faces = torch.from_numpy(images.pixels[part])[:, None]
            copy = augment(faces, side, COPY_AUGMENTATION, seed + int(part[0]))
            copies.append(copy[:, 0].round().byte().numpy())
    all_images = _Images(
        np.concatenate([images.pixels, *copies]),
        np.concatenate([images.labels, images.labels[rows]]),
        np.concatenate([images.origins, images.origins[rows]]),
    )
    description = "emotions evened out with augmented copies, then a random 80/20 split"
    return _split("inflated", description, all_images, seed)


def _concatenate(sets: Sequence[FaceSet]) -> _Images:
    """Concatenate all faces as grey images; smaller ones are enlarged to the largest side."""
    side = max(max(faces.face(0).shape[:2]) for faces in sets)
    return _Images(
        np.concatenate([as_tensor(faces, 1, side).numpy()[:, 0] for faces in sets]),
        np.concatenate([faces.labels for faces in sets]),
        np.array([pixel_hash for faces in sets for pixel_hash in faces.hashes]),
    )


def _split(name: str, description: str, images: _Images, seed: int) -> Protocol:
    n = len(images.labels)
    order = np.random.default_rng([seed, 1]).permutation(n)
    first = round(TRAINING_SHARE * n)
    second = (first + n) // 2
    parts = (order[:first], order[first:second], order[second:])
    training, validation, test = (
        FaceSet(name, split, images.pixels[rows], images.labels[rows])
        for split, rows in zip(("train", "validation", "test"), parts, strict=True)
    )
    origins = [tuple(images.origins[rows].tolist()) for rows in parts]
    return Protocol(name, description, training, validation, test, (origins[0], origins[1], origins[2]))


@dataclass(frozen=True)
class ProtocolResult:
    """Accuracy of the network under one protocol.

    Accuracies are JSON measurements: value, low, high (Wilson, 95 %) and n.

    Attributes:
        protocol: its name.
        description: one line for the table.
        n_training: number of training faces.
        n_test: number of test faces.
        n_leaked: number of test faces that are, or were made from, an image of the training split.
        epochs: number of epochs.
        accuracy: on the test split, the epoch chosen on the validation split.
        accuracy_chosen_on_test: the same, the epoch chosen on the test split.
        accuracy_without_leaked: `accuracy` on the test faces that are not leaked; None where all are.
        curve: (epoch, validation accuracy, test accuracy).
    """

    protocol: str
    description: str
    n_training: int
    n_test: int
    n_leaked: int
    epochs: int
    accuracy: dict[str, float]
    accuracy_chosen_on_test: dict[str, float]
    accuracy_without_leaked: dict[str, float] | None
    curve: list[tuple[int, float, float]]


def run_study(
    sets: tuple[FaceSet, FaceSet, FaceSet], folder: Path, recipe: Recipe, options: RunOptions
) -> list[ProtocolResult]:
    """Train and test by every protocol.

    Args:
        sets: the official train, validation and test splits.
        folder: for results, weights and checkpoints; a killed study resumes from them.
        recipe: for all protocols; its teacher is left out, because it was trained on one of these splits.
        options: seed, device and progress callback.

    Raises:
        UsageError: as `Session.run`.
    """
    recipe, folder, seed = replace(recipe, teacher=None), folder.absolute(), options.seed
    results = []
    factories: tuple[Callable[[], Protocol], ...] = (
        lambda: official(*sets),
        lambda: random(sets, seed),
        lambda: inflated(sets, seed),
    )
    for make_protocol in factories:
        protocol = make_protocol()  # one at a time: the copies of `inflated` are large
        # The same number of updates for all: more faces, fewer epochs.
        epochs = max(1, round(recipe.epochs * len(sets[0]) / len(protocol.training)))
        results.append(_run_protocol(protocol, replace(recipe, epochs=epochs), folder, options))
    return results


def _run_protocol(protocol: Protocol, recipe: Recipe, folder: Path, options: RunOptions) -> ProtocolResult:
    """The result of one protocol, from its file in `folder` where that has the same inputs."""
    splits = (protocol.training, protocol.validation, protocol.test)
    inputs = json.dumps([asdict(recipe), options.seed, *(faces.fingerprint for faces in splits)])
    path = folder / f"{protocol.name}.json"
    if path.exists():
        cached = json.loads(path.read_text())
        if cached.get("inputs") == inputs:
            return ProtocolResult(**cached["result"])
    result = _measure(protocol, recipe, folder, options)
    with atomic_write(path) as part:
        part.write_text(json.dumps({"inputs": inputs, "result": asdict(result)}, indent=1))
    return ProtocolResult(**json.loads(path.read_text())["result"])


def _measure(protocol: Protocol, recipe: Recipe, folder: Path, options: RunOptions) -> ProtocolResult:
    """Train by a protocol, and score its test split."""

    def report(title: str, step: int, steps: int, metrics: dict[str, float]) -> None:
        if options.report is not None:
            options.report(f"{protocol.name}, {title}", step, steps, metrics)

    test = protocol.test
    data = TrainingData([protocol.training], protocol.validation, {"test": test})
    run_options = replace(options, report=report)
    training = SupervisedTraining(protocol.name, recipe, data, run_options).run(folder)
    precision = resolve_precision(recipe.precision, options.device)
    model = cnn.load(training.weights, device=options.device, precision=precision)
    predictions = np.concatenate([model.predict(batch).answer for _, batch in test.batches(256)])
    is_correct, is_leaked, n = np.equal(predictions, test.labels), protocol.is_leaked, len(test)
    curve = [
        (int(record["epoch"]), record["validation_accuracy"], record["accuracy on test"])
        for record in training.history
        if "validation_accuracy" in record
    ]
    best_on_test = max(accuracy for _, _, accuracy in curve)
    return ProtocolResult(
        protocol=protocol.name,
        description=protocol.description,
        n_training=len(protocol.training),
        n_test=n,
        n_leaked=int(is_leaked.sum()),
        epochs=recipe.epochs,
        accuracy=_accuracy(int(is_correct.sum()), n),
        accuracy_chosen_on_test=_accuracy(round(best_on_test * n), n),
        accuracy_without_leaked=(
            None if is_leaked.all() else _accuracy(int(is_correct[~is_leaked].sum()), int((~is_leaked).sum()))
        ),
        curve=curve,
    )


def _accuracy(n_correct: int, n: int) -> dict[str, float]:
    return {**wilson_interval(n_correct, n).as_json(), "n": n}


def markdown_table(results: Sequence[ProtocolResult]) -> str:
    """The results as a table."""
    header = (
        "protocol",
        "trained on",
        "reported on",
        "of these, the image also trained",
        "accuracy",
        "the same, epoch chosen on the reported faces",
        "accuracy on images that did not train",
    )
    lines = [f"| {' | '.join(header)} |", "|---" * len(header) + "|"]
    for result in results:
        cells = (
            f"{result.protocol}: {result.description}",
            f"{result.n_training:,}",
            f"{result.n_test:,}",
            f"{result.n_leaked / result.n_test:.1%}",
            _cell(result.accuracy),
            _cell(result.accuracy_chosen_on_test),
            _cell(result.accuracy_without_leaked),
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _cell(accuracy: dict[str, float] | None) -> str:
    if accuracy is None:
        return "-"
    return f"{accuracy['value']:.3f} [{accuracy['low']:.3f}, {accuracy['high']:.3f}]"


def as_json(results: Sequence[ProtocolResult], recipe: Recipe, seed: int) -> dict[str, Any]:
    """All results, the recipe and the seed, as JSON."""
    return {
        "schema": 2,
        "study": "protocols",
        "recipe": asdict(recipe),
        "seed": seed,
        "results": [asdict(result) for result in results],
    }
