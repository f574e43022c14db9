"""Folded networks: the same function without batch normalisations."""

import pytest
import timm
import torch
from torch import nn

from fer_models.artifacts import safetensors_io
from fer_models.classifiers import cnn
from fer_models.classifiers.architecture import Architecture
from fer_models.classifiers.folding import fold_batch_norms
from fer_models.zoo import models


def with_statistics(network):
    """The network with other statistics and weights of each normalisation than those of a new one."""
    generator = torch.Generator().manual_seed(0)
    for layer in network.modules():
        if isinstance(layer, nn.BatchNorm2d) and layer.running_mean is not None:
            layer.running_mean.normal_(generator=generator)
            layer.running_var.uniform_(0.5, 2, generator=generator)
            if layer.weight is not None:
                with torch.no_grad():
                    layer.weight.uniform_(0.5, 1.5, generator=generator)
                    layer.bias.normal_(generator=generator)
    return network.eval()


def norms(network):
    return [layer for layer in network.modules() if isinstance(layer, nn.BatchNorm2d)]


def assert_same_function(network, folded, *, channels=3, side=32):
    batch = torch.randn(4, channels, side, side, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        torch.testing.assert_close(folded(batch), network(batch), rtol=1e-3, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["resnet10t", "vgg11_bn", "mobilenetv3_small_050", "efficientnet_b0"])
def test_networks_of_timm_keep_their_function_and_lose_their_normalisations(name):
    network = with_statistics(timm.create_model(name, num_classes=7))
    folded = fold_batch_norms(network)
    assert norms(network)
    assert not norms(folded)
    assert_same_function(network, folded)


@pytest.mark.slow
@pytest.mark.parametrize(
    "model", [models.VGG19, models.RESNET50, models.EFFICIENTNET_B0], ids=lambda m: m.name
)
def test_a_shipped_network_gives_the_same_probabilities(model):
    state, metadata = safetensors_io.read(model.weights_path())
    architecture = Architecture(**cnn.parse_json(metadata["architecture"]))
    network = cnn.build(architecture).eval()
    network.load_state_dict(state)
    batch = torch.randn(
        8, 1, architecture.size, architecture.size, generator=torch.Generator().manual_seed(2)
    )
    with torch.inference_mode():
        before, after = (n(batch).softmax(dim=1) for n in (network, fold_batch_norms(network)))
    assert float((before - after).abs().max()) < 1e-5


def test_the_network_itself_is_not_changed():
    network = with_statistics(timm.create_model("resnet10t", num_classes=7))
    before = {name: value.clone() for name, value in network.state_dict().items()}
    fold_batch_norms(network)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


class ReadTwice(nn.Module):
    """The convolution's output is normalised, and added as it is."""

    def __init__(self):
        super().__init__()
        self.convolution, self.norm = nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)

    def forward(self, x):
        y = self.convolution(x)
        return self.norm(y) + y


class SharedConvolution(nn.Module):
    """One convolution with a normalisation at its first use only."""

    def __init__(self):
        super().__init__()
        self.convolution, self.norm = nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)

    def forward(self, x):
        return self.convolution(self.norm(self.convolution(x)))


class DependsOnValues(nn.Module):
    """torch.fx cannot trace a branch on values."""

    def __init__(self):
        super().__init__()
        self.convolution, self.norm = nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)

    def forward(self, x):
        return self.norm(self.convolution(x)) if x.sum() > 0 else x


class ScaledConvolution(nn.Conv2d):
    """A convolution with a function of its own."""

    def forward(self, input):
        return 2 * super().forward(input)


def batch_statistics():
    return nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3, track_running_stats=False))


def without_weights():
    return nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3, affine=False))


@pytest.mark.parametrize(
    "build",
    [
        ReadTwice,
        SharedConvolution,
        DependsOnValues,
        lambda: nn.Sequential(ScaledConvolution(3, 3, 1), nn.BatchNorm2d(3)),
        batch_statistics,
    ],
)
def test_what_cannot_be_folded_stays(build):
    torch.manual_seed(0)
    network = with_statistics(build())
    folded = fold_batch_norms(network)
    assert len(norms(folded)) == len(norms(network)) == 1
    assert_same_function(network, folded)


def test_a_normalisation_without_weights_is_folded():
    torch.manual_seed(0)
    network = with_statistics(without_weights())
    folded = fold_batch_norms(network)
    assert not norms(folded)
    assert_same_function(network, folded)
