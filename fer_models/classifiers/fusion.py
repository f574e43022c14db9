"""Late fusion: one prediction per face, pooled from the predictions of several models.

The pool is logarithmic, p(e) ~ prod_i p_i(e) ** w_i (Genest & Zidek 1986, doi:10.1214/ss/1177013825). The
exponent of a model is its weight and, as the exponents need not sum to 1, also corrects over- and
underconfidence. With one model the pool is temperature scaling (Guo et al., On Calibration of Modern Neural
Networks, ICML 2017): its exponent is 1 / temperature. Exponents are fitted once, on a split that is not
reported, and stored in a JSON file.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fer_models.artifacts.atomic_write import atomic_write
from fer_models.artifacts.json_io import parse_json, read_text
from fer_models.classifiers.base import ANSWERED, Classifier, Predictions, device_of
from fer_models.emotions import LABELS
from fer_models.errors import DatasetError, WeightsError, one_line
from fer_models.images import Face

FORMAT = "fer-models-fusion"
#: The smallest probability of a component: its logarithm must stay finite, and float32 softmax saturates.
MIN_PROBABILITY = 1e-6


@dataclass(frozen=True)
class FusionWeights:
    """Exponents of a late fusion.

    Attributes:
        components: the names of the models, in order; a single one for temperature scaling.
        exponents: one per component, at least 0.
        weights: the sha256 of each component when the exponents were fitted: of its weights, else of the
            file that defines it; None for a model behind a server.
        fitted_on: the faces of the fit: name, n, fingerprint, and the mean negative log-likelihood there, in
            nats, of each component and of the pool.
    """

    components: tuple[str, ...]
    exponents: tuple[float, ...]
    weights: tuple[str | None, ...]
    fitted_on: Mapping[str, Any] = field(default_factory=dict)

    def write(self, path: Path) -> None:
        """Write the exponents as JSON."""
        with atomic_write(path) as part:
            part.write_text(json.dumps({"format": FORMAT, **asdict(self)}, indent=1) + "\n")


def read(path: Path) -> FusionWeights:
    """Read the file that `FusionWeights.write` wrote.

    Raises:
        WeightsError: it is not a sound file of that kind.
    """
    try:
        fields = parse_json(read_text(path))
        if fields.pop("format") != FORMAT:
            raise ValueError("another format")
        components, weights = tuple(fields["components"]), tuple(fields["weights"])
        exponents = tuple(map(float, fields["exponents"]))
        has_equal_lengths = len(components) == len(exponents) == len(weights) > 0
        if not has_equal_lengths or not all(0 <= e < np.inf for e in exponents) or not any(exponents):
            raise ValueError("one exponent of at least 0 per component is needed, and one above 0")
        return FusionWeights(components, exponents, weights, dict(fields["fitted_on"]))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        reason = f"{type(error).__name__}: {one_line(str(error))}"
        raise WeightsError(
            f"{path} is no fusion of models and no temperature ({reason}). "
            "Fit it anew: fer-models fuse MODEL MODEL, or fer-models calibrate MODEL"
        ) from error


def pool(parts: Sequence[Predictions], exponents: ArrayLike) -> Predictions:
    """Pool the predictions of all components into one per face.

    A face without a prediction of some component has none, with the reason of the first such component.
    """
    from scipy.special import softmax  # here: a list of models needs no scipy

    logs = np.stack([_logs(p.probabilities) for p in parts])
    mixed = np.tensordot(np.asarray(exponents, dtype=np.float64), logs, axes=1)
    status = tuple(
        next((s for s in statuses if s != ANSWERED), ANSWERED)
        for statuses in zip(*(p.status for p in parts), strict=True)
    )
    reasons = {i: s for i, s in enumerate(status) if s != ANSWERED}
    return Predictions.from_probabilities(
        softmax(mixed, axis=1),
        LABELS,
        unanswered=reasons,
        has_probabilities=all(p.has_probabilities for p in parts),
    )


def fit(parts: Sequence[Predictions], truth: NDArray[np.int64]) -> tuple[float, ...]:
    """Fit the exponents by maximum likelihood of `truth`, each at least 0: a convex problem.

    Raises:
        DatasetError: no face has predictions of all components.
    """
    from scipy.optimize import minimize
    from scipy.special import softmax

    answered = np.all([[s == ANSWERED for s in p.status] for p in parts], axis=0)
    if not answered.any():
        raise DatasetError(
            "No face has a prediction of every model, so nothing can be fitted. Use other faces."
        )
    logs, truth = np.stack([_logs(p.probabilities[answered]) for p in parts]), truth[answered]
    true_logs = logs[:, np.arange(len(truth)), truth]

    def loss(exponents: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        mixed = np.tensordot(exponents, logs, axes=1)
        q = softmax(mixed, axis=1)
        gradient = (q[None] * logs).sum(axis=2).mean(axis=1) - true_logs.mean(axis=1)
        return -float(np.log(np.maximum(q[np.arange(len(truth)), truth], MIN_PROBABILITY)).mean()), gradient

    solution = minimize(
        loss,
        np.full(len(parts), 1 / len(parts)),
        jac=True,
        method="L-BFGS-B",
        bounds=[(0.0, None)] * len(parts),
    )
    return tuple(round(float(e), 4) for e in solution.x)


def negative_log_likelihood(predictions: Predictions, truth: NDArray[np.int64]) -> float:
    """Mean of -log p(truth) over the faces with a prediction, in nats, with p >= `MIN_PROBABILITY`."""
    answered = predictions.answer >= 0
    return -float(
        np.log(np.maximum(predictions.probabilities[answered, truth[answered]], MIN_PROBABILITY)).mean()
    )


def _logs(probabilities: NDArray[np.float64]) -> NDArray[np.float64]:
    logs: NDArray[np.float64] = np.log(np.maximum(np.nan_to_num(probabilities, nan=1.0), MIN_PROBABILITY))
    return logs


class LateFusion:
    """Classifier that runs all components and pools their predictions."""

    def __init__(self, classifiers: Sequence[Classifier], exponents: Sequence[float]) -> None:
        self.classifiers, self.exponents = tuple(classifiers), tuple(exponents)
        self.device = device_of(*classifiers)

    def predict(self, faces: Sequence[Face], /) -> Predictions:
        """See `Classifier.predict`."""
        return pool([c.predict(faces) for c in self.classifiers], self.exponents)
