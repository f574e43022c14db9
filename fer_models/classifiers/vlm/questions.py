"""What a model that writes is asked about a face: a question, the words for the seven emotions, and how they
are listed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from fer_models.emotions import EMOTIONS, LABELS, Emotion
from fer_models.errors import UnknownNameError

_GAP = "{options}"


@dataclass(frozen=True)
class Question:
    """One way to ask.

    Attributes:
        name: how subjects and pages call it.
        text: the question, with the gap `{options}` where the emotions are listed.
        lettered: whether they are listed as A. … B. … on lines of their own.
        described: whether each comes with what such a face looks like.
        order: in which order they are listed.
    """

    name: str
    text: str
    multiple_choice: bool = False
    described: bool = False
    order: tuple[Emotion, ...] = EMOTIONS

    def written(self) -> str:
        """The question as it is asked."""
        return self.text.replace(_GAP, self._listed())

    def _listed(self) -> str:
        said = [f"{e.label} ({_LOOKS[e]})" if self.described else e.label for e in self.order]
        if self.multiple_choice:
            return "\n" + "\n".join(f"{chr(ord('A') + i)}. {one}" for i, one in enumerate(said))
        return f"{', '.join(said[:-1])} or {said[-1]}"

    @property
    def options(self) -> Sequence[Emotion]:
        """The emotions that letters stand for; none where they are not lettered."""
        return self.order if self.multiple_choice else ()

    @property
    def replies(self) -> Sequence[str]:
        """The reply that each emotion would be, in `Emotion` order: its letter where they are lettered, its
        name elsewhere.
        """
        return [chr(ord("A") + self.order.index(e)) if self.multiple_choice else e.label for e in EMOTIONS]

    def rotated(self, by: int) -> Question:
        """The same question with the first `by` emotions of its list moved to the end."""
        return (
            self
            if by == 0
            else replace(
                self, name=f"{self.name}, rotated by {by}", order=(*self.order[by:], *self.order[:by])
            )
        )

    def shuffled(self, seed: int) -> Question:
        """The same question with its list in a random order."""
        order = np.random.default_rng(seed).permutation(len(self.order))
        return replace(
            self, name=f"{self.name}, shuffled ({seed})", order=tuple(self.order[i] for i in order)
        )

    def as_json(self) -> dict[str, Any]:
        """All that decides how it is asked."""
        return {"name": self.name, "text": self.written(), "order": [LABELS[e] for e in self.order]}


_LOOKS = {
    Emotion.ANGRY: "lowered brows, glaring eyes, tight lips",
    Emotion.DISGUST: "wrinkled nose, raised upper lip",
    Emotion.FEAR: "raised brows drawn together, wide eyes, stretched lips",
    Emotion.HAPPY: "raised cheeks, smiling mouth",
    Emotion.SAD: "raised inner brows, corners of the mouth turned down",
    Emotion.SURPRISE: "raised brows, wide eyes, dropped jaw",
    Emotion.NEUTRAL: "relaxed face",
}
#: The questions that come with the package; the first one is asked when nothing else is said, the others are
#: paraphrases and other lists.
QUESTIONS: dict[str, Question] = {
    q.name: q
    for q in (
        Question("one-word", f"Which emotion does this face show: {_GAP}? Answer with one word."),
        Question(
            "classify",
            f"Classify the facial expression in this picture as one of: {_GAP}. Reply with the name only.",
        ),
        Question("feeling", f"How does this person feel? Choose one of {_GAP}, and say nothing else."),
        Question(
            "described",
            f"Which emotion does this face show: {_GAP}? Answer with the name of the emotion.",
            described=True,
        ),
        Question(
            "multiple-choice",
            f"Which emotion does this face show?{_GAP}\nAnswer with the letter.",
            multiple_choice=True,
        ),
    )
}


def load(name: str) -> Question:
    """The question called `name`.

    Raises:
        UnknownNameError: there is none.
    """
    if name not in QUESTIONS:
        raise UnknownNameError("question", name, QUESTIONS)
    return QUESTIONS[name]
