"""Predictions, embeddings and restored faces of the wrong form: each is refused in a sentence, and nothing is
stored.
"""

from types import SimpleNamespace

import numpy as np
import pytest
from fakes import run, toy_faces
from guards import assert_sentence

from fer_models.classifiers.base import Predictions
from fer_models.emotions import LABELS
from fer_models.errors import PredictionError, RestorationError
from fer_models.inference.pipeline import validate_embeddings
from fer_models.restorers.base import restore_validated

N = 4
GOOD = np.full((N, 7), 1 / 7)


def forged(**fields):
    """Predictions whose fields were set past every check."""
    made = Predictions.from_probabilities(GOOD)
    for name, value in fields.items():
        object.__setattr__(made, name, value)
    return made


def with_value(row, column, value):
    rows = GOOD.copy()
    rows[row, column] = value
    return rows


WRONG_ROWS = {
    "NaN": with_value(1, 2, np.nan),
    "infinity": with_value(1, 2, np.inf),
    "minus infinity": with_value(1, 2, -np.inf),
    "negative": with_value(1, 2, -0.1),
    "logits": GOOD * 9,
    "percent": GOOD * 100,
    "zeros": GOOD * 0,
    "float64's largest": np.full((N, 7), 1e308),
    "one row": GOOD[0],
    "six columns": np.full((N, 6), 1 / 6),
    "eight columns": np.full((N, 8), 1 / 8),
    "three dimensions": GOOD[None],
    "too few rows": GOOD[:2],
    "too many rows": np.full((N + 1, 7), 1 / 7),
    "no row": GOOD[:0],
    "ragged": [[1, 0, 0, 0, 0, 0, 0]] * (N - 1) + [[1]],
    "complex": GOOD.astype(complex),
    "texts": np.full((N, 7), "0.142857"),
    "objects": GOOD.astype(object),
    "dates": np.full((N, 7), np.datetime64("2024-01-01")),
    "bytes": b"1" * 28,
    "a text": "happy",
    "None": None,
    "a number": 0.5,
    "a dictionary": {"happy": 1.0},
    "a generator": (row for row in GOOD),
}


def from_rows(rows):
    return lambda faces: Predictions.from_probabilities(rows)


WRONG = {
    **{f"rows: {name}": from_rows(rows) for name, rows in WRONG_ROWS.items()},
    **{
        f"forged rows: {name}": lambda faces, rows=rows: forged(probabilities=rows)
        for name, rows in WRONG_ROWS.items()
        if name != "a generator"
    },
    "None": lambda faces: None,
    "rows alone": lambda faces: GOOD,
    "a tuple": lambda faces: (GOOD, ("ok",) * N),
    "the class": lambda faces: Predictions,
    "text too short": lambda faces: forged(text=("",)),
    "text too long": lambda faces: forged(text=("",) * (N + 1)),
    "text as one text": lambda faces: forged(text="abcd"),
    "text of numbers": lambda faces: forged(text=(1,) * N),
    "text of bytes": lambda faces: forged(text=(b"x",) * N),
    "text None": lambda faces: forged(text=None),
    "text given as one": lambda faces: Predictions.from_probabilities(GOOD, text="abcd"),
    "text given too short": lambda faces: Predictions.from_probabilities(GOOD, text=["a"]),
    "text given as numbers": lambda faces: Predictions.from_probabilities(GOOD, text=[1] * N),
    "status too short": lambda faces: forged(status=("ok",)),
    "status of booleans": lambda faces: forged(status=(True,) * N),
    "status empty": lambda faces: forged(status=("",) * N),
    "status None": lambda faces: forged(status=None),
    "status as one text": lambda faces: forged(status="okok"),
    "labels None": lambda faces: forged(labels=None),
    "labels reversed": lambda faces: forged(labels=LABELS[::-1]),
    "labels of numbers": lambda faces: forged(labels=tuple(range(7))),
    "labels twice": lambda faces: Predictions.from_probabilities(GOOD, ("happy",) * 7),
    "labels unknown": lambda faces: Predictions.from_probabilities(GOOD, tuple("abcdefg")),
    "labels as one text": lambda faces: Predictions.from_probabilities(GOOD, "abcdefg"),
    "unanswered beyond the batch": lambda faces: Predictions.from_probabilities(
        GOOD, unanswered={99: "tired"}
    ),
    "unanswered before the batch": lambda faces: Predictions.from_probabilities(
        GOOD, unanswered={-1: "tired"}
    ),
    "unanswered by name": lambda faces: Predictions.from_probabilities(GOOD, unanswered={"0": "tired"}),
    "unanswered but ok": lambda faces: Predictions.from_probabilities(GOOD, unanswered={0: "ok"}),
    "unanswered without a reason": lambda faces: Predictions.from_probabilities(GOOD, unanswered={0: ""}),
    "unanswered for no text": lambda faces: Predictions.from_probabilities(GOOD, unanswered={0: 7}),
    "unanswered as a list": lambda faces: Predictions.from_probabilities(GOOD, unanswered=[0]),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_no_prediction_is_refused_in_a_sentence_and_stored_nowhere(name, tmp_path):
    with pytest.raises(PredictionError) as caught:
        run(tmp_path, toy_faces(N), SimpleNamespace(predict=WRONG[name]))
    assert_sentence(caught.value)
    assert "'fake'" in str(caught.value)
    assert not list(tmp_path.rglob("*.parquet"))


def test_rows_without_an_answer_keep_no_number(tmp_path):
    predictions = run(
        tmp_path, toy_faces(N), SimpleNamespace(predict=lambda faces: forged(status=("tired",) * N))
    ).predictions
    assert predictions.answer.tolist() == [-1] * N
    assert np.isnan(predictions.probabilities).all()


@pytest.mark.parametrize(
    "text", ["\ud83d", "a\udcffb", "\x00", "\x1b[2J", "\u202eevil", "x" * 100_000, "</script><script>"]
)
def test_any_text_of_a_model_can_be_stored_and_read_again(text, tmp_path):
    predictions = run(
        tmp_path,
        toy_faces(N),
        SimpleNamespace(predict=lambda faces: Predictions.from_probabilities(GOOD, text=[text] * N)),
    ).predictions
    assert predictions.text[0] == text.replace("\ud83d", "\ufffd").replace("\udcff", "\ufffd")


def test_a_reason_with_half_a_character_can_be_stored(tmp_path):
    answer = Predictions.from_probabilities(GOOD, unanswered={0: "\ud83d"})
    assert (
        "\ufffd"
        in run(tmp_path, toy_faces(N), SimpleNamespace(predict=lambda faces: answer)).predictions.status
    )


def test_a_model_that_uses_its_array_again_gets_no_number_of_another_batch(tmp_path):
    rows, calls = np.zeros((N, 7)), []

    def reuses(faces):
        rows[:] = np.eye(7)[len(calls)]
        calls.append(1)
        return forged(probabilities=rows)

    predictions = run(tmp_path, toy_faces(2 * N), SimpleNamespace(predict=reuses)).predictions
    assert predictions.answer.tolist() == [0] * N + [1] * N


WRONG_EMBEDDINGS = {
    **{
        "None": None,
        "a text": "x",
        "texts": [["a"]] * N,
        "objects": [[None]] * N,
        "complex": np.ones((N, 3), complex),
        "one dimension": np.ones(N),
    },
    **{
        "three dimensions": np.ones((N, 2, 2)),
        "too few": np.ones((N - 1, 3)),
        "ragged": [[1.0]] * (N - 1) + [[1.0, 2.0]],
        "no width": np.ones((N, 0)),
    },
    **{"NaN": np.full((N, 3), np.nan), "too large for float32": np.full((N, 3), 1e300)},
}


@pytest.mark.parametrize("name", WRONG_EMBEDDINGS)
def test_what_is_no_embedding_is_refused_in_a_sentence(name):
    with pytest.raises(PredictionError) as caught:
        validate_embeddings(lambda: WRONG_EMBEDDINGS[name], "mine", N)
    assert_sentence(caught.value)


WRONG_FACES = {
    **{
        "None": None,
        "a number": 3,
        "nothing": [],
        "one too few": [np.zeros((8, 8, 3), np.uint8)] * (N - 1),
        "texts": ["x"] * N,
    },
    **{
        "grey": [np.zeros((8, 8), np.uint8)] * N,
        "RGBA": [np.zeros((8, 8, 4), np.uint8)] * N,
        "empty": [np.zeros((0, 8, 3), np.uint8)] * N,
    },
    **{
        "floats": [np.zeros((8, 8, 3))] * N,
        "int8": [np.zeros((8, 8, 3), np.int8)] * N,
        "a dictionary": {i: i for i in range(N)},
    },
}


@pytest.mark.parametrize("name", WRONG_FACES)
def test_what_is_no_face_is_refused_in_a_sentence(name):
    with pytest.raises(RestorationError) as caught:
        restore_validated(
            SimpleNamespace(restore=lambda faces: WRONG_FACES[name]), "mine", toy_faces(N).faces(range(N))
        )
    assert_sentence(caught.value)
