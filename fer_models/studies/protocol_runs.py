"""Results of the study of protocols: counts of correct predictions, from which every accuracy is computed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

#: The end of the name of a training that continues from the weights of another: `vgg19+memorize`.
MEMORIZE = "+memorize"


@dataclass(frozen=True)
class Group:
    """Test faces of one kind.

    Attributes:
        is_copy: they are augmented copies, not images as they are.
        is_seen: they are, or were made from, an image of which a version is in the training split.
        n: their number.
        correct: the number of correct predictions after each epoch.
    """

    is_copy: bool
    is_seen: bool
    n: int
    correct: tuple[int, ...]


@dataclass(frozen=True)
class ProtocolRun:
    """One training by one protocol.

    Attributes:
        protocol: its name.
        training: the name of the recipe, such as `plain`.
        seed: of the split and the training.
        n_training: number of training faces.
        training_accuracy: on a sample of the training faces, after each epoch.
        validation_accuracy: after each epoch.
        groups: the test faces; each is in one of them.
        seconds: the duration of the training.
    """

    protocol: str
    training: str
    seed: int
    n_training: int
    training_accuracy: tuple[float, ...]
    validation_accuracy: tuple[float, ...]
    groups: tuple[Group, ...]
    seconds: float

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> ProtocolRun:
        """Convert from `asdict`'s JSON."""
        groups = tuple(Group(**{**group, "correct": tuple(group["correct"])}) for group in value["groups"])
        curves = {name: tuple(value[name]) for name in ("training_accuracy", "validation_accuracy")}
        return cls(**{**value, **curves, "groups": groups})

    @property
    def epochs(self) -> int:
        """The number of epochs."""
        return len(self.validation_accuracy)

    @property
    def chosen_epoch(self) -> int:
        """The epoch (from 0) with the best validation accuracy, the first of equals."""
        return int(np.argmax(self.validation_accuracy))

    @property
    def epoch_chosen_on_test(self) -> int:
        """The epoch (from 0) with the best accuracy on the test faces, the first of equals."""
        return int(np.argmax([self.count(epoch)[0] for epoch in range(self.epochs)]))

    def count(
        self, epoch: int, *, is_copy: bool | None = None, is_seen: bool | None = None
    ) -> tuple[int, int]:
        """Count correct predictions after an epoch: (correct, faces).

        Args:
            epoch: from 0.
            is_copy: of copies or images only; None for all faces.
            is_seen: of seen or new images only; None for all faces.
        """
        groups = [
            group
            for group in self.groups
            if is_copy in (None, group.is_copy) and is_seen in (None, group.is_seen)
        ]
        return sum(group.correct[epoch] for group in groups), sum(group.n for group in groups)

    def accuracy(self, *, on_test: bool = False, **kind: bool) -> float:
        """Compute the accuracy on test faces; NaN where there is none of the kind.

        Args:
            on_test: after the epoch chosen on the test faces instead of the validation faces.
            **kind: `is_copy` or `is_seen`, see `count`.
        """
        correct, n = self.count(self.epoch_chosen_on_test if on_test else self.chosen_epoch, **kind)
        return correct / n if n else float("nan")

    @property
    def n_test(self) -> int:
        """The number of test faces."""
        return sum(group.n for group in self.groups)

    @property
    def seen_share(self) -> float:
        """The share of test faces that are, or were made from, an image of the training split."""
        return sum(group.n for group in self.groups if group.is_seen) / self.n_test
