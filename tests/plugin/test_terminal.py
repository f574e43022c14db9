"""The lines of the summary in a terminal."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fer_models.plugin.terminal import wrapped

TABLE = "vgg19-raw: it regressed.\n  metric      now\n> accuracy    0.641"


def reporter(*, isatty: bool, width: int = 80) -> Any:
    return SimpleNamespace(isatty=isatty, _tw=SimpleNamespace(fullwidth=width))


@given(st.lists(st.text("abcdefg-_()+", min_size=1, max_size=60), min_size=1, max_size=30))
def test_a_long_line_is_wrapped_between_words_and_no_name_is_broken(words: list[str]) -> None:
    lines = wrapped(reporter(isatty=True), " ".join(words)).splitlines()
    assert max(map(len, lines)) <= 80
    assert [word for line in lines for word in line.split()] == words


@pytest.mark.parametrize("text", ["m" * 200, "word " * 40])
def test_a_message_stays_on_one_line_where_there_is_no_terminal(text: str) -> None:
    assert wrapped(reporter(isatty=False), text) == text


def test_the_table_of_a_failure_keeps_its_columns() -> None:
    assert wrapped(reporter(isatty=True), TABLE) == TABLE
