"""Columns of texts in Arrow's memory layout."""

from __future__ import annotations

import pickle
from itertools import chain

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fer_models import text_column
from fer_models.text_column import TextColumn

texts = st.text(st.characters(blacklist_categories=["Cs"]), max_size=8)
lists = st.lists(st.one_of(texts, st.sampled_from(["ok", "", "refused"])), max_size=30)


@given(lists, st.booleans())
def test_a_column_is_the_sequence_of_its_texts(values: list[str], repeated: bool) -> None:
    column = TextColumn.of(values, repeated=repeated)
    assert list(column) == values
    assert len(column) == len(values)
    assert [column[i] for i in range(len(values))] == values
    assert column == values
    assert values == column
    assert column == tuple(values)
    assert column == TextColumn.of(iter(values), repeated=not repeated)


@given(lists, lists)
def test_columns_are_equal_if_their_texts_are(first: list[str], second: list[str]) -> None:
    a, b = TextColumn.of(first), TextColumn.of(second, repeated=True)
    assert (a == b) is (first == second)
    assert (a != second) is (first != second)


@given(lists, st.booleans(), st.data())
def test_rows_are_selected_as_from_a_list(values: list[str], repeated: bool, data: st.DataObject) -> None:
    column = TextColumn.of(values, repeated=repeated)
    part = data.draw(st.slices(len(values)))
    part = slice(part.start, part.stop)
    assert column[part] == values[part]
    if values:
        rows = data.draw(st.lists(st.integers(0, len(values) - 1)))
        assert column[np.array(rows, dtype=np.int64)] == [values[row] for row in rows]


@given(st.lists(lists, min_size=1, max_size=4), st.booleans())
def test_concatenated_columns_have_all_texts_in_order(parts: list[list[str]], repeated: bool) -> None:
    columns = [TextColumn.of(part, repeated=repeated) for part in parts]
    assert TextColumn.concatenate(columns) == list(chain(*parts))


@given(lists, lists, st.booleans())
def test_membership_is_that_of_a_list(values: list[str], wanted: list[str], repeated: bool) -> None:
    column = TextColumn.of(values, repeated=repeated)
    assert column.is_in(wanted).tolist() == [value in wanted for value in values]
    assert all(text in column for text in values)
    assert ("ok" in column) is ("ok" in values)
    assert 3 not in column


@given(lists, st.booleans())
def test_ranks_are_the_positions_in_the_sorted_distinct_texts(values: list[str], repeated: bool) -> None:
    distinct = sorted(set(values))
    ranks = TextColumn.of(values, repeated=repeated).ranks().tolist()
    assert ranks == [distinct.index(value) for value in values]


def test_a_column_larger_than_a_chunk_keeps_its_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text_column, "_CHUNK_SIZE", 3)
    values = [str(i) for i in range(10)]
    assert list(TextColumn.of(values)) == values


def test_a_column_is_no_text_and_not_equal_to_other_types() -> None:
    column = TextColumn.of(["a", "b"])
    assert column != "ab"
    assert column != 3
    assert pickle.loads(pickle.dumps(column)) == column
    assert repr(column) == "TextColumn.of(['a', 'b'])"


def test_repeated_texts_are_stored_once() -> None:
    column = TextColumn.of(["ok"] * 1000 + ["refused"], repeated=True)
    assert column.array.dictionary.to_pylist() == ["ok", "refused"]
    assert len(TextColumn.concatenate([column, column]).array.dictionary) == 2
