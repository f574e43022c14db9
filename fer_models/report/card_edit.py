"""Edits of an existing model card that keep all other text byte for byte.

huggingface_hub would write the whole front matter again, without its comments and in another style. So the
positions of the entry are taken from the YAML parser, and only these characters are replaced.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from fer_models.errors import UsageError, one_line

#: The lines around the section in a card.
START, END = "<!-- fer-models card: start -->", "<!-- fer-models card: end -->"
_INDEX = "model-index"
_MARK = {mark: re.compile(rf"^{re.escape(mark)}[ \t]*(?=\r?$)", re.MULTILINE) for mark in (START, END)}
_OPENING = re.compile(r"\s*---[ \t]*[\r\n]")


class CardError(UsageError):
    """Model card that cannot be edited: what is wrong, and in which line."""

    def __init__(self, line: int, problem: str) -> None:
        super().__init__(f"line {line}: {problem}")


def section_block(section: str) -> str:
    """The section between its two marks. It contains no other mark, whatever names are in it."""
    return f"{START}\n\n{section.replace('<!--', '<! --').rstrip()}\n\n{END}"


def edit(content: str, data: str, section: str, is_own: Callable[[Any], bool]) -> str:
    """Replace, or add, the entry of this suite in `model-index` and the section between the marks.

    Args:
        content: a card, with or without a front matter.
        data: the front matter of a new card, without its `---` lines. Its last key is `model-index`, with one
            entry in block style. A card without a front matter gets all of it.
        section: Markdown, for between the marks.
        is_own: whether a result in `model-index` is of this suite.

    Raises:
        CardError: the front matter or the marks cannot be read.
    """
    from huggingface_hub.repocard import REGEX_YAML_BLOCK

    newline = "\r\n" if "\r\n" in content else "\n"
    data, block = (text.replace("\n", newline) for text in (data, section_block(section)))
    match = REGEX_YAML_BLOCK.search(content)
    if match is None:
        if _OPENING.match(content):
            raise CardError(
                1, "the front matter is empty, or has no line --- at its end. Complete or remove it."
            )
        return f"---{newline}{data}{newline}---{newline}{newline}{_edit_body(content, block, newline, 1)}"
    entry = data.partition(f"{_INDEX}:{newline}")[2]
    first_line = content.count("\n", 0, match.start(2)) + 1
    front = _FrontMatter(match[2], first_line, is_own).edit(entry, newline)
    body_line = content.count("\n", 0, match.end()) + 1
    body = _edit_body(content[match.end() :], block, newline, body_line)
    return content[: match.start(2)] + front + content[match.end(2) : match.end()] + body


def _edit_body(body: str, block: str, newline: str, first_line: int) -> str:
    """Replace the text between the marks, or append the block."""
    starts, ends = ([one.span() for one in _MARK[mark].finditer(body)] for mark in (START, END))
    if not starts and not ends:
        gap = "" if not body.strip() else newline if body.endswith("\n") else 2 * newline
        return f"{body}{gap}{block}{newline}"
    if len(starts) != 1 or len(ends) != 1 or starts > ends:
        positions = sorted(position for position, _ in (*starts, *ends))
        lines = ", ".join(str(body.count("\n", 0, position) + first_line) for position in positions)
        raise CardError(
            body.count("\n", 0, positions[0]) + first_line,
            f"a card has one line {START} and below it one line {END}, or neither. Here they are in line "
            f"{lines}. Remove them, and the section comes to the end of the card.",
        )
    return body[: starts[0][0]] + block + body[ends[0][1] :]


@dataclass(frozen=True)
class _FrontMatter:
    """The YAML of a front matter, without its `---` lines.

    Attributes:
        text: the YAML.
        first_line: its line in the card.
        is_own: as in `edit`.
    """

    text: str
    first_line: int
    is_own: Callable[[Any], bool]

    def edit(self, entry: str, newline: str) -> str:
        """The text with the entry in `model-index`: an item of a list in block style."""
        before = self._parse(self.text)
        edited = self._edit(entry, newline, before)
        if repr(self._others(self._parse(edited))) != repr(self._others(before)):
            raise self._error(self._index()[0], f"{_INDEX} has an unusual style. Write it in block style.")
        return edited

    def _edit(self, entry: str, newline: str, data: dict[str, Any]) -> str:
        key, value = self._index()
        if key is None or value is None:
            return f"{self.text}{newline if self.text else ''}{_INDEX}:{newline}{entry}"
        if not data[_INDEX]:  # null, or an empty list
            rest, line_break, below = self.text[value.end_mark.index :].partition(newline)
            return f"{self.text[: key.end_mark.index]}:{rest}{newline}{entry}{line_break}{below}"
        if value.flow_style:
            raise self._error(
                key, f"{_INDEX} is in brackets. Write it as a list with one '- ' for each entry."
            )
        text = self.text
        for start, end, new in sorted(self._edits(value, data[_INDEX], entry, newline), reverse=True):
            text = text[:start] + new + text[end:]
        return text

    def _edits(
        self, sequence: Any, entries: Sequence[Any], entry: str, newline: str
    ) -> Iterator[tuple[int, int, str]]:
        """Start, end and new text of each edit: the first own entry is replaced, others are removed."""
        new = entry.replace(newline, newline + " " * sequence.start_mark.column)
        is_written = False
        for item, node in zip(entries, sequence.value, strict=True):
            own = [self.is_own(result) for result in item["results"]]
            if own and all(own):
                start, end = self._span(node)
                yield (self._line_before(start), end, "") if is_written else (start, end, new)
                is_written = True
            elif any(own):  # huggingface_hub writes all entries as one
                results = [value for key, value in node.value if key.value == "results"][-1]
                if results.flow_style:
                    raise self._error(results, "results are in brackets. Write them with one '- ' for each.")
                for one in (result for result, mine in zip(results.value, own, strict=True) if mine):
                    start, end = self._span(one)
                    yield self._line_before(start), end, ""
        if not is_written:
            end = self._content_end(sequence.start_mark.index, sequence.end_mark.index)
            yield end, end, f"{newline}{' ' * sequence.start_mark.column}{new}"

    def _index(self) -> tuple[Any, Any]:
        """The nodes of `model-index` and of its value; None for none."""
        import yaml

        root = yaml.compose(self.text, Loader=yaml.SafeLoader)
        pairs = [] if root is None else [pair for pair in root.value if pair[0].value == _INDEX]
        if len(pairs) > 1:
            raise self._error(pairs[1][0], f"{_INDEX} is there twice. Keep one.")
        if root is not None and root.flow_style:
            raise self._error(root, "the front matter is in braces. Write one 'key: value' in each line.")
        return pairs[0] if pairs else (None, None)

    def _parse(self, text: str) -> dict[str, Any]:
        import yaml
        from huggingface_hub import ModelCard

        try:
            data = yaml.safe_load(text)
        except (yaml.YAMLError, ValueError) as error:  # ValueError: an impossible date
            mark = getattr(error, "problem_mark", None)
            line = self.first_line + (0 if mark is None else mark.line)
            problem = getattr(error, "problem", None) or str(error)
            raise CardError(
                line, f"the front matter is not valid YAML ({one_line(problem)}). Repair it."
            ) from error
        if data is not None and not isinstance(data, dict):
            raise CardError(self.first_line, "the front matter has no 'key: value' lines. Write it as such.")
        try:
            ModelCard(f"---\n{text}\n---\n")
        except (ValueError, TypeError, AttributeError) as error:
            reason = one_line(str(error).partition(". ")[0])
            raise self._error(
                self._index()[0], f"huggingface_hub cannot read it ({reason}). Repair it."
            ) from error
        return data or {}

    def _others(self, data: dict[str, Any]) -> dict[str, Any]:
        """The data without the results of this suite."""
        entries = [
            {**entry, "results": [result for result in entry["results"] if not self.is_own(result)]}
            for entry in data.get(_INDEX) or ()
        ]
        return {**data, _INDEX: [entry for entry in entries if entry["results"]]}

    def _span(self, item: Any) -> tuple[int, int]:
        """Start and end of an item of a list in block style, from its dash to its last character."""
        start = self.text.rindex("-", 0, item.start_mark.index)
        return start, self._content_end(start, item.end_mark.index)

    def _content_end(self, start: int, end: int) -> int:
        """The end without the blank lines and comments that the parser counts as part of a list."""
        lines = self.text[start:end].split("\n")
        while len(lines) > 1 and (not lines[-1].strip() or lines[-1].lstrip().startswith("#")):
            lines.pop()
        return start + len("\n".join(lines).rstrip())

    def _line_before(self, position: int) -> int:
        """The end of the line before the one at `position`, without its line break."""
        return len(self.text[: self.text.rindex("\n", 0, position)].removesuffix("\r"))

    def _error(self, node: Any, problem: str) -> CardError:
        line = 0 if node is None else node.start_mark.line
        return CardError(self.first_line + line, problem)
