"""What can go wrong, as exceptions made for people.

Every message says what was given, what is wrong with it and what to do next, on one line. `FerModelsError` is what the
command line and the pytest plugin catch: they print the message without a traceback.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable

#: How many known names a message lists.
_LISTED = 20
#: The longest part of a message that comes from outside, in characters.
_LONGEST = 300
_SURROGATES = re.compile("[\ud800-\udfff]")


def encodable(text: str) -> str:
    """`text` with U+FFFD in place of lone surrogates, which no file, terminal or page can hold as UTF-8."""
    return _SURROGATES.sub("\ufffd", text)


def one_line(text: str, longest: int = _LONGEST) -> str:
    """Text from outside as part of a message: one line, at most `longest` characters, what cannot be printed as its escape sequence."""
    line = " ".join(text[: 4 * longest].split())
    shown = "".join(c if c.isprintable() else repr(c)[1:-1] for c in line[: longest + 1])
    return shown if len(shown) <= longest and len(text) <= 4 * longest else f"{shown[: longest - 1]}…"


class FerModelsError(Exception):
    """Any error this package raises on purpose. Its text is complete: it needs no traceback to be understood."""

    def __str__(self) -> str:
        return encodable(super().__str__())


class UsageError(FerModelsError):
    """An option or argument that cannot work, usually a wrong name or path. The process ends with code 4."""


class PromptTooLongError(UsageError):
    """A prompt has more tokens than the model reads."""


class UnknownNameError(UsageError):
    """A model, restorer, dataset or split that nobody registered, usually a typing slip.

    Attributes:
        given: the name as it was written.
        known: the names that would have worked.
    """

    def __init__(self, kind: str, given: str, known: Iterable[str], hint: str = "") -> None:
        self.given = given
        self.known = sorted(known)
        close = difflib.get_close_matches(given[:_LONGEST].lower(), self.known, n=1, cutoff=0.5)
        suggestion = f" Did you mean {close[0]!r}?" if close else ""
        more = f", … ({len(self.known)} in all)" if len(self.known) > _LISTED else ""
        listing = ", ".join(self.known[:_LISTED]) + more or "none"
        super().__init__(f"No {kind} named '{one_line(given)}'.{suggestion} Known: {listing}.{' ' + hint if hint else ''}")


class DatasetError(UsageError):
    """The data cannot be read as what it claims to be: a missing folder, a cut row, an impossible label or pixel."""


class ImageError(DatasetError):
    """One image that cannot be decoded or breaks the image contract, usually a truncated or non-image file."""


class WeightsMissingError(FerModelsError):
    """The weights of a model are not on this machine. Its text names the command that gets them."""


class WeightsError(UsageError):
    """A weights file that is not what it claims to be: wrong checksum, foreign format, missing or misshapen tensors."""


class PredictionError(FerModelsError):
    """A classifier failed or broke its contract: wrong shape, NaN, probabilities outside [0, 1], or an undeclared label order."""


class RestorationError(FerModelsError):
    """A restorer could not restore, or handed back something that is not a batch of faces."""


class StoreError(FerModelsError):
    """The store of answers cannot be used: a shard that is corrupt, foreign, or holds another subject."""


class DamagedFileWarning(UserWarning):
    """A file of a cache is damaged. It is not used, and its content is computed anew."""


class BaselinesError(UsageError):
    """`baselines.json` cannot be read or does not follow its schema."""


class FacesDifferError(FerModelsError):
    """Two results stand on different faces, so comparing them would mean nothing."""
