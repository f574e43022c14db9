"""Input and output of a network in a file: preprocessing, and errors of a wrong declaration."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import softmax

from fer_models.classifiers.network_format import NetworkFormat, missing
from fer_models.emotions import LABELS
from fer_models.errors import UsageError

REQUIRED = {
    "labels": list(LABELS),
    "size": 6,
    "channels": 3,
    "layout": "nchw",
    "range": [0, 1],
    "output": "logits",
}

formats = st.builds(
    NetworkFormat,
    labels=st.permutations(LABELS).map(tuple),
    size=st.integers(1, 9),
    channels=st.just(3),
    layout=st.sampled_from(["nchw", "nhwc"]),
    range=st.sampled_from([(0, 1), (0, 255), (-1, 1)]),
    output=st.sampled_from(["logits", "probabilities"]),
    color_order=st.sampled_from(["rgb", "bgr"]),
    mean=st.sampled_from([(0.0,), (0.5, 0.25, 0.125)]),
    std=st.sampled_from([(1.0,), (0.5, 0.25, 2.0)]),
    resample=st.sampled_from(["nearest", "bilinear", "bicubic"]),
)


@given(formats)
def test_a_format_survives_json(network_format):
    assert NetworkFormat.from_json(json.loads(json.dumps(network_format.as_json()))) == network_format


@given(formats, st.integers(0, 2**32 - 1))
def test_each_input_value_follows_the_formula(network_format, seed):
    size = network_format.size
    face = np.random.default_rng(seed).integers(0, 256, (size, size, 3), dtype=np.uint8)
    batch = network_format.preprocess([face])
    if network_format.layout == "nchw":
        batch = batch.transpose(0, 2, 3, 1)
    channels = "rgb".index if network_format.color_order == "rgb" else "bgr".index
    low, high = network_format.range
    mean, std = (np.broadcast_to(v, 3) for v in (network_format.mean, network_format.std))
    for position, name in enumerate(network_format.color_order):
        assert channels(name) == position
        pixels = face[..., "rgb".index(name)].astype(float)
        expected = (low + pixels / 255 * (high - low) - mean[position]) / std[position]
        np.testing.assert_allclose(batch[0, ..., position], expected, rtol=1e-4, atol=1e-4)


def test_faces_of_other_sizes_are_resized():
    faces = [np.full((48, 30, 3), 255, np.uint8), np.zeros((5, 5, 3), np.uint8)]
    batch = NetworkFormat.from_json(REQUIRED | {"channels": 1}).preprocess(faces)
    assert batch.shape == (2, 1, 6, 6)
    assert batch[0].min() == 1
    assert batch[1].max() == 0


def test_no_faces_give_an_empty_batch():
    assert NetworkFormat.from_json(REQUIRED).preprocess([]).shape == (0, 3, 6, 6)


def test_logits_become_probabilities_and_probabilities_stay():
    outputs = np.random.default_rng(0).normal(0, 300, (5, 7))
    logits = NetworkFormat.from_json(REQUIRED)
    np.testing.assert_allclose(logits.probabilities(outputs), softmax(outputs, axis=1), atol=1e-12)
    shares = softmax(outputs, axis=1)
    probabilities = NetworkFormat.from_json(REQUIRED | {"output": "probabilities"})
    np.testing.assert_array_equal(probabilities.probabilities(shares), shares)


@pytest.mark.parametrize("key", REQUIRED)
def test_a_missing_field_is_named(key):
    values = {k: v for k, v in REQUIRED.items() if k != key}
    assert missing(values) == [key]
    with pytest.raises(UsageError, match=f"{key} must be given"):
        NetworkFormat.from_json(values)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("labels", []),
        ("labels", "angry"),
        ("labels", ["angry", "angry"]),
        ("labels", ["angry", 3]),
        ("labels", ["angry", "LABEL_1"]),
        ("size", 0),
        ("size", 10**6),
        ("size", True),
        ("size", 48.0),
        ("channels", 4),
        ("layout", "chwn"),
        ("color_order", "gbr"),
        ("output", "scores"),
        ("resample", "lanczos"),
        ("range", [1, 0]),
        ("range", [0]),
        ("range", ["0", "1"]),
        ("mean", [0.1, 0.2]),
        ("mean", "0.5"),
        ("std", [0.1, 0.0, 0.1]),
        ("std", [-1]),
        ("same_as", 3),
        ("sice", 48),
    ],
)
def test_a_wrong_field_is_named_with_what_is_allowed(key, value):
    with pytest.raises(UsageError, match=key):
        NetworkFormat.from_json(REQUIRED | {key: value})
