"""Pairs of faces that an audit shows: copies, contradictions, near copies."""

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
    read: Sequence[SplitFaces], counts: NDArray[np.int64], alike: NearPairs | None
) -> Iterator[Example]:
    """A third of the places for each kind; what one kind leaves goes to the others, in their order."""
    kinds = [
        list(islice(pairs, MAX_EXAMPLES))
        for pairs in (_across(read, counts, "conflict"), _across(read, counts, "copy"), _closest(read, alike))
    ]
    taken = [min(len(pairs), MAX_EXAMPLES // len(kinds)) for pairs in kinds]
    for i, pairs in enumerate(kinds):
        taken[i] += min(len(pairs) - taken[i], MAX_EXAMPLES - sum(taken))
        for kind, one, a, other, b, correlation in pairs[: taken[i]]:
            faces = [part.faces.face(int(part.rows[at])) for part, at in ((one, a), (other, b))]
            yield Example(kind, (one.sample(a), other.sample(b)), correlation, _picture(faces))


def _across(read: Sequence[SplitFaces], counts: NDArray[np.int64], kind: Kind) -> Iterator[_Pair]:
    """Copies across splits, each image once: those with another label in the earlier split (`conflict`), or
    those with no other (`copy`).
    """
    seen: set[int] = set()
    for a, b in combinations(range(len(read)), 2):
        there, same = counts[a].sum(axis=1)[read[b].images], counts[a][read[b].images, read[b].labels]
        for later in np.flatnonzero(
            there > same if kind == "conflict" else (there > 0) & (there == same)
        ).tolist():
            image = int(read[b].images[later])
            if image not in seen:
                seen.add(image)
                copies = read[a].images == image
                earlier = np.flatnonzero(
                    copies & (read[a].labels != read[b].labels[later]) if kind == "conflict" else copies
                )[0]
                yield kind, read[a], int(earlier), read[b], later, 1.0


def _closest(read: Sequence[SplitFaces], alike: NearPairs | None) -> Iterator[_Pair]:
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


def _first(read: Sequence[SplitFaces], image: int) -> tuple[SplitFaces, int]:
    part = next(part for part in read if image in part.images)
    return part, int(np.flatnonzero(part.images == image)[0])


def _picture(faces: Sequence[images.Face]) -> str:
    """The faces side by side, each SIDE pixels and then twice that, as a data URI."""
    row = np.concatenate([images.resize(face, COMPARISON_SIDE) for face in faces], axis=1)
    return images.data_url(row.repeat(2, axis=0).repeat(2, axis=1))


# -- for the terminal ---------------------------------------------------------------------------------
