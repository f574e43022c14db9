"""HTML with escaping as the default: the one place where text from outside becomes part of a page."""

from __future__ import annotations

import html
import re

#: Control characters (all but tab and newline), lone surrogates and direction overrides: no page or terminal
#: can show them, or not honestly.
_UNPRINTABLE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
_VOID = frozenset({"img"})


class Html(str):
    """A string that is markup already, so that it is not escaped again. Only `escape`, `element` and `join`
    make it from text.
    """

    __slots__ = ()


def clean(value: object) -> str:
    """`value` as text that can be shown anywhere: what cannot be printed becomes U+FFFD, so it is seen and
    does nothing.
    """
    return _UNPRINTABLE.sub("\ufffd", str(value))


def escape(value: object) -> Html:
    """`value` as HTML: markup stays as it is, everything else is escaped, quotes too; None becomes
    nothing.
    """
    if isinstance(value, Html):
        return value
    return Html("") if value is None else Html(html.escape(clean(value)))


def join(*parts: object) -> Html:
    """The parts one after the other, each escaped."""
    return Html("".join(escape(part) for part in parts))


def element(name: str, *children: object, **attributes: object) -> Html:
    """One element around its escaped children.

    A trailing underscore lets an attribute be a Python keyword (`class_`); an attribute that is None is left
    out, one that is True stands alone.
    """
    written = "".join(
        _attribute(key.rstrip("_"), value) for key, value in attributes.items() if value is not None
    )
    return Html(f"<{name}{written}>" if name in _VOID else f"<{name}{written}>{join(*children)}</{name}>")


def _attribute(key: str, value: object) -> str:
    # Through str, because markup is not escaped again and a quote in it would end the attribute.
    return f" {key}" if value is True else f' {key}="{escape(str(value))}"'
