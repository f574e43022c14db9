"""Prompt sets: sentences with a gap, and the words that fill it for each emotion. Data files, one set each,
kept whole with the results.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fer_models.artifacts.json_io import parse_json, read_text
from fer_models.artifacts.resources import ASSETS
from fer_models.emotions import EMOTIONS, LABELS
from fer_models.errors import UnknownNameError, UsageError, encodable, one_line

FOLDER = ASSETS / "prompts"
#: The longest template or word allowed, in characters: a text tower reads some 77 tokens and drops the rest
#: without a word.
MAX_CHARACTERS = 300
#: The largest file of a prompt set, in bytes, and the most sentences that it may make: every template with
#: every word.
_MAX_FILE_BYTES, _MAX_TEXTS = 1_000_000, 10_000
_PLACEHOLDER = "{}"
_EXAMPLE = (
    '{"templates": ["a photo of a {} face."], "emotions": {"angry": ["angry"], "disgust": ["disgusted"], …}}'
)


@dataclass(frozen=True)
class PromptSet:
    """What a model that reads is asked with.

    Attributes:
        name: how subjects and pages call it.
        templates: sentences, each with one gap `{}`.
        words: for each of the seven emotions, in `Emotion` order, the words that fill the gap: synonyms.
        source: where it comes from.
    """

    name: str
    templates: tuple[str, ...]
    words: tuple[tuple[str, ...], ...]
    source: str = ""

    def __post_init__(self) -> None:
        _check(self)

    def texts(self, emotion: int) -> list[str]:
        """Every template with every word of one emotion, templates first: `len(templates) *
        len(words[emotion])` sentences.
        """
        return [
            template.replace(_PLACEHOLDER, word)
            for word in self.words[emotion]
            for template in self.templates
        ]

    def only(self, *, template: str | None = None, words: Sequence[str] | None = None) -> PromptSet:
        """The set reduced to one template, or with one word per emotion."""
        return PromptSet(
            self.name,
            self.templates if template is None else (template,),
            self.words if words is None else tuple((word,) for word in words),
            self.source,
        )

    def as_json(self) -> dict[str, Any]:
        """What a file of the set holds."""
        return {
            "source": self.source,
            "templates": list(self.templates),
            "emotions": dict(zip(LABELS, map(list, self.words), strict=True)),
        }


def names() -> list[str]:
    """The sets that come with the package."""
    return sorted(path.stem for path in FOLDER.glob("*.json"))


def load(name: str) -> PromptSet:
    """A set that comes with the package, or the user's own.

    Args:
        name: one of `names()`, or the path of a JSON file.

    Raises:
        UnknownNameError: neither.
        UsageError: the file is not a sound set: not JSON, a template without its gap or with two, an emotion
            missing, something twice or too long.
    """
    if name in names():
        return _parse((FOLDER / f"{name}.json").read_text(encoding="utf-8"), name, name)
    path = Path(name)
    if not os.path.isfile(path):
        raise UnknownNameError("prompt set", name, names(), "A file works too: NAME.json.")
    try:
        text = read_text(path, _MAX_FILE_BYTES)
    except (OSError, ValueError) as error:
        raise UsageError(
            f"The prompt set {path} cannot be read ({one_line(str(error))}). It is a JSON file in UTF-8."
        ) from error
    return _parse(text, re.sub(r"[^A-Za-z0-9._-]+", "-", path.stem), str(path))


def _parse(text: str, name: str, where: str) -> PromptSet:
    try:
        said = parse_json(text)
    except ValueError as error:
        raise UsageError(
            f"The prompt set {where} is not JSON ({one_line(str(error))}). It looks like {_EXAMPLE}"
        ) from error
    return parse(said, name, where)


def parse(said: Any, name: str, where: str = "") -> PromptSet:
    """The set that `PromptSet.as_json` describes, called `name`; `where` is what messages call it. Raises
    UsageError as `load`.
    """
    where = where or name
    if not isinstance(said, Mapping):
        raise UsageError(
            f"The prompt set {where} is a {type(said).__name__}, not an object. It looks like {_EXAMPLE}"
        )
    try:
        unknown = set(said) - {"source", "templates", "emotions"}
        templates, emotions = said["templates"], said["emotions"]
        if unknown or not isinstance(templates, list) or not isinstance(emotions, Mapping):
            entries = one_line(", ".join(sorted(map(str, unknown))))
            raise TypeError(
                f"unknown entries: {entries}" if unknown else "templates is a list, emotions an object"
            )
    except (KeyError, TypeError) as error:
        missing = f"it has no {error}" if isinstance(error, KeyError) else str(error)
        raise UsageError(f"The prompt set {where} is not one: {missing}. It looks like {_EXAMPLE}") from error
    absent, foreign = (
        [label for label in LABELS if not emotions.get(label)],
        [key for key in emotions if key not in LABELS],
    )
    if absent or foreign:
        what = (
            f"has no words for {', '.join(absent)}"
            if absent
            else f"has words for {one_line(', '.join(map(repr, foreign)))}"
        )
        raise UsageError(
            f"The prompt set {where} {what}. It needs these seven emotions: {', '.join(LABELS)}."
        )
    words = [emotions[label] if isinstance(emotions[label], list) else [emotions[label]] for label in LABELS]
    for item in (*templates, *(word for one in words for word in one)):
        if not isinstance(item, str):
            raise UsageError(
                f"The prompt set {where} holds {one_line(repr(item), 60)} where a text is needed."
            )
    source = said.get("source", "")
    if not isinstance(source, str):
        raise UsageError(
            f"The prompt set {where} has a source that is a {type(source).__name__}. Write a text."
        )
    return PromptSet(name, tuple(templates), tuple(map(tuple, words)), source)


def _check(prompts: PromptSet) -> None:
    where = f"The prompt set {prompts.name!r}"
    if not prompts.templates:
        raise UsageError(f"{where} has no template. Give at least one sentence with {_PLACEHOLDER} in it.")
    if len(prompts.words) != len(EMOTIONS) or not all(prompts.words):
        raise UsageError(f"{where} needs words for all seven emotions: {', '.join(LABELS)}.")
    spoken = [word for one in prompts.words for word in one]
    if len(prompts.templates) * len(spoken) > _MAX_TEXTS:
        sentences = f"{len(prompts.templates) * len(spoken):,} sentences"
        raise UsageError(
            f"{where} makes {sentences} of its templates and words, {_MAX_TEXTS:,} are allowed. Leave some out."
        )
    for text in (*prompts.templates, *spoken):
        if not text.strip() or len(text) > MAX_CHARACTERS:
            reason = (
                "is empty"
                if not text.strip()
                else f"has {len(text):,} characters; {MAX_CHARACTERS} are allowed, for a model reads no more"
            )
            raise UsageError(f"{where}: {_quoted(text)} {reason}.")
        if text != encodable(text):
            raise UsageError(
                f"{where}: {_quoted(text)} holds half of a character (a lone surrogate). Write it anew."
            )
    for template in prompts.templates:
        if template.count(_PLACEHOLDER) != 1:
            raise UsageError(
                f"{where}: the template {_quoted(template)} has {template.count(_PLACEHOLDER)} gaps; write {_PLACEHOLDER} once, where the emotion goes."
            )
    for word in spoken:
        if _PLACEHOLDER in word:
            raise UsageError(
                f"{where}: the word {_quoted(word)} has a gap in it; gaps belong into templates."
            )
    for kind, items in (
        ("template", prompts.templates),
        ("word", tuple(" ".join(word.lower().split()) for word in spoken)),
    ):
        item, times = Counter(items).most_common(1)[0]
        if times > 1:
            raise UsageError(
                f"{where} has the {kind} {_quoted(item)} {times} times. Each may stand there once, and for one emotion."
            )


def _quoted(text: str) -> str:
    return repr(text if len(text) <= 60 else f"{text[:60]}…")
