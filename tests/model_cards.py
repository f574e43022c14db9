"""Reports with known scores for model cards, and readers of the cards."""

from __future__ import annotations

from typing import Any

from eval_reports import face_set, report, result
from huggingface_hub import ModelCard

from fer_models.emotions import LABELS
from fer_models.report.card_edit import END, START


def metric(value):
    return {"value": value, "low": value - 0.01, "high": value + 0.01}


def class_scores(recall):
    intervals = {"precision": None, "recall": [0.0, 1.0], "f1": None}
    return {"precision": None, "recall": recall, "f1": None, "support": 10, "intervals": intervals}


def scored(**more):
    """A result of `vgg19` with known metrics."""
    fields = {
        "metrics": {"accuracy": metric(0.61234), "macro_f1": metric(0.5), "ece": metric(0.1)},
        "per_class": {label: class_scores(i / 10) for i, label in enumerate(LABELS)},
    }
    return result(**fields, **more)


DATA = {"fer2013/private_test": face_set(fingerprint="9c11ab", n=3589, of=3589)}
ONE = report(results=[scored()], data=DATA)
OTHER = report(results=[scored(restoration="gfpgan"), scored()], data=DATA)


def data_of(card) -> Any:
    """The front matter of a card, as huggingface_hub reads it."""
    return ModelCard(card).data


def values_of(card):
    """The metrics in a card, as huggingface_hub reads them."""
    return {(one.dataset_config, one.metric_name): one.metric_value for one in data_of(card).eval_results}


def section_of(card):
    return card.partition(START)[2].partition(END)[0]
