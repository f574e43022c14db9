import sys
from types import SimpleNamespace

import pytest
import torch

from fer_models.cost.energy import EnergyMeter


def package(folder, name, microjoules, most=1_000_000, kind="package-0"):
    place = folder / name
    place.mkdir(parents=True, exist_ok=True)
    (place / "name").write_text(f"{kind}\n")
    (place / "energy_uj").write_text(f"{microjoules}\n")
    (place / "max_energy_range_uj").write_text(f"{most}\n")


def test_the_packages_of_a_machine_are_summed_without_their_parts(tmp_path):
    for name in ("intel-rapl:0", "intel-rapl:1", "intel-rapl:0:0"):
        package(tmp_path, name, 100)
    meter = EnergyMeter("cpu", tmp_path)
    for name, microjoules in (
        ("intel-rapl:0", 500_100),
        ("intel-rapl:1", 250_100),
        ("intel-rapl:0:0", 400_100),
    ):
        package(tmp_path, name, microjoules)
    assert meter.joules() == pytest.approx(0.75)


def test_the_zone_of_the_whole_machine_is_no_package(tmp_path):
    package(tmp_path, "intel-rapl:0", 100)
    package(tmp_path, "intel-rapl:1", 200, kind="psys")
    meter = EnergyMeter("cpu", tmp_path)
    package(tmp_path, "intel-rapl:0", 500_100)
    package(tmp_path, "intel-rapl:1", 900_200, kind="psys")
    assert meter.joules() == pytest.approx(0.5)


def test_the_energy_of_the_processor_alone_is_not_that_of_a_gpu_computation(tmp_path, monkeypatch):
    package(tmp_path, "intel-rapl:0", 100)
    monkeypatch.setitem(sys.modules, "pynvml", None)  # as if it were not installed
    assert EnergyMeter("cuda", tmp_path).joules() is None
    assert EnergyMeter("server", tmp_path).joules() is None, "that of another machine is not known"


def test_the_energy_of_a_gpu_is_that_of_the_one_that_torch_uses(tmp_path, monkeypatch):
    package(tmp_path, "intel-rapl:0", 100)
    counters, handles = iter((1000, 3000)), []

    def handle_by_uuid(name):
        handles.append(name)
        return name

    nvml = SimpleNamespace(
        nvmlInit=lambda: None,
        nvmlDeviceGetHandleByUUID=handle_by_uuid,
        nvmlDeviceGetTotalEnergyConsumption=lambda handle: next(counters),
    )
    monkeypatch.setitem(sys.modules, "pynvml", nvml)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 1)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda i: SimpleNamespace(uuid=f"0-{i}"))
    assert EnergyMeter("cuda", tmp_path).joules() == 2.0
    assert handles == ["GPU-0-1"] * 2


def test_a_counter_that_restarted_is_corrected(tmp_path):
    package(tmp_path, "intel-rapl:0", 900_000)
    meter = EnergyMeter("cpu", tmp_path)
    package(tmp_path, "intel-rapl:0", 100_000)
    assert meter.joules() == pytest.approx(0.2)


def test_a_machine_without_a_counter_has_no_energy(tmp_path):
    assert EnergyMeter("cpu", tmp_path).joules() is None
    package(tmp_path, "intel-rapl:0", 1)
    (tmp_path / "intel-rapl:0" / "energy_uj").write_text("not a number")
    assert EnergyMeter("cpu", tmp_path).joules() is None
