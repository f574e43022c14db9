"""Evaluation protocols: how the images of a dataset become training, validation and test faces.

FER-2013's official splits, and ways to split it that occur in papers and notebooks: at random, and after
copies were made. Nothing here claims how any published number was measured.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType

import numpy as np
import torch
from numpy.typing import NDArray

from fer_models.datasets import ferplus
from fer_models.datasets.base import FaceSet
from fer_models.emotions import EMOTIONS
from fer_models.errors import UsageError
from fer_models.training.augment import augment
from fer_models.training.face_tensors import as_tensor
from fer_models.training.recipes import Augmentation

#: Augmentation of the copies: what is usual where copies are made before the split.
COPY_AUGMENTATION = Augmentation(
    mirror=0.5, rotate=10.0, scale=0.1, shift=0.05, brightness=0.2, contrast=0.2, erase=0.0
)
#: The training split's share of all images, where the split is random; the rest is halved.
TRAINING_SHARE = 0.8

#: The official training, validation and test splits.
Splits = tuple[FaceSet, FaceSet, FaceSet]
#: Restores grey images (n, side, side), uint8, to the same shape.
Restore = Callable[[NDArray[np.uint8]], NDArray[np.uint8]]


@dataclass(frozen=True)
class SplitImages:
    """The images of a dataset, split by a protocol.

    Attributes:
        training: the faces that train.
        validation: the faces that choose the epoch.
        test: the faces whose accuracy is reported.
        is_copy: whether each test face is an augmented copy of an image, not the image itself; (n,).
        is_seen: whether each test face is, or was made from, an image that is in the training split, or of
            which a copy is; (n,).
    """

    training: FaceSet
    validation: FaceSet
    test: FaceSet
    is_copy: NDArray[np.bool_]
    is_seen: NDArray[np.bool_]


@dataclass(frozen=True)
class Protocol:
    """A way to split the images.

    Attributes:
        name: its name on the command line.
        description: how the images are split, on one line.
        split: from the official splits, a seed and a restoration to the split images.
        needs_votes: whether the labels are those of FER+.
        needs_restoration: whether it restores the images.
    """

    name: str
    description: str
    split: Callable[[Splits, int, Restore], SplitImages]
    needs_votes: bool = False
    needs_restoration: bool = False


@dataclass(frozen=True)
class _Images:
    """Images of all splits together, before they are split.

    Attributes:
        pixels: grey (n, side, side).
        labels: one emotion each, (n,).
        origins: the pixel hash of the image that each one is, or was made from, (n,).
        is_copy: whether it is an augmented copy, (n,).
    """

    pixels: NDArray[np.uint8]
    labels: NDArray[np.int64]
    origins: NDArray[np.str_]
    is_copy: NDArray[np.bool_]

    def faces(self, split: str, rows: NDArray[np.int64]) -> FaceSet:
        return FaceSet("shuffled", split, self.pixels[rows], self.labels[rows])


def with_majority_labels(faces: FaceSet) -> FaceSet:
    """The faces with the emotion that got the most votes of FER+'s raters; ties and others are left out.

    Raises:
        UsageError: the faces have no votes, or none has a majority.
    """
    if faces.votes is None:
        raise UsageError(
            f"{faces.name} has no votes of FER+, which this protocol takes as labels. "
            f"Put {ferplus.FILE_NAME} into the data folder, or leave the protocol out with --protocol."
        )
    labels = ferplus.majority(faces.votes)
    rows = np.flatnonzero((labels >= 0) & (labels < len(EMOTIONS)))
    if not len(rows):
        raise UsageError(f"No face of {faces.name} has a majority for one of the seven emotions in FER+.")
    return replace(faces.select(rows), labels=labels[rows])


def _official(splits: Splits, seed: int, restore: Restore) -> SplitImages:
    training, validation, test = splits
    seen, hashes = set(training.hashes), test.hashes
    is_seen = np.array([pixel_hash in seen for pixel_hash in hashes])
    return SplitImages(training, validation, test, np.zeros(len(test), bool), is_seen)


def _random(splits: Splits, seed: int, restore: Restore) -> SplitImages:
    return _shuffle(_concatenate(splits), seed)


def _grouped(splits: Splits, seed: int, restore: Restore) -> SplitImages:
    return _shuffle(_concatenate(splits), seed, keep_together=True)


def _grouped_copies(splits: Splits, seed: int, restore: Restore) -> SplitImages:
    return _shuffle(_balance(_concatenate(splits), seed), seed, keep_together=True)


def _copies(splits: Splits, seed: int, restore: Restore) -> SplitImages:
    return _shuffle(_balance(_concatenate(splits), seed), seed)


def _restored_copies(splits: Splits, seed: int, restore: Restore) -> SplitImages:
    images = _concatenate(splits)
    return _shuffle(_balance(replace(images, pixels=restore(images.pixels)), seed), seed)


def _official_ferplus(splits: Splits, seed: int, restore: Restore) -> SplitImages:
    return _official(_relabel(splits), seed, restore)


def _copies_ferplus(splits: Splits, seed: int, restore: Restore) -> SplitImages:
    return _copies(_relabel(splits), seed, restore)


def _relabel(splits: Splits) -> Splits:
    training, validation, test = splits
    return with_majority_labels(training), with_majority_labels(validation), with_majority_labels(test)


def _concatenate(sets: Sequence[FaceSet]) -> _Images:
    """Concatenate all faces as grey images, resized to the largest side of the first face of each set."""
    side = max(max(faces.face(0).shape[:2]) for faces in sets)
    return _Images(
        np.concatenate([as_tensor(faces, 1, side).numpy()[:, 0] for faces in sets]),
        np.concatenate([faces.labels for faces in sets]),
        np.array([pixel_hash for faces in sets for pixel_hash in faces.hashes]),
        np.zeros(sum(map(len, sets)), bool),
    )


def _balance(images: _Images, seed: int) -> _Images:
    """Bring every emotion to the size of the largest one by augmented copies of its images."""
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
    return _Images(
        np.concatenate([images.pixels, *copies]),
        np.concatenate([images.labels, images.labels[rows]]),
        np.concatenate([images.origins, images.origins[rows]]),
        np.concatenate([images.is_copy, np.ones(len(rows), bool)]),
    )


def _shuffle(images: _Images, seed: int, *, keep_together: bool = False) -> SplitImages:
    """Split at random; with `keep_together`, an image and its copies and duplicates go to the same split."""
    if keep_together:
        _, unit = np.unique(images.origins, return_inverse=True)
    else:
        unit = np.arange(len(images.labels))
    n = int(unit.max()) + 1
    place = np.random.default_rng([seed, 1]).permutation(n)[unit]
    first = round(TRAINING_SHARE * n)
    second = (first + n) // 2
    order = np.argsort(place, kind="stable")
    cuts = np.searchsorted(place[order], [first, second])
    training, validation, test = np.split(order, cuts)
    return SplitImages(
        images.faces("train", training),
        images.faces("validation", validation),
        images.faces("test", test),
        images.is_copy[test],
        np.isin(images.origins[test], images.origins[training]),
    )


#: All protocols, by name.
PROTOCOLS: Mapping[str, Protocol] = MappingProxyType(
    {
        protocol.name: protocol
        for protocol in (
            Protocol("official", "the official splits", _official),
            Protocol("random", "a random 80/10/10 split of all images", _random),
            Protocol("grouped", "a random split that keeps the duplicates of an image together", _grouped),
            Protocol(
                "grouped-copies",
                "emotions balanced with augmented copies, then a random split that keeps the copies of an "
                "image together",
                _grouped_copies,
            ),
            Protocol("copies", "emotions balanced with augmented copies, then a random split", _copies),
            Protocol(
                "restored-copies",
                "all images restored, emotions balanced with augmented copies, then a random split",
                _restored_copies,
                needs_restoration=True,
            ),
            Protocol(
                "official-ferplus",
                "the official splits with FER+ majority labels",
                _official_ferplus,
                needs_votes=True,
            ),
            Protocol(
                "copies-ferplus",
                "FER+ majority labels, emotions balanced with augmented copies, then a random split",
                _copies_ferplus,
                needs_votes=True,
            ),
        )
    }
)
