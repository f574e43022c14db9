"""Feature distillation from the shipped EfficientNet-B0 to the vision encoder of phi3v-nano."""

from dataclasses import replace

import pytest
import torch
from fakes import toy_faces

from fer_models.artifacts import weights
from fer_models.classifiers.cnn import build, normalise
from fer_models.errors import WeightsMissingError
from fer_models.training.face_tensors import as_tensor
from fer_models.training.feature_distillation import FeatureDistillation
from fer_models.training.recipes import RECIPES, VISION_ENCODER
from fer_models.training.session import RunOptions, TrainingData
from fer_models.training.soft_targets import describe_targets
from fer_models.training.supervised import SupervisedTraining

RECIPE = RECIPES[VISION_ENCODER]


@pytest.fixture
def student():
    torch.manual_seed(0)
    network = build(RECIPE.architecture)
    return network, FeatureDistillation("efficientnet_b0", network, torch.device("cpu"))


def batch(n=14):
    return as_tensor(toy_faces(n), 3, 48).float()


@pytest.mark.slow
def test_a_few_steps_bring_the_tokens_closer_to_the_features_at_their_places(student):
    network, distillation = student
    faces = batch()
    optimizer, losses = torch.optim.AdamW(network.parameters(), lr=1e-3), []
    for _ in range(12):
        network(normalise(faces, RECIPE.architecture))
        losses.append(distillation.loss(faces))
        optimizer.zero_grad()
        losses[-1].backward()
        optimizer.step()
    assert 0.8 < losses[0] < 1.2  # unrelated vectors
    assert losses[-1] < losses[0] - 0.1


def test_only_the_first_half_of_the_student_gets_gradients(student):
    network, distillation = student
    network(normalise(batch(), RECIPE.architecture))
    distillation.loss(batch()).backward()
    assert network.blocks[0].attn.qkv.weight.grad is not None
    assert network.blocks[-1].attn.qkv.weight.grad is None
    assert all(p.grad is None for p in distillation.teacher.network.parameters())


def test_the_place_of_a_token_matters(student):
    network, distillation = student
    faces = batch()
    network(normalise(faces, RECIPE.architecture))
    assert distillation.teacher.extract_features(faces).shape == (14, 112, 6, 6)
    mirrored = distillation.loss(faces.flip(3))
    assert not torch.allclose(distillation.loss(faces), mirrored, atol=1e-4)


def test_a_run_with_feature_distillation_records_the_teacher(tmp_path):
    recipe = replace(RECIPE, epochs=1, batch_size=14, teacher=None, precision="float32")
    data = TrainingData([toy_faces(28)], toy_faces(14, "test"))
    result = SupervisedTraining("vision", recipe, data, RunOptions(device="cpu")).run(tmp_path)
    provenance = weights.metadata(result.weights)["provenance"]
    assert describe_targets([toy_faces(28)], recipe)["hint"]["sha256"] in provenance


def test_a_missing_teacher_is_named_with_its_command():
    with pytest.raises(WeightsMissingError, match="fer-models train unheard-of"):
        FeatureDistillation("unheard-of", build(RECIPE.architecture), torch.device("cpu"))
