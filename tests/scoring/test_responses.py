"""What became of every reply."""

from dataclasses import replace

import numpy as np
import pytest
from eval_reports import report, result
from fakes import answers_of
from hypothesis import given
from hypothesis import strategies as st

from fer_models.classifiers.vlm import base, questions
from fer_models.report.html_report import section_html
from fer_models.scoring.responses import response_summary

LETTERED = questions.load("multiple-choice")


def told(replies, question=LETTERED):
    said = base.parse_responses(replies, question)
    stored = answers_of(np.zeros(len(replies), dtype=int), said.answer)
    return replace(stored, status=said.status, text=said.text)


@given(
    st.lists(
        st.sampled_from(
            ["sad", "Joyful!", "B", "It is a sad face", "", "I'm sorry, I can't.", "sad or angry", "a cat"]
        ),
        min_size=1,
        max_size=30,
    )
)
def test_every_face_stands_in_exactly_one_entry(replies):
    found = response_summary(told(replies), LETTERED)
    if found is None:  # nothing was written at all only where all is answered, which an empty reply is not
        pytest.fail("replies without a ledger")
    assert (
        sum(entry["n"] for entry in found["entries"])
        == len(replies)
        == found["answered"] + found["unanswered"]
    )
    assert found["unanswered"] == sum(
        reply in ("", "I'm sorry, I can't.", "sad or angry", "a cat") for reply in replies
    )


def test_entries_tell_how_replies_were_read_and_what_they_said():
    found = response_summary(told(["sad", "sad", "fear", "B", "He is joyful", "I cannot tell."]), LETTERED)
    kinds = {entry["kind"]: entry for entry in found["entries"]}
    assert {kind: entry["n"] for kind, entry in kinds.items()} == {
        "exact": 3,
        "letter": 1,
        "synonym": 1,
        "refused": 1,
    }
    assert kinds["exact"]["replies"] == [{"text": "sad", "n": 2}, {"text": "fear", "n": 1}]
    assert [entry["answered"] for entry in found["entries"]] == [True, True, True, False]


def test_a_model_that_gives_probabilities_has_none():
    assert response_summary(answers_of(np.zeros(3, dtype=int), np.zeros(3, dtype=int)), None) is None


def test_what_a_model_wrote_is_shown_and_does_nothing_on_the_page():
    responses = response_summary(told(["<script>alert(1)</script>", "sad"]), LETTERED)
    page = section_html(report(results=[result("m", n=2, responses=responses)]), "responses")
    assert "<script>" not in page
    assert "&lt;script&gt;" in page
    assert "no answer: no emotion named" in page
