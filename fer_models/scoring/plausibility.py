"""Plausibility of a declaration: whether another one gives far better predictions on the same faces.

A wrong order of labels or channels, or a wrong range of values, is no error: the model predicts, only worse.
The sign of such a mistake is an alternative under which far more faces are correct.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from scipy.stats import binomtest

from fer_models.emotions import EMOTIONS
from fer_models.scoring.paired_tests import mcnemar_exact

IntArray = NDArray[np.int64]

#: Level of the test: one false alarm in ten thousand.
ALPHA = 1e-4
#: An alternative must also gain more than this share of the faces.
SMALLEST_GAIN = 0.05


@dataclass(frozen=True)
class Alternative:
    """Predictions under an alternative declaration, compared with those as declared on the same faces.

    Attributes:
        name: the alternative.
        n: number of faces.
        n_correct: correct as declared.
        corrected: wrong as declared, and correct under the alternative.
        broken: correct as declared, and wrong under the alternative.
        tried: number of alternatives among which this one was chosen.
    """

    name: str
    n: int
    n_correct: int
    corrected: int
    broken: int
    tried: int

    @property
    def gain(self) -> int:
        """How many more faces are correct under the alternative."""
        return self.corrected - self.broken

    @property
    def p(self) -> float:
        """p-value of the exact one-sided McNemar test, times the number of alternatives (Bonferroni)."""
        return min(1.0, self.tried * mcnemar_exact(self.corrected, self.broken))

    @property
    def is_far_better(self) -> bool:
        """Whether the gain is large and significant: the declaration is probably wrong."""
        return self.gain > SMALLEST_GAIN * self.n and self.p < ALPHA


def best_alternative(
    truth: IntArray, declared: IntArray, alternatives: Mapping[str, IntArray]
) -> Alternative:
    """The alternative with the smallest p-value; of equal ones the first.

    Args:
        truth: the label of each face, (n,).
        declared: the predicted emotion of each face as declared, (n,); -1 for none, which is wrong.
        alternatives: the same for each alternative, by its name; at least one.
    """
    correct = declared == truth
    compared = []
    for name, answer in alternatives.items():
        now = answer == truth
        corrected, broken = int((now & ~correct).sum()), int((correct & ~now).sum())
        compared.append(
            Alternative(name, len(truth), int(correct.sum()), corrected, broken, len(alternatives))
        )
    return min(compared, key=lambda alternative: (alternative.p, -alternative.gain))


def best_label_order(truth: IntArray, answer: IntArray) -> Alternative:
    """The permutation of the seven labels with the most correct predictions (an assignment problem).

    Its name lists the changed labels, such as `happy instead of angry`. Faces without a prediction are left
    out.

    Args:
        truth: the label of each face, (n,).
        answer: the predicted emotion of each face, (n,); -1 for none.
    """
    answered = answer >= 0
    truth, answer = truth[answered], answer[answered]
    confusion = np.zeros((len(EMOTIONS), len(EMOTIONS)), dtype=int)
    np.add.at(confusion, (truth, answer), 1)
    true_labels, columns = linear_sum_assignment(-confusion)
    permuted = true_labels[np.argsort(columns)][answer]
    renamed = [
        f"{EMOTIONS[t].label} instead of {EMOTIONS[c].label}"
        for t, c in zip(true_labels, columns, strict=True)
        if t != c
    ]
    best = best_alternative(truth, answer, {", ".join(renamed): permuted})
    return replace(best, tried=math.factorial(len(EMOTIONS)))


def chance_p_value(n_correct: int, truth: IntArray) -> float:
    """One-sided exact binomial p-value of a number of correct predictions under chance.

    Args:
        n_correct: the number.
        truth: the label of each face, (n,). Chance is the share of the most frequent one.
    """
    share = np.bincount(truth).max() / len(truth)
    return float(binomtest(n_correct, len(truth), share, alternative="greater").pvalue)
