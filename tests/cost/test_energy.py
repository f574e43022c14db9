import pytest

from fer_models.cost.energy import EnergyMeter


def package(folder, name, microjoules, most=1_000_000):
    place = folder / name
    place.mkdir(parents=True, exist_ok=True)
    (place / "energy_uj").write_text(f"{microjoules}\n")
    (place / "max_energy_range_uj").write_text(f"{most}\n")


def test_the_packages_of_a_machine_are_added_and_their_parts_are_not(tmp_path):
    for name in ("intel-rapl:0", "intel-rapl:1", "intel-rapl:0:0"):
        package(tmp_path, name, 100)
    meter = EnergyMeter("cpu", tmp_path)
    for name, drawn in (("intel-rapl:0", 500_100), ("intel-rapl:1", 250_100), ("intel-rapl:0:0", 400_100)):
        package(tmp_path, name, drawn)
    assert meter.joules() == pytest.approx(0.75)


def test_a_counter_that_started_again_is_followed(tmp_path):
    package(tmp_path, "intel-rapl:0", 900_000)
    meter = EnergyMeter("cpu", tmp_path)
    package(tmp_path, "intel-rapl:0", 100_000)
    assert meter.joules() == pytest.approx(0.2)


def test_a_machine_that_does_not_tell_gives_no_figure(tmp_path):
    assert EnergyMeter("cpu", tmp_path).joules() is None
    package(tmp_path, "intel-rapl:0", 1)
    (tmp_path / "intel-rapl:0" / "energy_uj").write_text("not a number")
    assert EnergyMeter("cpu", tmp_path).joules() is None
