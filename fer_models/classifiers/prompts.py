"""Prompt sets for zero-shot models: templates, and words for each emotion.

Each set is one data file, and is stored completely with the results.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fer_models.artifacts.file_names import readable_name
from fer_models.artifacts.json_io import parse_json, read_text
from fer_models.artifacts.resources import ASSETS
from fer_models.emotions import EMOTIONS, LABELS
from fer_models.errors import UnknownNameError, UsageError, encodable, one_line

FOLDER = ASSETS / "prompts"
#: The longest template or word allowed, in characters: a text encoder takes some 77 tokens and silently drops
#: the rest.
MAX_CHARACTERS = 300
#: The largest file of a prompt set, in bytes, and the most texts of a set: every template with every word.
_MAX_FILE_BYTES, _MAX_TEXTS = 1_000_000, 10_000
_PLACEHOLDER = "{}"
_EXAMPLE = (
    '{"templates": ["a photo of a {} face."], "emotions": {"angry": ["angry"], "disgust": ["disgusted"], …}}'
)


@dataclass(frozen=True)
class PromptSet:
    """Prompts of a zero-shot model.

    Attributes:
        name: its name in subjects and reports.
        templates: sentences, each with one placeholder `{}`.
        words: for each of the seven emotions, in `Emotion` order, the words for the placeholder: synonyms.
        source: where it comes from.
    """

    name: str
    templates: tuple[str, ...]
    words: tuple[tuple[str, ...], ...]
    source: str = ""

    def __post_init__(self) -> None:
        _check(self)

    def texts(self, emotion: int) -> list[str]:
        """Texts of one emotion: every template with every word, `len(templates) * len(words)` in all."""
        return [
            template.replace(_PLACEHOLDER, word)
            for word in self.words[emotion]
            for template in self.templates
        ]

    def only(self, *, template: str | None = None, words: Sequence[str] | None = None) -> PromptSet:
        """Reduce the set to one template, or to one word per emotion."""
        return PromptSet(
            self.name,
            self.templates if template is None else (template,),
            self.words if words is None else tuple((word,) for word in words),
            self.source,
        )

    def as_json(self) -> dict[str, Any]:
        """The content of the set's file."""
        return {
            "source": self.source,
            "templates": list(self.templates),
            "emotions": dict(zip(LABELS, map(list, self.words), strict=True)),
        }


def names() -> list[str]:
    """Names of the sets that come with the package."""
    return sorted(path.stem for path in FOLDER.glob("*.json"))


def load(name: str) -> PromptSet:
    """Load a set that comes with the package, or the user's own.

    Args:
        name: one of `names()`, or the path of a JSON file.

    Raises:
        UnknownNameError: neither.
        UsageError: the file is not a valid set: not JSON, a template without placeholder or with two, an
            emotion missing, a text twice or too long.
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
    return _parse(text, readable_name(path.stem), str(path))


def _parse(text: str, name: str, where: str) -> PromptSet:
    try:
        fields = parse_json(text)
    except ValueError as error:
        raise UsageError(
            f"The prompt set {where} is not JSON ({one_line(str(error))}). It looks like {_EXAMPLE}"
        ) from error
    return parse(fields, name, where)


def parse(fields: Any, name: str, where: str = "") -> PromptSet:
    """Make the set that `PromptSet.as_json` describes.

    Args:
        fields: the content of a set's file.
        name: the set's name.
        where: the set's file or name in messages.

    Raises:
        UsageError: as `load`.
    """
    where = where or name
    if not isinstance(fields, Mapping):
        raise UsageError(
            f"The prompt set {where} is a {type(fields).__name__}, not an object. It looks like {_EXAMPLE}"
        )
    templates, emotions = _entries(fields, where)
    words = [emotions[label] if isinstance(emotions[label], list) else [emotions[label]] for label in LABELS]
    for item in (*templates, *(word for synonyms in words for word in synonyms)):
        if not isinstance(item, str):
            raise UsageError(
                f"The prompt set {where} holds {one_line(repr(item), 60)} where a text is needed."
            )
    source = fields.get("source", "")
    if not isinstance(source, str):
        raise UsageError(
            f"The prompt set {where} has a source that is a {type(source).__name__}. Write a text."
        )
    return PromptSet(name, tuple(templates), tuple(map(tuple, words)), source)


def _entries(fields: Mapping[Any, Any], where: str) -> tuple[list[Any], Mapping[Any, Any]]:
    """The templates, and the words of all seven emotions by label."""
    try:
        unknown = set(fields) - {"source", "templates", "emotions"}
        templates, emotions = fields["templates"], fields["emotions"]
        if unknown:
            raise TypeError(f"unknown entries: {one_line(', '.join(sorted(map(str, unknown))))}")
        if not isinstance(templates, list) or not isinstance(emotions, Mapping):
            raise TypeError("templates is a list, emotions an object")
    except (KeyError, TypeError) as error:
        reason = f"it has no {error}" if isinstance(error, KeyError) else str(error)
        raise UsageError(f"The prompt set {where} is not one: {reason}. It looks like {_EXAMPLE}") from error
    missing = [label for label in LABELS if not emotions.get(label)]
    unknown_labels = [key for key in emotions if key not in LABELS]
    if missing or unknown_labels:
        problem = f"has words for {one_line(', '.join(map(repr, unknown_labels)))}"
        if missing:
            problem = f"has no words for {', '.join(missing)}"
        raise UsageError(
            f"The prompt set {where} {problem}. It needs these seven emotions: {', '.join(LABELS)}."
        )
    return templates, emotions


def _check(prompts: PromptSet) -> None:
    where = f"The prompt set {prompts.name!r}"
    if not prompts.templates:
        raise UsageError(f"{where} has no template. Give at least one sentence with {_PLACEHOLDER} in it.")
    if len(prompts.words) != len(EMOTIONS) or not all(prompts.words):
        raise UsageError(f"{where} needs words for all seven emotions: {', '.join(LABELS)}.")
    words = [word for synonyms in prompts.words for word in synonyms]
    n = len(prompts.templates) * len(words)
    if n > _MAX_TEXTS:
        raise UsageError(
            f"{where} makes {n:,} sentences of its templates and words, {_MAX_TEXTS:,} are allowed. "
            "Leave some out."
        )
    for text in (*prompts.templates, *words):
        _check_text(text, where)
    _check_placeholders(prompts.templates, words, where)
    normalized = tuple(" ".join(word.lower().split()) for word in words)
    for kind, items in (("template", prompts.templates), ("word", normalized)):
        item, times = Counter(items).most_common(1)[0]
        if times > 1:
            raise UsageError(
                f"{where} has the {kind} {_quoted(item)} {times} times. "
                "Each is allowed once, and for one emotion."
            )


def _check_text(text: str, where: str) -> None:
    if not text.strip():
        raise UsageError(f"{where}: {_quoted(text)} is empty.")
    if len(text) > MAX_CHARACTERS:
        raise UsageError(
            f"{where}: {_quoted(text)} has {len(text):,} characters; {MAX_CHARACTERS} are allowed, "
            "because a model reads no more."
        )
    if text != encodable(text):
        raise UsageError(
            f"{where}: {_quoted(text)} holds half of a character (a lone surrogate). Write it anew."
        )


def _check_placeholders(templates: Sequence[str], words: Sequence[str], where: str) -> None:
    for template in templates:
        if (gaps := template.count(_PLACEHOLDER)) != 1:
            raise UsageError(
                f"{where}: the template {_quoted(template)} has {gaps} gaps; write {_PLACEHOLDER} once, "
                "where the emotion goes."
            )
    for word in words:
        if _PLACEHOLDER in word:
            raise UsageError(f"{where}: the word {_quoted(word)} has a gap in it; only templates have gaps.")


def _quoted(text: str) -> str:
    return repr(text if len(text) <= 60 else f"{text[:60]}…")
