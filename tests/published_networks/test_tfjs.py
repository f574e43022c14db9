"""Weights of TensorFlow.js: dequantization, and manifests that do not describe their bytes."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fer_models.published_networks import tfjs

numbers = st.floats(-100, 100, width=32)


def manifest(*entries: dict) -> bytes:
    return json.dumps([{"weights": list(entries), "paths": ["weights.bin"]}]).encode()


def entry(name: str = "a", shape: tuple[int, ...] = (2,), dtype: str | None = "uint8", **fields) -> dict:
    stored = {"dtype": dtype, "scale": 0.5, "min": -1.0, **fields}
    return {"name": name, "shape": list(shape), "dtype": "float32"} | (
        {"quantization": stored} if dtype else {}
    )


@given(st.lists(st.integers(0, 255), min_size=1), numbers, numbers)
def test_a_quantized_tensor_is_scale_times_integer_plus_minimum(integers, scale, minimum):
    described = manifest(entry(shape=(len(integers),), scale=scale, min=minimum))
    (values,) = tfjs.decode(described, bytes(integers)).values()
    assert values.dtype == np.float32
    assert values.tolist() == [float(np.float32(i * scale + minimum)) for i in integers]


@given(st.lists(numbers, min_size=1))
def test_a_tensor_of_floats_is_read_exactly(floats):
    described = manifest(entry(shape=(len(floats),), dtype=None))
    (values,) = tfjs.decode(described, np.array(floats, "<f4").tobytes()).values()
    assert values.tolist() == floats


def test_tensors_follow_each_other_in_the_order_of_the_manifest():
    described = manifest(
        entry("x/b", (2, 1)), entry("x/a", (1,), dtype=None), entry("w", (3,), dtype="uint16")
    )
    data = bytes([4, 6]) + np.float32([7]).tobytes() + np.array([0, 2, 256], "<u2").tobytes()
    tensors = tfjs.decode(described, data)
    assert {name: values.tolist() for name, values in tensors.items()} == {
        "x/b": [[1.0], [2.0]],
        "x/a": [7.0],
        "w": [-1.0, 0.0, 127.0],
    }


@pytest.mark.parametrize(
    ("described", "message"),
    [
        (b"[", "Expecting"),
        (b"[]", "not enough values"),
        (b"5", "TypeError"),
        (b"[{}]", "weights"),
        (b'[{"weights": [{"name": "a"}]}]', "shape"),
        (manifest(entry(shape=(3,))), "end inside a: 2 bytes, 3 are needed"),
        (manifest(entry(shape=(1,))), "2 bytes, its manifest describes 1"),
        (manifest(entry(shape=(10**12, 10**12))), "end inside a"),
        (manifest(entry(shape=(-1, -2))), "has shape"),
        (manifest(entry(shape=(0,))), "has shape"),
        (manifest(entry(shape=(1.5,))), "has shape"),
        (manifest(entry(shape=("2",))), "has shape"),
        (manifest(entry(dtype="int4")), "stored as int4"),
        (manifest(entry() | {"dtype": "string"}), "type string"),
        (manifest(entry(scale="many")), "many"),
        (b'[{"weights": [{"name": "a", "shape": [2], "dtype": "float32", "quantization": 3}]}]', "TypeError"),
    ],
)
def test_a_manifest_that_does_not_describe_its_bytes_is_an_error(described, message):
    with pytest.raises(ValueError, match=message):
        tfjs.decode(described, bytes(2))
