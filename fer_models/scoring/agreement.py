"""Agreement of two versions of a model on the same faces: the network in torch, and its export.

Equal numbers are not expected of another engine: it sums in another order. So the answers must agree, and the
probabilities may differ a little.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fer_models.errors import PredictionError

#: Bounds for an export that is not quantized: the share of equal predictions, and the largest difference of a
#: probability. Another order of summation in float32 changes a probability by about 1e-6.
MINIMUM_AGREEMENT = 0.999
LARGEST_DIFFERENCE = 1e-3


@dataclass(frozen=True)
class Agreement:
    """Agreement of two predictions for each of n faces.

    Attributes:
        n: number of faces.
        differing: (m,) rows with another answer, sorted; no prediction counts as an answer of its own.
        largest_difference: the largest absolute difference of a probability, 0..1, over the faces that both
            predict; 0 where there is none.
        mean_difference: the mean absolute difference of a probability over the same faces.
    """

    n: int
    differing: NDArray[np.int64]
    largest_difference: float
    mean_difference: float

    @property
    def share(self) -> float:
        """The share of faces with equal predictions, 0..1."""
        return 1 - len(self.differing) / self.n

    @property
    def is_exact(self) -> bool:
        """Whether the bounds for an export that is not quantized hold."""
        return self.share >= MINIMUM_AGREEMENT and self.largest_difference <= LARGEST_DIFFERENCE


def measure_agreement(
    reference: tuple[NDArray[np.int64], NDArray[np.float64]],
    candidate: tuple[NDArray[np.int64], NDArray[np.float64]],
) -> Agreement:
    """Measure the agreement of two versions.

    Args:
        reference: answers (n,), -1 for none, and probabilities (n, 7), NaN rows for none.
        candidate: the same of the other version, for the same faces in the same order.

    Raises:
        PredictionError: no faces, or shapes that differ.
    """
    (answers, p), (other_answers, other_p) = reference, candidate
    if len(answers) == 0 or answers.shape != other_answers.shape or p.shape != other_p.shape:
        raise PredictionError(
            "Agreement needs two predictions for each of at least one face, "
            f"got {len(answers)} and {len(other_answers)} predictions."
        )
    both = (answers >= 0) & (other_answers >= 0)
    differences = np.abs(p[both] - other_p[both])
    largest, mean = (float(differences.max()), float(differences.mean())) if both.any() else (0.0, 0.0)
    return Agreement(len(answers), np.flatnonzero(answers != other_answers), largest, mean)
