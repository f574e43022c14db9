"""Tables that fit the width of a terminal.

A name is never broken: one that does not fit next to its cells has a line of its own. Only a name that is
longer than a line is shortened, with an ellipsis in its middle.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from rich.cells import cell_len
from rich.text import Text

from fer_models.report.formatting import shorten

#: The narrowest table, in columns: that of a standard terminal. A narrower terminal wraps its lines.
MIN_WIDTH = 80
_GAP = "  "


@dataclass(frozen=True)
class Row:
    """A name and its cells."""

    name: Text
    cells: tuple[Text, ...]


@dataclass(frozen=True)
class TerminalTable:
    """Rows below headings.

    Attributes:
        name_heading: the heading of the names.
        headings: those of the cells; a heading with a space before it is right-aligned, as its cells are.
        sections: the rows by title; an empty title has no line.
        width: the largest width, at least `MIN_WIDTH` columns.
    """

    name_heading: str
    headings: tuple[str, ...]
    sections: Mapping[str, Sequence[Row]]
    width: int

    @property
    def fits(self) -> bool:
        """Whether every name fits next to its cells."""
        return all(cell_len(row.name.plain) <= self._room for row in self._rows)

    def lines(self) -> Iterator[Text]:
        """The lines of the table."""
        headings = tuple(Text(heading.strip()) for heading in self.headings)
        yield from self._lines(Row(Text(self.name_heading), headings), "bold")
        yield Text("─" * self.width, "dim")
        for title, rows in self.sections.items():
            if title:
                yield Text(shorten(title, self.width), "bold")
            for row in rows:
                yield from self._lines(row)

    @property
    def _rows(self) -> list[Row]:
        return [row for rows in self.sections.values() for row in rows]

    @cached_property
    def _widths(self) -> tuple[int, ...]:
        columns = zip(*(row.cells for row in self._rows), strict=True)
        longest = [max(cell_len(cell.plain) for cell in column) for column in columns]
        headings = [len(heading.strip()) for heading in self.headings]
        return tuple(map(max, zip(headings, longest or headings, strict=True)))

    @cached_property
    def _room(self) -> int:
        """The width that the cells leave to the names."""
        return self.width - sum(self._widths) - len(_GAP) * len(self._widths)

    @cached_property
    def _name_width(self) -> int:
        lengths = [cell_len(row.name.plain) for row in self._rows]
        return max([len(self.name_heading), *(n for n in lengths if n <= self._room)])

    def _lines(self, row: Row, style: str = "") -> Iterator[Text]:
        name = row.name
        if cell_len(name.plain) > self._name_width:
            yield Text(shorten(name.plain, self.width), name.style)
            name = Text()
        line = Text(style=style)
        line.append_text(name).append(" " * (self._name_width - cell_len(name.plain)))
        for heading, cell, width in zip(self.headings, row.cells, self._widths, strict=True):
            padding = " " * (width - cell_len(cell.plain))
            parts = (padding, cell) if heading.startswith(" ") else (cell, padding)
            line.append_text(Text.assemble(_GAP, *parts))
        line.rstrip()
        yield line
