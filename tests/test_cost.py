import numpy as np
import pytest

from fer_models.evaluation import cost


def test_peak_memory_sees_what_a_step_allocates():
    def step():
        return np.ones((64, 2**20), dtype=np.uint8).sum()  # 64 MiB, every page touched

    peak = cost.peak_memory_mb(step)
    if peak is None:
        pytest.skip("this system does not tell a process its memory; run on Linux or with CUDA")
    assert 48 <= peak <= 160


def test_a_step_that_fails_fails():
    with pytest.raises(ZeroDivisionError):
        cost.peak_memory_mb(lambda: 1 / 0)
