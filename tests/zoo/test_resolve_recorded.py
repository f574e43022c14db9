"""Models that a baselines file names."""

import pytest

from fer_models.zoo import resolve
from fer_models.zoo.models import MODELS


def test_a_fusion_of_known_models_is_added() -> None:
    assert "vgg19+clip-nano" in resolve.with_recorded(MODELS, ["vgg19+clip-nano"])


@pytest.mark.parametrize(
    "name",
    ["endpoint:m@http://127.0.0.1:9/v1", "timm:resnet18@weights.safetensors", "open_clip:ViT-B-32/openai"],
)
def test_a_name_that_opens_a_file_or_reaches_a_server_is_not(name: str) -> None:
    assert list(resolve.with_recorded(MODELS, [name])) == list(MODELS)
