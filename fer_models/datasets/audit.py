"""What is wrong with a dataset: copies within and across its splits, labels that contradict each other or the
raters, images that are none.

Images are compared twice. *Copies* have the same pixels (`images.face_hash`). *Near* copies look the same:
the same picture scaled, recompressed, brightened or cut a little differently. They are found by perceptual
hash, all pairs, and confirmed by the correlation of their pixels; both bounds are strict, so their number is
a lower bound. Which of two splits is the earlier one follows `ORDER`.
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
from fer_models.emotions import EMOTIONS, LABELS
from fer_models.errors import FerModelsError, UsageError


def audit(
    sets: Sequence[FaceSet], *, near: bool = True, progress: Progress = lambda stage, done, total: None
) -> Audit:
    """Look at every face of the splits of one dataset.

    Args:
        sets: its splits, in any order. One that is the union of others (`fer2013/test`) shares all its faces
            with them.
        near: also look for near copies, which compares all pairs of images.
        progress: told what is being done, how much of it is done, and how much there is.

    Raises:
        UsageError: no split, one twice, or splits of several datasets.
    """
    names = [faces.split for faces in sets]
    if not sets or len(set(names)) < len(names) or len({faces.dataset for faces in sets}) > 1:
        given = ", ".join(faces.name for faces in sets) or "none"
        raise UsageError(
            f"An audit takes different splits of one dataset, got: {given}. Name each split once."
        )
    sets = sorted(
        sets,
        key=lambda faces: SPLIT_ORDER.index(faces.split) if faces.split in SPLIT_ORDER else len(SPLIT_ORDER),
    )
    found = _Images()
    read = [_read(faces, found, progress) for faces in sets]
    counts = np.zeros((len(sets), len(found.index), len(EMOTIONS)), dtype=np.int64)
    for table, part in zip(counts, read, strict=True):
        np.add.at(table, (part.images, part.labels), 1)
    alike = found.near(progress) if near else None
    return Audit(
        dataset=sets[0].dataset,
        n=sum(len(part.rows) for part in read),
        distinct=len(found.index),
        splits=tuple(_split(part, table, alike) for part, table in zip(read, counts, strict=True)),
        overlaps=tuple(
            _overlap(read[a], read[b], counts[a], counts[b], alike)
            for a, b in combinations(range(len(sets)), 2)
        ),
        examples=tuple(select_examples(read, counts, alike)),
    )


# -- looking at the faces -------------------------------------------------------------------------------


@dataclass
class _Images:
    """The different images met so far, by number."""

    index: dict[str, int] = field(default_factory=dict)  # face_hash -> number
    small: list[NDArray[np.uint8]] = field(default_factory=list)  # grey, (SIDE, SIDE), by number

    def number(self, face: images.Face) -> int:
        number = self.index.setdefault(images.face_hash(face), len(self.small))
        if number == len(self.small):
            self.small.append(images.grey(images.resize(face, COMPARISON_SIDE)))
        return number

    def near(self, progress: Progress) -> NearPairs:
        """All pairs of near copies. Constant images have no correlation, and are left out."""
        candidates = [number for number, small in enumerate(self.small) if small.std() >= CONSTANT_STD]
        bits = np.empty((len(candidates), 64), dtype=np.float32)
        for i, number in enumerate(candidates):
            _tick(progress, "hashing images", i, len(candidates))
            bits[i] = np.where(imagehash.phash(Image.fromarray(self.small[number])).hash.ravel(), 1.0, -1.0)
        pairs = np.array(candidates, dtype=np.int64)[_close(bits, progress)]
        correlations = np.empty(len(pairs), dtype=np.float32)
        for i, (a, b) in enumerate(pairs.tolist()):
            _tick(progress, "confirming pairs", i, len(pairs))
            correlations[i] = np.corrcoef(self.small[a].ravel(), self.small[b].ravel())[0, 1]
        same = correlations >= NEAR_CORRELATION
        return NearPairs(pairs[same], correlations[same])


def _close(bits: NDArray[np.float32], progress: Progress) -> NDArray[np.int64]:
    """All pairs of rows of ±1, shape (k, 2), at most `NEAR_DISTANCE` apart: rows that differ in d places of w
    have the product w - 2 d.
    """
    least, block = bits.shape[1] - 2 * NEAR_DISTANCE, 512  # a block against 35,000 rows takes 70 MB
    pairs: list[NDArray[np.int64]] = [np.empty((0, 2), dtype=np.int64)]
    for start in range(0, len(bits), block):
        progress("comparing hashes", start, len(bits))
        close = np.argwhere(bits[start : start + block] @ bits[start:].T >= least)
        pairs.append((close[close[:, 0] < close[:, 1]] + start).astype(np.int64))
    return np.concatenate(pairs)


def _read(faces: FaceSet, found: _Images, progress: Progress) -> SplitFaces:
    rows, numbers = [], []
    constant, tiny, unreadable = [], [], []
    for row in range(len(faces)):
        _tick(progress, f"reading {faces.split}", row, len(faces))
        try:
            face = faces.face(row)
        except (FerModelsError, OSError) as error:
            unreadable.append(Unreadable(faces.source(row), str(error)))
            continue
        rows.append(row)
        numbers.append(found.number(face))
        if images.grey(face).std() < CONSTANT_STD:
            constant.append(faces.source(row))
        if min(face.shape[:2]) < TINY_SIDE:
            tiny.append(faces.source(row))
    kept = np.array(rows, dtype=np.int64)
    return SplitFaces(
        faces,
        kept,
        faces.labels[kept],
        np.array(numbers, dtype=np.int64),
        tuple(constant),
        tuple(tiny),
        tuple(unreadable),
    )


def _tick(progress: Progress, stage: str, done: int, total: int) -> None:
    if done % 128 == 0:  # often enough for the eye
        progress(stage, done, total)


# -- counting: `counts` tells how often each image stands in a split with each label, shape (images, 7) -----


def _split(part: SplitFaces, counts: NDArray[np.int64], alike: NearPairs | None) -> SplitAudit:
    copies = counts.sum(axis=1)
    per_label = dict(zip(LABELS, counts.sum(axis=0).tolist(), strict=True))
    known = OFFICIAL.get(part.faces.split) if part.faces.dataset == "fer2013" else None
    official = dict(zip(LABELS, known, strict=True)) if known else None
    return SplitAudit(
        split=part.faces.split,
        n=len(part.rows),
        counts=per_label,
        official=official,
        official_agrees=official == per_label if official else None,
        exact_duplicates=int(np.sum(copies[copies > 1] - 1)),
        groups=int(np.sum(copies > 1)),
        conflicts=int(np.sum(np.sum(counts > 0, axis=1) > 1)),
        near_duplicates=_near(copies, copies, copies == 1, alike, halve=True) if alike else None,
        constant=part.constant,
        tiny=part.tiny,
        unreadable=part.unreadable,
        noise=_noise(part.faces.votes[part.rows], part.labels) if part.faces.votes is not None else None,
        notes=part.faces.notes,
    )


def _overlap(
    earlier: SplitFaces,
    later: SplitFaces,
    before: NDArray[np.int64],
    after: NDArray[np.int64],
    alike: NearPairs | None,
) -> Overlap:
    there = before.sum(axis=1, keepdims=True)
    return Overlap(
        earlier.faces.split,
        later.faces.split,
        exact_duplicates=int(np.sum(after * (there > 0))),
        conflicts=int(np.sum(after * (there > before))),  # some copy there does not carry this label
        near_duplicates=_near(before.sum(axis=1), after.sum(axis=1), there[:, 0] == 0, alike)
        if alike
        else None,
    )


def _near(
    there: NDArray[np.int64],
    here: NDArray[np.int64],
    alone: NDArray[np.bool_],
    alike: NearPairs,
    halve: bool = False,
) -> NearDuplicates:
    """Near copies `there` of the faces `here`, from the copies of each image; `alone` marks images without an
    exact copy there.
    """
    a, b = alike.pairs.T
    has = np.zeros(len(here), dtype=bool)
    has[a[there[b] > 0]] = has[b[there[a] > 0]] = True
    pairs = int(np.sum(here[a] * there[b] + here[b] * there[a]))
    return NearDuplicates(
        faces=int(here[has].sum()), only=int(here[has & alone].sum()), pairs=pairs // 2 if halve else pairs
    )


def _noise(votes: NDArray[np.int64], labels: NDArray[np.int64]) -> Noise:
    chosen = ferplus.majority(votes)
    named = int(np.sum(chosen == labels))
    return Noise(
        named=named,
        share=named / max(len(labels), 1),
        named_ties_to_first=int(np.sum(votes.argmax(axis=1) == labels)),
        ties=int(np.sum(chosen == ferplus.TIE)),
        outside={
            name: int(np.sum(chosen == i)) for i, name in enumerate(ferplus.COLUMNS) if name not in LABELS
        },
        unvoted=int(np.sum(votes[np.arange(len(labels)), labels] == 0)),
    )


# -- examples -----------------------------------------------------------------------------------------
