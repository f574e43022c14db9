"""Suggestions for a `-k` expression that selects no test."""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection

_OPERATORS = frozenset({"and", "or", "not"})


def suggestions(expression: str, names: Collection[str], combinations: Collection[str] = ()) -> list[str]:
    """One sentence per word of a `-k` expression that is part of no name: the closest names, if any.

    Args:
        expression: as given to `-k`.
        names: the names that a word can match: models, restorations, tests, files.
        combinations: further names, such as `vgg19-raw`, that are not suggested.
    """
    lower = {name.lower(): name for name in names}
    sentences = []
    for word in dict.fromkeys(re.findall(r"[^\s()]+", expression)):
        if word in _OPERATORS or any(word.lower() in name.lower() for name in (*lower, *combinations)):
            continue
        close = difflib.get_close_matches(word.lower(), lower, n=3, cutoff=0.6)
        hint = "`fer-models list` shows the models."
        if close:
            hint = f"Did you mean {' or '.join(lower[name] for name in close)}?"
        sentences.append(f"-k: no test, model or restoration matches {word!r}. {hint}")
    return sentences
