"""Files like those that `fer-models train` writes, of untrained networks."""

import json

import torch

from fer_models.artifacts import safetensors_io
from fer_models.classifiers import cnn
from fer_models.classifiers.architecture import Architecture
from fer_models.emotions import LABELS

TINY = Architecture("resnet10t", size=32)


def write_weights(path, seed, architecture=TINY, **metadata):
    """Write a file like those of training; returns its tensors."""
    torch.manual_seed(seed)
    state = cnn.build(architecture).state_dict()
    defaults = {
        "format": cnn.FORMAT,
        "architecture": json.dumps(vars(architecture)),
        "labels": json.dumps(list(LABELS)),
        "provenance": json.dumps({"model": "tiny", "seed": seed}),
    }
    safetensors_io.write(state, path, defaults | metadata)
    return state
