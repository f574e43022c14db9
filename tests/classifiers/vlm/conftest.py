"""A small random network of the port of Phi-3.5-vision, in the layout of the official files."""

import pytest
from chats import checkpoint

from fer_models.classifiers.vlm import phi3v


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return checkpoint(tmp_path_factory.mktemp("phi3v"))


@pytest.fixture(scope="module")
def chat(folder):
    return phi3v.load(folder, device="cpu")
