"""Generative models have no probabilities: no score computed from one is reported or judged."""

from dataclasses import replace

import numpy as np
import pytest
from eval_reports import report
from fakes import oracle_labels, toy_faces

from fer_models import cli
from fer_models.classifiers.base import Predictions
from fer_models.classifiers.dummy import Constant, Oracle
from fer_models.classifiers.fusion import pool
from fer_models.classifiers.tta import FlipTTA
from fer_models.classifiers.vlm import base, questions
from fer_models.config import EvalConfig
from fer_models.emotions import LABELS, Emotion
from fer_models.evaluation import Evaluation
from fer_models.gate import baselines, gate
from fer_models.images import face_hash
from fer_models.report.html_report import section_html
from fer_models.scoring.metrics import measure_predictions
from fer_models.store.partition import load_partition
from fer_models.zoo.registry import Registry
from fer_models.zoo.restorers import RESTORERS
from fer_models.zoo.spec import ModelSpec

#: What is computed from probabilities.
FROM_PROBABILITIES = {"ece", "nll", "brier"}
FACES = toy_faces(70)


class Writer:
    """Names the emotion of four faces in five, calls the others sad, and refuses every 16th."""

    def __init__(self):
        self.labels = oracle_labels(FACES)

    def predict(self, faces):
        numbers = [int(face_hash(face), 16) for face in faces]
        replies = [
            self.labels[face_hash(face)].label if n % 5 else "sad"
            for face, n in zip(faces, numbers, strict=True)
        ]
        replies = [reply if n % 16 else "I cannot tell." for reply, n in zip(replies, numbers, strict=True)]
        return base.parse_responses(replies, questions.load("one-word"))


@pytest.fixture
def evaluate(tmp_path, monkeypatch):
    monkeypatch.setattr("fer_models.datasets.synthetic.load", lambda split: FACES)
    models = [
        ModelSpec("writer", lambda runtime: Writer()),
        ModelSpec("oracle", lambda runtime: Oracle(oracle_labels(FACES))),
    ]

    def made():
        options = EvalConfig(
            "synthetic", split="validation", store=tmp_path / "store", baselines=tmp_path / "baselines.json"
        )
        return Evaluation(options, Registry("model", *models), RESTORERS)

    return made


def test_scores_of_probabilities_are_absent_from_evals_json_and_baselines(evaluate):
    for run in (evaluate(), evaluate()):
        assert not FROM_PROBABILITIES & set(run.result(("writer", "raw"))["metrics"])
        assert not FROM_PROBABILITIES & set(run.record(("writer", "raw")).metrics)
        assert set(run.result(("oracle", "raw"))["metrics"]) > FROM_PROBABILITIES
        assert set(run.record(("oracle", "raw")).metrics) > FROM_PROBABILITIES


def test_a_recorded_value_goes_with_the_next_record(evaluate):
    record = evaluate().record(("writer", "raw"))
    old = replace(record, metrics={**record.metrics, "nll": 5.84, "corruptions: mean error": 0.5})
    (new,) = baselines.Baselines((old,)).updated([record]).measured
    assert new.metrics == {**record.metrics, "corruptions: mean error": 0.5}


def test_the_page_shows_a_dash(evaluate):
    results = [{**evaluate().result((model, "raw")), "command": ""} for model in ("writer", "oracle")]
    table = section_html(report(results=results), "subjects_table")
    rows = {row.split("</th>")[0]: row for row in table.split('scope="row">')[1:]}
    (ece,) = (i for i, heading in enumerate(table.split("<th ")) if ">ECE<" in heading)
    cells = {name.strip(): row.split("<td")[ece - 1] for name, row in rows.items()}
    assert ">-<" in cells["writer-raw"]
    assert ">0.1" in cells["oracle-raw"]


def test_the_verdict_has_no_log_loss(evaluate, tmp_path):
    run = evaluate()
    baselines.Baselines(tuple(run.record((model, "raw")) for model in ("writer", "oracle"))).write(
        tmp_path / "baselines.json"
    )
    again = evaluate()
    again.select([("writer", "raw"), ("oracle", "raw")])
    assert again.verdict(("writer", "raw")).status == gate.PASS
    assert again.result(("writer", "raw"))["log_loss"] is None
    assert again.result(("oracle", "raw"))["log_loss"] is not None


def test_compare_reads_their_partitions_and_judges_no_log_loss(evaluate, tmp_path, capsys):
    run = evaluate()
    folders = {}
    for model in ("writer", "oracle"):
        run.runner.predict((model, "raw"))
        folders[model] = str(run.runner.partition((model, "raw")).folder)
    assert load_partition(run.runner.partition(("writer", "raw")).folder)[0].has_probabilities is False
    assert cli.main(["compare", folders["writer"], folders["writer"], "--strict-gate"]) == 0
    for before, after in (("writer", "oracle"), ("oracle", "writer")):
        cli.main(["compare", folders[before], folders[after], "--format", "json"])
        assert '"log_loss": null' in capsys.readouterr().out


@pytest.mark.parametrize(
    "made", [FlipTTA, lambda writer: Both([writer, Constant(Emotion.SAD, 0.5)])], ids=["+tta", "fusion"]
)
def test_fusions_and_augmentations_of_written_replies_have_no_probabilities(made):
    class Always:
        def predict(self, faces):
            return base.parse_responses(["happy"] * len(faces), questions.load("one-word"))

    assert made(Always()).predict(FACES.faces([0, 1])).has_probabilities is False
    assert made(Constant(Emotion.SAD, 0.5)).predict(FACES.faces([0, 1])).has_probabilities is True


class Both:
    def __init__(self, classifiers):
        self.classifiers = classifiers

    def predict(self, faces):
        return pool([c.predict(faces) for c in self.classifiers], (0.5, 0.5))


def test_the_likelihoods_of_replies_are_probabilities():
    class Chat:
        def loglikelihood(self, faces, question, replies):
            return np.log(np.tile(np.arange(1, 8) / 28, (len(faces), 1)))

    predictions = base.VlmClassifier(Chat(), questions.load("one-word"), base.LIKELIHOOD).predict(
        FACES.faces([0])
    )
    assert predictions.has_probabilities
    assert predictions.probabilities[0] == pytest.approx(np.arange(1, 8) / 28)


def test_probabilities_of_zero_and_one_are_not_mistaken_for_written_replies():
    """The model declares it; nothing is guessed from the numbers."""
    certain = Constant(Emotion.SAD).predict(FACES.faces([0, 1]))
    assert certain.has_probabilities
    assert Predictions.joined([certain, certain]).has_probabilities
    assert Predictions.from_probabilities(np.eye(7), LABELS).has_probabilities


def test_metrics_of_written_replies_use_the_predicted_emotions_only(evaluate):
    answers = evaluate().runner.predict(("writer", "raw")).predictions
    with_probabilities = measure_predictions(replace(answers, has_probabilities=True), resamples=50)
    without = measure_predictions(answers, resamples=50)
    assert set(with_probabilities.overall) - set(without.overall) == FROM_PROBABILITIES
    assert with_probabilities.overall["macro_f1"] == without.overall["macro_f1"]
