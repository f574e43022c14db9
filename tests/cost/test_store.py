"""Costs are measured once per code, library versions and machine."""

import pytest
from fakes import full_disk

from fer_models.artifacts.device import describe_machine, resolve_precision
from fer_models.cost.store import CostStore
from fer_models.errors import DamagedFileWarning

STEP = {"phase": "inference", "batch": 32, "identities": {"model": {"weights": "abc"}}}


def test_a_step_is_measured_once_with_its_date(tmp_path):
    calls = []

    def measure():
        calls.append(1)
        return {"seconds": 0.25}

    first = CostStore(tmp_path).get_or_measure(STEP, measure)
    second = CostStore(tmp_path).get_or_measure(STEP, measure)
    assert len(calls) == 1
    assert first["seconds"] == second["seconds"] == 0.25
    assert "measured_on" in second


def test_other_steps_and_other_machines_are_measured_themselves(tmp_path, monkeypatch):
    CostStore(tmp_path).save(STEP, {"seconds": 0.25})
    assert CostStore(tmp_path).find({**STEP, "batch": 1}) is None
    monkeypatch.setattr("fer_models.cost.store._environment", lambda: {"machine": "another"})
    assert CostStore(tmp_path).find(STEP) is None


def test_measuring_anew_replaces_the_stored_figures(tmp_path):
    CostStore(tmp_path).save(STEP, {"seconds": 0.25})
    CostStore(tmp_path, measure_anew=True).get_or_measure(STEP, lambda: {"seconds": 0.5})
    assert CostStore(tmp_path).find(STEP)["seconds"] == 0.5


def test_a_step_is_measured_anew_once_in_a_run(tmp_path):
    CostStore(tmp_path).save(STEP, {"seconds": 0.25})
    run = CostStore(tmp_path, measure_anew=True)
    run.get_or_measure(STEP, lambda: {"seconds": 0.5})
    assert run.get_or_measure(STEP, lambda: {"seconds": 0.75})["seconds"] == 0.5


def test_a_damaged_file_and_a_full_disk_cost_a_measurement_and_nothing_else(tmp_path):
    CostStore(tmp_path).save(STEP, {"seconds": 0.25})
    (file,) = tmp_path.glob("*.json")
    file.write_text("{")
    with full_disk(3), pytest.warns(DamagedFileWarning, match="is damaged"):
        assert CostStore(tmp_path).get_or_measure(STEP, lambda: {"seconds": 0.5}) == {"seconds": 0.5}


def test_the_machine_is_described_by_processor_cores_and_gpus(tmp_path):
    (tmp_path / "cpuinfo").write_text("model name\t: Fast CPU\nflags\t: avx2\n")
    (tmp_path / "gpus" / "0000:01").mkdir(parents=True)
    (tmp_path / "gpus" / "0000:01" / "information").write_text("Model: \t\t NVIDIA H100\nIRQ: 7\n")
    text = describe_machine(tmp_path / "cpuinfo", tmp_path / "gpus")
    assert text.startswith("Fast CPU, ")
    assert text.endswith("NVIDIA H100")
    assert describe_machine(tmp_path / "none", tmp_path / "none")


def test_automatic_precision_is_the_fast_one_of_the_device():
    assert resolve_precision("bf16", "cpu") == "bf16"
    assert resolve_precision("float32", "cuda") == "float32"
    assert resolve_precision("auto", "mps") == "float32"
    assert resolve_precision("auto", "cpu") in ("float32", "bf16")
