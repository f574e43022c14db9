"""Selective prediction: risk-coverage curve and its area, accuracy at a coverage, thresholds."""

from dataclasses import replace
from fractions import Fraction
from itertools import pairwise, permutations

import numpy as np
import pytest
from fakes import calibrated_predictions, prediction_table
from hypothesis import given
from hypothesis import strategies as st

from fer_models.errors import PredictionError
from fer_models.scoring.intervals import wilson_interval
from fer_models.scoring.risk_coverage import Ranking, Samples, aurc, best_risk, bootstrap_aurc, sample_areas
from fer_models.scoring.selective import COVERAGES, CURVE_POINTS, selective_prediction

#: Confidence in steps of a tenth, so that many are equal, and whether the prediction is wrong.
FACES = st.lists(st.tuples(st.integers(0, 10), st.booleans()), min_size=1, max_size=60)


def ranked(faces):
    confidence, errors = (np.array(column) for column in zip(*faces, strict=True))
    return Ranking.from_confidence(confidence / 10, errors)


def mean_error_rates(faces):
    """The error rate among the first 1, 2, … n faces, averaged over the order of equal ones, exactly."""
    errors, rates = Fraction(0), []
    for confidence in sorted({c for c, _ in faces}, reverse=True):
        group = [wrong for c, wrong in faces if c == confidence]
        for _ in group:
            errors += Fraction(sum(group), len(group))
            rates.append(errors / (len(rates) + 1))
    return rates


@given(FACES)
def test_the_area_is_the_mean_of_the_error_rates_over_the_sorted_faces(faces):
    rates = mean_error_rates(faces)
    ranking = ranked(faces)
    assert aurc(ranking)[0] == pytest.approx(float(sum(rates) / len(rates)), abs=1e-9)
    errors = ranking.cumulative_errors / np.arange(1, len(faces) + 1)
    assert errors == pytest.approx([float(rate) for rate in rates], abs=1e-9)


@given(st.lists(st.tuples(st.integers(0, 2), st.booleans()), min_size=1, max_size=6))
def test_ties_count_as_the_mean_over_all_orders_of_equal_faces(faces):
    areas = []
    for order in permutations(faces):
        if all(a[0] >= b[0] for a, b in pairwise(order)):
            wrong = np.cumsum([error for _, error in order])
            areas.append((wrong / np.arange(1, len(faces) + 1)).mean())
    assert aurc(ranked(faces))[0] == pytest.approx(np.mean(areas), abs=1e-9)


@given(FACES)
def test_the_excess_is_the_distance_from_the_order_with_all_errors_last(faces):
    best = sorted(((0, wrong) for _, wrong in faces), key=lambda face: face[1])
    in_order = [(10 * (not wrong), wrong) for _, wrong in best]
    area, excess = aurc(ranked(faces))
    assert excess == pytest.approx(area - aurc(ranked(in_order))[0], abs=1e-9)
    assert aurc(ranked(in_order))[1] == pytest.approx(0, abs=1e-9)
    ranks = np.arange(1, len(faces) + 1)
    rates = best_risk(len(faces), sum(wrong for _, wrong in faces), ranks)
    assert rates == pytest.approx([float(rate) for rate in mean_error_rates(in_order)], abs=1e-9)


@given(FACES, st.integers(0, 2**31))
def test_a_resample_has_the_areas_of_the_faces_that_it_holds(faces, seed):
    ranking, n = ranked(faces), len(faces)
    counts = np.bincount(np.random.default_rng(seed).integers(n, size=n), minlength=n)
    confidence = np.repeat(-np.searchsorted(ranking.starts, np.arange(n), side="right"), counts)
    held = Ranking.from_confidence(confidence.astype(float), np.repeat(ranking.errors, counts))
    drawn = sample_areas(ranking, Samples.of(counts[:, None]))[:, 0].tolist()
    assert drawn == pytest.approx(aurc(held), abs=1e-9)


def test_resamples_are_the_same_in_blocks_of_any_size(monkeypatch):
    ranking = ranked([(i % 11, i % 3 == 0) for i in range(100)])
    ((area, excess),) = bootstrap_aurc([ranking], 50, seed=1)
    monkeypatch.setattr("fer_models.scoring.intervals._BLOCK", 700)
    for limit in ("intervals._LARGEST_CACHED", "risk_coverage._LARGEST_CACHED"):  # sampled anew
        monkeypatch.setattr(f"fer_models.scoring.{limit}", 0)
    ((area_in_blocks, excess_in_blocks),) = bootstrap_aurc([ranking], 50, seed=1)
    assert area == pytest.approx(area_in_blocks, abs=1e-12)
    assert excess == pytest.approx(excess_in_blocks, abs=1e-12)
    assert area.std() > 0


def test_the_interval_of_the_area_covers_that_of_many_faces():
    area = selective_prediction(calibrated_predictions(5_000, seed=99), resamples=1).by_probability.aurc.value
    covered = []
    for seed in range(40):
        scores = selective_prediction(calibrated_predictions(300, seed), resamples=200).by_probability
        covered.append(scores.aurc.low <= area <= scores.aurc.high)
    assert 0.85 <= np.mean(covered) <= 1


def test_the_order_of_the_faces_changes_nothing():
    table = calibrated_predictions(300)
    rounded = replace(table, probabilities=table.probabilities.round(1))
    order = np.random.default_rng(1).permutation(300)
    for one in (table, rounded):
        assert selective_prediction(one) == selective_prediction(one.select(order))


def test_a_model_that_is_always_correct_has_no_risk():
    truth = np.arange(700) % 7
    scores = selective_prediction(prediction_table(truth, truth, 0.95))
    for areas in (scores.by_probability, scores.by_margin):
        assert (areas.aurc.value, areas.aurc.low, areas.aurc.high) == (0, 0, 0)
    assert [one.accuracy.value for one in scores.accuracy_at] == [1, 1]
    assert {one.threshold.coverage.value for one in scores.targets} == {1}
    assert {one.threshold.error.value for one in scores.targets} == {0}


def test_a_model_that_is_always_wrong_has_a_risk_of_one_and_no_threshold():
    truth = np.arange(700) % 7
    scores = selective_prediction(prediction_table(truth, (truth + 1) % 7))
    assert scores.by_probability.aurc.value == pytest.approx(1)
    assert scores.by_probability.excess_aurc.value == pytest.approx(0, abs=1e-12)
    assert [one.accuracy.value for one in scores.accuracy_at] == [0, 0]
    assert [one.threshold for one in scores.targets] == [None] * 3
    assert {point.best for point in scores.curve} == {1}


def test_a_model_without_a_useful_confidence_has_its_error_rate_at_every_coverage():
    truth = np.zeros(500, dtype=int)
    scores = selective_prediction(prediction_table(truth, np.arange(500) % 5))
    assert [point.by_probability for point in scores.curve] == pytest.approx([0.8] * CURVE_POINTS)
    assert scores.by_margin.aurc.value == pytest.approx(0.8)


def test_faces_without_a_prediction_are_wrong_and_least_confident():
    truth = np.zeros(100, dtype=int)
    answer = np.where(np.arange(100) < 85, 0, -1)
    scores = selective_prediction(prediction_table(truth, answer, 0.2))
    at_80, at_90 = (one.accuracy for one in scores.accuracy_at)
    assert (at_80.value, at_80.n) == (1, 80)
    assert (at_90.value, at_90.n) == (pytest.approx(85 / 90), 90)
    assert scores.by_probability.excess_aurc.value == pytest.approx(0, abs=1e-12)
    assert scores.curve[-1].by_probability == pytest.approx(0.15)


def test_models_without_probabilities_or_without_predictions_have_no_scores():
    table = calibrated_predictions(50)
    assert selective_prediction(replace(table, has_probabilities=False)) is None
    assert selective_prediction(prediction_table(np.zeros(9, dtype=int), np.full(9, -1))) is None


def test_a_prediction_without_probabilities_is_an_error():
    table = calibrated_predictions(5)
    table.probabilities[3] = np.nan
    with pytest.raises(
        PredictionError, match="Face 3 has a prediction, but its probabilities are not numbers"
    ):
        selective_prediction(table)


def test_a_few_faces_of_one_emotion_are_enough():
    scores = selective_prediction(prediction_table(np.zeros(1, dtype=int), np.zeros(1, dtype=int)))
    assert [point.coverage for point in scores.curve] == [1]
    assert [one.threshold for one in scores.targets] == [None] * 3


def test_accuracy_at_a_coverage_is_that_of_the_most_confident_faces():
    table = calibrated_predictions(1000)
    scores = selective_prediction(table)
    order = np.argsort(-table.probabilities.max(axis=1))
    for coverage, one in zip(COVERAGES, scores.accuracy_at, strict=True):
        n = round(1000 * coverage)
        assert one.accuracy == wilson_interval(int(table.correct[order[:n]].sum()), n)


def test_the_curve_has_the_error_rate_of_all_faces_at_its_end_and_few_points():
    table = calibrated_predictions(3589)
    curve = selective_prediction(table).curve
    assert len(curve) == CURVE_POINTS
    assert [point.coverage for point in curve] == sorted({point.coverage for point in curve})
    last = curve[-1]
    assert last.coverage == 1
    assert last.by_probability == last.by_margin == pytest.approx(1 - table.correct.mean())
    assert all(point.best <= min(point.by_probability, point.by_margin) + 1e-12 for point in curve)
    assert last.best == pytest.approx(last.by_probability)


def test_the_margin_is_the_distance_to_the_next_emotion():
    # Face 0 is wrong with the greater probability, but with the smaller margin.
    table = prediction_table(np.array([1, 0]), np.array([0, 0]))
    table.probabilities[:] = [[0.5, 0.5, 0, 0, 0, 0, 0], [0.4, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1]]
    scores = selective_prediction(table)
    assert scores.by_probability.aurc.value == pytest.approx((1 + 1 / 2) / 2)
    assert scores.by_margin.aurc.value == pytest.approx((0 + 1 / 2) / 2)
