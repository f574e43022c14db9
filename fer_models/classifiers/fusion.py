"""Late fusion: several models' answers to the same faces, pooled into one. Nothing here needs a network, only
probabilities.

The pool is the logarithmic one, p(e) ~ prod_i p_i(e) ** w_i (Genest & Zidek 1986, doi:10.1214/ss/1177013825),
with one exponent per model: an exponent says how much a model counts and, as the exponents need not sum to 1,
mends over- and underconfidence by the way. They are fitted once, on a split that is not reported on, and kept
in a small JSON file.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fer_models.artifacts.json_io import parse_json, read_text
from fer_models.classifiers.base import ANSWERED, Classifier, Predictions
from fer_models.emotions import LABELS
from fer_models.errors import DatasetError, WeightsError, one_line
from fer_models.images import Face

FORMAT = "fer-models-fusion"
#: The least probability that a part may give: its logarithm must stay finite, and float32 softmax does
#: saturate.
LEAST = 1e-6


@dataclass(frozen=True)
class FusionWeights:
    """How to pool.

    Attributes:
        parts: the names of the models, in order.
        exponents: one per part, at least 0.
        weights: the sha256 of each part's weights when the exponents were fitted, None for a part without
            any.
        fitted_on: the faces they were fitted on: name, n, fingerprint, and the mean negative log-likelihood
            there, in nats, of each part and of the pool.
    """

    components: tuple[str, ...]
    exponents: tuple[float, ...]
    weights: tuple[str | None, ...]
    fitted_on: Mapping[str, Any] = field(default_factory=dict)

    def write(self, path: Path) -> None:
        """Write it as JSON."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({"format": FORMAT, **asdict(self)}, indent=1) + "\n")


def read(path: Path) -> FusionWeights:
    """What `Fusion.write` wrote.

    Raises:
        WeightsError: it is not a sound file of that kind.
    """
    try:
        said = parse_json(read_text(path))
        if said.pop("format") != FORMAT:
            raise ValueError("another format")
        fusion = FusionWeights(
            tuple(said["components"]),
            tuple(map(float, said["exponents"])),
            tuple(said["weights"]),
            dict(said["fitted_on"]),
        )
        sound = len(fusion.components) == len(fusion.exponents) == len(fusion.weights) > 1 and all(
            0 <= e < np.inf for e in fusion.exponents
        )
        if not sound or not any(fusion.exponents):
            raise ValueError("one exponent of at least 0 per part is needed, and one above 0")
        return fusion
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        reason = f"{type(error).__name__}: {one_line(str(error))}"
        raise WeightsError(
            f"{path} is no fusion of models ({reason}). Fit it anew: fer-models fuse MODEL MODEL"
        ) from error


def pool(parts: Sequence[Predictions], exponents: ArrayLike) -> Predictions:
    """One answer per face from those of all parts. A face that some part did not answer has none, with the
    first such part's reason.
    """
    logs = np.stack([_logs(p.probabilities) for p in parts])
    mixed = np.tensordot(np.asarray(exponents, dtype=np.float64), logs, axes=1)
    rows = np.exp(mixed - mixed.max(axis=1, keepdims=True)) if len(mixed) else mixed
    status = tuple(
        next((s for s in said if s != ANSWERED), ANSWERED)
        for said in zip(*(p.status for p in parts), strict=True)
    )
    silent = {i: s for i, s in enumerate(status) if s != ANSWERED}
    given = all(p.has_probabilities for p in parts)
    return Predictions.from_probabilities(
        rows / rows.sum(axis=1, keepdims=True), LABELS, unanswered=silent, has_probabilities=given
    )


def fit(parts: Sequence[Predictions], truth: NDArray[np.int64]) -> tuple[float, ...]:
    """The exponents with the greatest likelihood of `truth`, each at least 0: a convex problem with one
    optimum.

    Raises:
        DatasetError: there is no face that all parts answered.
    """
    from scipy.optimize import minimize

    heard = np.all([[s == ANSWERED for s in p.status] for p in parts], axis=0)
    if not heard.any():
        raise DatasetError("No face was answered by all parts, so nothing can be fitted. Ask on other faces.")
    logs, truth = np.stack([_logs(p.probabilities[heard]) for p in parts]), truth[heard]
    said = logs[:, np.arange(len(truth)), truth]

    def loss(exponents: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        mixed = np.tensordot(exponents, logs, axes=1)
        shifted = mixed - mixed.max(axis=1, keepdims=True)
        q = np.exp(shifted) / np.exp(shifted).sum(axis=1, keepdims=True)
        gradient = (q[None] * logs).sum(axis=2).mean(axis=1) - said.mean(axis=1)
        return -float(np.log(np.maximum(q[np.arange(len(truth)), truth], LEAST)).mean()), gradient

    found = minimize(
        loss,
        np.full(len(parts), 1 / len(parts)),
        jac=True,
        method="L-BFGS-B",
        bounds=[(0.0, None)] * len(parts),
    )
    return tuple(round(float(e), 4) for e in found.x)


def negative_log_likelihood(predictions: Predictions, truth: NDArray[np.int64]) -> float:
    """The mean over the answered faces of -log p(truth), in nats, with p at least `LEAST`."""
    heard = predictions.answer >= 0
    return -float(np.log(np.maximum(predictions.probabilities[heard, truth[heard]], LEAST)).mean())


def _logs(probabilities: NDArray[np.float64]) -> NDArray[np.float64]:
    logs: NDArray[np.float64] = np.log(np.maximum(np.nan_to_num(probabilities, nan=1.0), LEAST))
    return logs


class LateFusion:
    """The parts themselves, asked and pooled: where no stored answers are at hand."""

    def __init__(self, classifiers: Sequence[Classifier], exponents: Sequence[float]) -> None:
        self.classifiers, self.exponents = tuple(classifiers), tuple(exponents)

    def predict(self, faces: Sequence[Face], /) -> Predictions:
        """See `Classifier.predict`."""
        return pool([c.predict(faces) for c in self.classifiers], self.exponents)
