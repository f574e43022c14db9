"""Corruption robustness, on models with a known one."""

import numpy as np
import pytest
from eval_reports import report, robustness_entry, subject
from fakes import toy_faces

from fer_models.classifiers.base import Predictions
from fer_models.corruptions import SEVERITIES, names
from fer_models.report.html_report import section_html
from fer_models.robustness.corruption_robustness import copies, measure

FACES, TRUTH = toy_faces(14).faces(range(14)), toy_faces(14).labels


def memorising(faces):
    """Knows faces by their pixels, whatever order they come in, and answers angry for all others."""
    labels = {face.tobytes(): label for face, label in zip(FACES, TRUTH, strict=True)}
    return Predictions.from_probabilities(
        np.eye(7)[[labels.get(face.tobytes(), 0) for face in faces]] * 0.93 + 0.01
    )


def robust(faces):
    return Predictions.from_probabilities(np.eye(7)[[TRUTH[i % 14] for i in range(len(faces))]] * 0.93 + 0.01)


def test_a_robust_model_has_no_mean_error():
    result = measure(robust, FACES, TRUTH)
    assert (result.clean, result.mean_error) == (1.0, 0.0)
    assert set(result.accuracy) == set(names())
    assert all(len(scores) == len(SEVERITIES) for scores in result.accuracy.values())


def test_a_model_that_memorised_pixels_fails_on_corrupted_ones():
    result = measure(memorising, FACES, TRUTH)
    assert result.clean == 1.0
    assert result.mean_error == pytest.approx(
        6 / 7
    )  # every corruption changes every face, and one face in seven is angry


def test_the_number_of_predictions_is_that_of_the_progress_bar():
    n_faces = []
    measure(lambda faces: n_faces.append(len(faces)) or robust(faces), FACES, TRUTH)
    assert sum(n_faces) == copies(SEVERITIES) * len(FACES)


def test_a_subset_of_severities_has_the_same_accuracies():
    subset, every = (measure(memorising, FACES, TRUTH, severities) for severities in ((2, 5), SEVERITIES))
    assert {name: (scores[1], scores[4]) for name, scores in every.accuracy.items()} == subset.accuracy
    (counts,) = subset.figures().values()
    assert (counts.n, counts.denominator) == (14, 10 * 2)
    assert counts.value == subset.mean_error == pytest.approx(1 - np.mean(list(subset.accuracy.values())))


def test_the_page_shows_a_curve_and_a_table():
    entry = robustness_entry(subject=subject(model="<m>"), **measure(memorising, FACES, TRUTH).as_json())
    page = section_html(report(corruptions=[entry]), "corruptions")
    assert "&lt;m&gt;-raw" in page
    assert page.count("<svg") == 1
    assert "0.857" in page
