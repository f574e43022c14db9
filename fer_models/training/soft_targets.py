"""Soft targets of the training faces: seven probabilities from labels, FER+ votes and teacher networks."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from fer_models.artifacts import weights
from fer_models.artifacts.device import resolve_precision
from fer_models.artifacts.hashing import sha256_of
from fer_models.classifiers.cnn import CNN, load, normalise
from fer_models.datasets.base import FaceSet
from fer_models.emotions import EMOTIONS
from fer_models.errors import UsageError
from fer_models.training.recipes import VOTES, Recipe
from fer_models.training.session import ProgressCallback
from fer_models.zoo.model_name import ModelName


def compute_targets(
    training: list[FaceSet], recipe: Recipe, device: torch.device, report: ProgressCallback | None = None
) -> torch.Tensor:
    """Target probabilities of the loss, float32 (n, 7), for the faces of all sets one after the other.

    Those of a consistent teacher are not among them; see `ConsistentTeachers`.

    Args:
        training: the face sets.
        recipe: says what the targets are made of.
        device: where the teachers predict.
        report: called after each batch of a teacher, for a progress bar.

    Raises:
        UsageError: the recipe needs votes, and no set has any.
        WeightsMissingError: a teacher of the recipe is not on this machine.
    """
    by_votes = recipe.targets == VOTES
    sets = [torch.from_numpy(_vote_shares(faces) if by_votes else _one_hot(faces)) for faces in training]
    targets = torch.cat(sets).float()
    if by_votes and all(faces.votes is None for faces in training):
        names = ", ".join(faces.name for faces in training)
        raise UsageError(
            f"This recipe needs the votes of FER+, and {names} have none. Put fer2013new.csv "
            "(github.com/microsoft/FERPlus) into the folder of fer2013.csv or of the Parquet files."
        )
    if recipe.teacher is None or recipe.consistent_teacher:
        return targets
    teachers = zip(find_teachers(recipe), _load_teachers(recipe, device), strict=True)
    predictions = [_predict_probabilities(name, teacher, training, report) for name, teacher in teachers]
    return _mix(targets, predictions, recipe.teacher_share)


class ConsistentTeachers:
    """Teachers that predict every augmented face, at the size that they were trained for."""

    def __init__(self, recipe: Recipe, device: torch.device) -> None:
        """Load the teachers of a recipe.

        Raises:
            WeightsMissingError: one is not on this machine.
        """
        self._teachers, self._share = _load_teachers(recipe, device), recipe.teacher_share

    def mix_into(self, targets: torch.Tensor, faces_of_side: Callable[[int], torch.Tensor]) -> torch.Tensor:
        """Mix the teachers' probabilities into the targets of a batch.

        Args:
            targets: float32 (n, 7).
            faces_of_side: the augmented faces at a given side, float (n, channels, side, side) in 0..255.
        """
        predictions = [
            self._predict(teacher, faces_of_side(teacher.architecture.size)) for teacher in self._teachers
        ]
        return _mix(targets, predictions, self._share)

    @staticmethod
    def _predict(teacher: CNN, faces: torch.Tensor) -> NDArray[np.float64]:
        channels = teacher.architecture.channels
        if channels != faces.shape[1]:  # grey, as the teachers see faces, or grey in three equal channels
            faces = faces.mean(dim=1, keepdim=True).expand(-1, channels, -1, -1)
        batch = normalise(faces, teacher.architecture).contiguous(memory_format=torch.channels_last)
        return teacher.infer(batch).probabilities


def describe_targets(training: list[FaceSet], recipe: Recipe) -> dict[str, object]:
    """Provenance of the targets: teachers, network of feature distillation and votes, by sha256."""
    votes = [
        hashlib.sha256(faces.votes.tobytes()).hexdigest() if faces.votes is not None else None
        for faces in training
    ]
    hint = weights.find(recipe.hint) if recipe.hint else None
    teachers = find_teachers(recipe).items()
    return {
        "hint": {"model": recipe.hint, "sha256": sha256_of(hint)} if hint else None,
        "teachers": [{"model": name, "sha256": sha256_of(path)} for name, path in teachers],
        "votes": votes if recipe.targets == VOTES else None,
    }


def _one_hot(faces: FaceSet) -> NDArray[np.float64]:
    return np.eye(len(EMOTIONS))[faces.labels]


def _vote_shares(faces: FaceSet) -> NDArray[np.float64]:
    """Vote shares of the seven emotions; the label where most raters chose none of them or nobody voted."""
    targets = _one_hot(faces)
    if faces.votes is None:
        return targets
    votes = faces.votes[:, : len(EMOTIONS)]
    is_majority = 2 * votes.sum(axis=1) > faces.votes.sum(axis=1)
    targets[is_majority] = votes[is_majority] / votes[is_majority].sum(axis=1, keepdims=True)
    return targets


def _mix(targets: torch.Tensor, predictions: list[NDArray[np.float64]], share: float) -> torch.Tensor:
    """The targets, with the mean of the teachers' predictions in place of a share of them."""
    teacher_targets = torch.from_numpy(np.mean(predictions, axis=0)).to(targets)
    return (1 - share) * targets + share * teacher_targets


def _load_teachers(recipe: Recipe, device: torch.device) -> list[CNN]:
    precision = resolve_precision("auto", device.type)
    return [load(path, device=device.type, precision=precision) for path in find_teachers(recipe).values()]


def _predict_probabilities(
    name: str, teacher: CNN, training: list[FaceSet], report: ProgressCallback | None
) -> NDArray[np.float64]:
    """Predicted probabilities of a network for the training faces without augmentation; (n, 7)."""
    parts: list[NDArray[np.float64]] = []
    done, n = 0, sum(map(len, training))
    for faces in training:
        for _, batch in faces.batches(256):
            parts.append(teacher.predict(batch).probabilities)
            done += len(batch)
            if report is not None:
                report(f"{name} predicts the training faces", done, n, {})
    return np.concatenate(parts)


def find_teachers(recipe: Recipe) -> dict[str, Path]:
    """Find the weights of the recipe's teachers, by name.

    Raises:
        UsageError: a name is not that of a trained network.
        WeightsMissingError: a teacher is not on this machine.
    """
    teachers: dict[str, Path] = {}
    if recipe.teacher is None:
        return teachers
    model = ModelName.parse(recipe.teacher)
    for component in model.components or (model,):
        name = str(component)
        if component != ModelName(component.network) or Path(name).name != name:
            raise UsageError(
                f"--teacher {name}: give the name of a network that fer-models train trained, such as vgg19, "
                "without variants, files and folders."
            )
        problem = f"The weights of {name}, a teacher of this recipe, are not on this machine."
        teachers[name] = weights.find_trained(name, problem)
    return teachers
