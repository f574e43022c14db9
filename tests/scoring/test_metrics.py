"""Metrics equal scikit-learn's, no prediction is wrong and counted, and impossible input is refused."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import (
    accuracy_score,
    balanced_accuracy_score,
    brier_score_loss,
    confusion_matrix,
    f1_score,
    log_loss,
    precision_recall_fscore_support,
)

from fer_models.emotions import EMOTIONS, LABELS, Emotion
from fer_models.errors import PredictionError
from fer_models.scoring import metrics
from fer_models.scoring.intervals import Measurement, wilson_interval
from fer_models.scoring.metrics import AVERAGES, accuracy, measure

predicted_faces = st.lists(st.tuples(st.integers(0, 6), st.integers(-1, 6)), min_size=1, max_size=60)


def model(n: int, seed: int = 0, unanswered: float = 0.1) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Truth, predictions and probabilities of a mediocre model without a prediction for some faces."""
    rng = np.random.default_rng(seed)
    truth = rng.choice(7, n, p=[0.15, 0.03, 0.14, 0.25, 0.17, 0.1, 0.16])
    logits = rng.normal(size=(n, 7)) + 1.5 * np.eye(7)[truth]
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    answer = probabilities.argmax(axis=1)
    abstained = rng.random(n) < unanswered
    answer[abstained], probabilities[abstained] = -1, math.nan
    return truth, answer, probabilities


class TestValues:
    @settings(max_examples=60, deadline=None)
    @given(predicted_faces)
    def test_the_confusion_is_that_of_scikit_learn_with_no_prediction_in_the_last_column(
        self, faces: list[tuple[int, int]]
    ) -> None:
        truth, answer = np.array(faces).T
        expected = confusion_matrix(truth, answer, labels=[*EMOTIONS, -1])
        assert metrics.confusion(truth, answer).tolist() == expected[:7].tolist()

    @settings(max_examples=60, deadline=None)
    @given(predicted_faces)
    def test_every_average_is_that_of_scikit_learn_over_the_emotions_that_occur(
        self, faces: list[tuple[int, int]]
    ) -> None:
        truth, answer = np.array(faces).T
        result = measure(truth, answer, None, resamples=10).overall
        for average in ("macro", "weighted"):
            expected = precision_recall_fscore_support(
                truth, answer, labels=np.unique(truth), average=average, zero_division=0
            )
            assert [
                result[f"{average}_{name}"].value for name in ("precision", "recall", "f1")
            ] == pytest.approx(expected[:3])
        assert result["accuracy"].value == pytest.approx(accuracy_score(truth, answer))

    @settings(max_examples=60, deadline=None)
    @given(predicted_faces)
    def test_the_scores_of_confusions_that_the_bootstrap_uses_are_the_same_numbers(
        self, faces: list[tuple[int, int]]
    ) -> None:
        truth, answer = np.array(faces).T
        result = measure(truth, answer, None, resamples=10)
        for name, score in {**AVERAGES, "accuracy": accuracy}.items():
            assert float(score(result.confusion)) == pytest.approx(result.overall[name].value), name
            assert score(np.stack([result.confusion] * 3)[:, None]).shape == (3, 1), name

    @settings(max_examples=60, deadline=None)
    @given(predicted_faces)
    def test_each_emotion_has_the_values_of_scikit_learn_or_none_where_undefined(
        self, faces: list[tuple[int, int]]
    ) -> None:
        truth, answer = np.array(faces).T
        result = measure(truth, answer, None, resamples=10)
        assert tuple(result.per_class) == LABELS
        expected = precision_recall_fscore_support(truth, answer, labels=list(EMOTIONS), zero_division=np.nan)
        for ours, precision, recall, f1, support in zip(result.per_class.values(), *expected, strict=True):
            values = [math.nan if m is None else m.value for m in (ours.precision, ours.recall, ours.f1)]
            assert values == pytest.approx([precision, recall, f1], nan_ok=True)
            assert ours.support == support

    @settings(max_examples=60, deadline=None)
    @given(predicted_faces)
    def test_every_interval_contains_its_value(self, faces: list[tuple[int, int]]) -> None:
        truth, answer = np.array(faces).T
        result = measure(truth, answer, None, resamples=10)
        each = [m for c in result.per_class.values() for m in (c.precision, c.recall, c.f1) if m is not None]
        for measured in [*result.overall.values(), *each]:
            assert 0 <= measured.low <= measured.value <= measured.high <= 1 + 1e-12

    def test_an_emotion_without_faces_is_left_out_of_macro_averages(self) -> None:
        truth = np.arange(60) % 6
        result = measure(truth, truth, None)
        assert result.overall["macro_f1"].value == 1.0
        assert (result.per_class["neutral"].recall, result.per_class["neutral"].support) == (None, 0)

    def test_an_emotion_never_predicted_has_no_precision_and_counts_as_zero_in_the_average(self) -> None:
        result = measure([0, 0, 1, 1], [0, 0, 0, 0], None)
        assert result.per_class["disgust"].precision is None
        assert result.overall["macro_precision"].value == 0.25

    def test_accuracy_precision_and_recall_have_wilson_intervals_on_their_own_numbers_of_faces(self) -> None:
        result = measure([0, 0, 0, 1, 1], [0, 0, 1, 1, -1], None)
        assert result.overall["accuracy"] == wilson_interval(3, 5)
        assert result.per_class["disgust"].precision == wilson_interval(1, 2)
        assert result.per_class["angry"].recall == wilson_interval(2, 3)


class TestIntervals:
    def test_the_interval_of_macro_f1_is_that_of_drawing_faces_one_by_one_within_each_emotion(self) -> None:
        truth, answer, _ = model(500)
        rng = np.random.default_rng(1)
        scores = []
        for _ in range(500):
            rows = [np.flatnonzero(truth == emotion) for emotion in range(7)]
            faces = np.concatenate([rng.choice(r, len(r)) for r in rows])
            f1 = f1_score(truth[faces], answer[faces], labels=range(7), average="macro", zero_division=0)
            scores.append(f1)
        result = measure(truth, answer, None).overall["macro_f1"]
        assert (result.low, result.high) == pytest.approx(np.quantile(scores, [0.025, 0.975]), abs=0.012)

    def test_four_times_the_faces_halve_the_interval(self) -> None:
        truth, answer, probabilities = model(400)
        once = measure(truth, answer, probabilities).overall
        fourfold = measure(np.tile(truth, 4), np.tile(answer, 4), np.tile(probabilities, (4, 1))).overall
        for name in ("accuracy", "macro_f1", "weighted_f1", "nll", "brier"):
            wide, narrow = (m[name].high - m[name].low for m in (once, fourfold))
            assert narrow == pytest.approx(wide / 2, rel=0.1), name
            assert fourfold[name].value == pytest.approx(once[name].value), name

    def test_intervals_have_about_their_nominal_coverage(self) -> None:
        all_truth, all_answers, _ = model(100_000, seed=1)
        target = metrics.macro_recall(measure(all_truth, all_answers, None, resamples=1).confusion)
        covered = 0
        for seed in range(60):
            truth, answer, _ = model(600, seed=seed + 10)
            result = measure(truth, answer, None, resamples=200).overall["macro_recall"]
            covered += int(result.low <= float(target) <= result.high)
        assert covered >= 52

    def test_the_seed_determines_the_intervals(self) -> None:
        faces = model(200)
        assert measure(*faces, seed=1).as_json() == measure(*faces, seed=1).as_json()
        assert measure(*faces, seed=1).as_json() != measure(*faces, seed=2).as_json()


class TestModelsWithKnownMetrics:
    def test_an_oracle_scores_one_everywhere(self) -> None:
        truth = np.arange(70) % 7
        result = measure(truth, truth, np.eye(7)[truth])
        perfect = {name: m.value for name, m in result.overall.items()}
        ones, zeros = dict.fromkeys(("accuracy", *AVERAGES), 1.0), dict.fromkeys(("ece", "nll", "brier"), 0.0)
        assert perfect == {**ones, **zeros}
        per_class = [m for c in result.per_class.values() for m in (c.precision, c.recall, c.f1)]
        assert all(m is not None and m.value == 1.0 for m in per_class)

    def test_a_constant_model_scores_the_share_of_its_emotion(self) -> None:
        truth, _, _ = model(500)
        share = float(np.mean(truth == Emotion.HAPPY))
        result = measure(
            truth, np.full(500, Emotion.HAPPY), np.tile(np.bincount(truth, minlength=7) / 500, (500, 1))
        )
        assert result.overall["accuracy"].value == pytest.approx(share)
        assert result.overall["macro_recall"].value == pytest.approx(1 / 7)
        assert result.overall["ece"].value == pytest.approx(0, abs=1e-12)
        assert result.per_class["happy"].precision == result.overall["accuracy"]

    @pytest.mark.parametrize("probabilities", [None, np.full((10, 7), math.nan)])
    def test_a_model_without_predictions_scores_zero_and_has_no_calibration(
        self, probabilities: np.ndarray | None
    ) -> None:
        result = measure(np.arange(10) % 7, np.full(10, -1), probabilities)
        assert (result.n, result.unanswered) == (10, 10)
        assert {name: m.value for name, m in result.overall.items()} == {
            "accuracy": 0.0,
            **dict.fromkeys(AVERAGES, 0.0),
        }
        assert result.overall["accuracy"].high > 0.2
        assert result.as_json()["no_answer"] == [2, 2, 2, 1, 1, 1, 1]

    @pytest.mark.parametrize(("answer", "value"), [(3, 1.0), (4, 0.0), (-1, 0.0)])
    def test_one_face_can_be_measured(self, answer: int, value: float) -> None:
        result = measure([3], [answer], np.eye(7)[[answer]])
        accuracy, macro_f1 = (result.overall[name].value for name in ("accuracy", "macro_f1"))
        assert (result.n, accuracy, macro_f1) == (1, value, value)

    def test_no_prediction_is_as_wrong_as_a_wrong_one(self) -> None:
        truth, answer, _ = model(300, unanswered=0)
        abstained, wrong = answer.copy(), answer.copy()
        abstained[:50] = -1
        wrong[:50] = (truth[:50] + 1) % 7
        first, second = measure(truth, abstained, None), measure(truth, wrong, None)
        assert first.overall["accuracy"] == second.overall["accuracy"]
        assert first.n == 300

    def test_the_order_of_the_faces_changes_nothing(self) -> None:
        truth, answer, probabilities = model(300)
        order = np.random.default_rng(3).permutation(300)
        shuffled = measure(truth[order], answer[order], probabilities[order])
        assert measure(truth, answer, probabilities).as_json() == shuffled.as_json()

    def test_macro_recall_is_balanced_accuracy(self) -> None:
        truth, answer, _ = model(300, unanswered=0)
        assert measure(truth, answer, None).overall["macro_recall"].value == pytest.approx(
            balanced_accuracy_score(truth, answer)
        )


def reference_ece(confidence: np.ndarray, correct: np.ndarray, bins: int = 15) -> float:
    """Expected calibration error as defined by Guo et al., bin by bin."""
    total = 0.0
    for m in range(1, bins + 1):
        inside = (confidence > (m - 1) / bins) & (confidence <= m / bins)
        if inside.any():
            total += inside.sum() / len(confidence) * abs(correct[inside].mean() - confidence[inside].mean())
    return total


class TestCalibration:
    def test_it_is_that_of_the_paper_and_of_scikit_learn_over_the_predicted_faces(self) -> None:
        truth, answer, probabilities = model(700)
        result = measure(truth, answer, probabilities).overall
        t, a, p = truth[answer >= 0], answer[answer >= 0], probabilities[answer >= 0]
        assert result["ece"].value == pytest.approx(reference_ece(p.max(axis=1), a == t))
        assert result["nll"].value == pytest.approx(log_loss(t, p, labels=range(7)))
        assert result["brier"].value == pytest.approx(
            sum(brier_score_loss(t == emotion, p[:, emotion]) for emotion in range(7))
        )
        assert {result[name].n for name in ("ece", "nll", "brier")} == {len(t)}

    def test_the_interval_of_a_mean_loss_is_close_to_the_normal_one(self) -> None:
        truth, answer, probabilities = model(700, unanswered=0)
        loss = -np.log(probabilities[np.arange(700), truth])
        result = measure(truth, answer, probabilities).overall["nll"]
        half = 1.96 * loss.std() / math.sqrt(700)
        assert (result.low, result.high) == pytest.approx(
            (loss.mean() - half, loss.mean() + half), abs=0.1 * half
        )

    def test_overconfidence_is_an_error_of_the_distance_between_confidence_and_accuracy(self) -> None:
        truth, answer = np.array([0] * 6 + [1] * 4), np.zeros(10, int)
        probabilities = np.tile([0.9, 0.1, 0, 0, 0, 0, 0], (10, 1))
        assert measure(truth, answer, probabilities).overall["ece"].value == pytest.approx(0.3)

    def test_it_uses_the_fifteen_bins_of_the_paper(self) -> None:
        rng = np.random.default_rng(0)
        probabilities = rng.dirichlet(np.full(7, 0.5), 100)
        answer = probabilities.argmax(axis=1)
        # Correct with probability 1/2, so that both overconfident and underconfident bins occur.
        truth = (answer + rng.integers(0, 2, 100)) % 7
        result = measure(truth, answer, probabilities, resamples=10).overall["ece"].value
        by_bins = {
            bins: reference_ece(probabilities.max(axis=1), answer == truth, bins) for bins in (10, 14, 15, 16)
        }
        assert [bins for bins, ece in by_bins.items() if abs(ece - result) < 1e-9] == [15]

    def test_a_bin_includes_its_upper_edge(self) -> None:
        rows = [[0.2, 0.2, 0.2, 0.2, 0.2, 0, 0], [0.19, 0.19, 0.19, 0.19, 0.19, 0.05, 0]]
        # Both in (2/15, 3/15]: one is underconfident, the other overconfident, and the two partly cancel.
        assert measure([0, 1], [0, 0], rows).overall["ece"].value == pytest.approx((0.8 - 0.19) / 2)

    def test_one_certain_mistake_does_not_make_the_loss_infinite(self) -> None:
        result = measure([0], [1], np.eye(7)[[1]]).overall
        assert result["nll"].value == pytest.approx(-math.log(1e-12))
        assert result["brier"].value == 2.0

    @pytest.mark.parametrize("dtype", [np.float16, np.float32])
    def test_half_precision_is_precise_enough(self, dtype: type) -> None:
        truth, answer, probabilities = model(200)
        exact, rounded = (
            measure(truth, answer, p).overall["nll"].value
            for p in (probabilities, probabilities.astype(dtype))
        )
        assert rounded == pytest.approx(exact, rel=1e-3)

    def test_faces_without_a_prediction_do_not_count(self) -> None:
        truth, answer, probabilities = model(200)
        only = answer >= 0
        among = measure(truth, answer, probabilities).overall
        alone = measure(truth[only], answer[only], probabilities[only]).overall
        assert all(among[name] == alone[name] for name in ("ece", "nll", "brier"))


class TestJson:
    def test_it_has_the_shape_of_the_contract_and_survives_json(self) -> None:
        as_json = measure(*model(200)).as_json()
        assert json.loads(json.dumps(as_json, allow_nan=False)) == as_json
        assert list(as_json) == ["n", "unanswered", "metrics", "per_class", "confusion", "no_answer"]
        assert list(as_json["metrics"]) == ["accuracy", *AVERAGES, "ece", "nll", "brier"]
        assert {tuple(metric) for metric in as_json["metrics"].values()} == {("value", "low", "high")}
        assert list(as_json["per_class"]) == list(LABELS)
        assert set(as_json["per_class"]["sad"]) == {"precision", "recall", "f1", "support", "intervals"}

    def test_its_tables_count_every_face_once(self) -> None:
        as_json = measure([0, 0, 1, 6], [0, 1, -1, 6], None).as_json()
        assert np.shape(as_json["confusion"]) == (7, 7)
        assert as_json["confusion"][0][:2] == [1, 1]
        assert as_json["confusion"][6][6] == 1
        assert as_json["no_answer"] == [0, 1, 0, 0, 0, 0, 0]

    def test_what_is_undefined_is_null(self) -> None:
        fear = measure([0], [0], None).as_json()["per_class"]["fear"]
        nothing = dict.fromkeys(("precision", "recall", "f1"))
        assert fear == {**nothing, "support": 0, "intervals": nothing}

    def test_the_confusion_cannot_be_changed_afterwards(self) -> None:
        with pytest.raises(ValueError, match="read-only"):
            measure([0], [0], None).confusion[0, 0] = 5


CERTAIN = [1.0, 0, 0, 0, 0, 0, 0]


class TestImpossibleInput:
    @pytest.mark.parametrize(
        ("truth", "answer", "probabilities", "message"),
        [
            ([], [], None, "truth must have one emotion for each of at least one face"),
            ([[0]], [0], None, r"got shape \(1, 1\)"),
            ([0, 1], [0], None, "2 in truth, 1 in answer"),
            ([7], [0], None, r"truth must be in 0\.\.6, got 7 at face 0"),
            ([0, -1], [0, 0], None, r"truth must be in 0\.\.6, got -1 at face 1"),
            ([0], [7], None, r"answer must be in -1\.\.6, got 7"),
            ([0], [-2], None, r"answer must be in -1\.\.6, got -2"),
            ([0], [math.nan], None, r"answer must be integers in -1\.\.6, got float64"),
            ([True], [0], None, "truth must be integers"),
            ([0], [0], [[1.0, 0.0]], r"shape \(1, 7\), one row per face, got \(1, 2\)"),
            ([0], [0], [CERTAIN, CERTAIN], r"shape \(1, 7\), one row per face, got \(2, 7\)"),
            ([0], [0], [["much"] * 7], "must be a table of numbers"),
            (
                [0, 0],
                [-1, 0],
                [CERTAIN, [math.nan] * 7],
                r"face 1, which has a prediction, must be in \[0, 1\], got \[nan",
            ),
            ([0], [0], [[1.5, -0.5, 0, 0, 0, 0, 0]], r"face 0, which has a prediction, must be in \[0, 1\]"),
            ([0], [0], [[0.9, 0, 0, 0, 0, 0, 0]], r"face 0 must sum to 1, got .* \(sum 0\.9\)"),
            ([0, 0], [-1, 0], [CERTAIN, [0.5] * 7], r"face 1 must sum to 1, got .* \(sum 3\.5\)"),
        ],
    )
    def test_it_is_refused_in_one_line_with_the_reason(
        self, truth: list[int], answer: list[int], probabilities: list[list[float]] | None, message: str
    ) -> None:
        with pytest.raises(PredictionError, match=message) as caught:
            measure(truth, answer, probabilities)
        assert "\n" not in str(caught.value)

    def test_a_predicted_face_without_probabilities_is_refused_among_others_that_have_them(self) -> None:
        truth, answer, probabilities = model(50)
        probabilities[np.flatnonzero(answer >= 0)[5]] = math.nan
        with pytest.raises(PredictionError, match="which has a prediction"):
            measure(truth, answer, probabilities)

    def test_rounding_within_a_thousandth_is_accepted(self) -> None:
        assert isinstance(measure([0], [0], [[0.9995, 0, 0, 0, 0, 0, 0]]).overall["nll"], Measurement)
