"""What bad pictures do, on models of which it is known."""

import numpy as np
import pytest
from eval_reports import report, robustness_entry, subject
from fakes import drawn

from fer_models.classifiers.base import Predictions
from fer_models.corruptions import SEVERITIES, names
from fer_models.report.html_report import section_html
from fer_models.robustness.corruption_robustness import copies, measure

FACES, TRUTH = drawn(14).faces(range(14)), drawn(14).labels


def knowing(faces):
    """Knows faces by their pixels, whatever order they come in, and answers angry for all others."""
    known = {face.tobytes(): label for face, label in zip(FACES, TRUTH, strict=True)}
    return Predictions.from_probabilities(
        np.eye(7)[[known.get(face.tobytes(), 0) for face in faces]] * 0.93 + 0.01
    )


def untroubled(faces):
    return Predictions.from_probabilities(np.eye(7)[[TRUTH[i % 14] for i in range(len(faces))]] * 0.93 + 0.01)


def test_a_model_that_nothing_troubles_makes_no_error():
    found = measure(untroubled, FACES, TRUTH)
    assert (found.clean, found.mean_error) == (1.0, 0.0)
    assert set(found.accuracy) == set(names())
    assert all(len(scores) == len(SEVERITIES) for scores in found.accuracy.values())


def test_a_model_that_knows_pixels_fails_where_pixels_change():
    found = measure(knowing, FACES, TRUTH)
    assert found.clean == 1.0
    assert found.mean_error == pytest.approx(
        6 / 7
    )  # every corruption changes every face, and one face in seven is angry


def test_faces_are_asked_as_often_as_the_bar_is_told():
    asked = []
    measure(lambda faces: asked.append(len(faces)) or untroubled(faces), FACES, TRUTH)
    assert sum(asked) == copies(SEVERITIES) * len(FACES)


def test_some_severities_are_measured_as_all_are():
    some, every = (measure(knowing, FACES, TRUTH, severities) for severities in ((2, 5), SEVERITIES))
    assert {name: (scores[1], scores[4]) for name, scores in every.accuracy.items()} == some.accuracy
    (counts,) = some.figures().values()
    assert (counts.n, counts.denominator) == (14, 10 * 2)
    assert counts.value == some.mean_error == pytest.approx(1 - np.mean(list(some.accuracy.values())))


def test_the_page_shows_a_curve_and_a_table():
    measured = measure(knowing, FACES, TRUTH).as_json()
    entry = robustness_entry(subject=subject(model="<m>"), **measured)
    page = section_html(report(corruptions=[entry]), "corruptions")
    assert "&lt;m&gt;-raw" in page
    assert page.count("<img") == 1
    assert "0.857" in page
