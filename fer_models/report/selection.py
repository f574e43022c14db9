"""The expression for pytest's `-k` that selects the accuracy test of one combination."""

from __future__ import annotations

import re

#: Names that pytest's grammar of expressions can contain.
_SEARCHABLE = re.compile(r"[\w:+\-.\[\]\\/]+")


def is_searchable(combination: str) -> bool:
    """Whether `-k` can search for a name `MODEL-RESTORATION`."""
    return _SEARCHABLE.fullmatch(combination) is not None


def keyword_expression(combination: str) -> str:
    """The expression: `accuracy and MODEL-RESTORATION`, or `accuracy` for a name that it cannot contain."""
    return f"accuracy and {combination}" if is_searchable(combination) else "accuracy"
