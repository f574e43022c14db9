import hypothesis.strategies as st
import numpy as np
import pytest
from fakes import prediction_table
from hypothesis import given, settings

from fer_models.datasets.ferplus import COLUMNS
from fer_models.scoring import annotators

HAPPY, SAD, NEUTRAL = COLUMNS.index("happy"), COLUMNS.index("sad"), COLUMNS.index("neutral")


def votes(*faces):
    table = np.zeros((len(faces), len(COLUMNS)), dtype=np.int64)
    for row, face in zip(table, faces, strict=True):
        for name, count in face.items():
            row[COLUMNS.index(name)] = count
    return table


def test_the_majority_is_a_single_greatest_vote():
    majority = annotators.majority(votes({"happy": 6, "sad": 4}, {"happy": 5, "sad": 5}, {"no face": 10}, {}))
    assert majority.tolist() == [HAPPY, annotators.TIE, COLUMNS.index("no face"), annotators.TIE]


def test_predictions_are_scored_against_the_majority_where_there_is_one():
    table = votes(
        {"happy": 9, "sad": 1}, {"happy": 5, "sad": 5}, {"unknown": 8, "sad": 2}, {"sad": 7, "neutral": 3}
    )
    predictions = prediction_table(
        np.array([HAPPY, HAPPY, SAD, NEUTRAL]), np.array([HAPPY, HAPPY, SAD, NEUTRAL])
    )
    scores = annotators.score(predictions, table)
    assert scores.majority.n == 2
    assert scores.majority.value == 0.5


def test_agreement_with_one_annotator_is_the_share_of_votes_for_the_prediction_and_0_without_one():
    table = votes({"happy": 9, "sad": 1}, {"sad": 4, "contempt": 6}, {"happy": 10}, {})
    predictions = prediction_table(np.array([HAPPY, SAD, HAPPY, HAPPY]), np.array([SAD, SAD, -1, HAPPY]))
    scores = annotators.score(predictions, table)
    assert scores.one_annotator.n == 3  # the last face has no vote
    assert scores.one_annotator.value == pytest.approx((0.1 + 0.4 + 0) / 3)


def test_accuracy_is_split_by_the_agreement_of_the_annotators():
    table = votes(
        {"happy": 10}, {"happy": 9, "sad": 1}, {"happy": 6, "sad": 4}, {"happy": 5, "sad": 4, "fear": 1}
    )
    predictions = prediction_table(np.full(4, HAPPY), np.array([HAPPY, HAPPY, SAD, HAPPY]))
    strata = annotators.score(predictions, table).strata
    values = {name: (m.value, m.n) for name, m in strata.items()}
    assert values == {"9-10": (1.0, 2), "6-8": (0.0, 1), "0-5": (1.0, 1)}


def test_faces_without_votes_give_no_score():
    scores = annotators.score(prediction_table(np.array([HAPPY]), np.array([HAPPY])), votes({}))
    assert scores.majority is None
    assert scores.one_annotator is None
    assert scores.as_json()["strata"]["9-10"] is None


def test_the_majority_vote_is_a_row_of_the_leaderboard_and_ties_go_to_the_first_emotion():
    table = votes(
        {"happy": 9, "sad": 1}, {"happy": 5, "neutral": 5}, {"happy": 5, "neutral": 5}, {"no face": 10}
    )
    row = annotators.majority_vote_row(np.array([HAPPY, HAPPY, NEUTRAL, HAPPY]), table)
    assert row["name"] == "majority of ten raters"
    assert row["accuracy"]["value"] == 0.5
    assert row["ties_at_random"] == 0.5
    assert row["no_majority"] == {"tied": 2, "contempt": 0, "unknown": 0, "no face": 1}


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.lists(st.integers(0, 10), min_size=10, max_size=10), min_size=1, max_size=20),
    st.integers(0, 2**32 - 1),
)
def test_no_prediction_agrees_with_one_annotator_more_often_than_the_most_frequent_vote(rows, seed):
    table = np.array(rows)
    n, rng = len(rows), np.random.default_rng(seed)
    truth = rng.integers(0, 7, n)
    guess = annotators.score(prediction_table(truth, rng.integers(-1, 7, n)), table, resamples=50)
    best = annotators.score(prediction_table(truth, table[:, :7].argmax(axis=1)), table, resamples=50)
    if guess.one_annotator is not None:
        assert guess.one_annotator.value <= best.one_annotator.value + 1e-12
