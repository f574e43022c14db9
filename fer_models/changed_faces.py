"""Faces whose prediction changed from the baseline, with pictures, for the report."""

from __future__ import annotations

from typing import Any

from fer_models.errors import FerModelsError
from fer_models.gate.baselines import BaselineRecord
from fer_models.gate.flips import PredictionFlip, flip_json, largest_flips
from fer_models.images import data_url
from fer_models.inference.runner import Combination, Runner


def flip_examples(runner: Runner, combination: Combination, record: BaselineRecord) -> list[dict[str, Any]]:
    """Describe the flips with the greatest changes of probability, negative ones first, for evals.json.

    The picture is the face before restoration, with the corruption of the run.

    Args:
        runner: has predicted the combination.
        combination: a judged one.
        record: its baseline, on the same faces.
    """
    data, predictions = runner.dataset_of(combination), runner.predict(combination).predictions
    before, p_before = record.decode_predictions(), record.decode_p_true()
    if data.subset_indices is not None:
        before, p_before = before[data.subset_indices], p_before[data.subset_indices]
    flips = largest_flips(predictions, before, p_before if record.has_probabilities else None)
    pictures = _pictures(runner, combination, flips)
    return [flip_json(flip, predictions, picture) for flip, picture in zip(flips, pictures, strict=True)]


def _pictures(runner: Runner, combination: Combination, flips: list[PredictionFlip]) -> list[str | None]:
    """Encode the faces; None for all where they cannot be read again: verdicts do not need them."""
    if not flips:
        return []
    split = runner.dataset_of(combination).full_split
    try:
        faces = runner.restore("raw", split.faces([flip.index for flip in flips]))
    except FerModelsError:
        return [None] * len(flips)
    return [data_url(face) for face in faces]
