"""Exceptions with messages for users.

Every message contains the input, the problem and the next step, on one line. The command line and the pytest
plugin catch `FerModelsError` and print its message without a traceback.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Sequence

#: The largest number of names that a message lists.
_LISTED = 20
#: The longest external text in a message, in characters.
_LONGEST = 300
_SURROGATES = re.compile("[\ud800-\udfff]")


def encodable(text: str) -> str:
    """Replace lone surrogates, which cannot be encoded as UTF-8, by U+FFFD."""
    return _SURROGATES.sub("\ufffd", text)


def one_line(text: str, longest: int = _LONGEST) -> str:
    """Shorten external text for a message: one printable line of at most `longest` characters."""
    line = printable(" ".join(text[: 4 * longest].split())[: longest + 1])
    return line if len(line) <= longest and len(text) <= 4 * longest else f"{line[: longest - 1]}…"


def reason_of(error: BaseException) -> str:
    """The text of an exception of a library in one line, without a full stop; its class where it has none."""
    return one_line(str(error), 200).rstrip(".") or type(error).__name__


def printable(text: object, keep: str = "") -> str:
    """Escape unprintable characters as Python's `repr` does, for messages, JSON and reports.

    These are control characters, direction overrides and lone surrogates (bytes of a file name that are no
    UTF-8).

    Args:
        text: the text, or an object with one.
        keep: characters that are not escaped, such as a newline.
    """
    string = str(text)
    if string.isprintable():
        return string
    return "".join(c if c.isprintable() or c in keep else c.encode("unicode_escape").decode() for c in string)


class FerModelsError(Exception):
    """Error that this package raises on purpose. Its text is complete without a traceback."""

    def __str__(self) -> str:
        return printable(super().__str__(), keep="\n\t")


class UsageError(FerModelsError):
    """Invalid option or argument, usually a wrong name or path. The process ends with code 4."""


class PromptTooLongError(UsageError):
    """Prompt with more tokens than the model's context."""


class UnknownNameError(UsageError):
    """Unknown name of a model, restorer, dataset or split, usually a typing error.

    Attributes:
        name: the unknown name.
        choices: the valid names, sorted.
    """

    def __init__(
        self, kind: str, name: str, choices: Iterable[str], hint: str = "", suggestion: str | None = None
    ) -> None:
        self.name = name
        self.choices = sorted(choices)
        if suggestion is None:
            close = difflib.get_close_matches(name[:_LONGEST].lower(), self.choices, n=1, cutoff=0.5)
            suggestion = close[0] if close else None
        question = f" Did you mean '{one_line(suggestion)}'?" if suggestion is not None else ""
        more = f", … ({len(self.choices)} in all)" if len(self.choices) > _LISTED else ""
        listing = ", ".join(self.choices[:_LISTED]) + more or "none"
        super().__init__(
            f"No {kind} named '{one_line(name)}'.{question} Known: {listing}.{' ' + hint if hint else ''}"
        )


class DatasetError(UsageError):
    """Invalid data: a missing folder, an incomplete row, an impossible label or pixel."""

    def __str__(self) -> str:
        return printable(super().__str__())  # on one line, for any file name


class ImageError(DatasetError):
    """Image that cannot be decoded or has an invalid type or shape, usually a truncated file."""


class UnreadableFacesError(DatasetError):
    """Unreadable images of a dataset, all of them in one error.

    Attributes:
        unreadable: the source of each such face and its message.
    """

    #: Number of faces that the text names.
    NAMED = 10

    def __init__(self, name: str, total: int, unreadable: Sequence[tuple[str, str]], options: str) -> None:
        """Compose the message.

        Args:
            name: the dataset's name and split.
            total: the number of its faces.
            unreadable: see the class.
            options: the options that select the dataset on the command line.
        """
        self.unreadable = tuple(unreadable)
        n = len(self.unreadable)
        names = ", ".join(source for source, _ in self.unreadable[: self.NAMED])
        if n > self.NAMED:
            names += f", … and {n - self.NAMED} more"
        super().__init__(
            f"{name}: {n} of {total} pictures cannot be read: {names}. "
            f"The first: {self.unreadable[0][1]} Repair or remove them. "
            f"For the reason of each: fer-models data audit {options} --format json"
        )


class WeightsMissingError(FerModelsError):
    """Weights of a model are missing on this machine. The text has the command that installs them."""


class WeightsError(UsageError):
    """Invalid weights file: wrong checksum or format, missing tensors, or tensors of another shape."""


class PredictionError(FerModelsError):
    """Failed or invalid prediction: wrong shape, NaN, probabilities outside [0, 1], unknown label order."""


class NotEnoughMemoryError(PredictionError):
    """A model that needs more memory than is free."""


class RestorationError(FerModelsError):
    """Failed restoration, or a result that is not a batch of faces."""


class StoreError(FerModelsError):
    """Unusable store of predictions: a shard that is corrupt, invalid, or of another subject."""


class DamagedFileWarning(UserWarning):
    """Damaged cache file. It is not used, and its content is computed again."""


class BaselinesError(UsageError):
    """Unreadable `baselines.json`, or one that does not follow its schema."""


class FacesDifferError(FerModelsError):
    """Two results were computed on different faces, so they cannot be compared."""
