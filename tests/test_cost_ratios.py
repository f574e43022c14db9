"""Cost ratios of a run: measured on real models, stored, judged, recorded."""

import os
import time
from dataclasses import replace
from functools import partial
from itertools import count
from types import SimpleNamespace

import numpy as np
import pytest

from fer_models import cost_ratios
from fer_models.classifiers.dummy import Constant
from fer_models.config import EvalConfig
from fer_models.cost.other_load import OtherLoad
from fer_models.cost.ratio import CostRatio
from fer_models.cost_ratios import MEASUREMENTS, CostRatios, measure
from fer_models.datasets.base import FaceSet
from fer_models.emotions import Emotion
from fer_models.gate.baselines import BaselineRecord
from fer_models.images import resize
from fer_models.inference.runner import Combination, Runner
from fer_models.plugin.fixtures import CostGate
from fer_models.zoo import restorers
from fer_models.zoo.registry import Registry
from fer_models.zoo.spec import ModelSpec, Runtime

MODEL = Combination("net", "raw")
#: Fewer than the real ones: these tests are about what becomes of them.
ROUNDS = 4


class Slow(Constant):
    """A model that takes a while, and counts how often it is called."""

    def __init__(self) -> None:
        super().__init__(Emotion.HAPPY)
        self.calls = 0

    def predict(self, faces):
        self.calls += 1
        time.sleep(0.01)
        return super().predict(faces)


class PidWriter(Constant):
    """A model that leaves a file with the name of its process."""

    def __init__(self, folder) -> None:
        super().__init__(Emotion.HAPPY)
        self.folder = folder

    def predict(self, faces):
        (self.folder / str(os.getpid())).touch()
        return super().predict(faces)


@pytest.fixture(autouse=True)
def unknown_load(monkeypatch, tmp_path):
    """Few rounds, and an unknown load: other tests run at the same time, and disturb the measurements."""
    monkeypatch.setattr(cost_ratios, "ROUNDS", ROUNDS)
    monkeypatch.setattr(cost_ratios, "OtherLoad", partial(OtherLoad, tmp_path / "nothing"))


@pytest.fixture
def model():
    return Slow()


@pytest.fixture
def ratios_with(tmp_path, model):
    """A function that makes the cost ratios of a run with a recorded ratio, or None."""

    def make(recorded=None):
        options = EvalConfig(store=tmp_path / "store")
        models = Registry("model", ModelSpec("net", lambda runtime: model))
        runner = Runner(options, models, Registry("restorer", restorers.RAW))
        record = BaselineRecord(
            *("synthetic", "test", None, "raw", "net", None, "", 1, 0, {}, "", ""), cost_ratio=recorded
        )
        return CostRatios(runner, lambda combination: record, measure)

    return make


def test_a_model_without_a_record_is_measured_once_and_its_ratio_can_be_recorded(ratios_with, model):
    ratios = ratios_with()
    verdict = ratios.judge(MODEL)
    assert verdict.status == "NEW"
    assert len(verdict.now.values) == ROUNDS
    calls = model.calls
    assert ratios_with().judge(MODEL).now == verdict.now, "read from the store"
    assert model.calls == calls


def test_larger_faces_have_a_time_of_their_own(ratios_with, model, monkeypatch):
    small = ratios_with().judge(MODEL)
    calls, faces = model.calls, FaceSet.faces
    monkeypatch.setattr(FaceSet, "faces", lambda self, rows: [resize(face, 96) for face in faces(self, rows)])
    large = ratios_with().judge(MODEL)
    assert model.calls > calls
    assert large.now != small.now


@pytest.mark.slow
def test_a_slowdown_is_measured_again_before_it_fails_and_both_measurements_count(ratios_with):
    now = ratios_with().judge(MODEL).now
    recorded = replace(now, values=tuple(value / 100 for value in now.values))
    verdict = ratios_with(recorded).judge(MODEL)
    assert verdict.status == "FAIL"
    assert len(verdict.now.values) == MEASUREMENTS * ROUNDS
    assert verdict.now.values[:ROUNDS] == now.values


def test_a_record_has_all_measurements(ratios_with):
    ratios = ratios_with()
    assert ratios.recorded(MODEL) is None, "nothing was measured"
    now = ratios.judge(MODEL).now
    recorded = ratios.recorded(MODEL)
    assert len(recorded.values) == MEASUREMENTS * ROUNDS
    assert recorded.values[:ROUNDS] == now.values


@pytest.mark.slow
def test_a_model_is_measured_in_a_process_of_its_own(tmp_path):
    spec = ModelSpec("net", lambda runtime: PidWriter(tmp_path))
    faces = [np.zeros((48, 48, 3), np.uint8)] * 2
    figures = cost_ratios.measure_in_new_process(spec, Runtime("cpu"), faces, 3)
    assert len(figures["values"]) == 3
    (pid,) = {int(file.name) for file in tmp_path.iterdir()}
    assert pid != os.getpid()


@pytest.mark.slow
def test_a_disturbed_measurement_is_neither_judged_nor_stored_nor_recorded(
    ratios_with, model, monkeypatch, tmp_path
):
    now = ratios_with().judge(MODEL).now
    stat, others = tmp_path / "stat", count()

    class Busy(OtherLoad):
        def __init__(self):
            stat.write_text(f"cpu {next(others) * 10**9} 0 0 0 0 0 0 0\n")
            super().__init__(stat)
            stat.write_text(f"cpu {next(others) * 10**9} 0 0 0 0 0 0 0\n")

    monkeypatch.setattr(cost_ratios, "OtherLoad", Busy)
    other = replace(now, values=tuple(value / 100 for value in now.values))
    ratios = ratios_with(other)
    verdict = ratios.judge(MODEL)
    assert verdict.status == "NEW"
    assert "other processes" in verdict.reason
    assert ratios.recorded(MODEL) is None
    calls = model.calls
    ratios.judge(MODEL)
    assert model.calls > calls, "measured anew"


def test_nothing_is_measured_where_only_stored_times_count(ratios_with, model):
    assert ratios_with().judge(MODEL, only_stored=True) is None
    assert model.calls == 0


def gate(ratios, *, strict=False, update=False):
    runner = SimpleNamespace(subject=lambda combination: SimpleNamespace(id="net-raw on synthetic/test"))
    evaluation = SimpleNamespace(cost_ratios=ratios, runner=runner)
    return CostGate(SimpleNamespace(evaluation=evaluation, strict=strict, update=update), MODEL)


def test_the_test_of_a_slower_model_fails_with_a_table(ratios_with):
    now = ratios_with().judge(MODEL).now
    ratios = ratios_with(replace(now, values=tuple(value / 100 for value in now.values)))
    with pytest.raises(pytest.fail.Exception, match="inference takes longer than its baseline"):
        gate(ratios).assert_no_regression()


def test_the_test_is_skipped_with_the_reason_where_nothing_can_be_compared(ratios_with):
    recorded = CostRatio((1.0,), 32, "abacus", "cpu", "float32")
    with pytest.raises(pytest.skip.Exception, match=r"machine 'abacus'.*--update-baselines"):
        gate(ratios_with(recorded)).assert_no_regression()
    gate(ratios_with(recorded), update=True).assert_no_regression()


def test_the_test_is_skipped_where_times_cannot_be_measured(ratios_with):
    with pytest.raises(pytest.skip.Exception, match="several processes"):
        gate(ratios_with()).assert_no_regression(only_stored=True)
