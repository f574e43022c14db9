"""Small networks of the real classes, and colour faces."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch

from fer_models.artifacts import safetensors_io
from fer_models.classifiers import cnn
from fer_models.classifiers.architecture import Architecture
from fer_models.emotions import LABELS
from fer_models.zoo.spec import ModelSpec, Weights

#: The labels are in no usual order, and the channels have different means: nothing passes by accident.
ARCHITECTURE = Architecture("resnet10t", size=32, channels=3, mean=(0.5, 0.4, 0.3), std=(0.2, 0.3, 0.25))
ORDER = (*LABELS[3:], *LABELS[:3])


def small_network() -> torch.nn.Module:
    """A random network whose answers are of several emotions, with confident probabilities."""
    torch.manual_seed(0)
    network = cnn.build(ARCHITECTURE, len(ORDER)).eval()
    model = classifier(network)
    batch = model.preprocess(colour_faces(64, seed=1))
    head = network.get_submodule("fc")
    assert isinstance(head, torch.nn.Linear)
    with torch.no_grad():
        head.weight *= 3 / network(batch).std(0).mean()
        head.bias -= network(batch).mean(0)
    return network


def classifier(network: torch.nn.Module) -> cnn.CNN:
    """The classifier around a network with the architecture and the labels of this module."""
    network_format = cnn.input_format(ARCHITECTURE, ORDER)
    return cnn.CNN(network, ARCHITECTURE, network_format, torch.device("cpu"))


def small_checkpoint(path: Path) -> ModelSpec:
    """Write a small network as a checkpoint of this package: the record of its model `small`."""
    metadata = {
        "format": cnn.FORMAT,
        "architecture": json.dumps(ARCHITECTURE.__dict__),
        "labels": json.dumps(ORDER),
    }
    safetensors_io.write(small_network().state_dict(), path, metadata)
    where = Weights(lambda: path, "make it again")
    return ModelSpec("small", lambda runtime: cnn.load(path, device="cpu"), labels=ORDER, weights=where)


def colour_faces(n: int, seed: int = 0) -> list[np.ndarray]:
    """Coarse colour images, (40, 40, 3), whose red and blue differ."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (n, 5, 5, 3))
    return list(coarse.repeat(8, axis=1).repeat(8, axis=2).astype(np.uint8))
