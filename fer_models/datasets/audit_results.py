"""Results of an audit: duplicates, leakage, label noise, examples."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from fer_models.datasets.base import FaceSet
from fer_models.emotions import LABELS

#: The splits from the first to the last; faces leak from an earlier one into a later one. Other splits follow
#: in the given order.
SPLIT_ORDER: tuple[str, ...] = ("train", "validation", "public_test", "private_test", "test")

#: The greatest Hamming distance of two 64-bit perceptual hashes (`imagehash.phash`), and the least Pearson
#: correlation of the grey pixels at `COMPARISON_SIDE` squared, of near duplicates. Chosen by inspection of
#: FER-2013: of 250 pairs next to these bounds (distance 8 or 10, or correlation 0.93 to 0.94) all are clearly
#: one picture, often with another watermark, crop or contrast. Of 110 pairs at 0.92 to 0.93, one shows two
#: persons and two show one person with two expressions; of 100 just above 0.90 about four, of 36 at 0.80 to
#: 0.86 fifteen; and at distance 12 to 16 nearly all pairs below 0.88 are of two persons. The cost: a picture
#: that is cropped a few pixels differently may miss the bounds.
NEAR_DISTANCE = 10
NEAR_CORRELATION = 0.93

#: The side in pixels at which images of any size are compared, FER-2013's own.
COMPARISON_SIDE = 48

#: Below this standard deviation of its grey pixels (of 0..255) an image is constant. FER-2013 has sixteen all
#: black faces and an even grey one (0.7); the flattest of its pictures has 3.9.
CONSTANT_STD = 1.0

#: An image with a side below this many pixels is tiny: too few for a face. FER-2013's have 48.
TINY_SIDE = 32

#: The largest number of example pairs in an audit.
MAX_EXAMPLES = 12

Kind = Literal["conflict", "copy", "near"]
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Unreadable:
    """A face whose image cannot be read. It counts nowhere else."""

    source: str
    message: str


@dataclass(frozen=True)
class Noise:
    """Label noise of a split: its labels against the votes of FER+. All numbers are faces.

    Attributes:
        named: the majority of the raters, over all ten columns, is the label.
        share: `named` of all faces, 0..1.
        named_ties_to_first: the same when a tie goes to the first of `ferplus.COLUMNS` (numpy's argmax). It
            is 63.3 % of FER-2013's private_test, the share that is usually reported, and partly an effect of
            the order of the emotions.
        ties: several columns share the most votes, so there is no majority.
        outside: the majority is contempt, unknown or no face: each with its number.
        unvoted: no rater voted for the label.
    """

    named: int
    share: float
    named_ties_to_first: int
    ties: int
    outside: dict[str, int]
    unvoted: int


@dataclass(frozen=True)
class NearDuplicates:
    """Near duplicates of one split's faces in a split, without the exact ones.

    Attributes:
        faces: faces that have one there.
        only: those of `faces` without an exact duplicate there, which a comparison of pixels misses.
        pairs: pairs of faces, one of each split.
    """

    faces: int
    only: int
    pairs: int


@dataclass(frozen=True)
class SplitAudit:
    """Audit of one split by itself.

    Attributes:
        split: its name.
        n: the faces that can be read; all other numbers are of these.
        counts: faces per emotion, all seven named.
        official: the official counts of FER-2013; None for other datasets.
        official_agrees: whether `counts` equals `official`; None where there are none.
        exact_duplicates: faces to remove so that no image occurs twice.
        groups: images that occur more than once.
        conflicts: those of `groups` with different labels.
        near_duplicates: those within the split; None when they were not searched for.
        constant: the sources of images of one tone (`CONSTANT_STD`).
        tiny: the sources of images with a side below `TINY_SIDE`.
        unreadable: faces that cannot be read.
        noise: the labels against the votes; None without votes.
        notes: those of the face set.
    """

    split: str
    n: int
    counts: dict[str, int]
    official: dict[str, int] | None
    official_agrees: bool | None
    exact_duplicates: int
    groups: int
    conflicts: int
    near_duplicates: NearDuplicates | None
    constant: tuple[str, ...]
    tiny: tuple[str, ...]
    unreadable: tuple[Unreadable, ...]
    noise: Noise | None
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Overlap:
    """Faces that an earlier and a later split share.

    Attributes:
        earlier: the split that is used first, such as train.
        later: the split that is used afterwards, such as test.
        exact_duplicates: faces of `later` whose exact pixels are in `earlier`.
        conflicts: those of `exact_duplicates` that have another label there.
        near_duplicates: those of `later` in `earlier`; None when they were not searched for.
    """

    earlier: str
    later: str
    exact_duplicates: int
    conflicts: int
    near_duplicates: NearDuplicates | None


@dataclass(frozen=True)
class Sample:
    """One face of an example."""

    split: str
    source: str
    label: str


@dataclass(frozen=True)
class Example:
    """Example of two faces with the same picture.

    Attributes:
        kind: `conflict` (exact duplicates in two splits with different labels), `copy` (in two splits with
            one label) or `near`.
        faces: both faces.
        correlation: of their grey pixels, -1..1; 1 for exact duplicates.
        picture: both side by side as a PNG of 192 x 96 pixels, a data URI.
    """

    kind: Kind
    faces: tuple[Sample, Sample]
    correlation: float
    picture: str


@dataclass(frozen=True)
class Audit:
    """Audit of a dataset.

    Attributes:
        dataset: the dataset's name.
        n: faces that can be read, all splits together.
        distinct: different images among them.
        splits: each split by itself, in `SPLIT_ORDER`.
        overlaps: each later split against each earlier one.
        examples: at most `MAX_EXAMPLES` pairs: conflicts, then copies across splits, then near duplicates by
            ascending correlation.
    """

    dataset: str
    n: int
    distinct: int
    splits: tuple[SplitAudit, ...]
    overlaps: tuple[Overlap, ...]
    examples: tuple[Example, ...]

    def as_json(self, *, pictures: bool = True) -> dict[str, Any]:
        """Convert to plain JSON types, with or without the pictures of the examples."""
        plain: dict[str, Any] = json.loads(json.dumps(asdict(self)))
        if not pictures:
            for example in plain["examples"]:
                del example["picture"]
        return plain


@dataclass(frozen=True)
class NearPairs:
    """Pairs of near duplicates: image numbers, shape (k, 2), and correlations, shape (k,)."""

    pairs: NDArray[np.int64]
    correlations: NDArray[np.float32]


@dataclass(frozen=True)
class SplitFaces:
    """The readable faces of one split: their rows, labels and image numbers, each shape (n,)."""

    faces: FaceSet
    rows: NDArray[np.int64]
    labels: NDArray[np.int64]
    images: NDArray[np.int64]
    constant: tuple[str, ...]
    tiny: tuple[str, ...]
    unreadable: tuple[Unreadable, ...]

    def sample(self, i: int) -> Sample:
        """The `i`-th readable face, for an example."""
        row = int(self.rows[i])
        return Sample(self.faces.split, self.faces.source(row), LABELS[self.labels[i]])
