"""What is wrong with a dataset: copies within and across its splits, labels that contradict each other or the raters, images that are none.

Images are compared twice. *Copies* have the same pixels (`images.face_hash`). *Near* copies look the same: the same picture scaled, recompressed,
brightened or cut a little differently. They are found by perceptual hash, all pairs, and confirmed by the correlation of their pixels; both
bounds are strict, so their number is a lower bound. Which of two splits is the earlier one follows `ORDER`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from itertools import combinations, islice
from typing import Any, Literal

import imagehash
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fer_models import images
from fer_models.datasets import ferplus
from fer_models.datasets.base import FaceSet
from fer_models.datasets.fer2013 import OFFICIAL
from fer_models.emotions import EMOTIONS, LABELS
from fer_models.errors import FerModelsError, UsageError

#: The splits from the first to the last: what leaks, leaks from an earlier one into a later one. Other splits follow in the order given.
ORDER: tuple[str, ...] = ("train", "validation", "public_test", "private_test", "test")

#: The greatest Hamming distance of two 64-bit perceptual hashes (`imagehash.phash`), and the least Pearson correlation of the grey pixels at
#: `SIDE` x `SIDE`, of a near copy. Chosen by eye on FER-2013: of 250 pairs next to these bounds (distance 8 or 10, or correlation 0.93 to 0.94)
#: all are plainly one picture, often with another watermark, crop or contrast. Of 110 pairs at 0.92 to 0.93, one shows two persons and two
#: show one person with two expressions; of 100 just above 0.90 some four, of 36 at 0.80 to 0.86 fifteen; and at distance 12 to 16 nearly all
#: pairs below 0.88 are of two persons. The price: one picture cut a few pixels aside may fall below the bounds.
NEAR_DISTANCE = 10
NEAR_CORRELATION = 0.93

#: The side in pixels at which images of any size are compared, FER-2013's own.
SIDE = 48

#: Below this standard deviation of its grey pixels (of 0..255) an image is constant. FER-2013 has sixteen all black faces and an even grey one
#: (0.7); the flattest of its pictures has 3.9.
FLAT = 1.0

#: An image with a side below this many pixels is tiny: a face cannot be told from so few. FER-2013's have 48.
TINY = 32

#: How many pairs an audit shows.
EXAMPLES = 12

Kind = Literal["conflict", "copy", "near"]
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Unreadable:
    """A face whose image cannot be read. It counts nowhere else."""

    source: str
    message: str


@dataclass(frozen=True)
class Noise:
    """What the raters of FER+ say of a split's labels; all numbers are faces.

    Attributes:
        named: the one answer with most votes, of all ten columns, is the label.
        share: `named` of all faces, 0..1.
        named_ties_to_first: the same when a tie goes to the first of `ferplus.COLUMNS` (numpy's argmax); 63.3 % of FER-2013's
            private_test, the share that is usually told, and at least partly owed to the order of the emotions.
        ties: several answers share the most votes, so there is no majority.
        outside: the one answer with most votes is contempt, unknown or no face: each with its number.
        unvoted: not one rater named the label.
    """

    named: int
    share: float
    named_ties_to_first: int
    ties: int
    outside: dict[str, int]
    unvoted: int


@dataclass(frozen=True)
class Near:
    """Near copies of one split's faces in a split; exact copies are none.

    Attributes:
        faces: faces that have one there.
        only: those of `faces` that have no exact copy there: what a comparison of pixels misses.
        pairs: pairs of faces, one of each split.
    """

    faces: int
    only: int
    pairs: int


@dataclass(frozen=True)
class SplitAudit:
    """One split by itself.

    Attributes:
        split: its name.
        n: the faces that can be read; all other numbers are of these.
        counts: faces per emotion, all seven named.
        official: what `counts` should be, for FER-2013.
        official_agrees: whether they are; None where nothing official is known.
        copies: faces to remove so that no image stands twice ("surplus copies").
        groups: images that stand more than once.
        conflicts: those of `groups` that carry different labels.
        near: near copies within the split; None when they were not looked for.
        constant: the sources of images of one tone (`FLAT`).
        tiny: the sources of images with a side below `TINY`.
        unreadable: faces that cannot be read.
        noise: the labels against the votes; None without votes.
        notes: those of the face set.
    """

    split: str
    n: int
    counts: dict[str, int]
    official: dict[str, int] | None
    official_agrees: bool | None
    copies: int
    groups: int
    conflicts: int
    near: Near | None
    constant: tuple[str, ...]
    tiny: tuple[str, ...]
    unreadable: tuple[Unreadable, ...]
    noise: Noise | None
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Overlap:
    """What an earlier and a later split share.

    Attributes:
        earlier: the split that a model has seen first, such as train.
        later: the one that is asked about afterwards.
        copies: faces of `later` whose very pixels stand in `earlier`.
        conflicts: those of `copies` that have a copy there with another label.
        near: near copies that faces of `later` have in `earlier`; None when they were not looked for.
    """

    earlier: str
    later: str
    copies: int
    conflicts: int
    near: Near | None


@dataclass(frozen=True)
class Sample:
    """One face of an example."""

    split: str
    source: str
    label: str


@dataclass(frozen=True)
class Example:
    """Two faces that are one picture.

    Attributes:
        kind: `conflict` (copies in two splits with different labels), `copy` (in two splits, with one label) or `near`.
        faces: the two.
        correlation: of their grey pixels, -1..1; 1 for copies.
        picture: the two side by side as a PNG of 192 x 96 pixels, a data URI.
    """

    kind: Kind
    faces: tuple[Sample, Sample]
    correlation: float
    picture: str


@dataclass(frozen=True)
class Audit:
    """What was found.

    Attributes:
        dataset: the dataset's name.
        n: faces that can be read, all splits together.
        distinct: different images among them.
        splits: each split by itself, in `ORDER`.
        overlaps: each later split against each earlier one.
        examples: at most `EXAMPLES` pairs: conflicts, then copies across splits, then near copies, the least alike first.
    """

    dataset: str
    n: int
    distinct: int
    splits: tuple[SplitAudit, ...]
    overlaps: tuple[Overlap, ...]
    examples: tuple[Example, ...]

    def as_json(self, *, pictures: bool = True) -> dict[str, Any]:
        """As plain JSON types, the examples without their pictures if so asked."""
        plain: dict[str, Any] = json.loads(json.dumps(asdict(self)))
        if not pictures:
            for example in plain["examples"]:
                del example["picture"]
        return plain


def audit(sets: Sequence[FaceSet], *, near: bool = True, progress: Progress = lambda stage, done, total: None) -> Audit:
    """Look at every face of the splits of one dataset.

    Args:
        sets: its splits, in any order. One that is the union of others (`fer2013/test`) shares all its faces with them.
        near: also look for near copies, which compares all pairs of images.
        progress: told what is being done, how much of it is done, and how much there is.

    Raises:
        UsageError: no split, one twice, or splits of several datasets.
    """
    names = [faces.split for faces in sets]
    if not sets or len(set(names)) < len(names) or len({faces.dataset for faces in sets}) > 1:
        given = ", ".join(faces.name for faces in sets) or "none"
        raise UsageError(f"An audit takes different splits of one dataset, got: {given}. Name each split once.")
    sets = sorted(sets, key=lambda faces: ORDER.index(faces.split) if faces.split in ORDER else len(ORDER))
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
        overlaps=tuple(_overlap(read[a], read[b], counts[a], counts[b], alike) for a, b in combinations(range(len(sets)), 2)),
        examples=tuple(_examples(read, counts, alike)),
    )


# -- looking at the faces -------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Alike:
    """Pairs of near copies: image numbers, shape (k, 2), and correlations, shape (k,)."""

    pairs: NDArray[np.int64]
    correlations: NDArray[np.float32]


@dataclass
class _Images:
    """The different images met so far, by number."""

    index: dict[str, int] = field(default_factory=dict)  # face_hash -> number
    small: list[NDArray[np.uint8]] = field(default_factory=list)  # grey, (SIDE, SIDE), by number

    def number(self, face: images.Face) -> int:
        number = self.index.setdefault(images.face_hash(face), len(self.small))
        if number == len(self.small):
            self.small.append(images.grey(images.resize(face, SIDE)))
        return number

    def near(self, progress: Progress) -> _Alike:
        """All pairs of near copies. Constant images have no correlation, and are left out."""
        candidates = [number for number, small in enumerate(self.small) if small.std() >= FLAT]
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
        return _Alike(pairs[same], correlations[same])


def _close(bits: NDArray[np.float32], progress: Progress) -> NDArray[np.int64]:
    """All pairs of rows of ±1, shape (k, 2), at most `NEAR_DISTANCE` apart: rows that differ in d places of w have the product w - 2 d."""
    least, block = bits.shape[1] - 2 * NEAR_DISTANCE, 512  # a block against 35,000 rows takes 70 MB
    pairs: list[NDArray[np.int64]] = [np.empty((0, 2), dtype=np.int64)]
    for start in range(0, len(bits), block):
        progress("comparing hashes", start, len(bits))
        close = np.argwhere(bits[start : start + block] @ bits[start:].T >= least)
        pairs.append((close[close[:, 0] < close[:, 1]] + start).astype(np.int64))
    return np.concatenate(pairs)


@dataclass(frozen=True)
class _Part:
    """The readable faces of one split: their rows, labels and image numbers, each shape (n,)."""

    faces: FaceSet
    rows: NDArray[np.int64]
    labels: NDArray[np.int64]
    images: NDArray[np.int64]
    constant: tuple[str, ...]
    tiny: tuple[str, ...]
    unreadable: tuple[Unreadable, ...]

    def sample(self, i: int) -> Sample:
        row = int(self.rows[i])
        return Sample(self.faces.split, self.faces.source(row), LABELS[self.labels[i]])


def _read(faces: FaceSet, found: _Images, progress: Progress) -> _Part:
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
        if images.grey(face).std() < FLAT:
            constant.append(faces.source(row))
        if min(face.shape[:2]) < TINY:
            tiny.append(faces.source(row))
    kept = np.array(rows, dtype=np.int64)
    return _Part(faces, kept, faces.labels[kept], np.array(numbers, dtype=np.int64), tuple(constant), tuple(tiny), tuple(unreadable))


def _tick(progress: Progress, stage: str, done: int, total: int) -> None:
    if done % 128 == 0:  # often enough for the eye
        progress(stage, done, total)


# -- counting: `counts` tells how often each image stands in a split with each label, shape (images, 7) -----


def _split(part: _Part, counts: NDArray[np.int64], alike: _Alike | None) -> SplitAudit:
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
        copies=int(np.sum(copies[copies > 1] - 1)),
        groups=int(np.sum(copies > 1)),
        conflicts=int(np.sum(np.sum(counts > 0, axis=1) > 1)),
        near=_near(copies, copies, copies == 1, alike, halve=True) if alike else None,
        constant=part.constant,
        tiny=part.tiny,
        unreadable=part.unreadable,
        noise=_noise(part.faces.votes[part.rows], part.labels) if part.faces.votes is not None else None,
        notes=part.faces.notes,
    )


def _overlap(earlier: _Part, later: _Part, before: NDArray[np.int64], after: NDArray[np.int64], alike: _Alike | None) -> Overlap:
    there = before.sum(axis=1, keepdims=True)
    return Overlap(
        earlier.faces.split,
        later.faces.split,
        copies=int(np.sum(after * (there > 0))),
        conflicts=int(np.sum(after * (there > before))),  # some copy there does not carry this label
        near=_near(before.sum(axis=1), after.sum(axis=1), there[:, 0] == 0, alike) if alike else None,
    )


def _near(there: NDArray[np.int64], here: NDArray[np.int64], alone: NDArray[np.bool_], alike: _Alike, halve: bool = False) -> Near:
    """Near copies `there` of the faces `here`, from the copies of each image; `alone` marks images without an exact copy there."""
    a, b = alike.pairs.T
    has = np.zeros(len(here), dtype=bool)
    has[a[there[b] > 0]] = has[b[there[a] > 0]] = True
    pairs = int(np.sum(here[a] * there[b] + here[b] * there[a]))
    return Near(faces=int(here[has].sum()), only=int(here[has & alone].sum()), pairs=pairs // 2 if halve else pairs)


def _noise(votes: NDArray[np.int64], labels: NDArray[np.int64]) -> Noise:
    chosen = ferplus.majority(votes)
    named = int(np.sum(chosen == labels))
    return Noise(
        named=named,
        share=named / max(len(labels), 1),
        named_ties_to_first=int(np.sum(votes.argmax(axis=1) == labels)),
        ties=int(np.sum(chosen == ferplus.TIE)),
        outside={name: int(np.sum(chosen == i)) for i, name in enumerate(ferplus.COLUMNS) if name not in LABELS},
        unvoted=int(np.sum(votes[np.arange(len(labels)), labels] == 0)),
    )


# -- examples -----------------------------------------------------------------------------------------

_Pair = tuple[Kind, _Part, int, _Part, int, float]


def _examples(read: Sequence[_Part], counts: NDArray[np.int64], alike: _Alike | None) -> Iterator[Example]:
    """A third of the places for each kind; what one kind leaves goes to the others, in their order."""
    kinds = [list(islice(pairs, EXAMPLES)) for pairs in (_across(read, counts, "conflict"), _across(read, counts, "copy"), _closest(read, alike))]
    taken = [min(len(pairs), EXAMPLES // len(kinds)) for pairs in kinds]
    for i, pairs in enumerate(kinds):
        taken[i] += min(len(pairs) - taken[i], EXAMPLES - sum(taken))
        for kind, one, a, other, b, correlation in pairs[: taken[i]]:
            faces = [part.faces.face(int(part.rows[at])) for part, at in ((one, a), (other, b))]
            yield Example(kind, (one.sample(a), other.sample(b)), correlation, _picture(faces))


def _across(read: Sequence[_Part], counts: NDArray[np.int64], kind: Kind) -> Iterator[_Pair]:
    """Copies across splits, each image once: those with another label in the earlier split (`conflict`), or those with no other (`copy`)."""
    seen: set[int] = set()
    for a, b in combinations(range(len(read)), 2):
        there, same = counts[a].sum(axis=1)[read[b].images], counts[a][read[b].images, read[b].labels]
        for later in np.flatnonzero(there > same if kind == "conflict" else (there > 0) & (there == same)).tolist():
            image = int(read[b].images[later])
            if image not in seen:
                seen.add(image)
                copies = read[a].images == image
                earlier = np.flatnonzero(copies & (read[a].labels != read[b].labels[later]) if kind == "conflict" else copies)[0]
                yield kind, read[a], int(earlier), read[b], later, 1.0


def _closest(read: Sequence[_Part], alike: _Alike | None) -> Iterator[_Pair]:
    """Near copies, the least alike first, each image once."""
    if alike is None:
        return
    seen: set[int] = set()
    for i in np.argsort(alike.correlations, kind="stable").tolist():
        pair = alike.pairs[i].tolist()
        if seen.isdisjoint(pair):
            seen.update(pair)
            (one, a), (other, b) = (_first(read, image) for image in pair)
            yield "near", one, a, other, b, round(float(alike.correlations[i]), 4)


def _first(read: Sequence[_Part], image: int) -> tuple[_Part, int]:
    part = next(part for part in read if image in part.images)
    return part, int(np.flatnonzero(part.images == image)[0])


def _picture(faces: Sequence[images.Face]) -> str:
    """The faces side by side, each SIDE pixels and then twice that, as a data URI."""
    row = np.concatenate([images.resize(face, SIDE) for face in faces], axis=1)
    return images.data_url(row.repeat(2, axis=0).repeat(2, axis=1))


# -- for the terminal ---------------------------------------------------------------------------------


def text(found: Audit) -> str:
    """The audit as lines for a terminal."""
    lines = [f"{found.dataset}: {found.n:,} faces, {found.distinct:,} distinct images", ""]
    heads = ["split", "faces", *LABELS, *(["official"] if any(s.official for s in found.splits) else [])]
    agree = {True: "yes", False: "no", None: ""}
    lines += _table(heads, [[s.split, s.n, *s.counts.values(), agree[s.official_agrees]][: len(heads)] for s in found.splits])
    heads = ["within one split", "copies", "images twice or more", "with two labels", "near pairs", "constant", "tiny", "unreadable"]
    lines += _table(
        heads,
        [
            [s.split, s.copies, s.groups, s.conflicts, s.near.pairs if s.near else "-", len(s.constant), len(s.tiny), len(s.unreadable)]
            for s in found.splits
        ],
    )
    sizes = {s.split: s.n for s in found.splits}
    lines += _table(
        ["in two splits", "faces", "copies", "", "with another label", "near copy only", "near pairs"],
        [
            [f"{o.later} in {o.earlier}", sizes[o.later], o.copies, _percent(o.copies, sizes[o.later]), o.conflicts]
            + ([o.near.only, o.near.pairs] if o.near else ["-", "-"])
            for o in found.overlaps
        ],
    )
    lines += _table(
        ["labels and raters", "majority agrees", "", "no majority", *(f"says {name}" for name in ferplus.COLUMNS[len(LABELS) :]), "no vote for it"],
        [
            [s.split, s.noise.named, _percent(s.noise.named, s.n), s.noise.ties, *s.noise.outside.values(), s.noise.unvoted]
            for s in found.splits
            if s.noise
        ],
    )
    if any(s.near for s in found.splits):
        lines.append(f"near: perceptual hashes at most {NEAR_DISTANCE} of 64 bits apart, and pixels that correlate by {NEAR_CORRELATION} or more")
    for s in found.splits:
        lines += [f"{s.split}: note: {note}" for note in s.notes]
        lines += [f"{s.split}: unreadable: {bad.message}" for bad in s.unreadable[:_LISTED]]
        if len(s.unreadable) > _LISTED:
            lines.append(f"{s.split}: … and {len(s.unreadable) - _LISTED} more that cannot be read (--json names all)")
    return "\n".join(lines).rstrip()


#: How many unreadable faces of a split the terminal names.
_LISTED = 10


def _percent(part: int, whole: int) -> str:
    return f"{part / whole:.1%}" if whole else ""


def _table(heads: Sequence[str], rows: Sequence[Sequence[object]]) -> list[str]:
    """Aligned columns, the first to the left, and an empty line; nothing without rows."""
    cells = [list(heads), *([f"{cell:,}" if isinstance(cell, int) else str(cell) for cell in row] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    aligned = ["  ".join(c.rjust(w) if i else c.ljust(w) for i, (c, w) in enumerate(zip(row, widths, strict=True))).rstrip() for row in cells]
    return [*aligned, ""] if rows else []
