"""Effects of noise and loss on two versions of a model, for the calibration of simulated runs.

The random numbers are drawn once: root finding evaluates some hundred changes, and drawing takes longest.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float32]
IntArray = NDArray[np.int64]


class CalibrationFaces(NamedTuple):
    """Faces with fixed random numbers, so that the effects of a change on them vary smoothly.

    Attributes:
        logits: (n, 7).
        truth: labels, (n,).
        noises: standard normal numbers of both versions, each (n, 7).
        uniform: uniform numbers that choose the faces with a loss, (n,).
    """

    logits: FloatArray
    truth: IntArray
    noises: tuple[FloatArray, FloatArray]
    uniform: NDArray[np.float64]

    @classmethod
    def draw(cls, logits: FloatArray, truth: IntArray, n: int = 40_000) -> CalibrationFaces:
        """Draw `n` faces from those with these logits (m, 7) and labels (m,); always the same."""
        rows = np.resize(np.random.default_rng(0).permutation(len(truth)), n)
        logits = logits[rows]
        baseline, candidate = (np.random.default_rng(seed) for seed in (1, 2))
        noise, other_noise = (
            rng.standard_normal(logits.shape, dtype=np.float32) for rng in (baseline, candidate)
        )
        return cls(logits, truth[rows], (noise, other_noise), candidate.random(n))

    def versions(self, noise: float) -> NoisyVersions:
        """Add noise of this standard deviation to the logits of both versions."""
        (true, other), (candidate_true, candidate_other) = (self._split(noise * z) for z in self.noises)
        return NoisyVersions(true > other, candidate_true, candidate_other, self.uniform)

    def _split(self, noise: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Logits of the true emotion, and the largest of the others."""
        noisy, true = self.logits + noise, self.truth[:, None]
        logit = np.take_along_axis(noisy, true, axis=1)[:, 0]
        np.put_along_axis(noisy, true, -np.inf, axis=1)
        return logit, noisy.max(axis=1)


class NoisyVersions(NamedTuple):
    """Two versions with the same noise level, each (n,): the baseline, and a candidate that gets a loss.

    Attributes:
        baseline_correct: whether the baseline is correct.
        true: the candidate's logits of the true emotion.
        other: the largest of its other logits.
        uniform: see `CalibrationFaces`.
    """

    baseline_correct: NDArray[np.bool_]
    true: FloatArray
    other: FloatArray
    uniform: NDArray[np.float64]

    def fall(self, loss: float, share: float) -> float:
        """Fall of accuracy that the loss causes.

        It is the effect of the loss with one and the same noise: two noises differ by chance, far more than
        by a small loss.
        """
        return float((self.true > self.other).mean() - self._correct(loss, share).mean())

    def discordance(self, loss: float, share: float) -> float:
        """Share of the faces on which exactly one version is correct."""
        return float((self.baseline_correct != self._correct(loss, share)).mean())

    def _correct(self, loss: float, share: float) -> NDArray[np.bool_]:
        losses = (loss * (self.uniform < share)).astype(np.float32)
        return np.asarray(self.true - losses > self.other)
