"""What a training face is said to be, as seven probabilities: its label, what ten raters saw in it, or partly
what a teacher says.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from fer_models.artifacts import weights
from fer_models.artifacts.device import resolve_precision
from fer_models.artifacts.hashing import sha256_of
from fer_models.classifiers.cnn import load
from fer_models.datasets.base import FaceSet
from fer_models.emotions import EMOTIONS
from fer_models.errors import UsageError, WeightsMissingError
from fer_models.training.recipes import VOTES, Recipe


def targets(training: list[FaceSet], recipe: Recipe, device: torch.device) -> torch.Tensor:
    """The probabilities that the loss is taken against, float32 (n, 7), for the faces of all sets one after
    the other.

    Raises:
        UsageError: the recipe learns from votes, and no set has any.
        WeightsMissingError: a teacher of the recipe is not on this machine.
    """
    rows = torch.cat(
        [
            torch.from_numpy(_voted(faces) if recipe.targets == VOTES else _labelled(faces))
            for faces in training
        ]
    ).float()
    if recipe.targets == VOTES and all(faces.votes is None for faces in training):
        raise UsageError(
            f"This recipe learns from the votes of FER+, and {', '.join(f.name for f in training)} come without any. "
            "Put fer2013new.csv (github.com/microsoft/FERPlus) beside fer2013.csv or the Parquet files."
        )
    if not (teachers := _teachers(recipe)):
        return rows
    said = [_answers(path, training, device) for path in teachers.values()]
    return (1 - recipe.teacher_share) * rows + recipe.teacher_share * torch.from_numpy(
        np.mean(said, axis=0)
    ).float()


def described(training: list[FaceSet], recipe: Recipe) -> dict[str, object]:
    """Which teachers, hints and votes stand behind the targets, by content: the part of a run's record that
    tells what was learnt.
    """
    cast = [
        hashlib.sha256(faces.votes.tobytes()).hexdigest() if faces.votes is not None else None
        for faces in training
    ]
    hint = weights.find(recipe.hint) if recipe.hint else None
    return {
        "hint": {"model": recipe.hint, "sha256": sha256_of(hint)} if hint else None,
        "teachers": [{"model": name, "sha256": sha256_of(path)} for name, path in _teachers(recipe).items()],
        "votes": cast if recipe.targets == VOTES else None,
    }


def _labelled(faces: FaceSet) -> NDArray[np.float64]:
    return np.eye(len(EMOTIONS))[faces.labels]


def _voted(faces: FaceSet) -> NDArray[np.float64]:
    """The shares of the raters' votes for the seven emotions; the label where most raters saw none of them,
    or nobody was asked.
    """
    rows = _labelled(faces)
    if faces.votes is None:
        return rows
    seven = faces.votes[:, : len(EMOTIONS)]
    seen = 2 * seven.sum(axis=1) > faces.votes.sum(axis=1)
    rows[seen] = seven[seen] / seven[seen].sum(axis=1, keepdims=True)
    return rows


def _answers(network: Path, training: list[FaceSet], device: torch.device) -> NDArray[np.float64]:
    """What a network says of the training faces as they are; (n, 7)."""
    teacher = load(network, device=device.type, precision=resolve_precision("auto", device.type))
    return np.concatenate(
        [teacher.predict(batch).probabilities for faces in training for _, batch in faces.batches(256)]
    )


def _teachers(recipe: Recipe) -> dict[str, Path]:
    """The weights of the recipe's teachers, by name."""
    found = {name: weights.find(name) for name in (recipe.teacher or "").split("+") if name}
    for name, path in found.items():
        if path is None:
            raise WeightsMissingError(
                f"The recipe's teacher {name} is not on this machine. Get it first: fer-models train {name}"
            )
    return {name: path for name, path in found.items() if path is not None}
