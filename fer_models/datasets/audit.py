"""Audit of a dataset: duplicates within and across splits, label conflicts, and unusable images.

Images are compared twice. *Exact duplicates* have the same pixels (`images.face_hash`). *Near duplicates*
are the same picture scaled, recompressed, brightened or cropped a little differently. They are found by
perceptual hash over all pairs and confirmed by the correlation of their pixels. Both bounds are strict, so
their number is a lower bound. `SPLIT_ORDER` decides which of two splits is the earlier one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import combinations

import imagehash
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fer_models import images
from fer_models.datasets import ferplus
from fer_models.datasets.audit_examples import select_examples
from fer_models.datasets.audit_results import (
    COMPARISON_SIDE,
    CONSTANT_STD,
    NEAR_CORRELATION,
    NEAR_DISTANCE,
    SPLIT_ORDER,
    TINY_SIDE,
    Audit,
    NearDuplicates,
    NearPairs,
    Noise,
    Overlap,
    Progress,
    SplitAudit,
    SplitFaces,
    Unreadable,
)
from fer_models.datasets.base import FaceSet
from fer_models.datasets.fer2013_rows import OFFICIAL
from fer_models.datasets.pixel_file import PixelFile
from fer_models.emotions import EMOTIONS, LABELS
from fer_models.errors import FerModelsError, UsageError


def audit(
    sets: Sequence[FaceSet], *, near: bool = True, progress: Progress = lambda stage, done, total: None
) -> Audit:
    """Audit all faces of the splits of one dataset.

    Args:
        sets: its splits, in any order. One that is the union of others (`fer2013/test`) shares all its faces
            with them.
        near: also search for near duplicates, which compares all pairs of images.
        progress: called with the current stage, the number of processed items, and their total.

    Raises:
        UsageError: no split, one twice, or splits of several datasets.
    """
    names = [faces.split for faces in sets]
    if not sets or len(set(names)) < len(names) or len({faces.dataset for faces in sets}) > 1:
        listing = ", ".join(faces.name for faces in sets) or "none"
        raise UsageError(
            f"An audit takes different splits of one dataset, got: {listing}. Name each split once."
        )
    rank = {split: i for i, split in enumerate(SPLIT_ORDER)}
    sets = sorted(sets, key=lambda faces: rank.get(faces.split, len(rank)))
    distinct = _DistinctImages()
    splits = [_read_split(faces, distinct, progress) for faces in sets]
    counts = np.zeros((len(sets), len(distinct.index), len(EMOTIONS)), dtype=np.int64)
    for table, split in zip(counts, splits, strict=True):
        np.add.at(table, (split.images, split.labels), 1)
    near_pairs = distinct.find_near_duplicates(progress) if near else None
    overlaps = (
        _audit_overlap(splits[a], splits[b], counts[a], counts[b], near_pairs)
        for a, b in combinations(range(len(sets)), 2)
    )
    return Audit(
        dataset=sets[0].dataset,
        n=sum(len(split.rows) for split in splits),
        distinct=len(distinct.index),
        splits=tuple(
            _audit_split(split, table, near_pairs) for split, table in zip(splits, counts, strict=True)
        ),
        overlaps=tuple(overlaps),
        examples=tuple(select_examples(splits, counts, near_pairs)),
    )


# -- reading the faces ----------------------------------------------------------------------------------


@dataclass
class _DistinctImages:
    """The distinct images of all splits, by number."""

    index: dict[str, int] = field(default_factory=dict)  # face_hash -> number
    small: PixelFile = field(default_factory=lambda: PixelFile(COMPARISON_SIDE, COMPARISON_SIDE))  # by number

    def number(self, face: images.Face) -> int:
        """The number of an image, a new one for an image that is not here yet."""
        number = self.index.setdefault(images.face_hash(face), len(self.small))
        if number == len(self.small):
            self.small.add(images.grey(images.resize(face, COMPARISON_SIDE)).tobytes())
        return number

    def find_near_duplicates(self, progress: Progress) -> NearPairs:
        """Find all pairs of near duplicates. Constant images have no correlation, and are left out."""
        numbers = range(len(self.small))
        candidates = [number for number in numbers if self.small[number].std() >= CONSTANT_STD]
        bits = np.empty((len(candidates), 64), dtype=np.float32)
        for i, number in enumerate(candidates):
            _report(progress, "hashing images", i, len(candidates))
            bits[i] = np.where(imagehash.phash(Image.fromarray(self.small[number])).hash.ravel(), 1.0, -1.0)
        pairs = np.array(candidates, dtype=np.int64)[_find_close_pairs(bits, progress)]
        correlations = np.empty(len(pairs), dtype=np.float32)
        for i, (a, b) in enumerate(pairs.tolist()):
            _report(progress, "confirming pairs", i, len(pairs))
            correlations[i] = np.corrcoef(self.small[a].ravel(), self.small[b].ravel())[0, 1]
        confirmed = correlations >= NEAR_CORRELATION
        return NearPairs(pairs[confirmed], correlations[confirmed])


def _find_close_pairs(bits: NDArray[np.float32], progress: Progress) -> NDArray[np.int64]:
    """All pairs of rows of ±1, shape (k, 2), at most `NEAR_DISTANCE` apart.

    Rows of width w that differ in d places have the product w - 2 d.
    """
    threshold, block = bits.shape[1] - 2 * NEAR_DISTANCE, 512  # a block against 35,000 rows takes 70 MB
    pairs: list[NDArray[np.int64]] = [np.empty((0, 2), dtype=np.int64)]
    for start in range(0, len(bits), block):
        progress("comparing hashes", start, len(bits))
        close = np.argwhere(bits[start : start + block] @ bits[start:].T >= threshold)
        pairs.append((close[close[:, 0] < close[:, 1]] + start).astype(np.int64))
    return np.concatenate(pairs)


def _read_split(faces: FaceSet, distinct: _DistinctImages, progress: Progress) -> SplitFaces:
    readable, numbers = [], []
    constant, tiny, unreadable = [], [], []
    for row in range(len(faces)):
        _report(progress, f"reading {faces.split}", row, len(faces))
        try:
            face = faces.face(row)
        except (FerModelsError, OSError) as error:
            unreadable.append(Unreadable(faces.source(row), str(error)))
            continue
        readable.append(row)
        numbers.append(distinct.number(face))
        if images.grey(face).std() < CONSTANT_STD:
            constant.append(faces.source(row))
        if min(face.shape[:2]) < TINY_SIDE:
            tiny.append(faces.source(row))
    rows = np.array(readable, dtype=np.int64)
    image_numbers = np.array(numbers, dtype=np.int64)
    problems = tuple(constant), tuple(tiny), tuple(unreadable)
    return SplitFaces(faces, rows, faces.labels[rows], image_numbers, *problems)


def _report(progress: Progress, stage: str, done: int, total: int) -> None:
    if done % 128 == 0:  # often enough for a progress bar
        progress(stage, done, total)


# -- counting: `counts` is how often each image is in a split with each label, shape (images, 7) --------


def _audit_split(split: SplitFaces, counts: NDArray[np.int64], near_pairs: NearPairs | None) -> SplitAudit:
    faces, copies = split.faces, counts.sum(axis=1)
    per_label = dict(zip(LABELS, counts.sum(axis=0).tolist(), strict=True))
    official_counts = OFFICIAL.get(faces.split) if faces.dataset == "fer2013" else None
    official = dict(zip(LABELS, official_counts, strict=True)) if official_counts else None
    return SplitAudit(
        split=faces.split,
        n=len(split.rows),
        counts=per_label,
        official=official,
        official_agrees=official == per_label if official else None,
        exact_duplicates=int(np.sum(copies[copies > 1] - 1)),
        groups=int(np.sum(copies > 1)),
        conflicts=int(np.sum(np.sum(counts > 0, axis=1) > 1)),
        near_duplicates=_count_near(copies, copies, copies == 1, near_pairs, halve=True),
        constant=split.constant,
        tiny=split.tiny,
        unreadable=split.unreadable,
        noise=None if faces.votes is None else _count_noise(faces.votes[split.rows], split.labels),
        notes=faces.notes,
    )


def _audit_overlap(
    earlier: SplitFaces,
    later: SplitFaces,
    earlier_counts: NDArray[np.int64],
    later_counts: NDArray[np.int64],
    near_pairs: NearPairs | None,
) -> Overlap:
    copies = earlier_counts.sum(axis=1)
    leaked = copies[:, None] > 0
    conflicting = copies[:, None] > earlier_counts  # some copy there has another label
    return Overlap(
        earlier.faces.split,
        later.faces.split,
        exact_duplicates=int(np.sum(later_counts * leaked)),
        conflicts=int(np.sum(later_counts * conflicting)),
        near_duplicates=_count_near(copies, later_counts.sum(axis=1), copies == 0, near_pairs),
    )


def _count_near(
    earlier: NDArray[np.int64],
    later: NDArray[np.int64],
    has_no_copy: NDArray[np.bool_],
    near_pairs: NearPairs | None,
    halve: bool = False,
) -> NearDuplicates | None:
    """Count the near duplicates that faces of one split have in another, or in the same one.

    Args:
        earlier: how often each image is in the split that is searched.
        later: how often each image is in the split whose faces are counted.
        has_no_copy: the images without an exact duplicate in the split that is searched.
        near_pairs: all pairs of near duplicates; None where they were not searched for.
        halve: whether both splits are the same one, where each pair is counted twice.
    """
    if near_pairs is None:
        return None
    a, b = near_pairs.pairs.T
    has_near = np.zeros(len(later), dtype=bool)
    has_near[a[earlier[b] > 0]] = has_near[b[earlier[a] > 0]] = True
    pairs = int(np.sum(later[a] * earlier[b] + later[b] * earlier[a]))
    faces, only = int(later[has_near].sum()), int(later[has_near & has_no_copy].sum())
    return NearDuplicates(faces=faces, only=only, pairs=pairs // 2 if halve else pairs)


def _count_noise(votes: NDArray[np.int64], labels: NDArray[np.int64]) -> Noise:
    majority = ferplus.majority(votes)
    named = int(np.sum(majority == labels))
    outside = {name: i for i, name in enumerate(ferplus.COLUMNS) if name not in LABELS}
    return Noise(
        named=named,
        share=named / max(len(labels), 1),
        named_ties_to_first=int(np.sum(votes.argmax(axis=1) == labels)),
        ties=int(np.sum(majority == ferplus.TIE)),
        outside={name: int(np.sum(majority == i)) for name, i in outside.items()},
        unvoted=int(np.sum(votes[np.arange(len(labels)), labels] == 0)),
    )
