"""Linear probes: logistic regression (scikit-learn) on a CLIP model's embeddings, without prompts."""

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

from fer_models.artifacts.atomic_write import atomic_write
from fer_models.artifacts.json_io import parse_json
from fer_models.classifiers.base import Embedding, Predictions, device_of
from fer_models.emotions import EMOTIONS, LABELS
from fer_models.errors import WeightsError, one_line
from fer_models.images import Face

FORMAT = "fer-models-probe"
#: The inverse strengths of the L2 penalty among which `fit` chooses: the range of CLIP's authors in coarser
#: steps (Radford et al. 2021, A.3).
STRENGTHS = (0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0)


@dataclass(frozen=True)
class Probe:
    """Weights of a linear probe: seven linear functions of an embedding.

    Attributes:
        weights: float32 (7, d).
        bias: float32 (7,).
        base: `derived_models.component_hash` of the model whose embeddings they were fitted to.
        record: how they were fitted.
    """

    weights: NDArray[np.float32]
    bias: NDArray[np.float32]
    base: str | None
    record: Mapping[str, Any]

    def classify(self, features: NDArray[np.float32]) -> Predictions:
        """Predict from embeddings (n, d): the softmax of the seven functions."""
        from scipy.special import softmax  # here: a list of models needs no scipy

        logits = features.astype(np.float64) @ self.weights.astype(np.float64).T + self.bias
        return Predictions.from_probabilities(softmax(logits, axis=1), LABELS)

    def write(self, path: Path) -> None:
        """Write it as safetensors, atomically."""
        metadata = {"format": FORMAT, "base": json.dumps(self.base), "record": json.dumps(dict(self.record))}
        tensors = {"weights": np.ascontiguousarray(self.weights), "bias": np.ascontiguousarray(self.bias)}
        with atomic_write(path) as part:
            save_file(tensors, part, metadata)
            part.chmod(0o644)


def read(path: Path) -> Probe:
    """Read the file that `Probe.write` wrote.

    Raises:
        WeightsError: it is not a sound file of that kind.
    """
    try:
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            if metadata.get("format") != FORMAT:
                raise ValueError("another format")
            probe = Probe(
                file.get_tensor("weights"),
                file.get_tensor("bias"),
                parse_json(metadata["base"]),
                parse_json(metadata["record"]),
            )
        _check_tensors(probe)
        return probe
    except (OSError, ValueError, KeyError, TypeError, AttributeError, SafetensorError) as error:
        reason = f"{type(error).__name__}: {one_line(str(error))}"
        raise WeightsError(
            f"{path} is no linear probe ({reason}). Fit it anew: fer-models probe MODEL"
        ) from error


def _check_tensors(probe: Probe) -> None:
    weights, bias = probe.weights, probe.bias
    if weights.ndim != 2 or len(weights) != len(EMOTIONS) or bias.shape != (len(EMOTIONS),):
        raise ValueError(f"weights of shape {weights.shape}")
    if weights.dtype.kind != "f" or bias.dtype.kind != "f":
        raise ValueError(f"weights of {weights.dtype}, a bias of {bias.dtype}")
    if not (np.isfinite(weights).all() and np.isfinite(bias).all()):
        raise ValueError("values that are no numbers")


def fit(
    training: NDArray[np.float32],
    labels: NDArray[np.int64],
    validation: NDArray[np.float32],
    validation_labels: NDArray[np.int64],
    *,
    base: str | None,
    strengths: Sequence[float] = STRENGTHS,
) -> Probe:
    """Fit a probe; the penalty is the one with the highest accuracy on the validation set.

    Args:
        training: embeddings (n, d).
        labels: (n,), all seven emotions among them.
        validation: embeddings (m, d).
        validation_labels: (m,).
        base: see `Probe`.
        strengths: the inverse strengths of the L2 penalty that are tried.

    Raises:
        WeightsError: an emotion is missing from `labels`.
    """
    if len(set(labels.tolist())) < len(EMOTIONS):
        raise WeightsError("A probe needs faces of all seven emotions to be fitted to. Take more faces.")
    probes = {strength: _fit_one(training, labels, strength, base) for strength in strengths}
    scores = {
        strength: float((probe.classify(validation).answer == validation_labels).mean())
        for strength, probe in probes.items()
    }
    best = max(strengths, key=lambda strength: (scores[strength], -strength))
    record = {"strength": best, "validation_accuracy": {str(s): a for s, a in scores.items()}}
    return Probe(probes[best].weights, probes[best].bias, base, record)


def _fit_one(
    features: NDArray[np.float32], labels: NDArray[np.int64], strength: float, base: str | None
) -> Probe:
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    with warnings.catch_warnings():
        # A weak penalty may need more steps; the validation set decides anyway.
        warnings.simplefilter("ignore", ConvergenceWarning)
        model = LogisticRegression(C=strength, max_iter=500).fit(features, labels)
    return Probe(model.coef_.astype(np.float32), model.intercept_.astype(np.float32), base, {})


class LinearProbe:
    """Classifier with an image encoder and a linear probe."""

    def __init__(self, encoder: Embedding, probe: Probe) -> None:
        self.encoder, self.probe, self.device = encoder, probe, device_of(encoder)

    def embed(self, faces: Sequence[Face], /) -> NDArray[np.float32]:
        """See `Embedding.embed`."""
        return self.encoder.embed(faces)

    def classify(self, features: NDArray[np.float32], /) -> Predictions:
        """See `Embedding.classify`."""
        return self.probe.classify(features)

    def predict(self, faces: Sequence[Face], /) -> Predictions:
        """See `Classifier.predict`."""
        return self.classify(self.embed(faces))
