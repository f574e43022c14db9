"""Slice columns: categories as they are, numbers by cuts, two columns together."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fer_models.errors import UsageError
from fer_models.slices.columns import (
    LONGEST_NAME,
    MAX_LEVELS,
    SliceColumns,
    categorical_column,
    cross,
    numeric_column,
    quartiles_of,
)

numbers = st.floats(-1e6, 1e6, allow_nan=False)
categories = st.lists(st.sampled_from(["a", "b", "10", "9", ""]), min_size=1, max_size=40)


@given(st.lists(st.one_of(numbers, st.just(math.nan)), min_size=1), st.lists(numbers, min_size=1, max_size=5))
def test_each_number_is_in_the_range_between_its_cuts(values, cuts):
    column = numeric_column("x", values, "test", cuts)
    edges = sorted(set(cuts))
    for value, code in zip(values, column.codes.tolist(), strict=True):
        assert code == (-1 if math.isnan(value) else sum(edge <= value for edge in edges))
    assert len(column.levels) == len(set(column.levels)) == len(edges) + 1


@given(st.lists(numbers, min_size=40, max_size=200, unique=True))
def test_quartiles_make_four_slices_of_about_the_same_size(values):
    column = numeric_column("x", values, "test", quartiles_of(values), quartiles=True)
    assert column.levels[0] == "lowest quarter"
    sizes = np.bincount(column.codes, minlength=4)
    assert sizes.max() - sizes.min() <= 2


def test_quartiles_that_coincide_give_fewer_slices_with_their_ranges_as_names():
    column = numeric_column("x", [1, 1, 1, 5], "test", quartiles_of([1, 1, 1, 5]), quartiles=True)
    assert column.levels == ("below 1", "1 to 2", "2 and more")


@given(categories)
def test_categories_keep_their_values_and_an_empty_text_is_no_value(values):
    column = categorical_column("x", values, "test")
    assert [column.levels[code] if code >= 0 else "" for code in column.codes] == values
    assert column.n_without_value == values.count("")


def test_numbers_among_categories_are_sorted_by_value():
    assert categorical_column("x", ["10", "9", "b", "a"], "test").levels == ("9", "10", "a", "b")


@given(categories, st.randoms())
def test_crossed_columns_hold_each_pair_that_occurs(first, random):
    second = random.sample(first, len(first))
    crossed = cross(categorical_column("x", first, "test"), categorical_column("y", second, "test"))
    expected = [f"{a} and {b}" if a and b else "" for a, b in zip(first, second, strict=True)]
    assert [crossed.levels[code] if code >= 0 else "" for code in crossed.codes] == expected
    assert set(crossed.levels) == set(expected) - {""}


def test_a_column_of_too_many_values_is_refused():
    with pytest.raises(UsageError, match=f"'id' has {MAX_LEVELS + 1} different values"):
        categorical_column("id", [str(i) for i in range(MAX_LEVELS + 1)], "test")


@given(st.text(min_size=1, max_size=200), st.text(min_size=1, max_size=200))
def test_names_from_outside_are_printable_and_in_one_line(name, value):
    column = categorical_column(name, [value], "test")
    for text in (column.name, *column.levels):
        assert text.isprintable()
        assert len(text) <= LONGEST_NAME


@given(categories, st.data())
def test_selected_faces_stay_in_their_slices(values, data):
    rows = np.array(data.draw(st.lists(st.integers(0, len(values) - 1))), dtype=np.int64)
    columns = SliceColumns((categorical_column("x", values, "test"),), ("a note",), 7)
    selected = columns.select(rows)
    assert selected.columns[0].codes.tolist() == [columns.columns[0].codes[row] for row in rows]
    assert (selected.notes, selected.minimum) == (("a note",), 7)
