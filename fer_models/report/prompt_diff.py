"""Differences between two prompts, word by word."""

from __future__ import annotations

import re
from difflib import SequenceMatcher
from typing import Literal, NamedTuple

#: A word, white space, or one other character.
_TOKEN = re.compile(r"\w+|\s+|.", re.DOTALL)


class DiffPart(NamedTuple):
    """A piece of text that both prompts have (`same`), or only the first (`removed`) or second (`added`)."""

    kind: Literal["same", "removed", "added"]
    text: str


def prompt_diff(before: str, after: str) -> list[DiffPart]:
    """Compare two prompts.

    The `same` and `removed` parts in order are `before`, the `same` and `added` parts are `after`.
    """
    old, new = _TOKEN.findall(before), _TOKEN.findall(after)
    parts: list[DiffPart] = []
    for tag, i, j, k, m in SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
        if tag == "equal":
            parts.append(DiffPart("same", "".join(old[i:j])))
            continue
        if j > i:
            parts.append(DiffPart("removed", "".join(old[i:j])))
        if m > k:
            parts.append(DiffPart("added", "".join(new[k:m])))
    return parts
