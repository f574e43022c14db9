"""Compiled networks: the same outputs, and a fallback that says why."""

import shutil
import warnings

import pytest
import torch

from fer_models.classifiers.torch_network import NotCompiledWarning, compile_network


class Network(torch.nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.convolution, self.head = torch.nn.Conv2d(1, 4, 3), torch.nn.Linear(4, 7)

    def forward(self, x):
        return self.head(self.convolution(x).relu().mean((2, 3)))


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler for a processor")
@torch.inference_mode()
def test_a_compiled_network_gives_the_same_outputs_for_every_batch_size():
    network = Network().eval()
    forward = compile_network(network)
    with warnings.catch_warnings():
        warnings.simplefilter("error", NotCompiledWarning)
        for n in (8, 8, 3):
            batch = torch.randn(n, 1, 8, 8)
            torch.testing.assert_close(forward(batch), network(batch), rtol=1e-5, atol=1e-6)


@torch.inference_mode()
def test_a_network_that_cannot_be_compiled_runs_as_it_is_and_says_so_once(monkeypatch):
    def refuse(*args, **kwargs):
        raise RuntimeError("no C++ compiler")

    network, batch = Network().eval(), torch.randn(2, 1, 8, 8)
    monkeypatch.setattr(torch, "compile", lambda *args, **kwargs: refuse)
    forward = compile_network(network)
    with pytest.warns(NotCompiledWarning, match=r"no C\+\+ compiler.*Leave --compile out") as caught:
        outputs = [forward(batch) for _ in range(3)]
    assert len(caught) == 1
    assert all(torch.equal(output, network(batch)) for output in outputs)
