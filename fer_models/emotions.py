"""The seven emotions, their label names, and label spaces: the orders of class indices.

The order is that of FER-2013's csv file (`0 Angry … 6 Neutral`, see torchvision's `FER2013`). Class folders
and hub datasets number the same classes alphabetically, so labels are mapped by *name*, here only.
`datasets.schemes` has the numbers of other datasets.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum

from fer_models.errors import DatasetError


class Emotion(IntEnum):
    """One of seven emotions; its value is its index in every probability row of this package."""

    ANGRY = 0
    DISGUST = 1
    FEAR = 2
    HAPPY = 3
    SAD = 4
    SURPRISE = 5
    NEUTRAL = 6

    @property
    def label(self) -> str:
        """The lower-case name, as FER-2013's class folders spell it."""
        return self.name.lower()

    def __str__(self) -> str:
        return self.label


EMOTIONS: tuple[Emotion, ...] = tuple(Emotion)
LABELS: tuple[str, ...] = tuple(emotion.label for emotion in EMOTIONS)

#: Names of states outside the seven emotions. Faces with such labels are dropped, and counted.
OUTSIDE: frozenset[str] = frozenset(
    {"contempt", "ahegao", "unknown", "none", "nf", "no-face", "noface", "uncertain", "other"}
)

_SYNONYMS: dict[str, Emotion] = {
    **{emotion.label: emotion for emotion in EMOTIONS},
    **dict.fromkeys(("anger", "an", "ang"), Emotion.ANGRY),
    **dict.fromkeys(("disgusted", "di", "dis"), Emotion.DISGUST),
    **dict.fromkeys(("afraid", "fearful", "af", "fe", "scared"), Emotion.FEAR),
    **dict.fromkeys(("happiness", "ha", "joy", "hap"), Emotion.HAPPY),
    **dict.fromkeys(("sadness", "sa"), Emotion.SAD),
    **dict.fromkeys(("surprised", "suprise", "su", "sur"), Emotion.SURPRISE),
    **dict.fromkeys(("normal", "ne", "neutrality", "neu"), Emotion.NEUTRAL),
}


def parse_label(name: str) -> Emotion | None:
    """Parse the name of an emotion; None for a state in `OUTSIDE` (contempt, unknown, …).

    Case, surrounding blanks and a leading index (`0_angry`, `3. happy`) do not matter.

    Raises:
        DatasetError: `name` is neither an emotion nor in `OUTSIDE`.
    """
    key = name.strip().lower().lstrip("0123456789._- ")
    if key in _SYNONYMS:
        return _SYNONYMS[key]
    if key in OUTSIDE:
        return None
    raise DatasetError(
        f"{name!r} is not the name of an emotion. Known: {', '.join(LABELS)} "
        f"(and synonyms such as anger, happiness, afraid); dropped and counted: {', '.join(sorted(OUTSIDE))}."
    )


@dataclass(frozen=True)
class LabelSpace:
    """Classes of a dataset or model, in the order of its indices.

    Attributes:
        name: its name in messages.
        order: one entry per index; None for a class outside the seven emotions.
    """

    name: str
    order: tuple[Emotion | None, ...]

    def __post_init__(self) -> None:
        inside = [emotion for emotion in self.order if emotion is not None]
        if len(set(inside)) != len(inside):
            raise DatasetError(f"Label space {self.name!r} names an emotion twice: {self.describe()}.")

    @classmethod
    def from_names(cls, name: str, names: Iterable[str]) -> LabelSpace:
        """Make the label space whose index i is `names[i]`, in any accepted spelling.

        Raises:
            DatasetError: a name is unknown, or two names are of one emotion.
        """
        return cls(name, tuple(parse_label(n) for n in names))

    def describe(self) -> str:
        """Describe the order, for messages."""
        return ", ".join("(outside)" if e is None else e.label for e in self.order)

    def emotion(self, index: int) -> Emotion | None:
        """The emotion at `index`, or None for a class outside the seven.

        Raises:
            DatasetError: `index` is not one of this space's classes.
        """
        if not 0 <= index < len(self.order):
            n = len(self.order)
            raise DatasetError(
                f"Label space {self.name!r} has {n} classes (0..{n - 1}), got {index}. "
                f"Its order is: {self.describe()}."
            )
        return self.order[index]

    def index(self, emotion: Emotion) -> int:
        """The index of `emotion` in this space.

        Raises:
            DatasetError: the space has no such class.
        """
        if emotion not in self.order:
            raise DatasetError(
                f"Label space {self.name!r} has no {emotion.label}. Its order is: {self.describe()}."
            )
        return self.order.index(emotion)

    @property
    def missing(self) -> tuple[Emotion, ...]:
        """The emotions without a class in this space."""
        return tuple(e for e in EMOTIONS if e not in self.order)


FER2013 = LabelSpace("fer2013 (csv order)", EMOTIONS)
FOLDERS = LabelSpace.from_names("class folders (alphabetical)", sorted(LABELS))
