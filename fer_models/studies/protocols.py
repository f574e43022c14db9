"""What a way of splitting and choosing does to a score: one network, one recipe, several protocols.

- *official*: trained on `train`, the epoch chosen on the validation split, reported on the test split.
- *random*: all images shuffled; 80 % train, half of the rest chooses, the other half is reported. Copies of a
face fall on both sides.
- *inflated*: every emotion is brought to the size of the largest one by altered copies, and only then is
everything shuffled and split the
  same way. Altered copies of a face that trains are reported on.

Each is scored twice: with the epoch chosen on the split for choosing, and with the epoch chosen on the
reported faces themselves. All make about the same number of updates. Nothing here is a claim about how
anybody else measured.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from fer_models.artifacts.device import resolve_precision
from fer_models.classifiers import cnn
from fer_models.classifiers.architecture import Architecture
from fer_models.datasets.base import FaceSet
from fer_models.emotions import EMOTIONS
from fer_models.scoring.intervals import wilson_interval
from fer_models.training.augment import augment
from fer_models.training.recipes import Augmentation, Recipe
from fer_models.training.session import ProgressCallback
from fer_models.training.supervised import as_tensor, train

#: A network small enough that the whole study is a matter of an hour or two without an accelerator.
RECIPE = Recipe(
    Architecture("resnet18"),
    epochs=12,
    batch_size=64,
    lr=0.05,
    validate_from=0.5,
    augmentation=Augmentation(erase=0.1),
)
#: How copies are altered before the split: what is usual where that is done (mirror, small turns and shifts,
#: light).
ALTERED = Augmentation(
    mirror=0.5, rotate=10.0, scale=0.1, shift=0.05, brightness=0.2, contrast=0.2, erase=0.0
)
#: The share of all faces that trains, where the split is random.
TRAINING_SHARE = 0.8


@dataclass(frozen=True)
class Protocol:
    """Who trains, who chooses the epoch, who is reported.

    Attributes:
        origins: for each of the three sets, the pixel hash of the image that each face is, or was made from.
    """

    name: str
    description: str
    training: FaceSet
    choosing: FaceSet
    reported: FaceSet
    origins: tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]

    @property
    def seen(self) -> NDArray[np.bool_]:
        """Which reported faces are, or were made from, an image that also trained; (n,)."""
        trained = set(self.origins[0])
        return np.array([origin in trained for origin in self.origins[2]])


def official(training: FaceSet, choosing: FaceSet, reported: FaceSet) -> Protocol:
    """The splits as they are."""
    origins = (training.hashes, choosing.hashes, reported.hashes)
    return Protocol(
        "official",
        f"trained on {training.split}, chosen on {choosing.split}, reported on {reported.split}",
        training,
        choosing,
        reported,
        origins,
    )


def random(sets: Sequence[FaceSet], seed: int) -> Protocol:
    """All images of `sets` shuffled and split anew."""
    images, labels, origins = _together(sets)
    return _split("random", "a random 80/20 split of all images", images, labels, origins, seed)


def inflated(sets: Sequence[FaceSet], seed: int) -> Protocol:
    """All images of `sets`, every emotion filled up with altered copies, then shuffled and split."""
    images, labels, origins = _together(sets)
    rng, counts = np.random.default_rng(seed), np.bincount(labels, minlength=len(EMOTIONS))
    rows = np.concatenate(
        [rng.choice(np.flatnonzero(labels == e), counts.max() - n) for e, n in enumerate(counts) if n]
    )
    copies = [
        augment(torch.from_numpy(images[part])[:, None], images.shape[1], ALTERED, seed + int(part[0]))[:, 0]
        .round()
        .byte()
        .numpy()
        for part in np.array_split(rows, max(1, len(rows) // 1024))
        if len(part)
    ]
    return _split(
        "inflated",
        "emotions evened out with altered copies, then a random 80/20 split",
        np.concatenate([images, *copies]),
        np.concatenate([labels, labels[rows]]),
        np.concatenate([origins, origins[rows]]),
        seed,
    )


def _together(sets: Sequence[FaceSet]) -> tuple[NDArray[np.uint8], NDArray[np.int64], NDArray[np.str_]]:
    """Grey images (n, side, side), labels and pixel hashes of all faces; smaller faces are enlarged to the
    largest side.
    """
    side = max(max(s.face(0).shape[:2]) for s in sets)
    images = np.concatenate([as_tensor(s, 1, side).numpy()[:, 0] for s in sets])
    return images, np.concatenate([s.labels for s in sets]), np.array([h for s in sets for h in s.hashes])


def _split(
    name: str,
    description: str,
    images: NDArray[np.uint8],
    labels: NDArray[np.int64],
    origins: NDArray[np.str_],
    seed: int,
) -> Protocol:
    order = np.random.default_rng([seed, 1]).permutation(len(labels))
    first = round(TRAINING_SHARE * len(labels))
    parts = (order[:first], order[first : (first + len(labels)) // 2], order[(first + len(labels)) // 2 :])
    made = [
        FaceSet(name, split, images[rows], labels[rows])
        for split, rows in zip(("train", "choosing", "reported"), parts, strict=True)
    ]
    came_from = [tuple(origins[rows].tolist()) for rows in parts]
    return Protocol(name, description, made[0], made[1], made[2], (came_from[0], came_from[1], came_from[2]))


@dataclass(frozen=True)
class ProtocolResult:
    """What one protocol makes of the network. Accuracies are JSON measurements: value, low, high (Wilson, 95
    %) and n.

    Attributes:
        seen: how many reported faces are, or were made from, an image that also trained.
        chosen_apart: accuracy on the reported faces, the epoch chosen on others.
        chosen_there: the same, the epoch chosen on the reported faces.
        unseen: `chosen_apart` on the reported faces whose image did not train; None where there is none.
        curve: (epoch, accuracy where it is chosen, accuracy where it is reported).
    """

    protocol: str
    description: str
    trained_on: int
    reported_on: int
    seen: int
    epochs: int
    chosen_apart: dict[str, float]
    chosen_there: dict[str, float]
    unseen: dict[str, float] | None
    curve: list[tuple[int, float, float]]


def study(
    sets: tuple[FaceSet, FaceSet, FaceSet],
    folder: Path,
    recipe: Recipe = RECIPE,
    *,
    seed: int = 0,
    device: str = "auto",
    report: ProgressCallback | None = None,
) -> list[ProtocolResult]:
    """Train by every protocol, and measure.

    Args:
        sets: the official train, validation and test splits.
        folder: where findings, weights and checkpoints are kept: a study that was stopped goes on from there.
        recipe: for all protocols alike; a teacher is left out, because it has seen one of these splits.
        report: see `loop.train`.

    Raises:
        UsageError: as `loop.train`.
    """
    recipe, folder = replace(recipe, teacher=None), folder.absolute()
    findings = []
    makers: tuple[Callable[[], Protocol], ...] = (
        lambda: official(*sets),
        lambda: random(sets, seed),
        lambda: inflated(sets, seed),
    )
    for make in makers:
        protocol = make()  # one at a time: the copies of `inflated` are large
        # As many updates for all: more faces, fewer epochs.
        epochs = max(1, round(recipe.epochs * len(sets[0]) / len(protocol.training)))
        findings.append(_measure(protocol, replace(recipe, epochs=epochs), folder, seed, device, report))
    return findings


def _measure(
    protocol: Protocol, recipe: Recipe, folder: Path, seed: int, device: str, report: ProgressCallback | None
) -> ProtocolResult:
    made_of = json.dumps(
        [
            asdict(recipe),
            seed,
            protocol.training.fingerprint,
            protocol.choosing.fingerprint,
            protocol.reported.fingerprint,
        ]
    )
    kept = folder / f"{protocol.name}.json"
    if kept.exists():
        said = json.loads(kept.read_text())
        if said["made_of"] == made_of:
            return ProtocolResult(**said["finding"])
    reported = protocol.reported

    def named(title: str, step: int, steps: int, figures: dict[str, float]) -> None:
        if report is not None:
            report(f"{protocol.name}, {title}", step, steps, figures)

    outcome = train(
        protocol.name,
        recipe,
        [protocol.training],
        protocol.choosing,
        folder,
        seed=seed,
        device=device,
        report=named,
        also={"reported": reported},
    )
    model = cnn.load(outcome.weights, device=device, precision=resolve_precision(recipe.precision, device))
    answers = np.concatenate([model.predict(batch).answer for _, batch in reported.batches(256)])
    right = np.equal(answers, reported.labels)
    curve = [
        (int(r["epoch"]), r["validation_accuracy"], r["accuracy on reported"])
        for r in outcome.history
        if "validation_accuracy" in r
    ]
    seen, n = protocol.seen, len(reported)
    finding = ProtocolResult(
        protocol.name,
        protocol.description,
        len(protocol.training),
        n,
        int(seen.sum()),
        recipe.epochs,
        _accuracy(int(right.sum()), n),
        _accuracy(round(max(there for _, _, there in curve) * n), n),
        _accuracy(int(right[~seen].sum()), int((~seen).sum())) if not seen.all() else None,
        curve,
    )
    _write(kept, json.dumps({"made_of": made_of, "finding": asdict(finding)}, indent=1))
    return ProtocolResult(**json.loads(kept.read_text())["finding"])


def _accuracy(right: int, n: int) -> dict[str, float]:
    return {**wilson_interval(right, n).as_json(), "n": n}


def _write(path: Path, text: str) -> None:
    with tempfile.NamedTemporaryFile("w", dir=path.parent, suffix=".part", delete=False) as part:
        part.write(text)
    Path(part.name).replace(path)


def markdown(findings: Sequence[ProtocolResult]) -> str:
    """The findings as a table."""
    lines = [
        "| protocol | trained on | reported on | of these, the image also trained | accuracy | the same, epoch chosen on the reported faces "
        "| accuracy on images that did not train |",
        "|---|---|---|---|---|---|---|",
    ]
    for f in findings:
        cells = (
            f"{f.protocol}: {f.description}",
            f"{f.trained_on:,}",
            f"{f.reported_on:,}",
            f"{f.seen / f.reported_on:.1%}",
            *(_cell(m) for m in (f.chosen_apart, f.chosen_there, f.unseen)),
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _cell(measured: dict[str, float] | None) -> str:
    return (
        "-"
        if measured is None
        else f"{measured['value']:.3f} [{measured['low']:.3f}, {measured['high']:.3f}]"
    )


def as_json(findings: Sequence[ProtocolResult], recipe: Recipe, seed: int) -> dict[str, Any]:
    """Everything that was found, and by which recipe."""
    return {
        "schema": 1,
        "study": "protocols",
        "recipe": asdict(recipe),
        "seed": seed,
        "findings": [asdict(f) for f in findings],
    }
