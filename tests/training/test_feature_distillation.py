"""What a transformer is led to by a convolutional network: the shipped EfficientNet-B0, and the real eyes of
phi3v-nano.
"""

from dataclasses import replace

import pytest
import torch
from fakes import drawn

from fer_models.artifacts import weights
from fer_models.classifiers.cnn import build, normalise
from fer_models.errors import WeightsMissingError
from fer_models.training import supervised
from fer_models.training.feature_distillation import FeatureDistillation
from fer_models.training.recipes import RECIPES, VISION_ENCODER
from fer_models.training.soft_targets import described

RECIPE = RECIPES[VISION_ENCODER]


@pytest.fixture
def pupil():
    torch.manual_seed(0)
    network = build(RECIPE.architecture)
    return network, FeatureDistillation("efficientnet_b0", network, torch.device("cpu"))


def batch(n=14):
    return supervised.as_tensor(drawn(n), 3, 48).float()


def test_a_few_steps_lead_the_tokens_towards_what_the_teacher_sees_at_their_places(pupil):
    network, hint = pupil
    faces = batch()
    optimizer, losses = torch.optim.AdamW(network.parameters(), lr=1e-3), []
    for _ in range(12):
        network(normalise(faces, RECIPE.architecture))
        losses.append(hint.loss(faces))
        optimizer.zero_grad()
        losses[-1].backward()
        optimizer.step()
    assert 0.8 < losses[0] < 1.2  # directions that have nothing to do with each other
    assert losses[-1] < losses[0] - 0.1


def test_the_first_half_of_the_network_learns_and_neither_the_rest_nor_the_teacher(pupil):
    network, hint = pupil
    network(normalise(batch(), RECIPE.architecture))
    hint.loss(batch()).backward()
    assert network.blocks[0].attn.qkv.weight.grad is not None
    assert network.blocks[-1].attn.qkv.weight.grad is None
    assert all(p.grad is None for p in hint.teacher.network.parameters())


def test_the_place_of_a_token_matters(pupil):
    network, hint = pupil
    faces = batch()
    network(normalise(faces, RECIPE.architecture))
    wanted = hint.teacher.features(faces)
    assert wanted.shape == (14, 112, 6, 6)
    straight = hint.loss(faces)
    assert not torch.allclose(straight, hint.loss(faces.flip(3)), atol=1e-4)


def test_a_run_with_hints_says_whose_they_were_and_trains(tmp_path):
    recipe = replace(RECIPE, epochs=1, batch_size=14, teacher=None, precision="float32")
    outcome = supervised.train("eyes", recipe, [drawn(28)], drawn(14, "test"), tmp_path, device="cpu")
    said = weights.metadata(outcome.weights)["provenance"]
    assert described([drawn(28)], recipe)["hint"]["sha256"] in said


def test_hints_of_a_network_that_is_not_here_name_the_command():
    with pytest.raises(WeightsMissingError, match="fer-models train unheard-of"):
        FeatureDistillation("unheard-of", build(RECIPE.architecture), torch.device("cpu"))
