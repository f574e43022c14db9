"""Column of texts in Arrow's memory layout: a text takes its characters and four bytes, and no object."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any, overload

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import pyarrow as pa

#: How many texts are Python objects at once.
_CHUNK_SIZE = 4096


class TextColumn(Sequence[str]):
    """Texts that cannot be changed. It is equal to any other sequence of the same texts.

    Attributes:
        array: an Arrow array of strings without nulls, perhaps dictionary-encoded.
    """

    __slots__ = ("array",)
    __hash__ = None  # type: ignore[assignment] # it is equal to lists too

    def __init__(self, array: pa.Array) -> None:
        self.array = array

    @classmethod
    def of(cls, texts: Iterable[str], *, repeated: bool = False) -> TextColumn:
        """Return a column of texts.

        Args:
            texts: any texts; a column is returned as it is.
            repeated: few of them are different, so store each once.
        """
        import pyarrow as pa

        if isinstance(texts, TextColumn):
            column = texts
        else:
            rest, chunks = iter(texts), [pa.array([], pa.string())]
            while chunk := list(islice(rest, _CHUNK_SIZE)):
                chunks.append(pa.array(chunk, pa.string()))
            column = cls(pa.concat_arrays(chunks))
        return cls(column.array.dictionary_encode()) if repeated else column

    @classmethod
    def concatenate(cls, columns: Sequence[TextColumn]) -> TextColumn:
        """Concatenate one or more columns, in order."""
        import pyarrow as pa

        return cls(
            pa.chunked_array([column.array for column in columns]).unify_dictionaries().combine_chunks()
        )

    def __len__(self) -> int:
        return len(self.array)

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice | NDArray[Any]) -> TextColumn: ...
    def __getitem__(self, index: int | slice | NDArray[Any]) -> str | TextColumn:
        """The text in a row, or a column of the texts in a slice or an array of rows."""
        if isinstance(index, np.ndarray):
            return TextColumn(self.array.take(np.asarray(index, dtype=np.int64)))
        if isinstance(index, slice):
            return TextColumn(self.array[index])
        return str(self.array[int(index)].as_py())

    def __iter__(self) -> Iterator[str]:
        for start in range(0, len(self), _CHUNK_SIZE):
            yield from self.array.slice(start, _CHUNK_SIZE).to_pylist()

    def __contains__(self, text: object) -> bool:
        return isinstance(text, str) and bool(self.is_in((text,)).any())

    def __eq__(self, other: object) -> bool:
        if isinstance(other, TextColumn):
            return bool(self.strings.equals(other.strings))
        if isinstance(other, str) or not isinstance(other, Sequence):
            return NotImplemented
        return len(self) == len(other) and all(a == b for a, b in zip(self, other, strict=True))

    def __repr__(self) -> str:
        return f"TextColumn.of({list(self)!r})"

    def __reduce__(self) -> tuple[Any, ...]:
        return TextColumn.of, (list(self),)

    @property
    def strings(self) -> pa.Array:
        """The array without a dictionary."""
        import pyarrow as pa

        return self.array.dictionary_decode() if pa.types.is_dictionary(self.array.type) else self.array

    def is_in(self, texts: Iterable[str]) -> NDArray[np.bool_]:
        """Which rows are one of some texts."""
        import pyarrow.compute as pc

        found: NDArray[np.bool_] = pc.is_in(self.strings, TextColumn.of(texts).strings).to_numpy(
            zero_copy_only=False
        )
        return found

    def ranks(self) -> NDArray[np.int64]:
        """The position of each text among the different ones, sorted by code point."""
        import pyarrow.compute as pc

        distinct = self.strings.unique()
        distinct = distinct.take(pc.sort_indices(distinct))
        ranks: NDArray[np.int64] = pc.index_in(self.strings, distinct).to_numpy().astype(np.int64)
        return ranks
