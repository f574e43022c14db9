"""Weights of TensorFlow.js: a manifest (JSON) that lists the tensors, and one file of their bytes.

A quantized tensor has one scale and one minimum: value = scale * integer + minimum.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fer_models.artifacts.json_io import parse_json

#: The types of the bytes, by the names of TensorFlow.js; its files are little-endian.
_TYPES: dict[str, np.dtype[Any]] = {
    "float32": np.dtype("<f4"),
    "uint8": np.dtype("u1"),
    "uint16": np.dtype("<u2"),
}


def decode(manifest: bytes, data: bytes) -> dict[str, NDArray[np.float32]]:
    """Decode the tensors of one file, dequantized to float32, by name.

    Args:
        manifest: a list with one group of tensors, in the order of their bytes.
        data: the bytes of the group.

    Raises:
        ValueError: the manifest is no such list, or does not describe exactly `data`.
    """
    try:
        (group,) = parse_json(manifest)
        entries = [_entry(entry) for entry in group["weights"]]
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"its manifest is incomplete: {type(error).__name__} {error}") from error
    tensors, start = {}, 0
    for name, shape, dtype, scale, minimum in entries:
        end = start + math.prod(shape) * dtype.itemsize
        if end > len(data):
            raise ValueError(f"its weights end inside {name}: {len(data):,} bytes, {end:,} are needed")
        # In float64, as JavaScript computes, and then rounded once.
        values = np.frombuffer(data[start:end], dtype).astype(np.float64) * scale + minimum
        tensors[name] = values.astype(np.float32).reshape(shape)
        start = end
    if start != len(data):
        raise ValueError(f"its weights have {len(data):,} bytes, its manifest describes {start:,}")
    return tensors


def _entry(entry: Any) -> tuple[str, tuple[int, ...], np.dtype[Any], float, float]:
    """Name, shape, type of the bytes, scale and minimum of a tensor."""
    name, shape = str(entry["name"]), tuple(entry["shape"])
    if not all(isinstance(side, int) and side > 0 for side in shape):
        raise ValueError(f"{name} has shape {shape}")
    quantization = entry.get("quantization") or {"dtype": entry["dtype"], "scale": 1.0, "min": 0.0}
    if entry["dtype"] != "float32" or quantization["dtype"] not in _TYPES:
        raise ValueError(f"{name} has type {entry['dtype']}, stored as {quantization['dtype']}")
    scale, minimum = float(quantization["scale"]), float(quantization["min"])
    if not (math.isfinite(scale) and math.isfinite(minimum)):
        raise ValueError(f"{name} has scale {scale} and minimum {minimum}")
    return name, shape, _TYPES[quantization["dtype"]], scale, minimum
