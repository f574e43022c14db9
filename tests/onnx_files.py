"""Tiny ONNX files, made by the package onnx: `flatten(input) @ weights + bias`, in any type and layout."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

#: Versions that every ONNX Runtime of `pyproject.toml` reads.
OPSET, IR = 17, 8


def dense_model(
    weights, bias, shape, *, dtype=np.float32, outputs=("logits",), description=None, location=None, domain=""
):
    """A model with an input `image` of `shape`; `outputs` are `logits`, `probabilities`, `square` or several.

    `square` has the shape (n, k, 1, 1). `location` puts the weights into another file.
    """
    k, d = weights.shape
    element = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    number = np.float32 if np.dtype(dtype).kind in "ui" else dtype
    constants = [
        numpy_helper.from_array(weights.T.astype(number), "w"),
        numpy_helper.from_array(bias.astype(number), "b"),
        numpy_helper.from_array(np.array([-1, d]), "flat_shape"),
        numpy_helper.from_array(np.array([-1, k, 1, 1]), "square_shape"),
    ]
    if location is not None:
        constants[0].data_location = TensorProto.EXTERNAL
        constants[0].external_data.add(key="location", value=location)
        constants[0].external_data.add(key="length", value=str(len(constants[0].raw_data)))
        constants[0].ClearField("raw_data")
    nodes = [
        helper.make_node(
            "Cast", ["image"], ["numbers"], to=helper.np_dtype_to_tensor_dtype(np.dtype(number))
        ),
        helper.make_node("Reshape", ["numbers", "flat_shape"], ["flat"]),
        helper.make_node("Gemm", ["flat", "w", "b"], ["logits"], domain=domain),
        helper.make_node("Softmax", ["logits"], ["probabilities"], axis=1),
        helper.make_node("Reshape", ["logits", "square_shape"], ["square"]),
    ]
    result = helper.np_dtype_to_tensor_dtype(np.dtype(number))
    image = helper.make_tensor_value_info("image", element, shape)
    results = [helper.make_tensor_value_info(name, result, None) for name in outputs]
    graph = helper.make_graph(nodes, "tiny", [image], results, constants)
    opsets = [helper.make_opsetid("", OPSET), *([helper.make_opsetid(domain, 1)] if domain else [])]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=IR)
    if description is not None:
        helper.set_model_props(model, {"fer_models": description})
    return model


def save(model, path: Path) -> Path:
    path.write_bytes(model.SerializeToString())
    return path


def external_bytes(weights) -> bytes:
    """The content of the file at `location` of a float32 `dense_model`."""
    return np.ascontiguousarray(weights.T, np.float32).tobytes()


__all__ = ["IR", "OPSET", "dense_model", "external_bytes", "onnx", "save"]
