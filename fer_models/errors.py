"""What can go wrong, as exceptions made for people.

Every message says what was given, what is wrong with it and what to do next, on one line. `FerModelsError` is
what the command line and the pytest plugin catch: they print the message without a traceback.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Sequence

#: How many known names a message lists.
_LISTED = 20
#: The longest part of a message that comes from outside, in characters.
_LONGEST = 300
_SURROGATES = re.compile("[\ud800-\udfff]")


def encodable(text: str) -> str:
    """`text` with U+FFFD in place of lone surrogates, which no file, terminal or page can hold as UTF-8."""
    return _SURROGATES.sub("\ufffd", text)


def one_line(text: str, longest: int = _LONGEST) -> str:
    """Text from outside as part of a message: one line, at most `longest` characters, what cannot be printed
    as its escape sequence.
    """
    line = " ".join(text[: 4 * longest].split())
    shown = printable(line[: longest + 1])
    return shown if len(shown) <= longest and len(text) <= 4 * longest else f"{shown[: longest - 1]}…"


def printable(text: object, keep: str = "") -> str:
    """`text` for messages, JSON and pages: characters that cannot be shown are escaped as in Python's `repr`.

    These are control characters, direction overrides and lone surrogates (bytes of a file name that are no
    UTF-8).

    Args:
        keep: characters that stay, such as a newline.
    """
    shown = str(text)
    if shown.isprintable():
        return shown
    return "".join(c if c.isprintable() or c in keep else c.encode("unicode_escape").decode() for c in shown)


class FerModelsError(Exception):
    """Any error this package raises on purpose. Its text is complete: it needs no traceback to be
    understood.
    """

    def __str__(self) -> str:
        return printable(super().__str__(), keep="\n\t")


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

    def __init__(
        self, kind: str, name: str, choices: Iterable[str], hint: str = "", suggestion: str | None = None
    ) -> None:
        self.given = name
        self.known = sorted(choices)
        if suggestion is None:
            close = difflib.get_close_matches(name[:_LONGEST].lower(), self.known, n=1, cutoff=0.5)
            suggestion = close[0] if close else None
        question = f" Did you mean '{one_line(suggestion)}'?" if suggestion is not None else ""
        more = f", … ({len(self.known)} in all)" if len(self.known) > _LISTED else ""
        listing = ", ".join(self.known[:_LISTED]) + more or "none"
        super().__init__(
            f"No {kind} named '{one_line(name)}'.{question} Known: {listing}.{' ' + hint if hint else ''}"
        )


class DatasetError(UsageError):
    """The data cannot be read as what it claims to be: a missing folder, a cut row, an impossible label or
    pixel.
    """

    def __str__(self) -> str:
        return printable(super().__str__())  # on one line, whatever a file is called


class ImageError(DatasetError):
    """One image that cannot be decoded or breaks the image contract, usually a truncated or non-image
    file.
    """


class UnreadableFacesError(DatasetError):
    """Faces of a dataset whose pictures cannot be read, all of them in one error.

    Attributes:
        unreadable: the source of each such face and its own message.
    """

    #: Number of faces that the text names.
    NAMED = 10

    def __init__(self, name: str, total: int, unreadable: Sequence[tuple[str, str]], options: str) -> None:
        """Make the text.

        Args:
            name: the dataset's name and split.
            total: the number of its faces.
            unreadable: see the class.
            options: the options that select the dataset on the command line.
        """
        self.unreadable = tuple(unreadable)
        names = ", ".join(source for source, _ in self.unreadable[: self.NAMED])
        if len(self.unreadable) > self.NAMED:
            names += f", … and {len(self.unreadable) - self.NAMED} more"
        super().__init__(
            f"{name}: {len(self.unreadable)} of {total} pictures cannot be read: {names}. "
            f"The first: {self.unreadable[0][1]} Repair or remove them. "
            f"For the reason of each: fer-models data audit {options} --json"
        )


class WeightsMissingError(FerModelsError):
    """The weights of a model are not on this machine. Its text names the command that gets them."""


class WeightsError(UsageError):
    """A weights file that is not what it claims to be: wrong checksum, foreign format, missing or misshapen
    tensors.
    """


class PredictionError(FerModelsError):
    """A classifier failed or broke its contract: wrong shape, NaN, probabilities outside [0, 1], or an
    undeclared label order.
    """


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
