"""Reference workload: the same computation on each call."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from fer_models.cost.reference_workload import reference_workload


def test_it_is_a_network_of_convolutions_with_the_same_number_of_operations_each_time():
    counter = FlopCounterMode(display=False)
    step = reference_workload()
    with counter:
        step()
    counts = {str(name): count for name, count in counter.get_flop_counts()["Global"].items()}
    assert counts == {"aten.convolution": pytest.approx(2 * 1.707e9, rel=0.01)}


def test_it_changes_no_thread_setting_and_no_random_state():
    state, threads = torch.get_rng_state(), torch.get_num_threads()
    reference_workload()()
    assert torch.equal(state, torch.get_rng_state())
    assert threads == torch.get_num_threads()
