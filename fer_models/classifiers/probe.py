"""A linear probe: logistic regression (scikit-learn) on the directions that a two-tower model gives to faces,
instead of any words.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from fer_models.artifacts.json_io import parse_json
from fer_models.classifiers.base import Embedding, Predictions
from fer_models.emotions import EMOTIONS, LABELS
from fer_models.errors import WeightsError, one_line
from fer_models.images import Face

FORMAT = "fer-models-probe"
#: The inverse strengths of the L2 penalty among which `fit` chooses: what CLIP's authors sweep, coarser
#: (Radford et al. 2021, A.3).
STRENGTHS = (0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0)


@dataclass(frozen=True)
class Probe:
    """Seven linear functions of a direction.

    Attributes:
        weights: float32 (7, d). bias: float32 (7,).
        base: the sha256 of the weights of the model whose directions they were fitted to.
        record: how they were fitted.
    """

    weights: NDArray[np.float32]
    bias: NDArray[np.float32]
    base: str | None
    record: Mapping[str, Any]

    def classify(self, features: NDArray[np.float32]) -> Predictions:
        """The softmax of the seven functions of each direction, (n, d)."""
        logits = features.astype(np.float64) @ self.weights.astype(np.float64).T + self.bias
        rows = np.exp(logits - logits.max(axis=1, keepdims=True))
        return Predictions.from_probabilities(rows / rows.sum(axis=1, keepdims=True), LABELS)

    def write(self, path: Path) -> None:
        """Write it as safetensors, whole or not at all."""
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(".part")
        said = {"format": FORMAT, "base": json.dumps(self.base), "record": json.dumps(dict(self.record))}
        save_file(
            {"weights": np.ascontiguousarray(self.weights), "bias": np.ascontiguousarray(self.bias)},
            part,
            said,
        )
        part.chmod(0o644)
        part.replace(path)


def read(path: Path) -> Probe:
    """What `Probe.write` wrote.

    Raises:
        WeightsError: it is not a sound file of that kind.
    """
    try:
        with safe_open(path, framework="numpy") as file:
            said = file.metadata() or {}
            if said.get("format") != FORMAT:
                raise ValueError("another format")
            probe = Probe(
                file.get_tensor("weights"),
                file.get_tensor("bias"),
                parse_json(said["base"]),
                parse_json(said["record"]),
            )
        if (
            probe.weights.ndim != 2
            or len(probe.weights) != len(EMOTIONS)
            or probe.bias.shape != (len(EMOTIONS),)
        ):
            raise ValueError(f"weights of shape {probe.weights.shape}")
        if probe.weights.dtype.kind != "f" or probe.bias.dtype.kind != "f":
            raise ValueError(f"weights of {probe.weights.dtype}, a bias of {probe.bias.dtype}")
        if not (np.isfinite(probe.weights).all() and np.isfinite(probe.bias).all()):
            raise ValueError("values that are no numbers")
        return probe
    except (OSError, ValueError, KeyError, TypeError, AttributeError, SafetensorError) as error:
        reason = f"{type(error).__name__}: {one_line(str(error))}"
        raise WeightsError(
            f"{path} is no linear probe ({reason}). Fit it anew: fer-models probe MODEL"
        ) from error


def fit(
    training: NDArray[np.float32],
    labels: NDArray[np.int64],
    validation: NDArray[np.float32],
    validation_labels: NDArray[np.int64],
    *,
    base: str | None,
    strengths: Sequence[float] = STRENGTHS,
) -> Probe:
    """Fit on one set of directions; the penalty is the one with which another set is answered best.

    Args:
        training: (n, d), labels: (n,), all seven emotions among them. validation, validation_labels: what
            chooses the penalty.
        base: see `Probe`.

    Raises:
        WeightsError: an emotion is missing from `labels`.
    """
    if len(set(labels.tolist())) < len(EMOTIONS):
        raise WeightsError("A probe needs faces of all seven emotions to be fitted to. Take more faces.")
    tried = {strength: _fitted(training, labels, strength, base) for strength in strengths}
    scores = {
        strength: float((probe.classify(validation).answer == validation_labels).mean())
        for strength, probe in tried.items()
    }
    best = max(strengths, key=lambda strength: (scores[strength], -strength))
    found = tried[best]
    return Probe(
        found.weights,
        found.bias,
        base,
        {"strength": best, "validation_accuracy": {str(s): a for s, a in scores.items()}},
    )


def _fitted(
    features: NDArray[np.float32], labels: NDArray[np.int64], strength: float, base: str | None
) -> Probe:
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore", ConvergenceWarning
        )  # a weak penalty may need more steps; the validation split decides what is good
        model = LogisticRegression(C=strength, max_iter=500).fit(features, labels)
    return Probe(model.coef_.astype(np.float32), model.intercept_.astype(np.float32), base, {})


class LinearProbe:
    """A model of two towers, of which only the eyes are used."""

    def __init__(self, encoder: Embedding, probe: Probe) -> None:
        self.eyes, self.probe = encoder, probe

    def embed(self, faces: Sequence[Face], /) -> NDArray[np.float32]:
        """See `Embedding.embed`."""
        return self.eyes.embed(faces)

    def classify(self, features: NDArray[np.float32], /) -> Predictions:
        """See `Embedding.classify`."""
        return self.probe.classify(features)

    def predict(self, faces: Sequence[Face], /) -> Predictions:
        """See `Classifier.predict`."""
        return self.classify(self.embed(faces))
