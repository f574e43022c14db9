"""Label schemes: the meaning of the class numbers of a dataset.

Datasets number the same emotions in different orders: 2 is fear in FER-2013 and RAF-DB, sadness in AffectNet,
contempt in CK+, and surprise in FER+. Numbers alone do not identify the dataset, so the user selects the
scheme (`--label-scheme`).
"""

from __future__ import annotations

import json
import os
import re
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fer_models.artifacts.json_io import parse_json
from fer_models.emotions import LABELS, Emotion, parse_label
from fer_models.errors import DatasetError, UnknownNameError, printable
from fer_models.images import read_bytes

#: The largest scheme file, in bytes.
_LARGEST_FILE = 2**16


@dataclass(frozen=True)
class LabelScheme:
    """Meaning of the class numbers of a dataset.

    Attributes:
        name: its name in messages.
        classes: the name of each class; None or a name such as contempt for a class outside the seven.
    """

    name: str
    classes: Mapping[int, str | None]

    def __post_init__(self) -> None:
        emotions = [emotion for emotion in map(self.emotion, self.classes) if emotion is not None]
        repeated = sorted({emotion.label for emotion in emotions if emotions.count(emotion) > 1})
        if repeated:
            raise DatasetError(
                f"The label scheme {self.name} gives two numbers to {', '.join(repeated)}. "
                "Give each emotion one number."
            )
        if not emotions:
            raise DatasetError(
                f"The label scheme {self.name} names none of the emotions {', '.join(LABELS)}."
            )

    def emotion(self, number: int) -> Emotion | None:
        """The emotion of class `number`, or None for a class outside the seven.

        Raises:
            DatasetError: the scheme has no such class.
        """
        if number not in self.classes:
            raise DatasetError(
                f"the label scheme {self.name} has no class {number}. It has: {self.describe()}."
            )
        name = self.classes[number]
        return None if name is None else parse_label(name)

    def describe_class(self, number: int) -> str:
        """Describe the class `number`, as `7 contempt`."""
        return f"{number} {self.classes[number] or 'other'}"

    def describe(self) -> str:
        """Describe all classes, for messages and notes."""
        dropped = {n: " (dropped)" if self.emotion(n) is None else "" for n in sorted(self.classes)}
        return ", ".join(self.describe_class(n) + suffix for n, suffix in dropped.items())


#: The order of `fer2013.csv`, and that of its class folders.
FER2013, FER2013_ALPHABETICAL = "fer2013", "fer2013-alphabetical"


def _scheme(name: str, first: int, names: str) -> LabelScheme:
    return LabelScheme(name, dict(enumerate(names.split(), start=first)))


AFFECTNET = _scheme(
    "affectnet", 0, "neutral happy sad surprise fear disgust angry contempt none uncertain no-face"
)
RAF_DB = _scheme("raf-db", 1, "surprise fear disgust happy sad angry neutral")

#: The schemes of published datasets, by name.
SCHEMES: dict[str, LabelScheme] = {
    scheme.name: scheme
    for scheme in (
        AFFECTNET,
        _scheme("ck+", 0, "neutral angry contempt disgust fear happy sad surprise"),
        _scheme(FER2013, 0, "angry disgust fear happy sad surprise neutral"),
        _scheme(FER2013_ALPHABETICAL, 0, "angry disgust fear happy neutral sad surprise"),
        _scheme("ferplus", 0, "neutral happy surprise sad angry disgust fear contempt unknown no-face"),
        RAF_DB,
    )
}


def find(name: str) -> LabelScheme:
    """Find a scheme: one of `SCHEMES`, or a JSON file (an object: class numbers to emotions).

    Raises:
        UnknownNameError: neither one of `SCHEMES` nor a file.
        DatasetError: the file is no valid scheme.
    """
    if name.lower() in SCHEMES:
        return SCHEMES[name.lower()]
    path = Path(os.path.expanduser(name))
    if not os.path.exists(path):
        hint = 'A JSON file works too, such as {"0": "happy", "1": "sad", "2": null}.'
        raise UnknownNameError("label scheme or file", name, SCHEMES, hint)
    try:
        content = parse_json(read_bytes(path, _LARGEST_FILE).decode("utf-8"))
    except ValueError as error:
        raise DatasetError(f"{path} cannot be read as JSON ({error}). {_FORMAT_HINT}") from error
    if not isinstance(content, dict):
        raise DatasetError(f"{path} holds {type(content).__name__}, not a JSON object. {_FORMAT_HINT}")
    try:
        return LabelScheme(printable(path), dict(map(_parse_class, content.items())))
    except DatasetError as error:
        raise DatasetError(f"{path}: {error} {_FORMAT_HINT}") from error


_FORMAT_HINT = (
    "A label scheme is a JSON object from class numbers to emotions: "
    '{"0": "happy", "1": "sad", "2": null}; null is a class to drop.'
)


def _parse_class(item: tuple[str, Any]) -> tuple[int, str | None]:
    """Parse and check one entry of a scheme file."""
    key, name = item
    if not re.fullmatch("0|[1-9][0-9]{0,3}", key):
        raise DatasetError(f"the key {key[:40]!r} is no class number of 0..9999.")
    if not isinstance(name, str | None):
        raise DatasetError(f"class {key} is {json.dumps(name)[:40]}, neither an emotion's name nor null.")
    if name is not None:
        parse_label(name)
    return int(key), name


def suggest_schemes(numbers: Iterable[int]) -> str:
    """Suggest the schemes that have all class `numbers`, as sentences for a message."""
    matching = [scheme for scheme in SCHEMES.values() if set(numbers) <= set(scheme.classes)]
    options = [f"--label-scheme {shlex.quote(scheme.name)} ({scheme.describe()})" for scheme in matching]
    return f"Select their scheme: {'; or '.join([*options, '--label-scheme FILE'])}. {_FORMAT_HINT}"
