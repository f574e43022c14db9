"""Summary of response parsing."""

from dataclasses import replace

import numpy as np
from eval_reports import report, result
from fakes import prediction_table
from hypothesis import given
from hypothesis import strategies as st

from fer_models.classifiers.vlm import base, questions
from fer_models.report.html_report import section_html
from fer_models.scoring.responses import response_summary

MULTIPLE_CHOICE = questions.load("multiple-choice")


def parsed(replies, question=MULTIPLE_CHOICE):
    predictions = base.parse_responses(replies, question)
    table = prediction_table(np.zeros(len(replies), dtype=int), predictions.answer)
    return replace(table, status=predictions.status, text=predictions.text)


REPLIES = ["sad", "Joyful!", "B", "It is a sad face", "", "I'm sorry, I can't.", "sad or angry", "a cat"]


@given(st.lists(st.sampled_from(REPLIES), min_size=1, max_size=30))
def test_every_face_is_in_exactly_one_entry(replies):
    summary = response_summary(parsed(replies), MULTIPLE_CHOICE)
    assert summary is not None  # an empty reply is no prediction, so there is a summary
    assert sum(entry["n"] for entry in summary["entries"]) == len(replies)
    assert summary["answered"] + summary["unanswered"] == len(replies)
    unparseable = ("", "I'm sorry, I can't.", "sad or angry", "a cat")
    assert summary["unanswered"] == sum(reply in unparseable for reply in replies)


def test_entries_have_the_match_type_and_the_most_frequent_replies():
    summary = response_summary(
        parsed(["sad", "sad", "fear", "B", "He is joyful", "I cannot tell."]), MULTIPLE_CHOICE
    )
    kinds = {entry["kind"]: entry for entry in summary["entries"]}
    counts = {kind: entry["n"] for kind, entry in kinds.items()}
    assert counts == {"exact": 3, "letter": 1, "synonym": 1, "refused": 1}
    assert kinds["exact"]["replies"] == [{"text": "sad", "n": 2}, {"text": "fear", "n": 1}]
    assert [entry["answered"] for entry in summary["entries"]] == [True, True, True, False]


def test_a_model_with_probabilities_has_no_summary():
    assert response_summary(prediction_table(np.zeros(3, dtype=int), np.zeros(3, dtype=int)), None) is None


def test_replies_are_escaped_on_the_page():
    responses = response_summary(parsed(["<script>alert(1)</script>", "sad"]), MULTIPLE_CHOICE)
    page = section_html(report(results=[result("m", n=2, responses=responses)]), "responses")
    assert "<script>" not in page
    assert "&lt;script&gt;" in page
    assert "no prediction: no emotion named" in page
