"""Counts per face of robustness metrics, so that two versions of a model are compared on the same faces.

Many predictions of one metric are for the same face: fifty corrupted copies of it, or fourteen orders of the
options in its question. They are not independent. A metric is therefore stored as one count per face (how
many of its predictions are wrong, or differ), and a paired test compares the faces.
"""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from fer_models.errors import PredictionError

IntArray = npt.NDArray[np.int64]

#: Hexadecimal digits of the fingerprint of faces in a record, for each metric.
FINGERPRINT_DIGITS = 12
_MAXIMUM = 65_535  # predictions per face
_TEXT = re.compile(
    rf"([0-9]{{1,9}})(?:x([0-9]{{1,4}}))?/([0-9]{{1,5}}) ([0-9a-f]{{{FINGERPRINT_DIGITS}}}) ([A-Za-z0-9_-]+)"
)


@dataclass(frozen=True, eq=False)
class FaceCounts:
    """Counts per face of one metric.

    Attributes:
        counts: int64 (n,), how many predictions for each face count (are correct, are wrong, changed): the
            metric is their share. Or (n, k), how many predictions for each face are at each of k positions of
            a list: the metric is `position_bias`.
        denominator: the number of predictions for each face, at least 1; no count is larger.

    Raises:
        PredictionError: no faces, or a count outside 0..denominator.
    """

    counts: IntArray
    denominator: int

    def __post_init__(self) -> None:
        counts = self.counts
        if counts.ndim not in (1, 2) or counts.size == 0 or counts.dtype.kind not in "iu":
            raise PredictionError(
                "Counts per face must be integers of at least one face, "
                f"got {counts.dtype} of shape {counts.shape}."
            )
        if not 1 <= self.denominator <= _MAXIMUM or counts.min() < 0 or counts.max() > self.denominator:
            raise PredictionError(
                f"Counts per face must be in 0..{self.denominator}, got {counts.min()} to {counts.max()}."
            )

    @property
    def n(self) -> int:
        """Number of faces."""
        return len(self.counts)

    @property
    def value(self) -> float:
        """Value of the metric."""
        return float(self.score(self.counts.sum(axis=0), self.n))

    def score(self, totals: npt.ArrayLike, n: int) -> npt.NDArray[np.float64]:
        """Compute the metric of other faces, from the sums of their counts.

        Args:
            totals: (...) sums, or (..., k) where the counts have positions.
            n: the number of faces that each sum is over.
        """
        values = np.asarray(totals, dtype=np.float64)
        return values / (n * self.denominator) if self.counts.ndim == 1 else position_bias(values)

    def encode(self, fingerprint: str) -> str:
        """Encode the counts for a record: `FACES[xPOSITIONS]/PREDICTIONS FINGERPRINT COUNTS`.

        COUNTS are the counts as binary numbers of equal width, in base64 for URLs (RFC 4648) without padding.

        Args:
            fingerprint: of the faces, in hexadecimal digits.
        """
        shape = "x".join(map(str, self.counts.shape))
        bits = (self.counts.reshape(-1, 1) >> np.arange(self.denominator.bit_length())[::-1]) & 1
        text = base64.urlsafe_b64encode(np.packbits(bits.astype(np.uint8)).tobytes()).decode().rstrip("=")
        return f"{shape}/{self.denominator} {fingerprint[:FINGERPRINT_DIGITS]} {text}"

    @classmethod
    def decode(cls, text: str) -> tuple[FaceCounts, str]:
        """Decode a text of `encode`: the counts, and the first digits of the fingerprint of their faces.

        Raises:
            ValueError: it is no such text; the message has the reason.
        """
        match = _TEXT.fullmatch(text)
        if match is None:
            raise ValueError("it does not read FACES/PREDICTIONS FINGERPRINT COUNTS")
        shape = tuple(int(size) for size in match.group(1, 2) if size is not None)
        denominator, fingerprint, digits = int(match[3]), match[4], match[5]
        size, width = int(np.prod(shape, dtype=object)), denominator.bit_length()
        if size < 1 or not 1 <= denominator <= _MAXIMUM:
            raise ValueError(f"{match[1]} faces with {denominator} predictions each cannot be counted")
        if len(digits) != -(-(-(-size * width // 8) * 8) // 6):
            raise ValueError(f"{match[1]} faces need another number of characters than {len(digits)}")
        packed = np.frombuffer(base64.urlsafe_b64decode(digits + "=" * (-len(digits) % 4)), dtype=np.uint8)
        bits = np.unpackbits(packed)[: size * width].reshape(size, width).astype(np.int64)
        counts = (bits << np.arange(width)[::-1]).sum(axis=1).reshape(shape)
        if counts.max() > denominator:
            raise ValueError(f"a count is {counts.max()}, of {denominator} predictions")
        decoded = cls(counts, denominator)
        if decoded.encode(fingerprint) != text:
            raise ValueError("it is not written as this version writes it")
        return decoded, fingerprint


def position_bias(totals: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Position bias: total variation distance of positions in a list from an even share, 0 to (k - 1) / k.

    Args:
        totals: (..., k) predictions at each position; without any the bias is 0.
    """
    k = totals.shape[-1]
    n = totals.sum(axis=-1, keepdims=True)
    shares = np.divide(totals, n, out=np.full(totals.shape, 1 / k), where=n > 0)
    return np.asarray(np.abs(shares - 1 / k).sum(axis=-1) / 2)


def higher_is_better(figure: str) -> bool:
    """Whether a metric is an accuracy, by its name in a record; all others are errors and flip rates."""
    return figure.partition(": ")[2].startswith("accuracy")
