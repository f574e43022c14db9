"""Differences between prompts."""

from hypothesis import given
from hypothesis import strategies as st

from fer_models.report.prompt_diff import DiffPart, prompt_diff

PROMPTS = st.text("ab {}.,\n", max_size=30) | st.text(max_size=30)


@given(PROMPTS, PROMPTS)
def test_the_parts_give_both_prompts_back(before, after):
    parts = prompt_diff(before, after)
    assert "".join(part.text for part in parts if part.kind != "added") == before
    assert "".join(part.text for part in parts if part.kind != "removed") == after


@given(PROMPTS)
def test_equal_prompts_have_no_difference(prompt):
    assert {part.kind for part in prompt_diff(prompt, prompt)} <= {"same"}


def test_a_whole_word_is_replaced_and_not_its_letters():
    assert prompt_diff("a photo of", "a picture of") == [
        DiffPart("same", "a "),
        DiffPart("removed", "photo"),
        DiffPart("added", "picture"),
        DiffPart("same", " of"),
    ]
