"""Face set: the labelled faces of one split, with a name, a fingerprint and notes."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from fer_models.emotions import EMOTIONS
from fer_models.errors import DatasetError, ImageError, UnreadableFacesError, printable
from fer_models.images import Face, face_hash, to_rgb
from fer_models.text_column import TextColumn


class Images(Protocol):
    """Images of a face set: an array in memory, or files that are decoded on access."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> NDArray[np.uint8]:
        """Image `index`, uint8, grey (H, W) or RGB (H, W, 3)."""
        ...


@dataclass(frozen=True)
class Subset:
    """Some images of others, in any order."""

    images: Images
    rows: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> NDArray[np.uint8]:
        return self.images[int(self.rows[index])]


@dataclass(eq=False)
class FaceSet:
    """The labelled faces of one split, in the order of their source.

    No attribute changes after construction. The hashes, which need every image, and the fingerprint are
    computed at first use, and kept.

    Attributes:
        dataset: the dataset's name in subjects and baselines, such as `fer2013`.
        split: the split's name, such as `private_test`.
        images: one image per row, uint8.
        labels: the emotion of each row as its `Emotion` value, int64, shape (n,).
        sources: the name of each row in messages and reports (a file name, `row 17`); none or one per row.
        notes: remarks for readers of the results: deviations from official counts, dropped classes, …
        votes: the raters' votes for each row, int64, shape (n, 10), columns `ferplus.COLUMNS`; None where
            there are no votes.
        options: the options that select this dataset on the command line, for messages.
        attributes: what the dataset says of each face, such as sex or view, by name: one text per row, empty
            for no value.

    All names are made `printable`, because a folder or a file may have any name.
    """

    dataset: str
    split: str
    images: Images
    labels: NDArray[np.int64]
    sources: Sequence[str] = ()
    notes: tuple[str, ...] = ()
    votes: NDArray[np.int64] | None = None
    options: str = ""
    attributes: Mapping[str, Sequence[str]] = field(default_factory=dict)
    _hashes: TextColumn | None = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        self.dataset = printable(self.dataset)
        self.sources = TextColumn.of(printable(source) for source in self.sources)
        self.attributes = {
            name: TextColumn.of(values, repeated=True) for name, values in self.attributes.items()
        }
        self.notes = tuple(printable(note) for note in self.notes)
        n = len(self.images)
        if len(self.labels) != n or (self.sources and len(self.sources) != n):
            others = f"{len(self.labels)} labels and {len(self.sources)} sources"
            raise DatasetError(f"{self.name}: {n} images, {others} do not match.")
        if self.votes is not None and len(self.votes) != n:
            raise DatasetError(f"{self.name}: {n} images and votes for {len(self.votes)} do not match.")
        for name, values in self.attributes.items():
            if len(values) != n:
                raise DatasetError(
                    f"{self.name}: {n} images and {len(values)} values of {name} do not match."
                )
        if n == 0:
            raise DatasetError(f"{self.name} holds no face. Check --data-root and --split.")

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def name(self) -> str:
        """The name of dataset and split: `dataset/split`."""
        return f"{self.dataset}/{self.split}"

    def face(self, index: int) -> Face:
        """Read face `index` as uint8 RGB (H, W, 3)."""
        return to_rgb(np.asarray(self.images[index]))

    def faces(self, indices: Sequence[int] | NDArray[np.int64]) -> list[Face]:
        """Read several faces, in the order of `indices`."""
        return [self.face(int(i)) for i in indices]

    def batches(self, size: int) -> Iterator[tuple[NDArray[np.int64], list[Face]]]:
        """Iterate over batches of at most `size` faces, with their indices."""
        for start in range(0, len(self), size):
            rows = np.arange(start, min(start + size, len(self)))
            yield rows, self.faces(rows)

    @property
    def hashes(self) -> TextColumn:
        """The hash of each face's pixels (`images.face_hash`), in row order; computed once.

        Raises:
            UnreadableFacesError: some pictures cannot be read. The text names them.
        """
        if self._hashes is None:
            unreadable: list[tuple[str, str]] = []
            hashes = TextColumn.of(self._hash(i, unreadable) for i in range(len(self)))
            if unreadable:
                raise UnreadableFacesError(self.name, len(self), unreadable, self.options)
            self._hashes = hashes
        return self._hashes

    def _hash(self, index: int, unreadable: list[tuple[str, str]]) -> str:
        try:
            return face_hash(self.face(index))
        except ImageError as error:
            unreadable.append((self.source(index), str(error)))
            return ""

    def source(self, index: int) -> str:
        """The name of face `index` in messages and reports."""
        return self.sources[index] if self.sources else f"face {index}"

    @cached_property
    def fingerprint(self) -> str:
        """The fingerprint (`compute_fingerprint`): the same for any row order and lossless file format."""
        return compute_fingerprint(self.hashes, self.labels)

    @property
    def counts(self) -> dict[str, int]:
        """The number of faces per emotion, for all seven."""
        return {e.label: int(np.sum(self.labels == e)) for e in EMOTIONS}

    def select(self, rows: Sequence[int] | NDArray[np.int64], note: str = "") -> FaceSet:
        """Select `rows`, in their order, with one more note."""
        rows = np.asarray(rows, dtype=np.int64)
        subset = FaceSet(
            self.dataset,
            self.split,
            Subset(self.images, rows),
            self.labels[rows],
            TextColumn.of(self.sources)[rows] if self.sources else (),
            (*self.notes, note) if note else self.notes,
            None if self.votes is None else self.votes[rows],
            self.options,
            {name: TextColumn.of(values)[rows] for name, values in self.attributes.items()},
        )
        if self._hashes is not None:
            subset._hashes = self._hashes[rows]
        return subset

    def stratified_rows(self, n: int) -> NDArray[np.int64]:
        """Rows of a stratified subset: the first faces of each emotion, about `n` in all.

        The proportions are those of the set. Shares are rounded by largest remainder, and an emotion that
        occurs keeps at least one face.

        Raises:
            DatasetError: `n` is not positive.
        """
        if n < 1:
            raise DatasetError(f"--limit must be at least 1, got {n}.")
        if n >= len(self):
            return np.arange(len(self), dtype=np.int64)
        counts = np.bincount(self.labels, minlength=len(EMOTIONS))
        exact = counts * n / len(self)
        shares = np.maximum(np.floor(exact).astype(int), (counts > 0).astype(int))
        for emotion in np.argsort(-(exact - shares), kind="stable"):
            if shares.sum() >= n:
                break
            shares[emotion] += 1 if shares[emotion] < counts[emotion] else 0
        return np.sort(np.concatenate([np.flatnonzero(self.labels == e)[: shares[e]] for e in EMOTIONS]))

    def subsample(self, n: int) -> FaceSet:
        """Select `stratified_rows(n)`, with a note."""
        rows = self.stratified_rows(n)
        if len(rows) == len(self):
            return self
        return self.select(rows, f"limited to {len(rows)} of {len(self)} faces, stratified by emotion")


def compute_fingerprint(hashes: Sequence[str], labels: NDArray[np.int64]) -> str:
    """Compute the sha256 of all (pixels, label) pairs, which does not depend on their order."""
    import pyarrow as pa
    import pyarrow.compute as pc

    names = pa.array([emotion.label for emotion in EMOTIONS]).take(labels)
    rows = pc.binary_join_element_wise(TextColumn.of(hashes).strings, names, " ")
    digest, separator = hashlib.sha256(), b""
    for row in TextColumn(rows.take(pc.sort_indices(rows))):
        digest.update(separator + row.encode())
        separator = b"\n"
    return digest.hexdigest()
