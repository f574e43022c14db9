"""Selective prediction in evals.json, on the page and in Markdown."""

from __future__ import annotations

from typing import Any

import numpy as np
from eval_reports import report, result, selective
from fakes import calibrated_predictions, prediction_table
from markup import Tags, tables_in

from fer_models.report.eval_report import EvalReport
from fer_models.report.html_report import subject_anchors
from fer_models.report.json_fields import decode, encode
from fer_models.report.markdown import markdown
from fer_models.report.selective_entries import SelectivePrediction
from fer_models.report.subject_figures import SubjectFigures
from fer_models.report.svg import new_figure, to_picture
from fer_models.report.templates import render
from fer_models.result_entries import scores_json
from fer_models.scoring.metrics import measure_predictions
from fer_models.store.predictions import PredictionTable
from fer_models.store.subject import Subject

HEADING = "Selective prediction"


def with_selective(**changed: Any) -> EvalReport:
    return report(results=[result(selective=selective(**changed)), result("silent")])


def subject_text(made: EvalReport, place: int = 0) -> str:
    one, anchors, drawn = made.results[place], subject_anchors(made), SubjectFigures(made.results)
    return Tags(render("subject", report=made, result=one, subject_figures=drawn, anchors=anchors)).text


def scores(predictions: PredictionTable) -> Any:
    subject, measured = Subject("toy", "test", "raw", "fake"), measure_predictions(predictions, resamples=1)
    return scores_json(subject, predictions, measured, of=len(predictions))["selective"]


def test_the_scores_of_predictions_are_entries_of_evals_json() -> None:
    truth = np.arange(700) % 7
    good = prediction_table(truth, np.where(np.arange(700) % 11 == 0, (truth + 1) % 7, truth))
    for predictions in (good, calibrated_predictions(700)):
        made = scores(predictions)
        assert encode(decode(SelectivePrediction, made, "selective"), "selective") == made
    assert scores(good)["targets"][-1]["threshold"]["value"] == 0.15
    assert scores(good)["targets"][0]["threshold"] is None


def test_a_model_without_predictions_has_none() -> None:
    assert scores(prediction_table(np.zeros(9, dtype=int), np.full(9, -1))) is None


def test_the_page_has_a_sentence_for_each_target() -> None:
    text = " ".join(subject_text(with_selective()).split())
    assert HEADING in text
    assert "wrong in at most 5% of the cases: these faces establish no such confidence" in text
    assert (
        "To be wrong in at most 10% of the cases, act only when it is at least 84% sure: that leaves 66.8% "
        "of the faces (checked on the other half: error 9.1% [7.5%, 10.6%], n = 697)."
    ) in text


def test_the_page_shows_a_confidence_with_all_its_digits() -> None:
    targets = selective()["targets"]
    targets[1]["threshold"]["value"] = 0.99991
    assert "at least 99.991% sure" in " ".join(subject_text(with_selective(targets=targets)).split())


def test_a_model_without_probabilities_has_no_such_part() -> None:
    made = with_selective()
    assert HEADING not in subject_text(made, 1)
    assert SubjectFigures(made.results).risk_coverage(made.results[1]) is None


def test_markdown_has_one_row_for_each_subject_with_probabilities() -> None:
    (rows,) = [table for table in tables_in(markdown(with_selective())) if "AURC" in table[0]]
    accuracy = "0.668 [0.652, 0.683]"
    assert rows[1:] == [
        [
            "vgg19-raw on fer2013/private_test",
            accuracy,
            accuracy,
            "0.130 [0.114, 0.145]",
            "0.080 [0.064, 0.095]",
        ]
    ]
    assert not any("AURC" in table[0] for table in tables_in(markdown(report(results=[result()]))))


def test_a_figure_about_a_name_that_cannot_be_encoded_is_drawn() -> None:
    figure = new_figure(2)
    figure.subplots().plot([0, 1], [0, 1], "o")
    assert to_picture(figure, "model \ud800").description == "model \ufffd"
