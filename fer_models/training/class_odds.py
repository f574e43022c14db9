"""Changed odds of emotions: a trained network that predicts rare emotions more often.

A network learns how common each emotion is in its training data, so it seldom predicts a rare one. Adding
log(k) to the logit of an emotion multiplies its odds by k, as if it were k times as common (Saerens et al.,
Neural Computation 14, 2002; after training, the logit adjustment of Menon et al. 2021, arXiv:2007.07314,
section 4). The recall of that emotion rises, that of others falls.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path

from fer_models.artifacts import safetensors_io
from fer_models.artifacts.hashing import sha256_of
from fer_models.artifacts.json_io import parse_json
from fer_models.artifacts.weights import training_record
from fer_models.classifiers import cnn
from fer_models.classifiers.architecture import Architecture
from fer_models.emotions import LABELS
from fer_models.errors import UsageError, WeightsError, one_line


def multiply_odds(path: Path, odds: Mapping[str, float], output: Path) -> None:
    """Write a network whose odds of some emotions are multiplied.

    Args:
        path: a file that `fer-models train` wrote for a classification network.
        odds: the factor of each emotion, above 0.
        output: a safetensors file; its record has the factors, the sha256 and the record of `path`.

    Raises:
        UsageError: an unknown emotion, or a factor that is not above 0 and finite.
        WeightsError: the file cannot be read, or is of no classification network.
    """
    for emotion, factor in odds.items():
        if emotion not in LABELS:
            raise UsageError(f"{emotion!r} is no emotion. Known: {', '.join(LABELS)}.")
        if not (factor > 0 and math.isfinite(factor)):
            raise UsageError(f"The odds of {emotion} must be above 0 and finite, got {factor:g}.")
    state, metadata = safetensors_io.read(path)
    if metadata.get("format") != cnn.FORMAT:
        raise WeightsError(f"{path} is of no classification network that fer-models train wrote.")
    record = training_record(metadata, path)
    try:
        bias = _last_bias(Architecture(**parse_json(metadata["architecture"])), path)
        labels = parse_json(metadata["labels"])
        for emotion, factor in odds.items():
            state[bias][labels.index(emotion)] += math.log(factor)
    except (KeyError, ValueError, TypeError, AttributeError, IndexError) as error:
        problem = f"{path} does not describe its network ({type(error).__name__}: {one_line(str(error))})."
        raise WeightsError(f"{problem} Get a new copy.") from error
    changed = {"sha256": sha256_of(path), "provenance": record}
    provenance = {"model": (record or {}).get("model"), "odds": dict(odds), "changed": changed}
    safetensors_io.write(state, output, metadata | {"provenance": json.dumps(provenance)})


def _last_bias(architecture: Architecture, path: Path) -> str:
    """The name of the bias of the logits."""
    network = cnn.build(architecture)
    logits = network.get_classifier()  # type: ignore[operator]
    for name, module in network.named_modules():
        if module is logits and getattr(module, "bias", None) is not None:
            return f"{name}.bias"
    raise WeightsError(f"{path}: the last layer of {architecture.timm} has no bias to change.")
