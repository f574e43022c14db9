"""Questions for vision-language models: the text, and how the seven emotions are listed in it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from fer_models.emotions import EMOTIONS, LABELS, Emotion
from fer_models.errors import UnknownNameError

_PLACEHOLDER = "{options}"


@dataclass(frozen=True)
class Question:
    """Question about a face, and the layout of its options.

    Attributes:
        name: its name in subjects and reports.
        text: the question, with the placeholder `{options}` where the emotions are listed.
        multiple_choice: whether they are listed as A. … B. … on lines of their own.
        described: whether each has a description of such a face.
        order: the order in which they are listed.
    """

    name: str
    text: str
    multiple_choice: bool = False
    described: bool = False
    order: tuple[Emotion, ...] = EMOTIONS

    def render(self) -> str:
        """The complete text of the question."""
        return self.text.replace(_PLACEHOLDER, self._render_options())

    def _render_options(self) -> str:
        options = [f"{e.label} ({_DESCRIPTIONS[e]})" if self.described else e.label for e in self.order]
        if self.multiple_choice:
            return "\n" + "\n".join(f"{chr(ord('A') + i)}. {option}" for i, option in enumerate(options))
        return f"{', '.join(options[:-1])} or {options[-1]}"

    @property
    def options(self) -> Sequence[Emotion]:
        """The emotions of the letters A, B, …; none where the question is not multiple choice."""
        return self.order if self.multiple_choice else ()

    @property
    def replies(self) -> Sequence[str]:
        """The expected reply for each emotion, in `Emotion` order: its letter, or its name."""
        return [chr(ord("A") + self.order.index(e)) if self.multiple_choice else e.label for e in EMOTIONS]

    def rotated(self, by: int) -> Question:
        """The same question with the first `by` emotions of its list moved to the end."""
        if by == 0:
            return self
        return replace(self, name=f"{self.name}, rotated by {by}", order=self.order[by:] + self.order[:by])

    def shuffled(self, seed: int) -> Question:
        """The same question with its list in a random order."""
        permutation = np.random.default_rng(seed).permutation(len(self.order))
        order = tuple(self.order[i] for i in permutation)
        return replace(self, name=f"{self.name}, shuffled ({seed})", order=order)

    def as_json(self) -> dict[str, Any]:
        """Everything that decides the prompt, as JSON."""
        return {"name": self.name, "text": self.render(), "order": [LABELS[e] for e in self.order]}


_DESCRIPTIONS = {
    Emotion.ANGRY: "lowered brows, glaring eyes, tight lips",
    Emotion.DISGUST: "wrinkled nose, raised upper lip",
    Emotion.FEAR: "raised brows drawn together, wide eyes, stretched lips",
    Emotion.HAPPY: "raised cheeks, smiling mouth",
    Emotion.SAD: "raised inner brows, corners of the mouth turned down",
    Emotion.SURPRISE: "raised brows, wide eyes, dropped jaw",
    Emotion.NEUTRAL: "relaxed face",
}
#: The questions that come with the package: the first is the default, the others are paraphrases and other
#: lists.
QUESTIONS: dict[str, Question] = {
    q.name: q
    for q in (
        Question("one-word", f"Which emotion does this face show: {_PLACEHOLDER}? Answer with one word."),
        Question(
            "classify",
            f"Classify the facial expression in this picture as one of: {_PLACEHOLDER}. "
            "Reply with the name only.",
        ),
        Question(
            "feeling", f"How does this person feel? Choose one of {_PLACEHOLDER}, and say nothing else."
        ),
        Question(
            "described",
            f"Which emotion does this face show: {_PLACEHOLDER}? Answer with the name of the emotion.",
            described=True,
        ),
        Question(
            "multiple-choice",
            f"Which emotion does this face show?{_PLACEHOLDER}\nAnswer with the letter.",
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
