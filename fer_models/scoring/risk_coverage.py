"""Risk-coverage curve: the error rate among the most confident faces, by their share of all faces.

A face without a prediction counts as an error. Faces with equal confidence are in random order: each number
here is the mean over all orders inside such a group, so that the order of the rows changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fer_models.scoring.intervals import LARGEST_BOOTSTRAP, FloatArray, IntArray, times_drawn

#: The most ranks of all samples together that are cached (64 MB), for each of two numbers of faces. All
#: models of a run have the same number.
_LARGEST_CACHED = 2**22


class _GroupsWithErrors(NamedTuple):
    """Groups of equal confidence that have an error, in the order of their faces.

    Attributes:
        errors: the faces with an error, (e,).
        alone: those of them that share their confidence with no other face.
        tied: the others; they are in g groups.
        firsts: where the errors of each of these groups start in `tied`, (g,).
        starts, lasts: the first and the last face of each of these groups, (g,).
    """

    errors: IntArray
    alone: IntArray
    tied: IntArray
    firsts: IntArray
    starts: IntArray
    lasts: IntArray


@dataclass(frozen=True, eq=False)
class Ranking:
    """Faces from the most to the least confident.

    Attributes:
        errors: bool (n,), which predictions are wrong or missing. Within a group, errors are last.
        starts: int64 (groups,), the first face of each group of equal confidence, ascending from 0.
    """

    errors: NDArray[np.bool_]
    starts: IntArray

    @classmethod
    def from_confidence(cls, confidence: FloatArray, errors: NDArray[np.bool_]) -> Ranking:
        """Sort (n,) faces, n at least 1, by their confidence (no NaN, -inf for no prediction)."""
        order = np.lexsort((errors, -confidence))
        ranked = confidence[order]
        return cls(errors[order], np.flatnonzero(np.r_[True, ranked[1:] != ranked[:-1]]))

    def __len__(self) -> int:
        return len(self.errors)

    def thinned(self, n: int) -> Ranking:
        """Select `n` of the faces, at even distances."""
        faces = np.arange(n) * len(self) // n
        group = np.searchsorted(self.starts, faces, side="right")
        return Ranking(self.errors[faces], np.flatnonzero(np.diff(group, prepend=0)))

    @cached_property
    def groups_with_errors(self) -> _GroupsWithErrors:
        """The groups that have an error."""
        errors = np.flatnonzero(self.errors)
        group = np.searchsorted(self.starts, errors, side="right") - 1
        ends = np.r_[self.starts[1:], len(self)]
        is_tied = (ends - self.starts)[group] > 1
        groups, firsts = np.unique(group[is_tied], return_index=True)
        return _GroupsWithErrors(
            errors, errors[~is_tied], errors[is_tied], firsts, self.starts[groups], ends[groups] - 1
        )

    @property
    def cumulative_errors(self) -> FloatArray:
        """Expected number of errors among the first 1, 2, … n faces, float64 (n,)."""
        sizes = np.diff(self.starts, append=len(self))
        rates = np.add.reduceat(self.errors, self.starts, dtype=np.int64) / sizes
        before = np.r_[0, np.cumsum(self.errors)][self.starts]
        place = np.arange(len(self)) - np.repeat(self.starts, sizes)
        return np.asarray(np.repeat(before, sizes) + (place + 1) * np.repeat(rates, sizes))


def curve_ranks(n: int, points: int) -> IntArray:
    """Numbers of faces for a curve: 1/points, 2/points, … of `n` faces, rounded up, each once."""
    return np.asarray(np.unique(-(-np.arange(1, points + 1) * n // points)))


def best_risk(n: int, errors: int, ranks: IntArray) -> FloatArray:
    """Error rate among the first `ranks` of `n` faces if all `errors` are last, the best possible order."""
    return np.asarray(np.maximum(ranks - (n - errors), 0) / ranks)


def aurc(ranking: Ranking) -> tuple[float, float]:
    """Area under the risk-coverage curve, and its excess over the area of the best possible order.

    The area is the mean, over k = 1…n, of the error rate among the k most confident faces (Geifman &
    El-Yaniv, Selective Classification for Deep Neural Networks, NeurIPS 2017). Its excess is that of Geifman,
    Uziel & El-Yaniv, Bias-Reduced Uncertainty Estimation for Deep Neural Classifiers, ICLR 2019, without
    their approximation of the best area. Both are in [0, 1]; smaller is better.
    """
    area, excess = sample_areas(ranking, Samples.of(np.ones((len(ranking), 1), dtype=np.int64)))
    return float(area[0]), float(excess[0])


def bootstrap_aurc(rankings: Sequence[Ranking], resamples: int, seed: int) -> FloatArray:
    """Bootstrap the two areas of `aurc` over the faces, for several rankings of as many faces.

    Ranks are drawn, the same for each ranking, so the order of the rows changes no draw. Of more than
    `LARGEST_BOOTSTRAP` faces so many are drawn from, and the deviations from their areas are scaled by the
    root of the share, as the deviations of a mean are (m out of n bootstrap: Bickel, Götze & van Zwet,
    Statistica Sinica 7, 1997).

    Returns:
        (rankings, 2, resamples): the areas and their excess.
    """
    n = len(rankings[0])
    if n > LARGEST_BOOTSTRAP:
        parts = [ranking.thinned(LARGEST_BOOTSTRAP) for ranking in rankings]
        whole, part = (np.array([aurc(one) for one in some])[..., None] for some in (rankings, parts))
        deviations = bootstrap_aurc(parts, resamples, seed) - part
        return np.asarray(np.maximum(whole + deviations * np.sqrt(LARGEST_BOOTSTRAP / n), 0))
    drawn = _cached_samples if n * resamples <= _LARGEST_CACHED else _samples
    blocks = [
        np.stack([sample_areas(ranking, samples) for ranking in rankings])
        for samples in drawn(n, resamples, seed)
    ]
    return np.concatenate(blocks, axis=2)


@lru_cache(maxsize=2)
def _cached_samples(n: int, resamples: int, seed: int) -> tuple[Samples, ...]:
    return tuple(_samples(n, resamples, seed))


def _samples(n: int, resamples: int, seed: int) -> Iterator[Samples]:
    for _, drawn in times_drawn(n, resamples, seed):
        yield Samples.of(drawn.T.astype(np.int32, order="C"))


class Samples(NamedTuple):
    """Samples with replacement of ranked faces, in whatever order the faces are ranked.

    An error at rank k raises the error rate at k, k + 1, … n by 1 over the number of faces: it adds
    H(n) - H(k - 1) to the sum of these rates, H(k) = 1 + 1/2 + … + 1/k.

    Attributes:
        counts: how often each rank was drawn, (n, r); each column sums to n.
        ends: the faces of a sample up to each rank, (n, r).
        areas: what an error at each rank adds to the area, where it shares its confidence with none, (n, r).
    """

    counts: NDArray[np.integer[Any]]
    ends: NDArray[np.integer[Any]]
    areas: FloatArray

    @classmethod
    def of(cls, counts: NDArray[np.integer[Any]]) -> Samples:
        """The samples with these counts."""
        ends = np.cumsum(counts, axis=0, dtype=counts.dtype)
        return cls(counts, ends, counts * _added_area(ends - counts, ends, len(counts)))


def _added_area(begin: NDArray[np.integer[Any]], end: NDArray[np.integer[Any]], n: int) -> FloatArray:
    """What an error in a group of `n` faces' ranks begin..end-1 adds to the area: the mean over its ranks."""
    harmonic, sums, _ = _harmonic_numbers(n)
    return np.asarray((harmonic[-1] - (sums[end] - sums[begin]) / np.maximum(end - begin, 1)) / n)


def sample_areas(ranking: Ranking, samples: Samples) -> FloatArray:
    """Compute the two areas of `aurc` in each of the samples, (2, r).

    Only the groups with an error count, and nothing depends on the order within a group.
    """
    n, groups = len(ranking), ranking.groups_with_errors
    counts, ends, areas = samples
    total, area = counts[groups.errors].sum(axis=0), areas[groups.alone].sum(axis=0)
    if groups.firsts.size:
        errors = np.add.reduceat(counts[groups.tied], groups.firsts, axis=0)
        begin, end = ends[groups.starts] - counts[groups.starts], ends[groups.lasts]
        area += np.einsum("gr,gr->r", errors, _added_area(begin, end, n))
    _, _, best = _harmonic_numbers(n)
    return np.stack([area, np.maximum(area - best[total], 0)])


@lru_cache(maxsize=4)
def _harmonic_numbers(n: int) -> tuple[FloatArray, FloatArray, FloatArray]:
    """H(0) … H(n), the sums of the first 0 … n of them, and the best area with 0 … n errors."""
    harmonic = np.r_[0.0, np.cumsum(1 / np.arange(1, n + 1))]
    sums = np.r_[0.0, np.cumsum(harmonic[:-1])]
    best = np.r_[0.0, np.cumsum(harmonic[-1] - harmonic[-2::-1])] / n
    return harmonic, sums, best
