"""Published accuracies are compared with results on the faces that they are about, as these are."""

from types import SimpleNamespace

import pytest
from fakes import toy_faces

from evals.test_published import published_rows
from fer_models.config import EvalConfig
from fer_models.corruptions import Corruption
from fer_models.gate.baselines import Baselines
from fer_models.inference.runner import Runner
from fer_models.zoo import models, restorers

ROW = {"dataset": "toy", "split": "test", "n": 14, "correct": 7, "evaluated_as": "clip-nano"}


def rows_of(published, **options):
    runner = Runner(EvalConfig(**options), models.MODELS, restorers.RESTORERS)
    return published_rows(SimpleNamespace(runner=runner, baselines=Baselines(published=published)))


@pytest.fixture(autouse=True)
def few_faces(monkeypatch):
    monkeypatch.setattr("fer_models.datasets.synthetic.load", lambda split: toy_faces(14, split))


def test_a_row_about_these_faces_is_compared_and_no_other_one():
    published = (ROW, {**ROW, "n": 15}, {**ROW, "split": "train"}, {**ROW, "dataset": "fer2013"})
    assert rows_of(published) == [ROW]
    assert rows_of(({key: value for key, value in ROW.items() if key != "evaluated_as"},)) == []
    assert rows_of(({**ROW, "evaluated_as": None},)) == []


def test_a_row_about_clean_faces_says_nothing_about_corrupted_ones():
    assert rows_of((ROW,), corruption=Corruption.parse("low-resolution@4")) == []
