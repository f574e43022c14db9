import gc

import numpy as np
import pytest

from fer_models.cost import measurement
from fer_models.errors import WeightsError
from fer_models.report import formatting


def step():
    """Allocate 64 MiB, and touch every page."""
    gc.collect()
    return np.ones((64, 2**20), dtype=np.uint8).sum()


def peak():
    memory = measurement.peak_memory_mb(step)
    if memory is None:
        pytest.skip("this system does not report the memory of a process; run on Linux or with CUDA")
    return memory


def test_peak_memory_includes_the_allocations_of_a_step():
    assert 48 <= peak() <= 160


def test_peak_memory_is_not_hidden_by_garbage_that_is_freed_meanwhile():
    ring: list = [np.ones((128, 2**20), dtype=np.uint8)]
    ring.append(ring)
    del ring
    assert 48 <= peak() <= 160


def test_peak_memory_is_not_hidden_by_free_memory_in_the_heap():
    # After this is freed, glibc allocates smaller arrays on its heap.
    np.ones((31, 2**20), dtype=np.uint8).sum()
    freed = [np.ones((16, 2**20), dtype=np.uint8) for _ in range(16)]
    above = np.ones((1, 2**20), dtype=np.uint8)
    del freed
    assert 48 <= peak() <= 160
    assert above.all()


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.0031, "3.1 ms"), (119.4, "119 s"), (179.7, "3 min 0 s"), (7199.7, "2 h 0 min"), (7260, "2 h 1 min")],
)
def test_seconds_are_never_sixty(seconds, text):
    assert formatting.seconds(seconds) == text


def test_a_step_that_fails_fails():
    with pytest.raises(ZeroDivisionError):
        measurement.peak_memory_mb(lambda: 1 / 0)


def epoch(size=48, seconds=10.0, rate=100.0, **more):
    return {"epoch": 1, "size": size, "loss": 1.0, "seconds": seconds, "images_per_second": rate, **more}


def test_the_cost_of_training_covers_all_runs_that_led_to_the_weights():
    first = {
        "history": [
            epoch(32, 4, 200, peak_memory_mb=900, joules=50),
            epoch(48, 8, 100, peak_memory_mb=1000, joules=90),
        ]
    }
    last = [
        epoch(32, 5, 160, peak_memory_mb=800, joules=60),
        epoch(48, 10, 80, peak_memory_mb=900, joules=100),
        epoch(48, 20, 40, joules=1),
    ]
    figures = measurement.training_cost(
        {"history": last, "device": "a GPU", "started_from": {"sha256": "f", "provenance": first}}
    )
    assert (figures["epochs"], figures["seconds"], figures["seconds_per_epoch"]) == (5, 47, 15)
    assert figures["device"] == "a GPU"
    assert figures["images_per_second"] == pytest.approx(5 * 800 / 47)
    assert figures["joules"] == 301
    assert figures["peak_memory_mb"] is None  # one epoch has none


def test_a_run_that_two_averaged_weights_share_counts_once():
    def resumed(*epochs, earlier, **more):
        return {"history": list(epochs), "started_from": {"sha256": "f", "provenance": earlier}, **more}

    first = {"history": [epoch(32, 4, 200)]}
    second = resumed(epoch(48, 8, 100), earlier=first)
    third = resumed(epoch(48, 10, 80), epoch(48, 12, 70), earlier=second, device="a GPU")
    averaged = {"averaged": [{"sha256": "g", "provenance": second}, {"sha256": "h", "provenance": third}]}
    assert measurement.training_cost(averaged) == measurement.training_cost(third)
    figures = measurement.training_cost(resumed(epoch(48, 6, 90), earlier=averaged))
    assert (figures["epochs"], figures["seconds"], figures["seconds_per_epoch"]) == (5, 40, 6)


@pytest.mark.parametrize(
    "record",
    [
        {},
        {"averaged": [{"sha256": "f", "provenance": None}]},
        {"history": []},
        {"history": [{"epoch": 1, "size": 48, "loss": 1.0}]},
        {"history": None},
    ],
)
def test_a_record_without_times_is_refused(record):
    with pytest.raises(WeightsError, match="how long each epoch took"):
        measurement.training_cost(record)


def test_the_interval_of_the_median_of_ten_values_ends_at_the_second_from_each_side():
    assert measurement.median_interval([10, 1, 9, 2, 8, 3, 7, 4, 6, 5]) == (2, 9)
    assert measurement.median_interval([3, 1, 2, 6, 5, 4]) == (1, 6)


@pytest.mark.parametrize("n", [1, 2, 5])
def test_too_few_values_have_no_interval_of_their_median(n):
    assert measurement.median_interval([1.0] * n) is None


def test_the_size_of_a_folder_is_that_of_its_files(tmp_path):
    (tmp_path / "inner").mkdir()
    (tmp_path / "a").write_bytes(b"12")
    (tmp_path / "inner" / "b").write_bytes(b"345")
    assert measurement.size_in_bytes(tmp_path) == 5
    assert measurement.size_in_bytes(tmp_path / "a") == 2


def test_a_step_is_called_once_also_where_the_system_does_not_report_its_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(measurement, "_SELF", tmp_path / "none")
    calls = []
    assert measurement.peak_memory_mb(lambda: calls.append(1)) is None
    assert calls == [1]
