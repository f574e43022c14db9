"""Counts per face of a robustness metric, as a record stores them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from fer_models.errors import PredictionError
from fer_models.scoring.face_counts import FaceCounts, higher_is_better

FACES = "0123456789ab" + "c" * 52


@st.composite
def face_counts(draw, positions=(None, 7)):
    """Counts of up to 40 faces, with positions of a list or without."""
    denominator, n, k = draw(st.integers(1, 300)), draw(st.integers(1, 40)), draw(st.sampled_from(positions))
    return FaceCounts(
        draw(arrays(np.int64, n if k is None else (n, k), elements=st.integers(0, denominator))), denominator
    )


@given(face_counts())
def test_counts_are_decoded_as_they_were_encoded(counts):
    decoded, faces = FaceCounts.decode(counts.encode(FACES))
    np.testing.assert_array_equal(decoded.counts, counts.counts)
    assert (decoded.denominator, decoded.value, faces) == (counts.denominator, counts.value, FACES[:12])


@given(face_counts(positions=(None,)))
def test_a_metric_without_positions_is_the_mean_share(counts):
    assert counts.value == pytest.approx(float(np.mean(counts.counts / counts.denominator)))


def test_the_position_bias_is_0_for_an_even_share_and_six_sevenths_for_one_position():
    even, first = np.ones((5, 7), dtype=np.int64), np.zeros((5, 7), dtype=np.int64)
    first[:, 0] = 7
    assert FaceCounts(even, 7).value == pytest.approx(0.0)
    assert FaceCounts(first, 7).value == pytest.approx(6 / 7)
    assert FaceCounts(np.zeros((5, 7), dtype=np.int64), 7).value == 0.0  # no predictions, no bias


def test_a_count_of_correct_and_wrong_takes_one_bit():
    text = FaceCounts(np.ones(3589, dtype=np.int64), 1).encode(FACES)
    assert len(text) < 3589 / 6 + 30


@given(face_counts(), st.data())
def test_an_altered_text_is_refused_or_is_the_code_of_other_counts(counts, data):
    text = counts.encode(FACES)
    at, char = data.draw(st.integers(0, len(text) - 1)), data.draw(st.characters(codec="utf-8"))
    altered = text[:at] + char + text[at + 1 :]
    if altered == text:
        return
    try:
        decoded, faces = FaceCounts.decode(altered)
    except ValueError:
        return
    assert decoded.encode(faces) == altered


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "does not read"),
        ("3/1 0123456789ab", "does not read"),
        ("3/1 0123456789AB oA", "does not read"),
        ("3/1 0123456789ab \u0660A", "does not read"),
        ("0/1 0123456789ab oA", "cannot be counted"),
        ("3/0 0123456789ab oA", "cannot be counted"),
        ("3/99999 0123456789ab oA", "cannot be counted"),
        ("999999999x9999/60000 0123456789ab oA", "another number of characters"),
        ("3/1 0123456789ab oAA", "another number of characters"),
        ("2/2 0123456789ab 8A", "a count is 3"),
        ("3/1 0123456789ab oQ", "not written as"),
        ("03/1 0123456789ab oA", "not written as"),
    ],
)
def test_an_invalid_text_is_refused_with_the_reason(text, message):
    with pytest.raises(ValueError, match=message):
        FaceCounts.decode(text)


@pytest.mark.parametrize(
    ("counts", "denominator"),
    [([], 1), ([2], 1), ([-1], 1), ([0], 0), ([0], 70_000), ([0.5], 1), ([[[1]]], 1), ([True], 1)],
)
def test_invalid_counts_are_refused(counts, denominator):
    with pytest.raises(PredictionError, match="Counts per face"):
        FaceCounts(np.array(counts), denominator)


def test_only_accuracies_are_better_when_higher():
    assert higher_is_better("prompts: accuracy of the worst template")
    assert not higher_is_better("prompts: flip rate, upper case")
    assert not higher_is_better("corruptions: mean error (7 faces, severity 3)")
