"""Example pairs of an audit: duplicates, label conflicts, near duplicates."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations, islice

import numpy as np
from numpy.typing import NDArray

from fer_models import images
from fer_models.datasets.audit_results import (
    COMPARISON_SIDE,
    MAX_EXAMPLES,
    Example,
    Kind,
    NearPairs,
    SplitFaces,
)

_Pair = tuple[Kind, SplitFaces, int, SplitFaces, int, float]


def select_examples(
    splits: Sequence[SplitFaces], counts: NDArray[np.int64], near_pairs: NearPairs | None
) -> Iterator[Example]:
    """Select at most `MAX_EXAMPLES` pairs, a third of each kind; unused places go to the other kinds."""
    kinds = [
        list(islice(pairs, MAX_EXAMPLES))
        for pairs in (
            _exact_duplicates(splits, counts, "conflict"),
            _exact_duplicates(splits, counts, "copy"),
            _near_duplicates(splits, near_pairs),
        )
    ]
    selected = [min(len(pairs), MAX_EXAMPLES // len(kinds)) for pairs in kinds]
    for i, pairs in enumerate(kinds):
        selected[i] += min(len(pairs) - selected[i], MAX_EXAMPLES - sum(selected))
        for kind, first, a, second, b, correlation in pairs[: selected[i]]:
            faces = [split.faces.face(int(split.rows[row])) for split, row in ((first, a), (second, b))]
            yield Example(kind, (first.sample(a), second.sample(b)), correlation, _side_by_side(faces))


def _exact_duplicates(splits: Sequence[SplitFaces], counts: NDArray[np.int64], kind: Kind) -> Iterator[_Pair]:
    """Exact duplicates across splits, each image once.

    A `conflict` has another label in the earlier split; a `copy` has no other there.
    """
    used: set[int] = set()
    for (first, first_counts), (second, _) in combinations(zip(splits, counts, strict=True), 2):
        copies = first_counts.sum(axis=1)[second.images]
        same_label = first_counts[second.images, second.labels]
        wanted = copies > same_label if kind == "conflict" else (copies > 0) & (copies == same_label)
        for later in np.flatnonzero(wanted).tolist():
            image = int(second.images[later])
            if image not in used:
                used.add(image)
                matches = first.images == image
                if kind == "conflict":
                    matches &= first.labels != second.labels[later]
                yield kind, first, int(np.flatnonzero(matches)[0]), second, later, 1.0


def _near_duplicates(splits: Sequence[SplitFaces], near_pairs: NearPairs | None) -> Iterator[_Pair]:
    """Near duplicates by ascending correlation, each image once."""
    if near_pairs is None:
        return
    used: set[int] = set()
    for i in np.argsort(near_pairs.correlations, kind="stable").tolist():
        pair = near_pairs.pairs[i].tolist()
        if used.isdisjoint(pair):
            used.update(pair)
            (first, a), (second, b) = (_first_occurrence(splits, image) for image in pair)
            yield "near", first, a, second, b, round(float(near_pairs.correlations[i]), 4)


def _first_occurrence(splits: Sequence[SplitFaces], image: int) -> tuple[SplitFaces, int]:
    split = next(split for split in splits if image in split.images)
    return split, int(np.flatnonzero(split.images == image)[0])


def _side_by_side(faces: Sequence[images.Face]) -> str:
    """The faces in one row as a data URI, each of `COMPARISON_SIDE` pixels, enlarged twice."""
    row = np.concatenate([images.resize(face, COMPARISON_SIDE) for face in faces], axis=1)
    return images.data_url(row.repeat(2, axis=0).repeat(2, axis=1))
